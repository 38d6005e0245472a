/**
 * What can be reached from a value without calling anything but getters: own properties, also those that are symbols or not
 * enumerable, prototypes and what their getters answer, constructors, and the entries of maps and sets.
 */

const builtIn: ReadonlySet<unknown> = new Set<unknown>([
  globalThis,
  Object.prototype,
  Function.prototype,
  Array.prototype,
  Object,
  Function,
  Array
])

/** So many values at most are looked at, so that a walk that gets into something endless fails and does not hang. */
const limit = 3_000_000

const getterValue = (holder: object, name: PropertyKey, receiver: object): unknown => {
  try {
    return Reflect.get(holder, name, receiver)
  } catch {
    return undefined
  }
}

type Reached = readonly [value: unknown, path: string]

function* entriesOf(value: object, path: string): Generator<Reached> {
  if (value instanceof Map) {
    let index = 0
    for (const [key, item] of value) {
      yield [key, `${path}<key ${index}>`]
      yield [item, `${path}<${typeof key === "string" ? key : index}>`]
      index++
    }
  }
  if (value instanceof Set) {
    let index = 0
    for (const item of value) yield [item, `${path}<${index++}>`]
  }
  if (value instanceof WeakRef) yield [value.deref(), `${path}.deref()`]
}

function* propertiesOf(value: object, path: string): Generator<Reached> {
  for (let holder: unknown = value; typeof holder === "object" || typeof holder === "function";) {
    if (holder === null || (holder !== value && builtIn.has(holder))) return
    for (const name of Reflect.ownKeys(holder)) {
      const descriptor = Reflect.getOwnPropertyDescriptor(holder, name)
      const where = `${path}${holder === value ? "" : "^"}${
        typeof name === "symbol" ? `[${String(name)}]` : `.${name}`
      }`
      if (descriptor?.get !== undefined) yield [descriptor.get, `${where}(get)`]
      yield [descriptor?.get === undefined ? descriptor?.value : getterValue(holder, name, value), where]
    }
    holder = Object.getPrototypeOf(holder)
  }
}

/** Calls `visit` with each value that can be reached, and the way to it, until it answers `true`. The nearest come first. */
export const walk = (
  roots: Readonly<Record<string, unknown>>,
  visit: (value: unknown, path: string) => boolean
): boolean => {
  const seen = new Set<unknown>(builtIn)
  const queue: Array<Reached> = Object.entries(roots).map(([name, value]) => [value, name])
  let count = 0
  for (let reached = queue[0]; reached !== undefined; reached = queue[count]) {
    const [value, path] = reached
    if (++count > limit) throw new Error(`there is no end at ${path}`)
    if (visit(value, path)) return true
    if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value)) continue
    seen.add(value)
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) continue
    queue.push(...entriesOf(value, path), ...propertiesOf(value, path))
  }
  return false
}

/** The ways to all that can be reached and is wanted. */
export const waysTo = (
  roots: Readonly<Record<string, unknown>>,
  isWanted: (value: unknown) => boolean
): ReadonlyArray<string> => {
  const ways: Array<string> = []
  walk(roots, (value, path) => {
    if (isWanted(value)) ways.push(path)
    return false
  })
  return ways
}
