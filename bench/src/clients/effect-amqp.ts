import type { Client } from "../workload.ts"

export const client: Client = {}
