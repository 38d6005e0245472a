/** The RabbitMQ that is installed on this machine. */
import * as path from "node:path"
import { command } from "../../test/support/command.ts"
import { rabbitmqPrograms } from "../../test/support/rabbitmqNode.ts"
import { isOf } from "./versions.ts"
import type { Version } from "./versions.ts"

/** The folder with its programs if it is of this version, otherwise why not. */
export const findOnMachine = async (
  version: Version
): Promise<{ readonly programs: string } | { readonly problem: string }> => {
  const programs = rabbitmqPrograms()
  if (programs === undefined) return { problem: "there is no rabbitmq-server on the PATH" }
  try {
    const found = (await command(path.join(programs, "rabbitmqctl"), ["version"])).trim()
    return isOf(version, found) ? { programs } : { problem: `the rabbitmq-server on the PATH is ${found}` }
  } catch (error) {
    return { problem: `the rabbitmq-server on the PATH does not tell its version: ${String(error)}` }
  }
}
