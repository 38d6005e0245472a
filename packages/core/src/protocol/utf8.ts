/**
 * Text whose bytes may not be UTF-8.
 *
 * A short string is UTF-8 by the specification, but any bytes in practice: correlation ids are hashes, reply addresses
 * belong to another protocol. A byte that is not part of a valid sequence becomes a lone surrogate, U+DC80 to U+DCFF for 0x80 to 0xFF, as in
 * Python's `surrogateescape` (PEP 383). No valid text contains one. So the valid parts are readable, the text can be passed on,
 * compared and used as a key like any other, and it is encoded to the original bytes.
 *
 * @since 0.1.0
 */

const encoder = new TextEncoder()

// A byte order mark is part of the text, or a round trip would lose it.
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true })

/** From a byte to the surrogate that stands for it. */
const escape = 0xdc00

/** Reads bytes as UTF-8, with a surrogate for each invalid byte. */
export const decodeUtf8 = (bytes: Uint8Array): string => {
  try {
    return strict.decode(bytes)
  } catch {
    return decodeEscaped(bytes)
  }
}

const decodeEscaped = (bytes: Uint8Array): string => {
  let text = ""
  let valid = 0
  for (let position = 0; position < bytes.length;) {
    const length = sequenceLength(bytes, position)
    if (length > 0) {
      position += length
      continue
    }
    text += strict.decode(bytes.subarray(valid, position)) + String.fromCharCode(escape + bytes[position])
    valid = ++position
  }
  return text + strict.decode(bytes.subarray(valid))
}

/** The size in bytes of the character at `position`; 0 if it is invalid (Unicode, table 3-7, "Well-Formed UTF-8"). */
const sequenceLength = (bytes: Uint8Array, position: number): number => {
  const first = bytes[position]
  if (first < 0x80) return 1
  if (first < 0xc2 || first > 0xf4) return 0
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
  const second = bytes[position + 1]
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80
  const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf
  // Beyond the end a byte is `undefined`, and in no range.
  if (!(second >= least && second <= most)) return 0
  for (let index = 2; index < length; index++) {
    const next = bytes[position + index]
    if (!(next >= 0x80 && next <= 0xbf)) return 0
  }
  return length
}

// By character, not by UTF-16 unit: half of a pair does not match.
const loneSurrogate = /\p{Surrogate}/u
const escapedByte = /[\uDC80-\uDCFF]/u

/** Whether a text has a lone surrogate, which UTF-8 can't express. */
export const hasLoneSurrogate = (text: string): boolean => loneSurrogate.test(text)

/** Encodes text, with the bytes that surrogates stand for. Any other lone surrogate becomes U+FFFD. */
export const encodeUtf8 = (text: string): Uint8Array => {
  if (!escapedByte.test(text)) return encoder.encode(text)
  const bytes: Array<number> = []
  // By character: the two halves of a pair are one, and a surrogate is a lone one.
  for (const character of text) {
    const code = character.charCodeAt(0)
    if (character.length === 1 && code >= escape + 0x80 && code <= escape + 0xff) bytes.push(code - escape)
    else bytes.push(...encoder.encode(character))
  }
  return Uint8Array.from(bytes)
}
