import { execFile } from "node:child_process"
import type { AdministrableBroker } from "./provided.ts"

/** Runs a program until it exits, and returns its output. Fails with its error output. */
export const command = (
  program: string,
  args: ReadonlyArray<string>,
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {}
): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile(
      program,
      [...args],
      { cwd: options.cwd, env: { ...process.env, ...options.env }, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout)
        const output = `${stderr}${stdout}`.trim()
        reject(new Error(`${program} ${args.join(" ")}: ${output === "" ? error.message : output}`, { cause: error }))
      }
    )
  })

/** Runs `rabbitmqctl` for a node. */
export const rabbitmqctlFor = (
  node: Pick<AdministrableBroker, "nodename" | "env">,
  ...args: ReadonlyArray<string>
): Promise<string> => command("rabbitmqctl", ["--quiet", "--node", node.nodename, ...args], { env: node.env })
