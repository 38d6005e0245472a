/** RabbitMQ in a container of its official image. */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { freePorts, whenThisProcessEnds } from "../../test/support/childProcess.ts"
import { command } from "../../test/support/command.ts"
import { probe } from "../../test/support/probe.ts"
import type { RunningBrokers } from "./running.ts"
import { writeProgram } from "./running.ts"
import type { Version } from "./versions.ts"

/** Why there is no Docker to run it; `undefined` if there is. */
export const dockerProblem = (): Promise<string | undefined> =>
  command("docker", ["version", "--format", "{{.Server.Version}}"]).then(
    () => undefined,
    (error: Error) =>
      error.message.includes("ENOENT") ? "there is no docker on the PATH" : "docker does not reach its engine"
  )

/** How long it may take to start, without the time to download the image. */
const startMillis = 120_000

export const startInDocker = async (
  version: Version,
  options: { readonly port: number | undefined; readonly log: (line: string) => void }
): Promise<RunningBrokers> => {
  const image = `rabbitmq:${version}`
  const name = `effect-amqp-${version}-${process.pid}`
  const [freePort] = await freePorts(1)
  const port = options.port ?? freePort
  const url = `amqp://guest:guest@127.0.0.1:${port}`
  options.log(`Starting ${image} in Docker ...`)
  const isPresent = await command("docker", ["image", "inspect", image]).then(() => true, () => false)
  if (!isPresent) await command("docker", ["pull", "--quiet", image])
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-amqp-docker-"))
  const removal = "docker rm --force \"$1\"; rm -rf -- \"$2\""
  const callOff = whenThisProcessEnds(removal, name, folder)
  const remove = async (): Promise<void> => {
    await command("docker", ["rm", "--force", name])
    callOff()
    fs.rmSync(folder, { recursive: true, force: true })
  }
  try {
    // Its port is the same within, because `rabbitmqctl status` prints that one.
    await command("docker", [
      "run",
      "--detach",
      "--name",
      name,
      "--hostname",
      "localhost",
      "--publish",
      `127.0.0.1:${port}:${port}`,
      "--env",
      `RABBITMQ_NODE_PORT=${port}`,
      image
    ])
    const deadline = Date.now() + startMillis
    let fullVersion: string | undefined
    while (fullVersion === undefined) {
      try {
        fullVersion = await probe(url)
      } catch (error) {
        const state = await command("docker", ["inspect", "--format", "{{.State.Running}}", name])
        if (state.trim() !== "true" || Date.now() > deadline) {
          const output = await command("docker", ["logs", "--tail", "20", name])
          throw new Error(`${image} did not start. Its output:\n${output.trim()}`, { cause: error })
        }
        await sleep(500)
      }
    }
    const programs = path.join(folder, "bin")
    writeProgram(programs, "rabbitmqctl", `exec docker exec ${name} rabbitmqctl "$@"`)
    return {
      version: fullVersion,
      urls: [url],
      nodename: "rabbit@localhost",
      searchPath: [programs],
      isRunning: async () =>
        await command("docker", ["inspect", "--format", "{{.State.Running}}", name]).catch(() => "false") === "true\n",
      stop: async () => {
        await command("docker", ["stop", name])
        await remove()
      }
    }
  } catch (error) {
    await remove()
    throw error
  }
}
