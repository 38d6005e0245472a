/**
 * The `ts` blocks of Markdown, also in the comments of TypeScript, as files for the compiler.
 *
 * Each block is a module. Its text has the same lines and columns in its file as in the document, so the compiler's messages apply
 * to both.
 *
 * A block whose fence is `ts expect-error` shows an error. The fence that follows it holds what the compiler prints, with the file
 * name `example.ts` and lines counted from the first of the block.
 */
export interface CodeBlock {
  readonly document: string
  /** The line of the fence, from 1. */
  readonly line: number
  /** The source for the compiler. */
  readonly text: string
  /** The compiler output that the document shows, or `undefined` when there should be none. */
  readonly expectedError: string | undefined
}

interface Fence {
  readonly info: string
  readonly line: number
  readonly text: string
}

// In a comment a fence follows a star. The lines between two fences have the indentation of the first.
const fencePattern = /^(?<indentation>\s*(?:\* )?)```(?<info>.*)$/

const fencesIn = (document: string, text: string): ReadonlyArray<Fence> => {
  const fences: Array<Fence> = []
  let open: { readonly indentation: string; readonly info: string; readonly line: number } | undefined
  let lines: Array<string> = []
  for (const [index, line] of text.split("\n").entries()) {
    const { indentation, info } = fencePattern.exec(line)?.groups ?? {}
    if (open === undefined) {
      if (info === undefined) continue
      open = { indentation, info: info.trim(), line: index + 1 }
      lines = []
    } else if (info === "") {
      fences.push({ info: open.info, line: open.line, text: lines.join("\n") })
      open = undefined
    } else {
      const { length } = open.indentation
      lines.push(" ".repeat(length) + line.slice(length))
    }
  }
  if (open !== undefined) throw new Error(`${document}:${open.line}: the block does not end`)
  return fences
}

/** The blocks of a document. */
export const codeBlocksIn = (document: string, text: string): ReadonlyArray<CodeBlock> => {
  const fences = fencesIn(document, text)
  return fences.flatMap(({ info, line, text }, index) => {
    const [language, ...flags] = info.split(/\s+/)
    if (language !== "ts") return []
    const expectsError = flags.includes("expect-error")
    const unknown = flags.filter((flag) => flag !== "expect-error")
    if (unknown.length > 0) throw new Error(`${document}:${line}: unknown flag ${unknown.join(" ")}`)
    if (expectsError && fences[index + 1]?.info !== "text") {
      throw new Error(`${document}:${line}: a block with an error needs a "text" block with the error after it`)
    }
    return [{
      document,
      line,
      text: "\n".repeat(line) + text,
      expectedError: expectsError ? fences[index + 1].text.trim() : undefined
    }]
  })
}
