/**
 * The helper of these tests has to notice differences, or it proves nothing.
 */
import type { AmqpChannel } from "@effect-amqp/core"
import { typeOf } from "./support.ts"

declare const program: AmqpChannel.AmqpChannel<number, "E", "R">
// What a type says too little of is as wrong as what it says too much of.
declare const anything: AmqpChannel.AmqpChannel<any, "E", "R"> // oxlint-disable-line typescript/no-explicit-any

typeOf(program).is<AmqpChannel.AmqpChannel<number, "E", "R">>()
// @ts-expect-error the value is another
typeOf(program).is<AmqpChannel.AmqpChannel<string, "E", "R">>()
// @ts-expect-error the value is wider
typeOf(program).is<AmqpChannel.AmqpChannel<number | string, "E", "R">>()
// @ts-expect-error the error is wider
typeOf(program).is<AmqpChannel.AmqpChannel<number, "E" | "F", "R">>()
// @ts-expect-error a service is missing
typeOf(program).is<AmqpChannel.AmqpChannel<number, "E">>()
// @ts-expect-error `any` is no number
typeOf(anything).is<AmqpChannel.AmqpChannel<number, "E", "R">>()
declare const unknown: unknown
// @ts-expect-error something is more than nothing
typeOf(unknown).is<never>()
// @ts-expect-error and not anything
typeOf(unknown).is<any>() // oxlint-disable-line typescript/no-explicit-any
