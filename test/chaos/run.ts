/**
 * A run: clients work on brokers while faults come and go. Then everything has to end, and the account has to be right.
 *
 * Every wait has a limit, as a client that hangs must not hang the run.
 */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { countingFibers } from "../support/countingFibers.ts"
import { Account } from "./account.ts"
import { makeCast } from "./cast.ts"
import type { Cast, Client } from "./cast.ts"
import { connection, watch } from "./client.ts"
import { ClientLogs, diagnose } from "./diagnosis.ts"
import { inflict } from "./faults.ts"
import { forgottenQueues } from "./forgotten.ts"
import { ClientSockets, complaints, leftAtBroker, newResources, notEmpty, resources } from "./leftovers.ts"
import { Monitor } from "./monitor.ts"
import { descriptions, kindsFor, nodeKinds, plan } from "./plan.ts"
import type { Fault, Kind } from "./plan.ts"
import { reportOf } from "./report.ts"
import type { FaultRecord, Report } from "./report.ts"
import { idsIn } from "./rereading.ts"
import { startSite } from "./site.ts"
import type { Site } from "./site.ts"
import { Violations } from "./violations.ts"
import type { World } from "./world.ts"

export interface Options {
  readonly seed: number
  /** How long faults are inflicted. */
  readonly seconds: number
  /** How many faults are inflicted at most. Default: no limit. */
  readonly maxFaults?: number | undefined
  readonly nodes: number
  /** How many messages each publisher publishes in a second. */
  readonly rate: number
  /** The kinds of faults. Default: all that are possible. */
  readonly kinds?: ReadonlyArray<Kind> | undefined
  /** Called with each event that a person may want to see. */
  readonly onEvent?: ((text: string) => void) | undefined
}

/** How long everything works before the first fault. A RabbitMQ that is killed in the second after it has made its first stream forgets it. */
const calmMillis = 3_000

/** How long it may take until everything works again after a fault. */
const recoverMillis = 60_000

/** How long the publishes and calls may take that are under way in the end. */
const endMillis = 100_000

/** The same, when a client is known to be broken. */
const brokenMillis = 20_000

/** How long it may take until all messages are handled. */
const drainMillis = 60_000

/** How long the connections may take to close. */
const closeMillis = 30_000

/** How long the broker may take to notice that its half-open connections are dead. */
const forgetMillis = 30_000

/** How long the socket of a lost connection may stay open. */
const oldSocketMillis = 5_000

/** The interval in which conditions are checked, in milliseconds. */
const pollMillis = 25

const now = (): number => performance.now()

/** Runs an effect, but waits only for so long. Returns whether it has ended. */
const within = <A, E>(millis: number, self: Effect.Effect<A, E>): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    // A fiber that hangs may not be interruptible.
    const fiber = yield* Effect.forkDetach(self, { startImmediately: true })
    return yield* until(millis, () => fiber.pollUnsafe() !== undefined)
  })

/** Waits until a condition holds, and returns whether it does. */
const until = (millis: number, condition: () => boolean): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    const deadline = now() + millis
    while (!condition()) {
      if (now() > deadline) return false
      yield* Effect.sleep(pollMillis)
    }
    return true
  })

/** Repeats a check until it finds nothing more, and returns what it found last. */
const untilNothing = (
  millis: number,
  check: () => Promise<ReadonlyArray<string>>
): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function*() {
    const deadline = now() + millis
    for (;;) {
      const found = yield* Effect.promise(check)
      if (found.length === 0 || now() > deadline) return found
      yield* Effect.sleep(500)
    }
  })

class Run {
  private readonly options: Options
  private readonly site: Site
  private readonly cast: Cast
  private readonly violations = new Violations()
  private readonly account = new Account(this.violations)
  private readonly monitor = new Monitor()
  private readonly startedAt = now()
  private readonly faults: Array<FaultRecord> = []
  private readonly fibers = countingFibers()
  private readonly sockets = new ClientSockets()
  private readonly logs = new ClientLogs()
  private isStopping = false
  /** How many consumers RabbitMQ has forgotten. */
  private forgottenConsumers = 0
  /** What was not well last. */
  private lastProblem = ""
  /** Whether a client has not recovered. Then nothing more is waited for in vain. */
  private isBroken = false
  /** The programs that end by themselves. */
  private readonly ending: Array<Fiber.Fiber<unknown>> = []
  private readonly connections: Array<{
    readonly name: string
    readonly connection: AmqpConnection.AmqpConnection["Service"]
  }> = []
  private readonly world: World

