/**
 * What the compiler infers for each operation: exactly what it yields, how it fails and which services it requires.
 */
import {
  AmqpChannel,
  AmqpConsumer,
  AmqpDelivery,
  AmqpExchange,
  AmqpFailurePolicy,
  AmqpMessage,
  AmqpPublisher,
  AmqpQueue
} from "@effect-amqp/core"
import type { AmqpConnection, AmqpError } from "@effect-amqp/core"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { typeOf } from "./support.ts"

type Program<A, E = never, R = never> = AmqpChannel.AmqpChannel<A, E, R>
type ChannelError = AmqpError.AmqpChannelError
type Connection = AmqpConnection.AmqpConnection

class NoStock extends Data.TaggedError("NoStock")<{ readonly article: string }> {}
class NoMoney extends Data.TaggedError("NoMoney")<{ readonly missing: number }> {}
class Db extends Context.Service<Db, { readonly pending: Effect.Effect<ReadonlyArray<string>, NoStock> }>()("Db") {}
class Mail extends Context.Service<Mail, { readonly send: (text: string) => Effect.Effect<void, NoMoney> }>()("Mail") {}

declare const pending: Effect.Effect<ReadonlyArray<string>, NoStock, Db>
declare const send: (text: string) => Effect.Effect<"sent", NoMoney, Mail>
declare const program: Program<ReadonlyArray<string>, NoStock, Db>
declare const sendProgram: (text: string) => Program<"sent", NoMoney, Mail>
declare const cleanUp: Program<void, never, Mail>
declare const eitherFails: Program<1, NoStock | NoMoney, Db>
declare const untagged: Program<1, "text" | NoStock>

// -----------------------------------------------------------------------------
// gen
// -----------------------------------------------------------------------------

typeOf(AmqpChannel.gen(function*() {
  const queue = yield* AmqpQueue.declare("orders")
  typeOf(queue).is<AmqpQueue.QueueInfo>()
  // A step may be a service, an Effect or a program.
  const db = yield* Db
  const rows = yield* db.pending
  typeOf(rows).is<ReadonlyArray<string>>()
  for (const row of rows) typeOf(yield* sendProgram(row)).is<"sent">()
  return rows.length
})).is<Program<number, ChannelError | NoStock | NoMoney, Db | Mail>>()

// A program without steps can't fail and requires nothing.
// oxlint-disable-next-line eslint/require-yield
typeOf(AmqpChannel.gen(function*() {
  return 1
})).is<Program<number>>()
typeOf(AmqpChannel.gen(function*() {})).is<Program<void>>()

// A program can be a step of another.
typeOf(AmqpChannel.gen(function*() {
  yield* AmqpChannel.gen(function*() {
    yield* program
  })
})).is<Program<void, NoStock, Db>>()

// A step that only fails ends the generator.
typeOf(AmqpChannel.gen(function*() {
  if (Math.random() > 0.5) return yield* new NoStock({ article: "" })
  return "some"
})).is<Program<string, NoStock>>()

// -----------------------------------------------------------------------------
// constructors and combinators, in both forms
// -----------------------------------------------------------------------------

typeOf(AmqpChannel.fromEffect(pending)).is<Program<ReadonlyArray<string>, NoStock, Db>>()
typeOf(AmqpChannel.succeed(1)).is<Program<number>>()
typeOf(AmqpChannel.fail(new NoStock({ article: "" }))).is<Program<never, NoStock>>()

typeOf(AmqpChannel.map(program, (rows) => rows.length)).is<Program<number, NoStock, Db>>()
typeOf(program.pipe(AmqpChannel.map((rows) => rows.length))).is<Program<number, NoStock, Db>>()

typeOf(AmqpChannel.as(program, "done")).is<Program<string, NoStock, Db>>()
typeOf(program.pipe(AmqpChannel.as("done"))).is<Program<string, NoStock, Db>>()

typeOf(AmqpChannel.flatMap(program, ([row]) => sendProgram(row))).is<Program<"sent", NoStock | NoMoney, Db | Mail>>()
typeOf(program.pipe(AmqpChannel.flatMap(([row]) => sendProgram(row)))).is<
  Program<"sent", NoStock | NoMoney, Db | Mail>
>()
// A step may be an Effect.
typeOf(AmqpChannel.flatMap(program, ([row]) => send(row))).is<Program<"sent", NoStock | NoMoney, Db | Mail>>()
typeOf(program.pipe(AmqpChannel.flatMap(([row]) => send(row)))).is<Program<"sent", NoStock | NoMoney, Db | Mail>>()
// Or either.
typeOf(program.pipe(AmqpChannel.flatMap((rows) => rows.length > 1 ? sendProgram(rows[0]) : send(rows[0])))).is<
  Program<"sent", NoStock | NoMoney, Db | Mail>
