/** Field values as RabbitMQ prints them in its reply texts. */
import { textOfBytes } from "./wireValues.ts"
import type { WireValue } from "./wireValues.ts"

/** Text as it is, and other values as Erlang prints them. */
export const show = (value: WireValue): string =>
  value.type === "longstr" || value.type === "binary" ? textOfBytes(value.value) : erlangTerm(value)

const erlangTerm = (value: WireValue): string => {
  switch (value.type) {
    case "longstr":
      return `<<"${textOfBytes(value.value)}">>`
    case "binary":
      return `<<${value.value.join(",")}>>`
    case "array":
      return `[${value.value.map((item) => `{${item.type},${erlangTerm(item)}}`).join(",")}]`
    case "table":
      return `[${value.value.map(([key, item]) => `{<<"${key}">>,${item.type},${erlangTerm(item)}}`).join(",")}]`
    case "decimal":
      return `{${value.scale},${value.value}}`
    case "void":
      return "undefined"
    case "float":
    case "double":
      return float(value.value)
    default:
      return String(value.value)
  }
}

/** Erlang prints a float in the shorter of two notations, and always with a point. */
const float = (value: number): string => {
  const [mantissa = "0", exponent = "0"] = value.toExponential().split("e")
  const scientific = `${withPoint(mantissa)}e${Number(exponent)}`
  const plain = withPoint(String(value))
  return plain.includes("e") || scientific.length < plain.length ? scientific : plain
}

const withPoint = (digits: string): string => digits.includes(".") || digits.includes("e") ? digits : `${digits}.0`
