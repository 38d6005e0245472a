// Runs one task of this repository: `node scripts/run.mjs <task> [arguments]`.
//
// Plain JavaScript for the oldest Node that may be on the machine: on a fresh clone there is nothing else. It installs
// what is missing, then runs each step on the Node and the tools of `node_modules`, addressed by path, because a shell
// that has run the system's `node` once may go on using it.
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const bin = path.join(root, "node_modules", ".bin")
const tool = (name, ...args) => [path.join(bin, name), ...args]

const build = tool("tsc", "-b", "tsconfig.build.json")
const generate = tool("node", "scripts/generate-protocol.ts")

/** The steps of each task; the arguments of the command line go to the last one. */
const tasks = {
  install: [],
  build: [build],
  start: [build, tool("node", "examples/threads.ts")],
  test: [build, tool("vitest", "run")],
  clusters: [build, tool("vitest", "run", "--config", "vitest.clusters.config.ts")],
  bench: [build, tool("node", "bench/src/main.ts")],
  simulate: [build, tool("node", "test/simulation/seeded/main.ts")],
  churn: [build, tool("node", "test/churn/main.ts")],
  fuzz: [tool("node", "scripts/fuzz.ts")],
  compare: [build, tool("node", "test/comparison/main.ts")],
  chaos: [build, tool("node", "test/chaos/main.ts")],
  outages: [build, tool("node", "test/chaos/outages.ts")],
  brokers: [tool("node", "scripts/brokers.ts")],
  proofs: [tool("tsc", "-b"), tool("node", "scripts/proofs.ts")],
  generate: [generate],
  check: [
    tool("tsc", "-b"),
    tool("oxlint", "--type-aware", "--deny-warnings"),
    tool("dprint", "check"),
    [...generate, "--check"]
  ],
  format: [tool("oxlint", "--type-aware", "--fix"), tool("dprint", "fmt")]
}

const readJson = (file) => JSON.parse(fs.readFileSync(path.join(root, file), "utf8"))

/**
 * Whether `node_modules` holds what the lock file asks for. Compared by content and not by time, since a checkout
 * touches files without changing them.
 */
const isInstalled = () => {
  try {
    fs.accessSync(path.join(bin, "node"), fs.constants.X_OK)
    const installed = readJson("node_modules/.package-lock.json").packages
    return Object.entries(readJson("package-lock.json").packages).every(([location, wanted]) => {
      if (!location.startsWith("node_modules/") && !location.includes("/node_modules/")) return true
      const found = installed[location]
      if (found === undefined) return wanted.optional === true || wanted.devOptional === true
      return found.version === wanted.version && found.integrity === wanted.integrity
    })
  } catch {
    return false
  }
}

/** Runs a command to its end and answers its exit code. */
const run = ([command, ...args], env = process.env) =>
  new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env, stdio: "inherit" })
    const forward = (signal) => {
      // A terminal has already sent its interrupt to the whole group.
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal)
    }
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"]
    for (const signal of signals) process.on(signal, forward)
    const end = (code) => {
      for (const signal of signals) process.off(signal, forward)
      resolve(code)
    }
    child.on("error", (error) => {
      console.error(`${command}: ${error.message}`)
      end(127)
    })
    child.on("exit", (code, signal) => end(code ?? (signal === "SIGINT" ? 130 : 143)))
  })

/** `PATH` without any `node_modules/.bin`: the install replaces the Node in there, so it must not run on it. */
const systemPath = () =>
  (process.env.PATH ?? "").split(path.delimiter)
    .filter((folder) => !folder.endsWith(path.join("node_modules", ".bin")))
    .join(path.delimiter)

const [name, ...args] = process.argv.slice(2)
const steps = tasks[name]
if (steps === undefined) {
  console.error(`usage: node scripts/run.mjs <${Object.keys(tasks).join("|")}> [arguments]`)
  process.exit(2)
}

if (!isInstalled()) {
  console.error("Installing the dependencies ...")
  // The system's Node may be older than some packages ask for; only the Node they bring with them runs them.
  const command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
  const code = await run(command, { ...process.env, PATH: systemPath() })
  if (code !== 0) {
    console.error("npm ci failed, see above")
    process.exit(code)
  }
}

// A task with several independent steps (`check`) reports on all of them; the others stop at the first that fails.
const keepGoing = name === "check"
const env = { ...process.env, PATH: `${bin}${path.delimiter}${systemPath()}` }
let exitCode = 0
for (const [index, step] of steps.entries()) {
  const code = await run(index === steps.length - 1 ? [...step, ...args] : step, env)
  if (code !== 0 && exitCode === 0) exitCode = code
  if (code !== 0 && !keepGoing) break
}
process.exit(exitCode)
