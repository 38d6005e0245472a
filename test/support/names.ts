/** A name that nothing else has. */
export const uniqueName = (what: string): string => `effect-amqp-test-${what}-${crypto.randomUUID()}`
