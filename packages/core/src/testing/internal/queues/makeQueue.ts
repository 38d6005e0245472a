/** Makes a queue of the declared type. */
import { ClassicQueue } from "./classicQueue.ts"
import type { Queue, QueueDefinition, QueueHost } from "./queue.ts"
import { QuorumQueue } from "./quorumQueue.ts"
import { StreamQueue } from "./streamQueue.ts"

export const makeQueue = (definition: QueueDefinition, host: QueueHost): Queue => {
  switch (definition.type) {
    case "classic":
      return new ClassicQueue(definition, host)
    case "quorum":
      return new QuorumQueue(definition, host)
    case "stream":
      return new StreamQueue(definition, host)
  }
}
