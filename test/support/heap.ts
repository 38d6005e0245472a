/**
 * The live objects of this process, whether a program can reach them or not.
 */
import * as inspector from "node:inspector"

/** All live objects with this prototype in their chain, after a garbage collection. */
export const instancesOf = (
  constructor: { readonly prototype: object; readonly name: string }
): ReadonlyArray<object> => {
  const session = new inspector.Session()
  session.connect()
  const slot = `instances of ${constructor.name} ${crypto.randomUUID()}`
  // A session in the same thread replies before `post` returns. Objects are passed through the global object.
  const post = (method: string, parameters: object): { readonly [name: string]: { readonly objectId: string } } => {
    let answer: { readonly [name: string]: { readonly objectId: string } } = {}
    session.post(method, parameters, (error: Error | null, result?: object) => {
      if (error !== null) throw error
      // As defined by the protocol of V8's inspector.
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

/** The buffers of all views, including bytes outside the views. */
export const buffers = (): ReadonlyArray<ArrayBufferLike> => [
  ...new Set(
    instancesOf(Object.getPrototypeOf(Uint8Array)).filter((each) => ArrayBuffer.isView(each)).map(({ buffer }) =>
      buffer
    )
  )
]
