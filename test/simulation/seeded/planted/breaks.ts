/** One-line breaks of recovery. Each has to make one of 2,000 seeds fail. */

export interface Break {
  /** What the client does wrong. */
  readonly name: string
  /** A file of the built package. */
  readonly file: string
  /** A line, or a part of one, that occurs once in it. */
  readonly line: string
  readonly becomes: string
}

export const breaks: ReadonlyArray<Break> = [
  {
    name: "publishers forget confirm.select",
    file: "internal/channel/channel.js",
    line: "",
    becomes: ""
  }
]
