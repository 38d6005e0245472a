/**
 * A work queue: a producer, three workers that share the jobs, and a second queue for the jobs that fail.
 *
 * - Each worker has a prefetch of 1, so it gets its next job after finishing the current one (fair dispatch).
 * - A job is acknowledged when it is done. A job that fails is retried once; then the broker dead-letters it.
 * - An interrupted worker finishes its current job before it stops.
 */
import {
  AmqpChannel,
  AmqpConsumer,
  AmqpDelivery,
  AmqpExchange,
  AmqpMessage,
  AmqpPublisher,
  AmqpQueue,
  AmqpTopology
} from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

const JOB_COUNT = 9
const IMPOSSIBLE_JOBS = [4, 8]

const Job = Schema.Struct({ id: Schema.Int, millis: Schema.Int })
const jobMessage = AmqpMessage.schema(Job, { deliveryMode: "persistent" })

class JobFailed extends Schema.TaggedError<JobFailed>()("JobFailed", { id: Schema.Int }) {}

// -----------------------------------------------------------------------------
// queues
// -----------------------------------------------------------------------------

const failed = AmqpExchange.fanout("example.work.failed")
const failedJobs = AmqpQueue.quorum("example.work.failed").pipe(AmqpQueue.withBinding({ exchange: failed }))
const jobs = AmqpQueue.quorum("example.work.jobs", { deadLetterExchange: failed })

const remove = AmqpChannel.all([AmqpQueue.delete(jobs), AmqpQueue.delete(failedJobs), AmqpExchange.delete(failed)])

/** The queues exist for as long as the example runs, and are empty at first. */
const QueuesLive = Layer.effectDiscard(Effect.acquireRelease(
  AmqpChannel.run(AmqpChannel.andThen(remove, AmqpTopology.declare(AmqpTopology.make(jobs, failedJobs)))),
  () => Effect.ignore(AmqpChannel.run(remove))
))

// -----------------------------------------------------------------------------
// workers
// -----------------------------------------------------------------------------

/** Reports from the workers to the producer: each settled job, and the start of the last one. */
interface Progress {
  readonly settled: Queue.Queue<number>
  readonly lastBegun: Deferred.Deferred<void>
}

const perform = Effect.fn("perform")(function*(job: typeof Job.Type, { lastBegun }: Progress) {
  if (job.id > JOB_COUNT) yield* Deferred.succeed(lastBegun, undefined)
  yield* Effect.sleep(job.millis)
  if (IMPOSSIBLE_JOBS.includes(job.id)) return yield* new JobFailed({ id: job.id })
})

/** Works until it is interrupted. */
const worker = (name: string, progress: Progress) =>
  AmqpConsumer.serve(
    jobs,
    AmqpDelivery.handleDecoded(Job, (job, { redelivered }) =>
      perform(job, progress).pipe(
        Effect.andThen(Console.log(`${name}: finished job ${job.id}`)),
        Effect.andThen(Queue.offer(progress.settled, job.id)),
        Effect.as(AmqpDelivery.ack),
        Effect.catchTag("JobFailed", ({ id }) =>
          redelivered
            ? Console.log(`${name}: gives up job ${id}`).pipe(
              Effect.andThen(Queue.offer(progress.settled, id)),
              Effect.as(AmqpDelivery.reject)
            )
            : Effect.as(Console.log(`${name}: failed at job ${id}, which is tried again`), AmqpDelivery.requeue))
      )),
    { prefetch: 1 }
  )

// -----------------------------------------------------------------------------
// producer
// -----------------------------------------------------------------------------

const produce = Effect.fn("produce")(function*({ lastBegun, settled }: Progress) {
  const { publish, publishAll } = yield* AmqpPublisher.AmqpPublisher
  const route = { exchange: "", routingKey: jobs.name, mandatory: true }

  const messages = yield* Effect.forEach(
    Array.from({ length: JOB_COUNT }, (_, index) => ({ id: index + 1, millis: 20 * (1 + index % 3) })),
    (job) => jobMessage(job)
  )
  yield* publishAll(messages, route)
  yield* Console.log(`producer: published ${JOB_COUNT} jobs`)
  yield* Queue.takeN(settled, JOB_COUNT)

  yield* publish(yield* jobMessage({ id: JOB_COUNT + 1, millis: 200 }), route)
  yield* Deferred.await(lastBegun)
  yield* Console.log(`main: stops the workers, while one handles job ${JOB_COUNT + 1}`)
})

// -----------------------------------------------------------------------------
// main
// -----------------------------------------------------------------------------

/** Prints the dead-lettered messages. RabbitMQ adds headers with the queue and the reason. */
const inspectFailed = AmqpConsumer.stream(failedJobs).pipe(
  Stream.take(IMPOSSIBLE_JOBS.length),
  Stream.runForEach((delivery) => {
    const { "x-first-death-queue": queue, "x-first-death-reason": reason } = delivery.properties.headers ?? {}
    return Effect.andThen(
      Console.log(`main: ${delivery.text} was ${JSON.stringify(reason)} in ${JSON.stringify(queue)}`),
      delivery.ack
    )
  })
)

const main = Effect.gen(function*() {
  const progress = { settled: yield* Queue.unbounded<number>(), lastBegun: yield* Deferred.make<void>() }
  const workers = ["Ada", "Bob", "Cyd"].map((name) => worker(name, progress))
  // Workers run until interrupted: they stop when the producer is done, and the producer stops if a worker fails.
  yield* Effect.raceFirst(produce(progress), Effect.all(workers, { concurrency: "unbounded" }))
  yield* Console.log("main: the workers have stopped")
  yield* inspectFailed
})

const AmqpLive = NodeAmqp.layerConfig({
  url: Config.Redacted("AMQP_URL").pipe(Config.withDefault(Redacted.make("amqp://guest:guest@127.0.0.1:5672"))),
  connectionName: Config.succeed("work queue example")
})

main.pipe(
  Effect.provide(Layer.mergeAll(AmqpPublisher.layer(), QueuesLive).pipe(Layer.provideMerge(AmqpLive))),
  NodeRuntime.runMain
)
