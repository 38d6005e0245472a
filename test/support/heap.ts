/**
 * What is alive in this process, whether anything that a program can reach leads to it or not.
 */
import * as inspector from "node:inspector"

/** All objects that are alive with this prototype in their chain, after a garbage collection. */
export const instancesOf = (
  constructor: { readonly prototype: object; readonly name: string }
): ReadonlyArray<object> => {
  const session = new inspector.Session()
  session.connect()
  const slot = `instances of ${constructor.name} ${crypto.randomUUID()}`
  // A session in the same thread answers each call before it returns. Its objects are handed over by way of the global object.
  const post = (method: string, parameters: object): { readonly [name: string]: { readonly objectId: string } } => {
    let answer: { readonly [name: string]: { readonly objectId: string } } = {}
    session.post(method, parameters, (error: Error | null, result?: object) => {
      if (error !== null) throw error
      // The protocol of V8's inspector says what is in which answer.
      answer = result as typeof answer
    })
    return answer
  }
  try {
    Reflect.set(globalThis, slot, constructor.prototype)
    const { result } = post("Runtime.evaluate", { expression: `globalThis[${JSON.stringify(slot)}]` })
    const { objects } = post("Runtime.queryObjects", { prototypeObjectId: result.objectId })
    post("Runtime.callFunctionOn", {
      objectId: objects.objectId,
      functionDeclaration: `function() { globalThis[${JSON.stringify(slot)}] = this }`
    })
    const found: unknown = Reflect.get(globalThis, slot)
    return Array.isArray(found) ? found.filter((each) => each !== constructor.prototype) : []
  } finally {
    Reflect.deleteProperty(globalThis, slot)
    session.disconnect()
  }
}

/** The memory of all buffers that have a view, also what the view does not show. */
export const buffers = (): ReadonlyArray<ArrayBufferLike> => [
  ...new Set(
    instancesOf(Object.getPrototypeOf(Uint8Array)).filter((each) => ArrayBuffer.isView(each)).map(({ buffer }) =>
      buffer
    )
  )
]