>()

typeOf(AmqpChannel.andThen(program, sendProgram(""))).is<Program<"sent", NoStock | NoMoney, Db | Mail>>()
typeOf(program.pipe(AmqpChannel.andThen(sendProgram("")))).is<Program<"sent", NoStock | NoMoney, Db | Mail>>()
typeOf(program.pipe(AmqpChannel.andThen(send("")))).is<Program<"sent", NoStock | NoMoney, Db | Mail>>()

typeOf(AmqpChannel.tap(program, ([row]) => sendProgram(row))).is<
  Program<ReadonlyArray<string>, NoStock | NoMoney, Db | Mail>
>()
typeOf(program.pipe(AmqpChannel.tap(([row]) => sendProgram(row)))).is<
  Program<ReadonlyArray<string>, NoStock | NoMoney, Db | Mail>
>()
typeOf(program.pipe(AmqpChannel.tap(([row]) => send(row)))).is<
  Program<ReadonlyArray<string>, NoStock | NoMoney, Db | Mail>
>()

typeOf(AmqpChannel.forEach(["a", "b"], (text, index) => sendProgram(`${index}: ${text}`))).is<
  Program<Array<"sent">, NoMoney, Mail>
>()
typeOf(AmqpChannel.forEach(new Set(["a"]), send)).is<Program<Array<"sent">, NoMoney, Mail>>()

typeOf(AmqpChannel.all([program, send(""), Effect.succeed(1)])).is<
  Program<[ReadonlyArray<string>, "sent", number], NoStock | NoMoney, Db | Mail>
>()
typeOf(AmqpChannel.all(["a"].map(sendProgram))).is<Program<Array<"sent">, NoMoney, Mail>>()
typeOf(AmqpChannel.all([])).is<Program<[]>>()
typeOf(AmqpChannel.all({ ids: program, sent: send(""), one: Effect.succeed(1) })).is<
  Program<{ ids: ReadonlyArray<string>; sent: "sent"; one: number }, NoStock | NoMoney, Db | Mail>
>()

typeOf(AmqpChannel.ensuring(program, cleanUp)).is<Program<ReadonlyArray<string>, NoStock, Db | Mail>>()
typeOf(program.pipe(AmqpChannel.ensuring(cleanUp))).is<Program<ReadonlyArray<string>, NoStock, Db | Mail>>()
typeOf(program.pipe(AmqpChannel.ensuring(Effect.void))).is<Program<ReadonlyArray<string>, NoStock, Db>>()
// @ts-expect-error a finalizer can't fail
AmqpChannel.ensuring(program, sendProgram(""))

typeOf(AmqpChannel.timeout(program, "1 second")).is<Program<ReadonlyArray<string>, NoStock | Cause.TimeoutError, Db>>()
typeOf(program.pipe(AmqpChannel.timeout("1 second"))).is<
  Program<ReadonlyArray<string>, NoStock | Cause.TimeoutError, Db>
>()

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

typeOf(AmqpChannel.catchTag(eitherFails, "NoStock", ({ article }) => sendProgram(article))).is<
  Program<1 | "sent", NoMoney, Db | Mail>
>()
typeOf(eitherFails.pipe(AmqpChannel.catchTag("NoStock", ({ article }) => sendProgram(article)))).is<
  Program<1 | "sent", NoMoney, Db | Mail>
>()
typeOf(eitherFails.pipe(AmqpChannel.catchTag("NoStock", ({ article }) => send(article)))).is<
  Program<1 | "sent", NoMoney, Db | Mail>
>()
// Errors without a tag remain.
typeOf(untagged.pipe(AmqpChannel.catchTag("NoStock", () => AmqpChannel.succeed(2 as const)))).is<
  Program<1 | 2, "text">
>()
// @ts-expect-error catchTag can't catch an error that the program does not have
AmqpChannel.catchTag(eitherFails, "NoSuchTag", () => cleanUp)
// @ts-expect-error catchTag in a pipe can't catch an error that the program does not have
eitherFails.pipe(AmqpChannel.catchTag("NoSuchTag", () => cleanUp))

typeOf(AmqpChannel.catchTags(eitherFails, {
  NoStock: ({ article }) => sendProgram(article),
  NoMoney: ({ missing }) => Effect.succeed(missing > 100)
})).is<Program<1 | "sent" | boolean, NoMoney, Db | Mail>>()
typeOf(eitherFails.pipe(AmqpChannel.catchTags({ NoStock: ({ article }) => sendProgram(article) }))).is<
  Program<1 | "sent", NoMoney, Db | Mail>