  constructor(options: Options, site: Site) {
    this.options = options
    this.site = site
    this.cast = makeCast(options.nodes)
    const nodesFail = (options.kinds ?? kindsFor(options.nodes)).some((kind) => nodeKinds.has(kind))
    this.account.losesAcknowledgements = nodesFail && options.nodes > 1
    this.world = {
      account: this.account,
      monitor: this.monitor,
      violations: this.violations,
      rate: options.rate,
      nodesFail,
      checks: [],
      isStopping: () => this.isStopping
    }
  }

  private event(text: string): void {
    const seconds = ((now() - this.startedAt) / 1000).toFixed(1).padStart(7)
    this.options.onEvent?.(`${seconds} s  ${text}`)
  }

  private violated(kind: string, examples: ReadonlyArray<string>): void {
    for (const example of examples) this.violations.add(kind, example)
    if (examples.length > 0) this.event(`VIOLATION: ${kind}: ${examples.slice(0, 3).join("; ")}`)
  }

  readonly run: Effect.Effect<Report> = Effect.suspend(() => Effect.provide(this.observed, this.logs.layer))

  private readonly observed: Effect.Effect<Report> = Effect.gen({ self: this }, function*() {
    const before = resources()
    const clients = yield* Scope.make()
    yield* this.fibers.counted(
      Effect.forEach(this.cast.clients, (client) => this.start(client, clients), { concurrency: 4, discard: true })
    ).pipe(Effect.orDie, Effect.onError(() => within(closeMillis, Scope.close(clients, Exit.void))))
    // Not closed by a scope around it: it may hang.
    yield* Effect.onInterrupt(
      this.work(clients),
      () => Effect.asVoid(within(closeMillis / 10, Scope.close(clients, Exit.void)))
    )
    const left = yield* untilNothing(forgetMillis, () => leftAtBroker(this.site))
    this.violated("something is left at the broker", left)
    const leftHere = yield* untilNothing(forgetMillis, () => Promise.resolve(this.leftHere(before)))
    this.violated("something is left in the process", leftHere)
    this.sockets.stop()
    this.violated("a broker complained of a client", complaints(this.site))
    this.account.check()
    this.violated("a drill had an effect on messages", this.effectsOfDrills)
    return reportOf({
      ...this.options,
      version: this.site.version,
      millis: now() - this.startedAt,
      totals: this.account.totals,
      faults: this.faults,
      recoveries: this.monitor.recoveries,
      forgottenConsumers: this.forgottenConsumers,
      violations: this.violations.all
    })
  })

  /** In a run with no other disturbances than drills no outcome is unknown, and no message is delivered twice. */
  private get effectsOfDrills(): ReadonlyArray<string> {
    if (this.faults.some(({ kind }) => kind !== "reconnect")) return []
    const { duplicates: { publishedAgain, redelivered }, outcomes: { unknown } } = this.account.totals
    return [
      ...(unknown === 0 ? [] : [`${unknown} unknown outcomes`]),
      ...(publishedAgain === 0 ? [] : [`${publishedAgain} messages published again`]),
      ...(redelivered === 0 ? [] : [`${redelivered} messages redelivered`])
    ]
  }

  private leftHere(before: ReadonlyMap<string, number>): ReadonlyArray<string> {
    const { bytes, count } = this.sockets
    return [
      ...(this.fibers.running === 0 ? [] : [`${this.fibers.running} fibers`]),
      ...(count === 0 ? [] : [`${count} sockets with ${bytes} bytes to send`]),
      ...newResources(before)
    ]
  }

