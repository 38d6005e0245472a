import type { AdministrableBroker } from "./provided.ts"
import { canStartNode, makeNode, makeNodeHome } from "./rabbitmqNode.ts"
import type { NodeOptions } from "./rabbitmqNode.ts"

/** A RabbitMQ that this run has started. */
export interface PrivateBroker extends AdministrableBroker {
  readonly version: string
  /** Its port with TLS; 0 without a certificate. */
  readonly tlsPort: number
  readonly stop: () => Promise<void>
}

/** The number of brokers that this process has started: each needs a unique name. */
let count = 0

/** Whether this machine has a RabbitMQ to start. */
export const canStartPrivateBroker = canStartNode

/** Starts a RabbitMQ on free loopback ports, with everything that it writes in a temporary folder that is removed with it. */
export const startPrivateBroker = async (options: NodeOptions = {}): Promise<PrivateBroker> => {
  const home = await makeNodeHome()
  try {
    const node = await makeNode(home, `effect-amqp-${process.pid}-${++count}@localhost`, options)
    const version = await node.start()
    const stop = async (): Promise<void> => {
      await node.stop()
      await home.stop()
    }
    return { url: node.url, version, nodename: node.nodename, env: node.env, tlsPort: node.tlsPort, stop }
  } catch (error) {
    await home.stop()
    throw error
  }
}