>()
typeOf(eitherFails.pipe(AmqpChannel.catchTags({ NoStock: () => Effect.void, NoMoney: () => Effect.void }))).is<
  Program<1 | void, never, Db>
>()
// A case that may be missing does not remove its error.
declare const maybe: {
  readonly NoStock?: (error: NoStock) => AmqpChannel.AmqpChannel<2>
  readonly NoMoney: ((error: NoMoney) => AmqpChannel.AmqpChannel<3>) | undefined
}
typeOf(AmqpChannel.catchTags(eitherFails, maybe)).is<Program<1 | 2 | 3, NoStock | NoMoney, Db>>()
declare const oneForCertain: {
  readonly NoStock: () => AmqpChannel.AmqpChannel<2>
  readonly NoMoney?: () => AmqpChannel.AmqpChannel<3>
}
typeOf(eitherFails.pipe(AmqpChannel.catchTags(oneForCertain))).is<Program<1 | 2 | 3, NoMoney, Db>>()
// Methods of a class may be cases.
declare class Cases {
  NoStock(error: NoStock): AmqpChannel.AmqpChannel<2>
  NoMoney(error: NoMoney): AmqpChannel.AmqpChannel<3>
}
declare const cases: Cases
typeOf(AmqpChannel.catchTags(eitherFails, cases)).is<Program<1 | 2 | 3, never, Db>>()
// @ts-expect-error catchTags can't catch an error that the program does not have
AmqpChannel.catchTags(eitherFails, { NoSuchTag: () => cleanUp })
// @ts-expect-error catchTags in a pipe can't catch an error that the program does not have
eitherFails.pipe(AmqpChannel.catchTags({ NoSuchTag: () => cleanUp }))

// -----------------------------------------------------------------------------
// run
// -----------------------------------------------------------------------------

typeOf(AmqpChannel.run(program)).is<Effect.Effect<ReadonlyArray<string>, NoStock | ChannelError, Db | Connection>>()
typeOf(program.pipe(AmqpChannel.run)).is<
  Effect.Effect<ReadonlyArray<string>, NoStock | ChannelError, Db | Connection>
>()
// A provided service is no longer required. A handled reason leaves the error type as it is.
typeOf(
  AmqpChannel.run(program).pipe(
    Effect.provideService(Db, { pending: Effect.succeed([]) }),
    Effect.catchReason("AmqpChannelError", "NotFound", () => Effect.succeed(undefined))
  )
).is<Effect.Effect<ReadonlyArray<string> | undefined, NoStock | ChannelError, Connection>>()

// The types of a step, for code that is generic in it.
typeOf({} as AmqpChannel.Success<typeof program>).is<ReadonlyArray<string>>()
typeOf({} as AmqpChannel.Error<typeof program>).is<NoStock>()
typeOf({} as AmqpChannel.Services<typeof program>).is<Db>()
typeOf({} as AmqpChannel.Success<typeof pending>).is<ReadonlyArray<string>>()
typeOf({} as AmqpChannel.Error<typeof pending>).is<NoStock>()
typeOf({} as AmqpChannel.Services<typeof pending>).is<Db>()

// A program may yield a subtype, fail with less and require less than expected, but not the reverse.
export const wider: Program<unknown, unknown, unknown> = program
// @ts-expect-error the program yields another value
export const otherValue: Program<ReadonlyArray<number>, NoStock, Db> = program
// @ts-expect-error the program may fail
export const infallible: Program<ReadonlyArray<string>, never, Db> = program
// @ts-expect-error the program requires a service
export const independent: Program<ReadonlyArray<string>, NoStock> = program

// -----------------------------------------------------------------------------
// operations
// -----------------------------------------------------------------------------

const route = { exchange: "", routingKey: "orders" }
const message = AmqpMessage.text("hello")

typeOf(AmqpChannel.publish(message, route)).is<Program<void, ChannelError>>()
typeOf(AmqpChannel.qos({ prefetchCount: 1 })).is<Program<void, ChannelError>>()
typeOf(AmqpChannel.recover).is<Program<void, ChannelError>>()

typeOf(AmqpQueue.declare("orders")).is<Program<AmqpQueue.QueueInfo, ChannelError>>()
typeOf(AmqpQueue.declarePassive("orders")).is<Program<AmqpQueue.QueueInfo, ChannelError>>()
typeOf(AmqpQueue.bind("orders", { exchange: "x" })).is<Program<void, ChannelError>>()
typeOf(AmqpQueue.unbind("orders", { exchange: "x" })).is<Program<void, ChannelError>>()
typeOf(AmqpQueue.purge("orders")).is<Program<number, ChannelError>>()
typeOf(AmqpQueue.delete("orders")).is<Program<number, ChannelError>>()

