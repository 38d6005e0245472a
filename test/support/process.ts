import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

/** The folder of the repository. */
export const root = fileURLToPath(new URL("../..", import.meta.url))

/** A program that was started. */
export interface Running {
  /** Resolves when a matching line has been printed; rejects when the program ends without it. */
  readonly printed: (line: string | RegExp) => Promise<void>
  /** The lines that it has printed so far. */
  readonly lines: () => ReadonlyArray<string>
  /** Resolves when the program has ended. */
  readonly ended: Promise<Ended>
  readonly kill: () => void
  readonly signal: (name: NodeJS.Signals) => void
}

/** How a program ended. */
export interface Ended {
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
  /** Milliseconds from its last output to its exit. */
  readonly lingered: number
}

/** Runs a program of this repository as a process, with these additional variables, or without those that are `undefined`. */
export const start = (
  args: ReadonlyArray<string>,
  env: Readonly<Record<string, string | undefined>> = {}
): Running => {
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"]
  })
  let stdout = ""
  let stderr = ""
  let lastOutput = performance.now()
  const listeners = new Set<() => void>()
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text
    lastOutput = performance.now()
    for (const listener of listeners) listener()
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
    lastOutput = performance.now()
  })
  const ended = new Promise<Ended>((resolve, reject) => {
    let exited = lastOutput
    child.on("error", reject)
    child.on("exit", () => {
      exited = performance.now()
    })
    // After all output has been read.
    child.on("close", (exitCode) => resolve({ exitCode, stdout, stderr, lingered: exited - lastOutput }))
  })
  const lines = () => stdout.split("\n").slice(0, -1)
  const printed = (line: string | RegExp) =>
    new Promise<void>((resolve, reject) => {
      const check = () => {
        const printed = lines()
        if (typeof line === "string" ? printed.includes(line) : printed.some((each) => line.test(each))) resolve()
      }
      listeners.add(check)
      check()
      ended.then(
        ({ exitCode }) =>
          reject(new Error(`ended with ${exitCode} before it printed "${String(line)}":\n${stdout}${stderr}`)),
        reject
      )
    })
  const signal = (name: NodeJS.Signals): void => void child.kill(name)
  return { printed, lines, ended, kill: () => signal("SIGKILL"), signal }
}
