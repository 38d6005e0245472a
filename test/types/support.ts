import type * as Types from "effect/Types"

/**
 * `typeOf(value).is<Expected>()` compiles when the type of the value is exactly the expected one; otherwise the error names
 * both. Two calls, so that the expected type does not influence the inferred one.
 */
export declare const typeOf: <Actual>(value: Actual) => {
  readonly is: <Expected extends Types.Equals<Expected, Actual> extends true ? unknown : TheTypeIs<Actual>>(
    // `never` and `any` satisfy every constraint, so they need this as well.
    ...difference: Types.Equals<Expected, Actual> extends true ? [] : [TheTypeIs<Actual>]
  ) => void
}

interface TheTypeIs<out Actual> {
  readonly actual: Actual
}
