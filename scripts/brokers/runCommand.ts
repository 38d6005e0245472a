/** Runs the command that was given on the command line. */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import * as os from "node:os"

/**
 * Runs a command in the foreground. Returns its exit code: as a shell counts it if a signal ended the command, and 127 if it
 * does not start. When the effect is interrupted, the command is terminated first.
 */
export const runCommand = (
  [program = "", ...args]: ReadonlyArray<string>,
  env: Readonly<Record<string, string | undefined>>
): Effect.Effect<number> =>
  Effect.callback<number>((resume) => {
    const child = spawn(program, args, { env, stdio: "inherit" })
    const ended = new Promise<void>((resolve) => {
      child.once("error", (error) => {
        console.error(`${program}: ${error.message}`)
        resume(Effect.succeed(127))
        resolve()
      })
      child.once("exit", (code, signal) => {
        resume(Effect.succeed(code ?? 128 + os.constants.signals[signal ?? "SIGTERM"]))
        resolve()
      })
    })
    return Effect.promise(() => {
      child.kill("SIGTERM")
      return ended
    })
  })
