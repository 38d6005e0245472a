/**
 * Clients of other languages, built on this machine from `bench/references`: what the same work takes without Node.js.
 */
import { execFile } from "node:child_process"
import { mkdir, readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import type { ProgramEntry } from "./clients/entry.ts"
import type { Scenario } from "./scenarios/scenario.ts"
import type { WorkloadName } from "./task.ts"

const run = promisify(execFile)

const sources = fileURLToPath(new URL("../references", import.meta.url))
const target = fileURLToPath(new URL("../../.build/references", import.meta.url))

const workloads: ReadonlyArray<WorkloadName> = [
  "publish",
  "publish-confirmed",
  "publish-confirmed-batch",
  "consume-ack",
  "consume-auto-ack",
  "declare",
  "channel"
]

const goPath = "/usr/share/gocode"

/** One channel, one consumer and one publisher. */
const supports = ({ observeEventLoop = false, split = {}, workload }: Scenario): boolean =>
  workloads.includes(workload) && !observeEventLoop && Object.values(split).every((parts) => parts === 1)

interface Reference {
  readonly name: string
  readonly compile: (program: string) => Promise<unknown>
  readonly version: (program: string) => Promise<string>
  /** Debian's packages. */
  readonly packages: string
}

const build = async ({ compile, name, packages, version }: Reference) => {
  const program = `${target}/${name}`
  await mkdir(target, { recursive: true })
  try {
    await compile(program)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.trim().split("\n").slice(0, 4).join("\n") : String(cause)
    throw new Error(`it cannot be built; on Debian: apt-get install ${packages}\n${reason}`, { cause })
  }
  return { command: [program] as const, version: await version(program) }
}

export const librabbitmq: ProgramEntry = {
  kind: "reference",
  supports,
  build: () =>
    build({
      name: "librabbitmq",
      packages: "gcc librabbitmq-dev libcjson-dev",
      compile: (program) => run("gcc", ["-O2", "-o", program, `${sources}/c/main.c`, "-lrabbitmq", "-lcjson"]),
      version: async (program) => (await run(program, ["--version"])).stdout.trim()
    })
}

export const amqp091Go: ProgramEntry = {
  kind: "reference",
  supports,
  build: () =>
    build({
      name: "amqp091-go",
      packages: "golang-go golang-github-rabbitmq-amqp091-go-dev",
      compile: (program) =>
        run("go", ["build", "-o", program, "."], {
          cwd: `${sources}/go`,
          // Debian has the sources of libraries in a GOPATH; nothing is downloaded
          env: { ...process.env, GO111MODULE: "off", GOPATH: goPath }
        }),
      // the library has it in a private constant only
      version: async () => {
        const source = await readFile(`${goPath}/src/github.com/rabbitmq/amqp091-go/connection.go`, "utf8")
        return /buildVersion\s*=\s*"(.+)"/u.exec(source)?.[1] ?? "of unknown version"
      }
    })
}
