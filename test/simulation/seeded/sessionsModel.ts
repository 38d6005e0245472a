/** What must be true of the sessions of a client that recovers: the states that it reports, and how it dials. */
import type { AmqpConnectionError } from "@effect-amqp/core/AmqpError"
import type { Dial, History, SeenState } from "./history.ts"
import type { Plan, RecoveryPlan } from "./plan.ts"

/** The states that may follow each state. */
const successors = {
  Connecting: ["Connecting", "Open", "Blocked", "Closed"],
  Open: ["Blocked", "Recovering", "Connecting", "Closed"],
  Blocked: ["Open", "Blocked", "Recovering", "Connecting", "Closed"],
  Recovering: ["Recovering", "Open", "Blocked", "Closed"],
  Closed: []
} as const

/** The states that a subscriber may see first. A session may be lost before it subscribes. */
const first = ["Open", "Blocked", "Recovering"]

/** Violations of each client that recovers. */
export const wrongSessions = (plan: Plan, history: History): ReadonlyArray<string> =>
  ([0, 1] as const).flatMap((client) => {
    const recovery = plan.recovery[client]
    if (recovery === undefined) return []
    const dials = history.dialsOf(client)
    return [
      ...wrongStates(history.states[client], dials),
      ...lateOutcomes(history, client),
      ...wronglyRefused(plan, history, client),
      ...wrongEndpoints(dials, recovery),
      ...missingPauses(dials, recovery, hasReconnector(plan, client))
    ].map((text) => `client ${client}: ${text}`)
  })

const hasReconnector = ({ actors }: Plan, client: 0 | 1): boolean =>
  actors.some(({ _tag, connection }) => _tag === "Reconnector" && connection === client)

const wrongStates = (states: ReadonlyArray<SeenState>, dials: ReadonlyArray<Dial>): ReadonlyArray<string> => {
  const opened = dials.filter(({ openedAt }) => openedAt !== undefined)
  return states.flatMap(({ at, state }, index) => {
    const wrong: Array<string> = []
    const before = index === 0 ? undefined : states[index - 1].state
    const possible: ReadonlyArray<string> = before === undefined ? first : successors[before._tag]
    if (!possible.includes(state._tag)) wrong.push(`${state._tag} follows ${before?._tag ?? "nothing"} at ${at} ms`)
    if (state._tag === "Open" && before?._tag !== "Blocked") {
      // A session that ended before it was announced is not reported.
      const found = opened.findIndex(({ endpoint }) => state.endpoint === `e${endpoint}`)
      if (found === -1) wrong.push(`it reports that it is open to ${state.endpoint} at ${at} ms`)
      opened.splice(0, found + 1)
    }
    if (before?._tag === "Recovering" && state._tag === "Recovering") {
      if (state.cause !== before.cause) wrong.push(`it recovers from another cause at ${at} ms`)
      if (state.since.getTime() !== before.since.getTime()) wrong.push(`it recovers since another time at ${at} ms`)
      if (state.attempt < before.attempt) wrong.push(`attempt ${state.attempt} follows ${before.attempt}`)
    }
    if (
      (state._tag === "Recovering" || state._tag === "Connecting") &&
      (state.nextAttempt?.getTime() ?? at) < Math.floor(at)
    ) {
      wrong.push(`the next attempt is in the past at ${at} ms`)
    }
    return wrong
  })
}

/** A login is refused only while the client has an old password. */
const wronglyRefused = ({ faults, latencyMillis }: Plan, history: History, client: 0 | 1): ReadonlyArray<string> => {
  const last = history.dialsOf(client).at(-1)
  const isRefused = history.states[client].some(({ state }) => state._tag === "Closed" && isRefusal(state.error))
  // The handshake takes some round trips.
  const isOld = (at: number): boolean =>
    faults.some((fault) =>
      fault._tag === "ChangePassword" && fault.connection === client && at <= fault.atMillis + fault.forMillis + 1 &&
      at >= fault.atMillis - 10 * latencyMillis - 1
    )
  return isRefused && last !== undefined && !isOld(last.at)
    ? [`the login at ${last.at} ms was refused, when the client had the password`]
    : []
}

const isRefusal = ({ reason }: AmqpConnectionError): boolean =>
  reason._tag === "AuthenticationFailed" ||
  reason._tag === "EndpointsFailed" && reason.failures.some(({ reason }) => reason._tag === "AuthenticationFailed")

/** The longest step of the clock, in milliseconds. */
const step = 1_100

/** How long a session that is replaced may last after its publishers have left it. */
const leaving = 12_000

/** What was in flight fails when its session ends, and not later. */
const lateOutcomes = (history: History, client: 0 | 1): ReadonlyArray<string> =>
  history.unknownPublishes.flatMap(({ at, client: each, id }) =>
    each !== client ||
      history.dialsOf(client).some(({ endedAt = at }) => at - step <= endedAt && endedAt <= at + leaving)
      ? []
      : [`${id} failed for the loss of a session at ${at} ms, when none ended`]
  )

/** The endpoint that was lost is dialed after the others. */
const wrongEndpoints = (dials: ReadonlyArray<Dial>, { endpoints, order }: RecoveryPlan): ReadonlyArray<string> =>
  endpoints === 1 ? [] : dials.flatMap(({ endpoint, isFirst, number }) => {
    if (isFirst) return []
    const { endpoint: before } = dials[number - 1]
    return (order === "ordered" ? endpoint === (before + 1) % endpoints : endpoint !== before)
      ? []
      : [`endpoint ${endpoint} is dialed after endpoint ${before}`]
  })

/**
 * Between more attempts than there are endpoints is a pause, unless a session was stable meanwhile. An ordered replacement needs none.
 */
const missingPauses = (
  dials: ReadonlyArray<Dial>,
  { endpoints, pauseMillis, stableAfterMillis }: RecoveryPlan,
  hasReconnector: boolean
): ReadonlyArray<string> =>
  pauseMillis === undefined || hasReconnector ? [] : dials.slice(endpoints).flatMap(({ at, number }) => {
    const window = dials.slice(number - endpoints, number)
    // The connection is made anew if its first round fails.
    if (dials.slice(number - endpoints + 1, number + 1).some(({ isFirst }) => isFirst)) return []
    const isStable = window.some(({ endedAt = at, openedAt = Infinity }) => endedAt - openedAt >= stableAfterMillis)
    return isStable || at - window[0].at >= pauseMillis - 1
      ? []
      : [`${endpoints + 1} attempts within ${at - window[0].at} ms, at ${at} ms`]
  })
