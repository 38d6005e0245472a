import { report } from "./task.mjs"

report()
