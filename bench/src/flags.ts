/** Flags that several commands have. */
import * as Flag from "effect/cli/Flag"
import * as Schema from "effect/Schema"

export const integerFlag = (flag: string, minimum: number, maximum: number) =>
  Flag.Int(flag).pipe(
    Flag.withSchema(
      Schema.Number.pipe(Schema.check(Schema.isBetween(
        { minimum, maximum },
        { message: `Expected an integer from ${minimum} to ${maximum}` }
      )))
    )
  )

export const size = integerFlag("size", 0, 128 * 2 ** 20).pipe(
  Flag.withDescription("Bytes in a message's body (default: 16)"),
  Flag.withDefault(16)
)