  private start(client: Client, scope: Scope.Scope) {
    const { access, name, workloads } = client
    const { user } = this.site
    const credentials = client.isRotating === true
      ? Effect.sync(() => ({ username: user.name, password: Redacted.make(user.password) }))
      : undefined
    const started = Effect.gen({ self: this }, function*() {
      const topology = client.topology ?? this.cast.topology
      const live = AmqpTopology.layer(topology, { onFailure: (failure) => this.notDeclared(name, failure) }).pipe(
        Layer.provideMerge(connection(name, this.site.urlsOf(access), credentials))
      )
      const context: Context.Context<AmqpConnection.AmqpConnection> = yield* Layer.buildWithScope(live, scope)
      this.connections.push({ name, connection: Context.get(context, AmqpConnection.AmqpConnection) })
      yield* watch(name, this.monitor).pipe(
        Effect.provide(context),
        Effect.forkIn(scope, { startImmediately: true })
      )
      for (const workload of workloads) {
        this.monitor.expect(workload.name)
        const fiber = yield* workload.run(this.world, name).pipe(
          Effect.scoped,
          Effect.provide(context),
          Effect.onExit((exit) => Effect.sync(() => this.ended(workload.name, workload.ends, exit))),
          Effect.exit,
          Effect.forkIn(scope)
        )
        if (workload.ends) this.ending.push(fiber)
      }
    })
    return Effect.annotateLogs(started, { client: name })
  }

  /** All queues can be declared again, unless the broker has a reason that passes. */
  private notDeclared(client: string, failure: AmqpTopology.DeclareFailure): Effect.Effect<void> {
    return Effect.sync(() => {
      if (failure.willRetry) return
      const { description, error } = failure
      this.violated("a queue could not be declared again", [`${description.name} by ${client}: ${error.message}`])
    })
  }

  private ended(workload: string, mayEnd: boolean, exit: Exit.Exit<unknown, unknown>): void {
    if (Exit.isSuccess(exit) ? mayEnd && this.isStopping : Cause.hasInterruptsOnly(exit.cause)) return
    this.isBroken = true
    const why = Exit.isSuccess(exit) ? "without an error" : `with ${Cause.pretty(exit.cause).split("\n")[0]}`
    this.violated("a program ended", [`${workload} ${why}`])
  }

