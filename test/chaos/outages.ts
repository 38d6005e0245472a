/**
 * `npm run outages`: what publishers and consumers see when a node of a cluster goes, in figures for `docs/clusters.md`.
 *
 * In each outage two connections go to the same node, one for publishers and one for a consumer, while another node or the same one fails.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpPublishError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { NodeAmqp } from "@effect-amqp/node"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type { RabbitMQNode } from "../support/rabbitmqNode.ts"
import { leaderOf, partitioned } from "./faults.ts"
import { eventually, startSite } from "./site.ts"
import type { Site } from "./site.ts"

/** The nodes of an outage, which differ: that of the connections, that of the leader or of the classic queue, and the third. */
interface Roles {
  readonly own: RabbitMQNode
  readonly leader: RabbitMQNode
  readonly third: RabbitMQNode
}

interface Outage {
  readonly name: string
  readonly type: "classic" | "quorum"
  readonly begin: (roles: Roles, site: Site) => Promise<void>
  readonly end: (roles: Roles, site: Site) => Promise<unknown>
}

const startAgain = async (...nodes: ReadonlyArray<RabbitMQNode>): Promise<void> => {
  await Promise.all(nodes.map((node) => node.start()))
}

const one = (name: string, role: "own" | "leader"): ReadonlyArray<Outage> => [
  {
    name: `${name} stopped`,
    type: "quorum",
    begin: (roles) => roles[role].stop(),
    end: (roles) => startAgain(roles[role])
  },
  {
    name: `${name} killed`,
    type: "quorum",
    begin: (roles) => roles[role].kill(),
    end: (roles) => startAgain(roles[role])
  },
  {
    name: `${name} frozen`,
    type: "quorum",
    begin: async (roles) => roles[role].freeze(),
    end: async (roles) => roles[role].thaw()
  },
  {
    name: `${name} cut off`,
    type: "quorum",
    begin: (roles, site) => partitioned(roles[role], site, true),
    end: (roles, site) => partitioned(roles[role], site, false)
  }
]

const outages: ReadonlyArray<Outage> = [
  ...one("the leader's node", "leader"),
  ...one("the client's node", "own"),
  {
    name: "the node of a classic queue killed",
    type: "classic",
    begin: ({ leader }) => leader.kill(),
    end: ({ leader }) => startAgain(leader)
  },
  {
    name: "no majority: two nodes frozen",
    type: "quorum",
    begin: async ({ leader, third }) => {
      leader.freeze()
      third.freeze()
    },
    end: async ({ leader, third }) => {
      leader.thaw()
      third.thaw()
    }
  },
  {
    name: "no majority: two nodes killed",
    type: "quorum",
    begin: async ({ leader, third }) => {
      await Promise.all([leader.kill(), third.kill()])
    },
    end: ({ leader, third }) => startAgain(leader, third)
  }
]

/** How long an outage lasts: longer than it takes to notice a node that is silent. */
const outageMillis = 30_000

/** How long a client has to go on after it, before it is measured. */
const afterMillis = 20_000

const publishEveryMillis = 50

/** The longest time between two events. */
class Gap {
  longest = 0
  private last = performance.now()

  note(): void {
    const now = performance.now()
    this.longest = Math.max(this.longest, now - this.last)
    this.last = now
  }
}

const seconds = (millis: number): string => (millis / 1000).toFixed(1)

/** The tags of an error, its reason and its causes. */
const tagsOf = (error: unknown): ReadonlyArray<string> => {
  if (!Predicate.hasProperty(error, "_tag")) return []
  const next = Predicate.hasProperty(error, "reason")
    ? error.reason
    : Predicate.hasProperty(error, "cause") && error.cause
  return [String(error._tag), ...tagsOf(next)]
}

const causeOf = ({ reason }: AmqpPublishError): string => tagsOf(reason).join(" ")

