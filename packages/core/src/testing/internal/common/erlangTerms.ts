/** Terms as Erlang prints them in RabbitMQ's reply texts. */

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

/** A character of Latin-1 that is not a control character, or one with an escape of its own. */
const isPrintable = (byte: number): boolean => byte >= 32 && byte < 127 || byte >= 160 || escapes.has(byte)

const encoder = new TextEncoder()

/** `~w`: always as numbers. */
export const numbers = (bytes: Uint8Array): string => `<<${bytes.join(",")}>>`

/** Where Erlang begins another line, in characters: the last number of a binary may stand a little further out, a tuple less. */
const lineLength = 79
const lastLineLength = 81
const tupleLineLength = 78

/** As numbers, in lines that begin below the first number. `column`: where the binary begins. */
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
 * `~p`: as text where that is possible. `column`: how many characters the line has already. Bytes that are not UTF-8 become U+FFFD,
 * since a reply text is UTF-8 here.
 */
const printed = (bytes: Uint8Array, column: number): string => {
  if (bytes.length === 0) return numbers(bytes)
  if (!bytes.every(isPrintable)) return numbersInLines(bytes, column)
  const escaped = Array.from(bytes).flatMap((byte) => {
    const escape = escapes.get(byte)
    return escape === undefined ? [byte] : [...encoder.encode(escape)]
  })
  return `<<"${text.decode(Uint8Array.from(escaped))}">>`
}

/** `~p` of a tuple, which begins a line for its last element if it is too long. `before`: what is printed before it. */
const tuple = (elements: ReadonlyArray<string | number>, before: string): string => {
  const column = before.length - before.lastIndexOf("\n") - 1
  const inOneLine = `{${elements.join(",")}}`
  if (column + inOneLine.length <= tupleLineLength) return inOneLine
  return `{${elements.slice(0, -1).join(",")},\n${" ".repeat(column + 1)}${elements.at(-1)}}`
}

/** How many bytes of a payload are quoted. */
const quotedBytes = 16

/** A frame as the texts of 501 and 505 begin: its type, and what its payload begins with. */
export const describeFrame = (type: number, payload: Uint8Array): string => {
  const isWhole = payload.length <= quotedBytes
  const before = `type ${type}, ${isWhole ? "all" : "first 16"} octets = `
  return before + printed(isWhole ? payload : payload.subarray(0, quotedBytes), before.length)
}

/** A frame that can't be read, and why: a tuple. */
export const describeProblem = (type: number, payload: Uint8Array, problem: ReadonlyArray<string | number>): string => {
  const before = `${describeFrame(type, payload)}: `
  return before + tuple(problem, before)
}