  private work(clients: Scope.Closeable): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      if (yield* this.untilHealthy(now())) {
        yield* Effect.sleep(calmMillis)
        yield* this.inflictAll
        yield* this.untilHealthy(now())
      }
      if (this.isBroken) yield* this.showDiagnosis
      this.event("The publishers stop.")
      this.isStopping = true
      const haveEnded = () => this.ending.every((fiber) => fiber.pollUnsafe() !== undefined)
      if (!(yield* until(this.isBroken ? brokenMillis : endMillis, haveEnded))) {
        this.violated("an operation did not end", this.monitor.pending)
      }
      const left = yield* untilNothing(this.isBroken ? 0 : drainMillis, async () => [
        ...await notEmpty(this.site),
        ...this.account.missing,
        ...this.world.checks.flatMap((check) => check())
      ])
      this.violated("messages were not handled", left)
      yield* this.rereadStream(left)
      this.event("The clients close.")
      if (!(yield* within(closeMillis, Scope.close(clients, Exit.void)))) {
        this.violated("the clients did not close", [`within ${closeMillis} ms`])
      }
    })
  }

  /** Finds out whether the messages of a stream that are missing are in it. */
  private rereadStream(left: ReadonlyArray<string>): Effect.Effect<void> {
    const { stream } = this.cast
    if (!left.some((text) => text.includes(stream.name))) return Effect.void
    return Effect.map(idsIn(stream, this.site), (ids) => {
      const kind = "a confirmed message is not in its stream, although it was read again from the beginning"
      this.violated(kind, this.account.confirmedWithout(stream.name, ids))
      this.event(`${stream.name} has ${ids.size} messages`)
    })
  }

  /** Inflicts faults until the time is over. */
  private readonly inflictAll = Effect.gen({ self: this }, function*() {
    const { kinds, maxFaults = Infinity, nodes, seconds, seed } = this.options
    const { deletableQueues, replicatedQueue } = this.cast
    const faults = plan({ seed, nodes, kinds, proxies: this.site.proxies.length })
    const deadline = now() + seconds * 1000
    while (now() < deadline && this.faults.length < maxFaults && !this.isBroken) {
      const fault = faults.next().value
      const beganAt = now()
      this.event(this.describe(fault))
      yield* Effect.promise((signal) =>
        inflict(fault, {
          site: this.site,
          deletableQueues,
          replicatedQueue,
          onDeleting: (queue) => this.account.deleting(queue),
          reconnect: (proxy) => this.reconnect(proxy)
        }, signal)
      )
      const endedAt = now()
      const isLast = endedAt > deadline || this.faults.length + 1 === maxFaults
      const isHealthy = (!fault.overlaps || isLast) && (yield* this.untilHealthy(endedAt))
      this.faults.push({ kind: fault.kind, beganAt, endedAt, recoveredAt: isHealthy ? now() : undefined })
      if (isHealthy) {
        this.event(`  all is well again after ${Math.round(now() - endedAt)} ms; the last: ${this.lastProblem}`)
        yield* this.checkSockets
      }
      yield* Effect.sleep(fault.pauseMillis)
    }
  })

  /** Starts to replace the connections of the clients with this number, modulo the number of proxies. */
  private reconnect(proxy: number | "all"): void {
    for (const [index, { connection, name }] of this.connections.entries()) {
      if (proxy !== "all" && index % this.site.proxies.length !== proxy) continue
      const ended = this.monitor.begin(`reconnect of ${name}`)
      const drill = Effect.match(connection.reconnect, {
        onSuccess: ended,
        onFailure: ({ message }) => this.violated("a connection could not be replaced", [`${name}: ${message}`])
      })
      this.ending.push(Effect.runFork(drill))
    }
  }

  /** A client has one connection, apart from a lost one that is just being closed. */
  private readonly checkSockets = Effect.suspend(() => {
    const { length } = this.cast.clients
    return Effect.map(until(oldSocketMillis, () => this.sockets.count <= length), (isRight) => {
      if (!isRight) this.violated("a client has several connections", [`${this.sockets.count} for ${length} clients`])
    })
  })

  private describe({ from, kind, millis, bytes, node, proxy }: Fault): string {
    const where = `node ${node + 1}, proxy ${proxy === "all" ? "all" : proxy + 1}`
    return `${kind}: ${descriptions[kind]} (${where}, ${millis} ms, ${bytes} bytes from the ${from})`
  }

  /** Whether RabbitMQ has forgotten the consumers of all programs that are idle. Then their connections are replaced. */
  private areForgotten(since: number): Effect.Effect<boolean> {
    return Effect.gen({ self: this }, function*() {
      if (this.options.nodes === 1 || this.monitor.notOpen.length > 0) return false
      const idle = this.monitor.idleSince(since)
      const words = idle.flatMap((workload) => workload.split(" "))
      const { stream } = this.cast
      const ofStream = words.filter((word) => word === stream.name).length
      const queues = [...new Set(words.filter((word) => word.startsWith("chaos.")))]
      const forgotten = yield* Effect.promise(() => forgottenQueues(queues, ofStream, this.site))
      const isForgotten = (workload: string) => workload.split(" ").some((word) => forgotten.includes(word))
      if (!idle.every(isForgotten)) return false
      this.forgottenConsumers += idle.length
      this.event(
        `  RabbitMQ has forgotten ${idle.length} consumers: ${idle.join(", ")}; their connections are replaced`
      )
      const names = this.cast.clients.filter(({ workloads }) => workloads.some(({ name }) => idle.includes(name)))
        .map(({ name }) => name)
      for (const { connection, name } of this.connections) {
        if (names.includes(name)) yield* Effect.ignore(connection.reconnect)
      }
      return true
    })
  }

  private readonly showDiagnosis = Effect.suspend(() =>
    Effect.map(diagnose(this.site, this.logs, this.monitor.states), (lines) => {
      for (const line of lines) this.event(`  ${line}`)
    })
  )

  /** Waits until all connections are open and every workload has worked since. Returns whether that is so. */
  private untilHealthy(since: number): Effect.Effect<boolean> {
    return Effect.gen({ self: this }, function*() {
      const problems = () => [
        ...this.monitor.notOpen,
        ...this.monitor.idleSince(since).map((workload) => `${workload} does not go on`)
      ]
      const isHealthy = until(recoverMillis, () => {
        const left = problems()
        if (left.length > 0) this.lastProblem = left[0]
        return this.isBroken || left.length === 0
      })
      if (!(yield* isHealthy) && !((yield* this.areForgotten(since)) && (yield* isHealthy))) {
        this.isBroken = true
        this.violated("a client did not recover", problems())
      }
      return !this.isBroken
    })
  }
}

/** Runs clients and faults, and reports what happened. */
export const run = (options: Options): Effect.Effect<Report> =>
  Effect.scoped(Effect.gen(function*() {
    const site = yield* startSite(options.nodes)
    return yield* new Run(options, site).run
  }))
