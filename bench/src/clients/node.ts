/**
 * Node.js without a client.
 */
import type { Client } from "../workload.ts"
import { idle } from "./idle.ts"

export const client: Client = { idle }
