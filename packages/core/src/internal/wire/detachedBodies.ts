/**
 * Bodies whose buffer was transferred between the publish and the write.
 *
 * Large bodies are sent without a copy, and a transferred buffer is empty. A frame would announce more bytes than follow, and the broker
 * would read the next frames as the rest of it. Such a message cannot be completed, so its channel can no longer be used. Other channels
 * are not affected.
 */
import { concat } from "../../protocol/bytes.ts"
import { frameHeaderSize, frameOverhead } from "../../protocol/constants.ts"

/** The complete frames, and the channels whose frames were left out. */
export interface CompleteFrames {
  readonly bytes: Uint8Array
  readonly incompleteChannels: ReadonlySet<number>
}

/** Leaves out frames whose bytes are missing, and the later frames of their channels. `sizes` are the original sizes of the chunks. */
export const completeFrames = (chunks: ReadonlyArray<Uint8Array>, sizes: ReadonlyArray<number>): CompleteFrames => {
  const isDetached = chunks.map((chunk, index) => chunk.length !== sizes[index])
  const all = concat(chunks.map((chunk, index) => isDetached[index] ? new Uint8Array(sizes[index]) : chunk))
  const ends: Array<number> = []
  for (const size of sizes) ends.push((ends.at(-1) ?? 0) + size)
  const incompleteChannels = new Set<number>()
  const kept: Array<Uint8Array> = []
  const view = new DataView(all.buffer)
  let chunk = 0
  for (let start = 0; start < all.length;) {
    const channel = view.getUint16(start + 1)
    const end = start + view.getUint32(start + 3) + frameOverhead
    // The payload of a body that is not copied is a separate chunk.
    while (ends[chunk] <= start + frameHeaderSize && chunk < ends.length - 1) chunk++
    if (isDetached[chunk]) incompleteChannels.add(channel)
    if (!incompleteChannels.has(channel)) kept.push(all.subarray(start, end))
    start = end
  }
  return { bytes: concat(kept), incompleteChannels }
}
