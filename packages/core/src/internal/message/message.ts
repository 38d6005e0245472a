/** Messages to publish, as objects that are readable in logs. */
import { NodeInspectSymbol } from "effect/Inspectable"
import type { Properties } from "../../AmqpMessage.ts"
import * as Rendering from "./pretty.ts"

export class Message {
  readonly body: Uint8Array
  readonly properties: Properties

  constructor(body: Uint8Array, properties: Properties) {
    this.body = body
    this.properties = properties
  }

  toString(): string {
    return Rendering.pretty("AmqpMessage", this)
  }

  toJSON(): unknown {
    return Rendering.toJson("AmqpMessage", this)
  }

  [NodeInspectSymbol](): unknown {
    return this.toString()
  }
}
