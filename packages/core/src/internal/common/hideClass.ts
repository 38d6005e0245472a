/**
 * Makes the constructor of a class unreachable from its instances, and freezes its prototype. Otherwise a program that has an instance could
 * construct others, which would get what only instances of this package may have, or could replace methods.
 */
export const hideClass = (constructor: { readonly prototype: object }): void => {
  Reflect.deleteProperty(constructor.prototype, "constructor")
  Object.freeze(constructor.prototype)
}
