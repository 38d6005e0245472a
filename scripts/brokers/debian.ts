/**
 * RabbitMQ from another release of Debian than that of this machine, installed into a folder of the user's cache.
 *
 * Its programs run with that folder's /usr and /etc mounted over the system's. The mounts are private to each process, and end
 * with it; all other files are those of the machine, so the programs are used like installed ones.
 */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { startInBackground } from "../../test/support/childProcess.ts"
import { command } from "../../test/support/command.ts"
import { debianReleases, isOf } from "./versions.ts"
import type { Version } from "./versions.ts"

const cacheFolder = (version: Version): string =>
  path.join(process.env["XDG_CACHE_HOME"] || path.join(os.homedir(), ".cache"), "effect-amqp", `rabbitmq-${version}`)

const isFile = (file: string): boolean => fs.existsSync(file)

/** Why this machine can't install or run another release of Debian; `undefined` if it can. */
export const debianProblem = async (version: Version): Promise<string | undefined> => {
  if (!isFile("/etc/debian_version")) return "this is not Debian"
  if (process.getuid?.() !== 0) return "this is Debian, but you are not root"
  // Otherwise /bin and /lib are folders beside /usr, which also would have to be replaced.
  if (!fs.lstatSync("/bin").isSymbolicLink()) return "this Debian is too old: its /bin is not a link to /usr/bin"
  const unmountable = await command("unshare", ["--mount", "true"]).then(
    () => undefined,
    (error: Error) => error.message
  )
  if (unmountable !== undefined) return `root may not mount here (${unmountable})`
  if (isInstalled(version) || isFile("/usr/sbin/debootstrap")) return undefined
  return "debootstrap is missing (apt-get install debootstrap)"
}

/** Present only once everything is installed. */
const rootOf = (version: Version): string => path.join(cacheFolder(version), "root")

const isInstalled = (version: Version): boolean => fs.existsSync(rootOf(version))

/** The mirror that apt uses on this machine; if it has none, debootstrap takes its own default. */
const aptMirror = async (): Promise<ReadonlyArray<string>> => {
  const format = "$(ORIGIN) $(RELEASE) $(SITE)"
  const targets = await command("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]).catch(() => "")
  const sites = targets.split("\n").map((line) => line.split(" "))
    .filter(([origin, release = ""]) => origin === "Debian" && !release.endsWith("-security"))
    .map(([, , site]) => site)
  return sites[0] === undefined ? [] : [sites[0]]
}

const scripts = "/usr/share/debootstrap/scripts"

const debootstrap = async (version: Version, target: string): Promise<void> => {
  const release = debianReleases[version]
  const [mirror = ""] = await aptMirror()
  // A debootstrap that is older than the release has no script of its name. They are all the same as that of sid.
  const script = isFile(path.join(scripts, release)) ? release : "sid"
  const log = path.join(target, "output")
  const output = fs.openSync(log, "w")
  // In a mount namespace of its own: what it mounts in the target is gone when it ends early.
  const program = startInBackground("unshare", [
    "--mount",
    "--propagation",
    "private",
    "debootstrap",
    "--variant=minbase",
    "--include=rabbitmq-server,procps",
    release,
    target,
    mirror,
    path.join(scripts, script)
  ], { folder: target, env: {}, output })
  fs.closeSync(output)
  const code = await program.exitCode
  const lines = fs.readFileSync(log, "utf8").trim().split("\n")
  fs.rmSync(log)
  if (code !== 0) throw new Error(`debootstrap failed:\n${lines.slice(-15).join("\n")}`)
}

const programNames = [
  "rabbitmq-diagnostics",
  "rabbitmq-plugins",
  "rabbitmq-queues",
  "rabbitmq-server",
  "rabbitmq-streams",
  "rabbitmqctl"
]

const wrapper = (root: string, program: string): string =>
  `#!/bin/sh
# Written by "npm run brokers" of effect-amqp.
exec unshare --mount --propagation private sh -c '
  mount --bind "$0/etc" /etc && mount --bind "$0/usr" /usr && PATH=/usr/sbin:/usr/bin:/sbin:/bin exec "$@"
' '${root}' ${program} "$@"
`

const writeWrappers = (version: Version): string => {
  const programs = path.join(cacheFolder(version), "bin")
  fs.mkdirSync(programs, { recursive: true })
  const write = (name: string, program: string) =>
    fs.writeFileSync(path.join(programs, name), wrapper(rootOf(version), program), { mode: 0o755 })
  for (const name of programNames) write(name, `/usr/lib/rabbitmq/bin/${name}`)
  write("epmd", "/usr/bin/epmd")
  return programs
}

const install = async (version: Version, log: (line: string) => void): Promise<void> => {
  const folder = cacheFolder(version)
  log(`Installing RabbitMQ ${version} of Debian ${debianReleases[version]} in ${folder} (400 MB, some minutes) ...`)
  fs.mkdirSync(folder, { recursive: true })
  const target = fs.mkdtempSync(path.join(folder, "partial-"))
  try {
    // APT refuses to read a folder that only root can.
    fs.chmodSync(target, 0o755)
    await debootstrap(version, target)
    const [found = "none"] = fs.readdirSync(path.join(target, "usr/lib/rabbitmq/lib"))
      .map((name) => name.replace("rabbitmq_server-", ""))
    if (!isOf(version, found)) {
      throw new Error(`Debian ${debianReleases[version]} has no RabbitMQ ${version} any more, but ${found}`)
    }
    // The names of other hosts are not needed, and a container may have mounted its own.
    fs.writeFileSync(path.join(target, "etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n")
    // Another run may have installed it meanwhile.
    if (!isInstalled(version)) fs.renameSync(target, rootOf(version))
  } finally {
    fs.rmSync(target, { recursive: true, force: true })
  }
}

/** Installs it unless it is installed. Returns the folder with its programs. */
export const installFromDebian = async (version: Version, log: (line: string) => void): Promise<string> => {
  if (!isInstalled(version)) await install(version, log)
  return writeWrappers(version)
}
