/**
 * The only globals beyond ECMAScript that this package uses. Declared here and not taken from the library of a
 * platform, so that code which would not run on some platform (Node.js, Deno, Bun, a browser) does not compile.
 */

declare global {
  class TextEncoder {
    encode(text?: string): Uint8Array<ArrayBuffer>
    encodeInto(text: string, destination: Uint8Array): { readonly read: number; readonly written: number }
  }

  class TextDecoder {
    constructor(encoding?: "utf-8", options?: { readonly fatal?: boolean; readonly ignoreBOM?: boolean })
    decode(bytes?: ArrayBufferView | ArrayBuffer): string
  }

  interface BytesReader {
    read(): Promise<
      { readonly done: false; readonly value: Uint8Array } | {
        readonly done: true
        readonly value?: undefined
      }
    >
    cancel(): Promise<void>
  }

  interface BytesWriter {
    readonly closed: Promise<void>
    write(bytes: Uint8Array): Promise<void>
    close(): Promise<void>
    abort(): Promise<void>
  }

  class CompressionStream {
    constructor(format: "gzip" | "deflate")
    readonly readable: { getReader(): BytesReader }
    readonly writable: { getWriter(): BytesWriter }
  }

  class DecompressionStream {
    constructor(format: "gzip" | "deflate")
    readonly readable: { getReader(): BytesReader }
    readonly writable: { getWriter(): BytesWriter }
  }

  function queueMicrotask(callback: () => void): void
}

export {}
