import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

/** A message of the compiler about a position in a file. */
export interface Diagnostic {
  readonly file: string
  readonly line: number
  readonly column: number
  /** As printed after the position: `error TS2345: …`, with the lines that explain it. */
  readonly message: string
}

const root = fileURLToPath(new URL("../..", import.meta.url))

const tsconfig = {
  extends: path.join(root, "tsconfig.program.json"),
  compilerOptions: {
    incremental: false,
    // An example may define what only its reader uses.
    noUnusedLocals: false
  },
  include: ["**/*.ts"],
  references: ["core", "node"].map((name) => ({ path: path.join(root, "packages", name) }))
}

/** Runs the compiler and returns its output, whether the program compiles or not. */
const runCompiler = (folder: string): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile(
      path.join(root, "node_modules", ".bin", "tsc"),
      ["--build", ".", "--pretty", "false"],
      { cwd: folder, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        const hasRun = error === null || typeof error.code === "number"
        if (hasRun && stderr === "") resolve(stdout)
        else reject(new Error(`tsc failed: ${stderr}`, { cause: error }))
      }
    )
  })

/**
 * Compiles a user's files as one strict program, in its own folder in `.build`. It resolves the packages by their published
 * names and `exports`, and builds them if needed. File names are relative.
 */
export const compile = async (
  name: string,
  files: Readonly<Record<string, string>>
): Promise<ReadonlyArray<Diagnostic>> => {
  const folder = path.join(root, ".build", name)
  fs.rmSync(folder, { recursive: true, force: true })
  for (const [file, text] of Object.entries({ "tsconfig.json": JSON.stringify(tsconfig), ...files })) {
    const target = path.join(folder, file)
    fs.mkdirSync(path.dirname(target), { recursive: true })
    fs.writeFileSync(target, text)
  }
  const output = await runCompiler(folder)
  // A diagnostic continues on indented lines.
  return output.split(/\n(?! )/).filter((text) => text !== "").map((text) => {
    const [, file, line, column, message] = /^(\S.*?)\((\d+),(\d+)\): (error [^]*)$/.exec(text) ?? []
    // An error in the options or the packages, not in the files.
    if (!Object.hasOwn(files, file)) throw new Error(text)
    return { file, line: Number(line), column: Number(column), message: message.trimEnd() }
  })
}