const measure = (outage: Outage, site: Site, rolesOf: ReadonlyArray<RabbitMQNode>) =>
  Effect.gen(function*() {
    const [own, leader, third] = rolesOf
    const roles = { own, leader, third }
    const name = `outages.${outage.name}`
    const queue = outage.type === "classic" ? AmqpQueue.classic(name) : AmqpQueue.quorum(name)
    const connected = (urls: ReadonlyArray<string>) =>
      Layer.fresh(
        NodeAmqp.layer({ url: urls, endpointOrder: "ordered", heartbeat: "10 seconds", connectTimeout: "5 seconds" })
      )
    yield* AmqpChannel.run(AmqpQueue.declare(queue)).pipe(Effect.provide(connected([leader.url])))
    if (outage.type === "quorum") {
      const actual = yield* Effect.promise(() => leaderOf(name, site))
      if (actual !== leader) yield* Effect.die(new Error(`the leader of ${name} is on ${actual.nodename}`))
    }
    const urls = [own.url, leader.url, third.url]
    const gaps = { once: new Gap(), again: new Gap(), delivered: new Gap() }
    const failures = new Map<string, number>()
    const counts = { confirmed: 0, again: 0 }
    const outageState = { isOver: false }

    const publishing = Effect.gen(function*() {
      const once = yield* AmqpPublisher.make({ maxInFlight: 256, maxWaiting: 1_000 })
      const again = yield* AmqpPublisher.make({ retry: Schedule.spaced("100 millis") })
      const fibers = yield* FiberSet.make<void, AmqpPublishError>()
      const message = AmqpMessage.text("m", { deliveryMode: "persistent" })
      const options = { ...AmqpQueue.route(name), mandatory: true }
      while (!outageState.isOver) {
        yield* FiberSet.run(
          fibers,
          Effect.match(once.publish(message, options), {
            onSuccess: () => {
              counts.confirmed++
              gaps.once.note()
            },
            onFailure: (error) => {
              const cause = causeOf(error)
              failures.set(cause, (failures.get(cause) ?? 0) + 1)
            }
          })
        )
        yield* FiberSet.run(
          fibers,
          Effect.match(again.publish(message, options), {
            onSuccess: () => {
              counts.again++
              gaps.again.note()
            },
            onFailure: (error) => void failures.set(`with retry: ${causeOf(error)}`, 1)
          })
        )
        yield* Effect.sleep(publishEveryMillis)
      }
      yield* FiberSet.awaitEmpty(fibers)
    }).pipe(Effect.scoped, Effect.provide(connected(urls)))

    const consuming = AmqpConsumer.serve(
      name,
      () => Effect.as(Effect.sync(() => gaps.delivered.note()), AmqpDelivery.ack),
      { prefetch: 20 }
    ).pipe(Effect.provide(connected(urls)))

    yield* Effect.forkScoped(consuming)
    const publisher = yield* Effect.forkScoped(publishing)
    yield* Effect.sleep("3 seconds")
    for (const gap of Object.values(gaps)) gap.longest = 0
    yield* Effect.promise(() => outage.begin(roles, site))
    yield* Effect.sleep(outageMillis)
    yield* Effect.promise(() => outage.end(roles, site))
    yield* Effect.sleep(afterMillis)
    outageState.isOver = true
    yield* Effect.exit(Effect.timeout(Fiber.join(publisher), "100 seconds"))
    for (const gap of Object.values(gaps)) gap.note()
    return {
      outage: outage.name,
      confirmSeconds: seconds(gaps.once.longest),
      retrySeconds: seconds(gaps.again.longest),
      deliverySeconds: seconds(gaps.delivered.longest),
      confirmed: counts.confirmed,
      failures: Object.fromEntries(failures)
    }
  }).pipe(Effect.scoped)

const main = Effect.gen(function*() {
  const [only] = process.argv.slice(2)
  const site = yield* startSite(3)
  yield* Console.log(`RabbitMQ ${site.version}, three nodes`)
  for (const outage of outages) {
    if (only !== undefined && !outage.name.includes(only)) continue
    yield* Effect.promise(() =>
      eventually(120_000, () => site.evaluate(`ok = rabbit_nodes:await_running_count(3, 60000)`, site.nodes[0]))
    )
    const measured = yield* measure(outage, site, site.nodes)
    yield* Console.log(JSON.stringify(measured))
  }
})

main.pipe(Effect.scoped, Effect.provide(Logger.layer([])), NodeRuntime.runMain)
