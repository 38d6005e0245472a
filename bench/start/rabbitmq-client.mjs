import { Connection } from "rabbitmq-client"
import { queue, report, url } from "./task.mjs"

const connection = new Connection(url)
const publisher = connection.createPublisher({ confirm: true })
await publisher.send(queue, "hello")
report()
await publisher.close()
await connection.close()
