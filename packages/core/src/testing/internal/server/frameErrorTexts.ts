/** Reply texts of frame errors, which quote the frame as Erlang prints it. */

const text = new TextDecoder("utf-8", { ignoreBOM: true })

const escapes: ReadonlyMap<number, string> = new Map([
  [8, "\\b"],
  [9, "\\t"],
  [10, "\\n"],
  [11, "\\v"],
  [12, "\\f"],
  [13, "\\r"],
  [27, "\\e"],
  [34, "\\\""],
  [92, "\\\\"]
])

/** Whether Erlang prints a byte as text: a Latin-1 character that is not a control character or has an escape. */
const isPrintable = (byte: number): boolean => byte >= 32 && byte < 127 || byte >= 160 || escapes.has(byte)

const encoder = new TextEncoder()

/** `~w`: bytes as numbers. */
export const printNumbers = (bytes: Uint8Array): string => `<<${bytes.join(",")}>>`

/** The columns at which Erlang breaks a line: for the numbers of a binary, for the last of them, and for a tuple. */
const lineLength = 79
const lastLineLength = 81
const tupleLineLength = 78

/** Bytes as numbers, in lines that begin below the first number. `column`: where the binary begins. */
const numbersInLines = (bytes: Uint8Array, column: number): string => {
  const indentation = column + 2
  let line = indentation
  let printed = "<<"
  bytes.forEach((byte, index) => {
    const isLast = index === bytes.length - 1
    const piece = isLast ? `${byte}>>` : `${byte},`
    if (index > 0 && line + piece.length > (isLast ? lastLineLength : lineLength)) {
      printed += "\n".padEnd(indentation + 1)
      line = indentation
    }
    printed += piece
    line += piece.length
  })
  return printed
}

/**
 * `~p`: bytes as text where that is possible. `column`: the length of the line so far. Invalid UTF-8 is replaced with U+FFFD, because a
 * reply text is UTF-8 here.
 */
const print = (bytes: Uint8Array, column: number): string => {
  if (bytes.length === 0) return printNumbers(bytes)
  if (!bytes.every(isPrintable)) return numbersInLines(bytes, column)
  const escaped = Array.from(bytes).flatMap((byte) => {
    const escape = escapes.get(byte)
    return escape === undefined ? [byte] : [...encoder.encode(escape)]
  })
  return `<<"${text.decode(Uint8Array.from(escaped))}">>`
}

/** `~p` of a tuple. The last element goes on its own line if the tuple is too long. `before`: the text before the tuple. */
const tuple = (elements: ReadonlyArray<string | number>, before: string): string => {
  const column = before.length - before.lastIndexOf("\n") - 1
  const inOneLine = `{${elements.join(",")}}`
  if (column + inOneLine.length <= tupleLineLength) return inOneLine
  return `{${elements.slice(0, -1).join(",")},\n${" ".repeat(column + 1)}${elements.at(-1)}}`
}

/** The number of bytes of a payload that are quoted. */
const quotedBytes = 16

/** The type of a frame and the beginning of its payload, as in the reply texts of 501 and 505. */
export const describeFrame = (type: number, payload: Uint8Array): string => {
  const isWhole = payload.length <= quotedBytes
  const before = `type ${type}, ${isWhole ? "all" : "first 16"} octets = `
  return before + print(isWhole ? payload : payload.subarray(0, quotedBytes), before.length)
}

/** An unreadable frame with the reason, a tuple of RabbitMQ's. */
export const describeProblem = (type: number, payload: Uint8Array, problem: ReadonlyArray<string | number>): string => {
  const before = `${describeFrame(type, payload)}: `
  return before + tuple(problem, before)
}
