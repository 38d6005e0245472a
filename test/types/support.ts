import type * as Types from "effect/Types"

/**
 * `typeOf(value).is<Expected>()` compiles when the type of the value is exactly the expected one; otherwise the error names
 * both. Two calls, so that what is expected has no influence on what is inferred.
 */
export declare const typeOf: <Actual>(value: Actual) => {
  readonly is: <Expected extends Types.Equals<Expected, Actual> extends true ? unknown : TheTypeIs<Actual>>(
    // `never` and `any` meet every constraint, so for them it needs this as well.
    ...difference: Types.Equals<Expected, Actual> extends true ? [] : [TheTypeIs<Actual>]
  ) => void
}

interface TheTypeIs<out Actual> {
  readonly actual: Actual
}