typeOf(AmqpExchange.declare("x")).is<Program<void, ChannelError>>()
typeOf(AmqpExchange.declarePassive("x")).is<Program<void, ChannelError>>()
typeOf(AmqpExchange.bind("x", { source: "y" })).is<Program<void, ChannelError>>()
typeOf(AmqpExchange.unbind("x", { source: "y" })).is<Program<void, ChannelError>>()
typeOf(AmqpExchange.delete("x")).is<Program<void, ChannelError>>()

// The program has the handler's errors and services, and yields the settlement's value.
typeOf(AmqpQueue.get("orders", ({ text }) => AmqpChannel.as(sendProgram(text), AmqpDelivery.ack))).is<
  Program<Option.Option<void>, ChannelError | NoMoney, Mail>
>()
typeOf(AmqpQueue.get("orders", ({ text }) => Effect.as(send(text), AmqpDelivery.ack))).is<
  Program<Option.Option<void>, ChannelError | NoMoney, Mail>
>()
typeOf(AmqpQueue.get(
  "orders",
  ({ text }) => AmqpChannel.map(sendProgram(text), (sent) => AmqpDelivery.as(AmqpDelivery.ack, sent))
)).is<Program<Option.Option<"sent">, ChannelError | NoMoney, Mail>>()
typeOf(AmqpQueue.get("orders", ({ text }) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, text)))).is<
  Program<Option.Option<string>, ChannelError>
>()
typeOf(
  AmqpQueue.get("orders", ({ redelivered }) => Effect.succeed(redelivered ? AmqpDelivery.reject : AmqpDelivery.requeue))
).is<Program<Option.Option<void>, ChannelError>>()
typeOf(AmqpQueue.getAutoAck("orders")).is<Program<Option.Option<AmqpDelivery.ReceivedMessage>, ChannelError>>()

// -----------------------------------------------------------------------------
// publishers
// -----------------------------------------------------------------------------

typeOf(AmqpPublisher.make()).is<
  Effect.Effect<AmqpPublisher.AmqpPublisher["Service"], ChannelError, Connection | Scope.Scope>
>()
typeOf(AmqpPublisher.layer()).is<Layer.Layer<AmqpPublisher.AmqpPublisher, ChannelError, Connection>>()

Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  typeOf(publisher.publish(message, route)).is<Effect.Effect<void, AmqpError.AmqpPublishError>>()
  typeOf(publisher.publishAll([message], route)).is<Effect.Effect<void, AmqpError.AmqpPublishAllError>>()
  typeOf(publisher.publishAll([message], (_message, index) => ({ ...route, routingKey: `${index}` }))).is<
    Effect.Effect<void, AmqpError.AmqpPublishAllError>
  >()
  // A publisher may be shared.
  yield* Effect.forkChild(publisher.publish(message, route))
})

// Each reason of a failure can be handled separately.
declare const publish: Effect.Effect<void, AmqpError.AmqpPublishError>
publish.pipe(
  Effect.catchReasons("AmqpPublishError", {
    Nacked: (reason) => Effect.sync(() => typeOf(reason).is<AmqpError.Nacked>()),
    OutcomeUnknown: (reason) => Effect.sync(() => typeOf(reason.cause).is<ChannelError>()),
    NotSent: (reason) => Effect.sync(() => typeOf(reason.cause).is<ChannelError>())
  })
)
// @ts-expect-error a publish error has no such reason
publish.pipe(Effect.catchReason("AmqpPublishError", "NotFound", () => Effect.void))

// -----------------------------------------------------------------------------
// consumers
// -----------------------------------------------------------------------------

type ConsumerError = ChannelError | AmqpError.AmqpConsumerCancelled

typeOf(AmqpConsumer.stream("orders")).is<Stream.Stream<AmqpDelivery.AmqpDelivery, ConsumerError, Connection>>()
typeOf(AmqpConsumer.stream("orders", { prefetch: 10, autoAck: false })).is<
  Stream.Stream<AmqpDelivery.AmqpDelivery, ConsumerError, Connection>
>()
typeOf(AmqpConsumer.stream("orders", { autoAck: true })).is<
  Stream.Stream<AmqpDelivery.ReceivedMessage, ConsumerError, Connection>
>()

// A consumer runs until it fails. The handler's errors end in a settlement and are not passed on.
typeOf(AmqpConsumer.serve("orders", ({ text }) => Effect.as(send(text), AmqpDelivery.ack))).is<
  Effect.Effect<never, AmqpConsumer.ServeError, Connection | Mail>
