/**
 * Where values of users are encoded before they become part of an output.
 *
 * Reading such values may run a user's code: getters, proxies, iterators, `valueOf`. If that code publishes a message, the bytes of both would
 * interleave in an output that was half written. So what a user passes is encoded here first, and then copied in one go.
 *
 * Drafts nest as calls do: one that is begun while another is being written follows it, and is gone before that one goes on. Whoever
 * writes one notes `draft.provisionalBytes` before, and truncates to it at the end, whatever happened.
 *
 * @since 0.1.0
 */
import { ByteWriter } from "./ByteWriter.ts"

/** The drafts of this process: those that are being written at this moment. */
export const draft: ByteWriter = new ByteWriter()
