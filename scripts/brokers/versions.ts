/** The versions of RabbitMQ that the tests know, each with the release of Debian that has it. */
export const debianReleases = {
  "3.10": "bookworm",
  "4.0": "trixie",
  "4.3": "forky"
} as const

export type Version = keyof typeof debianReleases

export const versions = ["3.10", "4.0", "4.3"] as const satisfies ReadonlyArray<Version>

/** Whether a full version like 4.0.5 is one of 4.0. */
export const isOf = (version: Version, full: string): boolean => full === version || full.startsWith(`${version}.`)
