import { connect } from "amqplib"
import { queue, report, url } from "./task.mjs"

const connection = await connect(url)
const channel = await connection.createConfirmChannel()
channel.publish("", queue, Buffer.from("hello"))
await channel.waitForConfirms()
report()
await connection.close()
