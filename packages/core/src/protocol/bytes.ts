/**
 * Checks bytes that users pass: they may be any object that looks like bytes.
 *
 * @since 0.1.0
 */
import { EncodeError } from "./ProtocolError.ts"

const empty = new Uint8Array(0)
const prototype = Uint8Array.prototype
const typedArray: object = Object.getPrototypeOf(prototype)
/** The prototype of Node's `Buffer`, whose `length` is that of `Uint8Array`. */
const bufferPrototype: unknown = Reflect.get(Object(Reflect.get(globalThis, "Buffer")), "prototype")

/** The built-in getter: it runs no code of a subclass. */
const intrinsic = (owner: object, name: string | symbol): (this: unknown) => unknown => {
  const get: unknown = Reflect.get(Object.getOwnPropertyDescriptor(owner, name) ?? {}, "get")
  // Some platforms lack it.
  return typeof get === "function" ? (get as () => unknown) : () => undefined
}

const kindOf = intrinsic(typedArray, Symbol.toStringTag)
const lengthOf = intrinsic(typedArray, "length")
const offsetOf = intrinsic(typedArray, "byteOffset")
const bufferOf = intrinsic(typedArray, "buffer")
const isResizable = intrinsic(ArrayBuffer.prototype, "resizable")
const at: typeof prototype.at = Reflect.get(prototype, "at")

/**
 * The bytes of a `Uint8Array` or a subclass such as Node's `Buffer`, as a view whose length and content do not
 * depend on user code. Throws an {@link EncodeError} for anything else, and for a view whose buffer was transferred or has become too small.
 *
 * @category encoding
 * @since 0.1.0
 */
export const bytesOf = (name: string, value: unknown): Uint8Array => {
  if (!ArrayBuffer.isView(value) || kindOf.call(value) !== "Uint8Array") {
    throw new EncodeError({ message: `${name}: must be a Uint8Array, not ${kindName(value)}` })
  }
  // Its internal slots show that it is a `Uint8Array`, whatever its class.
  const bytes = value as Uint8Array
  const owner: unknown = Object.getPrototypeOf(bytes)
  // A view of a `Buffer` would take a tenth of the CPU time of a publish.
  if ((owner === prototype || owner === bufferPrototype) && !Object.hasOwn(bytes, "length")) {
    if (bytes.length > 0) return bytes
  } else if (lengthOf.call(bytes) !== 0) {
    return viewOf(bytes)
  }
  if (!isDetached(bytes)) return empty
  throw new EncodeError({
    message: `${name}: the buffer of the bytes is detached (transferred), or too small for them`
  })
}

/**
 * Whether bytes can no longer be read: their buffer was transferred, or has become too small for them. Their length is 0.
 *
 * @category guards
 * @since 0.1.0
 */
export const isDetached = (bytes: Uint8Array): boolean => {
  try {
    at.call(bytes, 0)
    return false
  } catch {
    return true
  }
}

/**
 * Whether the buffer of the bytes is resizable or shared: they may become fewer, or change on another thread.
 *
 * @category guards
 * @since 0.1.0
 */
export const isUnstable = (bytes: Uint8Array): boolean => {
  try {
    return isResizable.call(bufferOf.call(bytes)) === true
  } catch {
    // A shared buffer has no such slot.
    return true
  }
}

/**
 * Concatenates bytes.
 *
 * @category combinators
 * @since 0.1.0
 */
export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let position = 0
  for (const part of parts) {
    all.set(part, position)
    position += part.length
  }
  return all
}

const viewOf = (bytes: Uint8Array): Uint8Array =>
  // The getters return these types.
  new Uint8Array(bufferOf.call(bytes) as ArrayBuffer, offsetOf.call(bytes) as number, lengthOf.call(bytes) as number)

const kindName = (value: unknown): string => {
  if (value === null) return "null"
  if (ArrayBuffer.isView(value)) {
    const kind = kindOf.call(value)
    return typeof kind === "string" ? `a ${kind}` : "a DataView"
  }
  if (Array.isArray(value)) return "an array"
  return typeof value === "object" ? "another object" : `a value of type ${typeof value}`
}
