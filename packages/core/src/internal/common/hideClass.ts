/**
 * Makes the constructor of a class unreachable from its instances, and freezes its prototype. Otherwise a program that has an instance could
 * construct its own, with access that only this package should have, or could replace methods.
 */
export const hideClass = (constructor: { readonly prototype: object }): void => {
  Reflect.deleteProperty(constructor.prototype, "constructor")
  Object.freeze(constructor.prototype)
}
