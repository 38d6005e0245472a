/** The arguments that each type of queue knows, and the checks of their values, by version of RabbitMQ. */
import type { Version } from "../../AmqpBroker.ts"
import { crash } from "../common/refusal.ts"
import { isInteger } from "../common/wireValues.ts"
import { boolean, integer, integerOneOf, oneOf, text } from "./argumentChecks.ts"
import type { Check } from "./argumentChecks.ts"
import { intervalOf } from "./argumentValues.ts"
import type { QueueType } from "./queue.ts"

/** The maximum of `x-expires` and `x-message-ttl` in milliseconds: ten years. */
const maxMilliseconds = 315_360_000_000

const maxPriority: Check = (value, fail, all) => {
  integer(0)(value, fail, all)
  if (isInteger(value) && value.value > 255) fail(`{max_value_exceeded,${value.value}}`)
}

const maxAge = (check: (text: string) => void): Check =>
  text((given, fail) => {
    check(given)
    const interval = intervalOf(given)
    if (interval === undefined || interval === 0) fail("invalid_max_age")
  })

const crashWithoutDigit = (text: string): void => {
  if (!/^\d/.test(text)) throw crash()
}

const queueVersion = (...versions: ReadonlyArray<bigint>): Check =>
  integerOneOf(versions, (version) => `"unsupported queue version '${version}'"`)

/** On which node the leader starts. Locators other than `client-local` and `balanced` come from older versions. */
const leaderLocator = (...locators: ReadonlyArray<string>): Check => oneOf(locators, () => "invalid_queue_locator_arg")

/** In RabbitMQ's order. Without versions, a check applies to all of them. */
const checks: ReadonlyArray<readonly [name: string, check: Check, versions?: ReadonlyArray<Version>]> = [
  ["x-expires", integer(1, maxMilliseconds)],
  ["x-message-ttl", integer(0, maxMilliseconds)],
  [
    "x-dead-letter-routing-key",
    text((_, fail, all) => {
      if (!all.has("x-dead-letter-exchange")) fail("routing_key_but_no_dlx_defined")
    })
  ],
  ["x-dead-letter-strategy", oneOf(["at-most-once", "at-least-once"], () => "invalid_dlx_strategy")],
  ["x-max-length", integer(0)],
  ["x-max-length-bytes", integer(0)],
  ["x-max-in-memory-length", integer(0)],
  ["x-max-in-memory-bytes", integer(0)],
  ["x-max-priority", maxPriority],
  ["x-overflow", oneOf(["drop-head", "reject-publish", "reject-publish-dlx"], () => "invalid_overflow")],
  ["x-queue-mode", oneOf(["default", "lazy"], (mode) => `"unsupported queue mode '${mode}'"`), ["3.10", "4.0"]],
  ["x-queue-version", queueVersion(1n, 2n), ["3.10", "4.0"]],
  ["x-queue-version", queueVersion(2n), ["4.3"]],
  ["x-single-active-consumer", boolean],
  ["x-consumer-timeout", integer(0)],
  ["x-consumer-disconnected-timeout", integer(0)],
  ["x-quorum-initial-group-size", integer(1)],
  ["x-max-age", maxAge(crashWithoutDigit), ["3.10", "4.0"]],
  ["x-max-age", maxAge(() => {}), ["4.3"]],
  ["x-stream-max-segment-size-bytes", integer(0)],
  ["x-stream-filter-size-bytes", integer(0)],
  ["x-initial-cluster-size", integer(1)],
  ["x-queue-leader-locator", leaderLocator("client-local", "balanced", "random", "least-leaders"), ["3.10"]],
  [
    "x-queue-leader-locator",
    leaderLocator("client-local", "balanced", "random", "least-leaders", "min-masters"),
    ["4.0", "4.3"]
  ]
]

/** The checks of the arguments that this type of queue knows, in RabbitMQ's order. */
export const checksOf = (version: Version, type: QueueType): ReadonlyArray<readonly [name: string, check: Check]> =>
  checks.flatMap(([name, check, versions = [version]]) =>
    knownArguments(version, type).includes(name) && versions.includes(version) ? [[name, check]] : []
  )

/** The names of the arguments that a type of queue knows, in the order in which RabbitMQ compares them when it is declared again. */
export const knownArguments = (version: Version, type: QueueType): ReadonlyArray<string> => byVersion[version][type]

type ArgumentNames = Readonly<Record<QueueType, ReadonlyArray<string>>>

const arguments310: ArgumentNames = {
  classic: [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-master-locator"
  ],
  quorum: [
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-overflow",
    "x-single-active-consumer",
    "x-queue-type",
    "x-quorum-initial-group-size",
    "x-delivery-limit",
    "x-message-ttl",
    "x-queue-leader-locator"
  ],
  stream: [
    "x-max-length-bytes",
    "x-queue-type",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-initial-cluster-size",
    "x-queue-leader-locator"
  ]
}

const arguments40: ArgumentNames = {
  ...arguments310,
  classic: [...arguments310.classic, "x-queue-leader-locator"]
}

const arguments43: ArgumentNames = {
  classic: arguments40.classic,
  quorum: [
    ...arguments40.quorum,
    "x-consumer-disconnected-timeout",
    "x-consumer-timeout",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max"
  ],
  stream: [...arguments40.stream, "x-stream-filter-size-bytes"]
}

const byVersion: Readonly<Record<Version, ArgumentNames>> = {
  "3.10": arguments310,
  "4.0": arguments40,
  "4.3": arguments43
}
