/**
 * Whether the connections of tests recover.
 *
 * Most tests are about one session: "the connection is lost" then means that everything on it fails with the cause. So the shared
 * connectors (`scriptedPeer.ts`, `broker.ts`, the support of the tests of the embedded broker) turn recovery off, and so do the interruption sweep and the seeded simulation, whose clients connect again themselves.
 * A test about recovery has to ask for it, with `recovery: true` or options of its own.
 */

/** The connection option of tests about a single session: a connection that is lost stays lost. */
export const singleSession = { recovery: false } as const
