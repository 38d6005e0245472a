/**
 * Encodes values of users before they are added to an output.
 *
 * Reading such values may run a user's code: getters, proxies, iterators, `valueOf`. If that code publishes a message, the bytes of both would
 * interleave in an output that was half written. So user values are encoded here first, and then copied in one step.
 *
 * Drafts nest like calls: one that begins while another is being written follows it, and is removed before the other continues.
 * To write one, note `draft.provisionalBytes` first, and truncate to it at the end, even after an error.
 *
 * @since 0.1.0
 */
import { ByteWriter } from "./ByteWriter.ts"

/** The drafts that are being written in this process. */
export const draft: ByteWriter = new ByteWriter()
