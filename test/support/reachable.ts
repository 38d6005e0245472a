/**
 * What can be reached from a value by calling nothing but getters: own properties, including symbols and non-enumerable ones,
 * prototypes and the results of their getters, constructors, and the entries of maps and sets.
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

/** The maximum number of visited values, so that an endless walk fails and does not hang. */
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

/** Calls `visit` with each reachable value and its path, the nearest first, until it returns `true`. */
export const walk = (
  roots: Readonly<Record<string, unknown>>,
  visit: (value: unknown, path: string) => boolean
): boolean => {
  const seen = new Set<unknown>(builtIn)
  const queue: Array<Reached> = Object.entries(roots).map(([name, value]) => [value, name])
  let count = 0
  for (let reached = queue[0]; reached !== undefined; reached = queue[count]) {
    const [value, path] = reached
    if (++count > limit) throw new Error(`the walk does not end at ${path}`)
    if (visit(value, path)) return true
    if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value)) continue
    seen.add(value)
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) continue
    queue.push(...entriesOf(value, path), ...propertiesOf(value, path))
  }
  return false
}

/** The paths to all reachable values that are wanted. */
export const pathsTo = (
  roots: Readonly<Record<string, unknown>>,
  isWanted: (value: unknown) => boolean
): ReadonlyArray<string> => {
  const paths: Array<string> = []
  walk(roots, (value, path) => {
    if (isWanted(value)) paths.push(path)
    return false
  })
  return paths
}
