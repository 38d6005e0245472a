/**
 * The exact replies of a broker to methods, for each version of RabbitMQ.
 */
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import { assert } from "@effect/vitest"
import { afterAll } from "vitest"
import { brokerUrl } from "./brokerUnderTest.ts"
import { declareQueue } from "./calls.ts"
import type { Step } from "./calls.ts"
import { Conversations, versionAt } from "./conversation.ts"

const conversations = new Conversations(brokerUrl)

afterAll(() => conversations.close())

const { pathname, username } = new URL(brokerUrl)
/** The user of the broker's URL. */
export const user = decodeURIComponent(username) || "guest"

export const vhost = `in vhost '${decodeURIComponent(pathname.slice(1)) || "/"}'`

export const accessRefused = (text: string) => `403 ACCESS_REFUSED - ${text}`
export const notFound = (what: string) => `404 NOT_FOUND - no ${what} ${vhost}`
export const preconditionFailed = (text: string) => `406 PRECONDITION_FAILED - ${text}`
export const notImplemented = (text: string) => `connection: 540 NOT_IMPLEMENTED - ${text}`

export const inequivalent = (argument: string, what: string, received: string, current: string) =>
  preconditionFailed(
    `inequivalent arg '${argument}' for ${what} ${vhost}: received ${received} but current is ${current}`
  )

export const invalidArgument = (argument: string, problem: string) =>
  preconditionFailed(`invalid arg '${argument}' for queue 'q' ${vhost}${problem}`)

export const onDefaultExchange = accessRefused("operation not permitted on the default exchange")

// Reply texts have at most 255 bytes, so where this one ends depends on the name of the virtual host.
export const locked =
  /^405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '.*'\. It could be original/

export const exchangeDeclared = "exchange.declare-ok"
export const queueDeclared = "queue.declare-ok q 0 0"

/** Asserts the reply to the last of some calls, and that those before it are not refused. */
export const expectReply = async (expected: string | RegExp, ...steps: ReadonlyArray<Step>): Promise<void> => {
  const replies = [...await conversations.replies(...steps)]
  const reply = replies.pop() ?? ""
  assert.deepStrictEqual(replies.filter((reply) => !/^\S+-ok|^routed$/.test(reply)), [])
  const last = JSON.stringify(steps.at(-1), (_, value: unknown) => typeof value === "bigint" ? Number(value) : value)
  if (typeof expected === "string") assert.strictEqual(reply, expected, last)
  else assert.match(reply, expected, last)
}

/** A queue of this type. */
export const ofType = (type: "classic" | "quorum" | "stream", table: FieldTable = {}): Step =>
  declareQueue("%q", { durable: true, arguments: { "x-queue-type": type, ...table } })

export const withArguments = (table: FieldTable): Step => declareQueue("%q", { durable: true, arguments: table })

export const version = await versionAt(brokerUrl)
export const isKnown = version !== undefined
export const is310 = version === "3.10"
