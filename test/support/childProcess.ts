/** Programs that a test run starts in the background, none of which may outlive it. */
import { execFile, spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import * as net from "node:net"
import { setTimeout as sleep } from "node:timers/promises"

export interface BackgroundProgram {
  readonly hasEnded: () => boolean
  /** Its exit code, once it has ended; `null` if a signal ended it or it did not start. */
  readonly exitCode: Promise<number | null>
  /** Sends a signal to the program and everything it has started. */
  readonly signal: (name: NodeJS.Signals) => void
  /** Ends it in order, or kills it when that takes too long. */
  readonly terminate: (graceMillis: number) => Promise<void>
  readonly kill: () => Promise<void>
}

const hasEnded = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => {
    if (hasEnded(child)) resolve(child.exitCode)
    else child.once("exit", resolve)
  })

/** Whether a process of the group lives. One that is dead may still be listed until the system's first process removes it. */
const isAlive = (group: number): Promise<boolean> =>
  new Promise((resolve) => {
    execFile("ps", ["-A", "-o", "pgid=,stat="], (_error, stdout) => {
      const processes = stdout.split("\n").map((line) => line.trim().split(/\s+/))
      resolve(processes.some(([id, state = "Z"]) => Number(id) === group && !state.startsWith("Z")))
    })
  })

/** What a killed program had started ends a moment after it. */
const groupEnded = async (group: number): Promise<void> => {
  const deadline = Date.now() + 5_000
  while (Date.now() < deadline && await isAlive(group)) await sleep(10)
}

/**
 * Runs a shell script with these arguments when this process has ended, however it ended: its end of the pipe then closes. Code in
 * this process could not do that after a SIGKILL, nor in a worker of Vitest after an interrupt. Returns how to call it off.
 */
export const whenThisProcessEnds = (script: string, ...args: ReadonlyArray<string>): () => void => {
  const guard = spawn("sh", ["-c", `cat > /dev/null; ${script}`, "sh", ...args], {
    cwd: "/",
    detached: true,
    stdio: ["pipe", "ignore", "ignore"]
  })
  guard.on("error", () => {})
  guard.unref()
  return () => void guard.kill("SIGKILL")
}

/**
 * Starts a program in a process group of its own, which is signaled as a whole and does not receive the Ctrl-C that is meant for
 * the tests. If this process ends first, the group is killed and `folder` is removed.
 */
export const startInBackground = (
  program: string,
  args: ReadonlyArray<string>,
  options: {
    readonly folder: string
    readonly env: Readonly<Record<string, string>>
    /** A file descriptor. */
    readonly output: "ignore" | number
  }
): BackgroundProgram => {
  const child = spawn(program, args, {
    cwd: options.folder,
    detached: true,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", options.output, options.output]
  })
  child.on("error", () => {}) // a program that does not start has ended
  child.unref() // a run that fails to stop it still exits
  if (child.pid !== undefined) {
    const script = "kill -s KILL -- \"-$1\"; sleep 1; rm -rf -- \"$2\""
    child.once("exit", whenThisProcessEnds(script, String(child.pid), options.folder))
  }

  const signal = (name: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name)
    } catch {
      // The group has already ended.
    }
  }
  const terminate = async (graceMillis: number): Promise<void> => {
    if (child.pid === undefined) return
    child.ref()
    if (graceMillis > 0 && !hasEnded(child)) {
      signal("SIGTERM")
      await Promise.race([ended(child), sleep(graceMillis, undefined, { ref: false })])
    }
    signal("SIGKILL")
    await ended(child)
    await groupEnded(child.pid)
  }
  return { hasEnded: () => hasEnded(child), exitCode: ended(child), signal, terminate, kill: () => terminate(0) }
}

const listen = (port: number): Promise<net.Server | undefined> =>
  new Promise((resolve) => {
    const server: net.Server = net.createServer().on("error", () => resolve(undefined))
    server.listen(port, "127.0.0.1", () => resolve(server))
  })

/**
 * Ports on which nothing listened just now. They are below the ports that systems assign to outgoing connections (from 32768 on
 * Linux): a port of a stopped broker would otherwise be taken by the next client that connects anywhere, or a client that
 * connects to it again and again would in the end be connected to itself.
 */
export const freePorts = async (count: number): Promise<ReadonlyArray<number>> => {
  const held = new Map<number, net.Server>()
  // All are held until the last is found, so that they differ.
  while (held.size < count) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
    const server = await listen(port)
    if (server !== undefined) held.set(port, server)
  }
  await Promise.all([...held.values()].map((server) => new Promise((resolve) => server.close(resolve))))
  return [...held.keys()]
}
