/**
 * The helper of these tests must notice differences, or the tests prove nothing.
 */
import type { AmqpChannel } from "@effect-amqp/core"
import { typeOf } from "./support.ts"

declare const program: AmqpChannel.AmqpChannel<number, "E", "R">
// A type that is too wide is as wrong as one that is too narrow.
declare const anything: AmqpChannel.AmqpChannel<any, "E", "R"> // oxlint-disable-line typescript/no-explicit-any

typeOf(program).is<AmqpChannel.AmqpChannel<number, "E", "R">>()
// @ts-expect-error the value type differs
typeOf(program).is<AmqpChannel.AmqpChannel<string, "E", "R">>()
// @ts-expect-error the value type is wider
typeOf(program).is<AmqpChannel.AmqpChannel<number | string, "E", "R">>()
// @ts-expect-error the error type is wider
typeOf(program).is<AmqpChannel.AmqpChannel<number, "E" | "F", "R">>()
// @ts-expect-error a service is missing
typeOf(program).is<AmqpChannel.AmqpChannel<number, "E">>()
// @ts-expect-error `any` is not a number
typeOf(anything).is<AmqpChannel.AmqpChannel<number, "E", "R">>()
declare const unknown: unknown
// @ts-expect-error `unknown` is not `never`
typeOf(unknown).is<never>()
// @ts-expect-error `unknown` is not `any`
typeOf(unknown).is<any>() // oxlint-disable-line typescript/no-explicit-any
