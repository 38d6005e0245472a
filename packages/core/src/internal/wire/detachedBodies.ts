/**
 * Bodies whose buffer was transferred between their publish and their write.
 *
 * Large bodies are sent by reference, and a transferred buffer has no bytes any more: a frame would announce more than comes, and the broker
 * would take the next frames for the rest of it. Such a message is not sent to its end, as its bytes are gone; and so its
 * channel can't be used any more, while all others go on.
 */
import { concat } from "../../protocol/bytes.ts"
import { frameHeaderSize, frameOverhead } from "../../protocol/constants.ts"

/** What is left of whole frames, and the channels of which something is missing from there on. */
export interface Salvaged {
  readonly bytes: Uint8Array
  readonly channels: ReadonlySet<number>
}

/** Leaves out the frames of which bytes are lost, and what comes after them on their channels. `sizes` are those that chunks had. */
export const salvage = (chunks: ReadonlyArray<Uint8Array>, sizes: ReadonlyArray<number>): Salvaged => {
  const isLost = chunks.map((chunk, index) => chunk.length !== sizes[index])
  const all = concat(chunks.map((chunk, index) => isLost[index] ? new Uint8Array(sizes[index]) : chunk))
  const ends: Array<number> = []
  for (const size of sizes) ends.push((ends.at(-1) ?? 0) + size)
  const channels = new Set<number>()
  const kept: Array<Uint8Array> = []
  const view = new DataView(all.buffer)
  let chunk = 0
  for (let start = 0; start < all.length;) {
    const channel = view.getUint16(start + 1)
    const end = start + view.getUint32(start + 3) + frameOverhead
    // The payload of a body by reference is a chunk of its own.
    while (ends[chunk] <= start + frameHeaderSize && chunk < ends.length - 1) chunk++
    if (isLost[chunk]) channels.add(channel)
    if (!channels.has(channel)) kept.push(all.subarray(start, end))
    start = end
  }
  return { bytes: concat(kept), channels }
}
