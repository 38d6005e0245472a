/**
 * The environment of the figures, which vary between machines.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import { findPackageJSON } from "node:module"
import * as os from "node:os"
import type { Broker } from "./broker.ts"
import { clients } from "./clients.ts"
import type { Prepared } from "./programs.ts"
import type { Results } from "./results.ts"

const PackageJson = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

// not every package exports its package.json, so it can't be imported
const packageVersion = Effect.fnUntraced(function*(name: string) {
  const fileSystem = yield* FileSystem.FileSystem
  const file = findPackageJSON(name, import.meta.url)
  if (file === undefined) {
    return yield* Effect.die(new Error(`${name} is not installed`))
  }
  const { version } = yield* Schema.decodeEffect(PackageJson)(yield* fileSystem.readFileString(file))
  return version
}, Effect.orDie)

export const describeEnvironment = Effect.fnUntraced(function*(
  brokers: ReadonlyArray<Broker | undefined>,
  prepared: ReadonlyArray<Prepared>
) {
  const cpus = os.cpus()
  const packages: Record<string, string> = {}
  for (const { client, version } of prepared) {
    const entry = clients[client]
    if ("load" in entry) packages[entry.packageName] = yield* packageVersion(entry.packageName)
    else if (version !== undefined) packages[client] = version
  }
  packages["effect"] = yield* packageVersion("effect")
  const environment: Results["environment"] = {
    date: new Date().toISOString(),
    node: process.versions.node,
    platform: `${os.type()} ${os.release()} ${os.arch()}`,
    cpu: cpus[0]?.model.trim() ?? "unknown",
    cores: cpus.length,
    broker: brokers.flatMap((broker) => broker?.product ?? []).join(" and "),
    packages
  }
  return environment
})
