/**
 * UUIDs of version 7 (RFC 9562, section 5.7), from the caller's clock and random numbers. Effect's own generators use a
 * secure source, which a seed can't control.
 */
import type { Random } from "effect/Random"

/** 48 bits of milliseconds, then 74 random bits between the version and the variant. */
export const uuidV7 = (millis: number, random: Random): string => {
  const time = hex(Math.max(0, Math.floor(millis)), 12)
  const bits = (count: number): number => Math.floor(random.nextDoubleUnsafe() * 2 ** count)
  const version = hex(0x7000 + bits(12), 4)
  const variant = hex(0x8000 + bits(14), 4)
  return `${time.slice(0, 8)}-${time.slice(8)}-${version}-${variant}-${hex(bits(48), 12)}`
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0").slice(-digits)
