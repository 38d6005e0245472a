/**
 * Keeps a class to this package. From an instance that a program has, it comes to the prototype and from there to the constructor:
 * it could make instances of its own that are given what only those of the package may have, or replace what the class does.
 */
export const hideClass = (constructor: { readonly prototype: object }): void => {
  Reflect.deleteProperty(constructor.prototype, "constructor")
  Object.freeze(constructor.prototype)
}