>()
typeOf(AmqpConsumer.serve("orders", ({ text }) => Effect.as(send(text), AmqpDelivery.ack), {
  onFailure: (cause, delivery) => {
    typeOf(cause).is<Cause.Cause<NoMoney>>()
    return Effect.as(Db, delivery.redelivered ? AmqpDelivery.reject : AmqpDelivery.requeue)
  }
})).is<Effect.Effect<never, AmqpConsumer.ServeError, Connection | Mail | Db>>()
// The inner Effect waits for the end of the consumer.
typeOf(AmqpConsumer.startServing("orders", ({ text }) => Effect.as(send(text), AmqpDelivery.ack))).is<
  Effect.Effect<Effect.Effect<void, AmqpConsumer.ServeError>, ChannelError, Connection | Scope.Scope | Mail>
>()
// A layer fails only if the broker refuses its consumer.
typeOf(AmqpConsumer.layerServe("orders", ({ text }) => Effect.as(send(text), AmqpDelivery.ack), {
  onFailure: () => Effect.as(Db, AmqpDelivery.reject),
  onEnd: (error) => {
    typeOf(error).is<AmqpConsumer.ServeError>()
    return Effect.void
  }
})).is<Layer.Layer<never, ChannelError, Connection | Mail | Db>>()

// -----------------------------------------------------------------------------
// failures of handlers
// -----------------------------------------------------------------------------

type Publisher = AmqpPublisher.AmqpPublisher

typeOf(AmqpFailurePolicy.reject).is<AmqpFailurePolicy.AmqpFailurePolicy<unknown>>()
typeOf(AmqpFailurePolicy.forward({ exchange: "failed" })).is<AmqpFailurePolicy.AmqpFailurePolicy<unknown, Publisher>>()
typeOf(AmqpFailurePolicy.retry({ delays: [] })).is<
  AmqpFailurePolicy.AmqpFailurePolicy<unknown, Publisher | Connection>
>()
typeOf(AmqpFailurePolicy.retry({
  delays: Schedule.spaced("1 second"),
  otherwise: (_cause: Cause.Cause<NoMoney>) => Effect.as(Db, AmqpDelivery.reject),
  onCopyFailure: () => Effect.as(Mail, AmqpDelivery.requeue)
})).is<AmqpFailurePolicy.AmqpFailurePolicy<NoMoney, Publisher | Connection | Db | Mail>>()

// serve requires the services of its failure policy.
typeOf(AmqpConsumer.serve("orders", ({ text }) => Effect.as(send(text), AmqpDelivery.ack), {
  onFailure: AmqpFailurePolicy.retry({
    delays: ["1 second"],
    otherwise: AmqpFailurePolicy.forward({ exchange: "failed" })
  })
})).is<Effect.Effect<never, AmqpConsumer.ServeError, Connection | Publisher | Mail>>()
AmqpConsumer.serve("orders", ({ text }) => Effect.as(send(text), AmqpDelivery.ack), {
  // The failures are those of the handler.
  onFailure: AmqpFailurePolicy.forward((cause: Cause.Cause<NoMoney>) => {
    typeOf(cause).is<Cause.Cause<NoMoney>>()
    return AmqpQueue.route("failed")
  })
})
const forwardNoStock = AmqpFailurePolicy.forward((_cause: Cause.Cause<NoStock>) => AmqpQueue.route("failed"))
// @ts-expect-error the handler fails with other errors
AmqpConsumer.serve("orders", ({ text }) => Effect.as(send(text), AmqpDelivery.ack), { onFailure: forwardNoStock })
declare const failingSchedule: Schedule.Schedule<number, unknown, "no">
declare const demandingSchedule: Schedule.Schedule<number, NoMoney>
// @ts-expect-error a schedule can't fail
AmqpFailurePolicy.retry({ delays: failingSchedule })
// @ts-expect-error a schedule does not receive the failures
AmqpFailurePolicy.retry({ delays: demandingSchedule })
// @ts-expect-error otherwise must return a decision
AmqpFailurePolicy.retry({ delays: ["1 second"], otherwise: () => Effect.void })
// @ts-expect-error a delay queue can't be a stream
AmqpFailurePolicy.retry({ delays: ["1 second"], delayQueue: (queue) => AmqpQueue.stream(queue) })

// -----------------------------------------------------------------------------
// a step without a star
// -----------------------------------------------------------------------------

AmqpChannel.gen(function*() {
  // @ts-expect-error the result of `yield` without a star has no type
  const count: number = yield AmqpQueue.declarePassive("orders")
  return count
})
