/** Brokers that this script has started, and how other programs find them. */
import * as fs from "node:fs"
import * as path from "node:path"

export interface RunningBrokers {
  /** The full version, like 4.0.5. */
  readonly version: string
  /** The URL of each node. */
  readonly urls: ReadonlyArray<string>
  /** The name of the first node. */
  readonly nodename: string
  /** Folders for the PATH: with a `rabbitmqctl` for these nodes, and with the programs of this version. */
  readonly searchPath: ReadonlyArray<string>
  /** Whether a node is left. */
  readonly isRunning: () => Promise<boolean>
  readonly stop: () => Promise<void>
}

/** Writes an executable shell script. */
export const writeProgram = (folder: string, name: string, script: string): void => {
  fs.mkdirSync(folder, { recursive: true })
  fs.writeFileSync(path.join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
}

/** Quotes a value for a shell. */
export const quoted = (value: string): string => `'${value.replaceAll("'", String.raw`'\''`)}'`

const variables = ({ nodename, urls }: RunningBrokers): Readonly<Record<string, string>> => ({
  AMQP_URL: urls[0] ?? "",
  ...urls.length > 1 ? { AMQP_URLS: urls.join(",") } : {},
  RABBITMQ_NODENAME: nodename
})

/** The environment of a program that uses these brokers. */
export const environmentFor = (brokers: RunningBrokers): Readonly<Record<string, string | undefined>> => ({
  ...process.env,
  ...variables(brokers),
  PATH: [...brokers.searchPath, process.env["PATH"] ?? ""].join(path.delimiter)
})

/** The same for a shell to evaluate. */
export const exportsFor = (brokers: RunningBrokers): string =>
  [
    ...Object.entries(variables(brokers)).map(([name, value]) => `export ${name}=${quoted(value)}`),
    `export PATH=${brokers.searchPath.map((folder) => `${quoted(folder)}:`).join("")}"$PATH"`
  ].join("\n")
