/** Reports of differences. */
import { firstDifference, stepText } from "./compare.ts"
import type { Difference } from "./compare.ts"
import { describeOperation } from "./operations.ts"

const indented = (lines: ReadonlyArray<string>, by: string): string =>
  (lines.length === 0 ? ["nothing"] : lines).map((line) => `${by}${line}`).join("\n")

/** The operations up to the first difference, and both replies there. */
export const describeDifference = (
  { embedded, plan, reference }: Difference,
  names: { readonly reference: string; readonly embedded: string }
): string => {
  const index = firstDifference(reference, embedded) ?? 0
  const count = Math.min(index + 1, plan.operations.length)
  const operations = plan.operations.slice(0, count).map((operation, index) =>
    `${String(index + 1).padStart(4)}. ${describeOperation(operation)}`
  )
  const title = plan.operations[index] === undefined ? [`      ${reference[index]?.title}:`] : []
  return [
    ...operations,
    ...title,
    `      ${names.reference}:`,
    indented(reference[index]?.lines ?? [], "        "),
    `      ${names.embedded}:`,
    indented(embedded[index]?.lines ?? [], "        ")
  ].join("\n")
}

/** Every operation with its reply, and both replies where they differ. */
export const describeRun = (
  { embedded, plan, reference }: Difference,
  names: { readonly reference: string; readonly embedded: string }
): string =>
  reference.map((step, index) => {
    const operation = plan.operations[index]
    const title = operation === undefined ? step.title : describeOperation(operation)
    const other = embedded[index]
    const replies = other !== undefined && stepText(step) === stepText(other)
      ? [indented(step.lines, "        ")]
      : [
        `      ${names.reference}:`,
        indented(step.lines, "        "),
        `      ${names.embedded}:`,
        indented(other?.lines ?? [], "        ")
      ]
    return [`${String(index + 1).padStart(4)}. ${title}`, ...replies].join("\n")
  }).join("\n")
