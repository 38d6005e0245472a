/** A unique name. */
export const uniqueName = (what: string): string => `effect-amqp-test-${what}-${crypto.randomUUID()}`
