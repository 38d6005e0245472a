import { AMQPClient } from "@cloudamqp/amqp-client"
import { queue, report, url } from "./task.mjs"

const connection = await new AMQPClient(url).connect()
const channel = await connection.channel()
await channel.confirmSelect()
await channel.basicPublish("", queue, "hello")
report()
await connection.close()
