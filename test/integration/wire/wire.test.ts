/**
 * What RabbitMQ 3.10 does with bytes that no client should send, and with those that come when a connection closes. The embedded
 * broker has to do the same.
 */
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import { beforeAll } from "vitest"
import { wire } from "../../fixtures/wire.ts"
import { brokerUrl } from "../../support/brokerUnderTest.ts"
import { versionAt } from "../../support/conversation.ts"
import { frame, methodFrame, wireTalk } from "../../support/wireTalk.ts"
import type { WireState, WireTalk } from "../../support/wireTalk.ts"

/** What is sent in a state, and what the broker does then. */
interface Case {
  readonly in: WireState
  readonly send: WireTalk["send"]
  readonly tune?: WireTalk["tune"]
  readonly expected: ReadonlyArray<string>
}

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

const close: Method = { _tag: "connection.close", replyCode: 200, replyText: "", classId: 0, methodId: 0 }
const closeOk: Method = { _tag: "connection.close-ok" }
const channelClose: Method = { _tag: "channel.close", replyCode: 200, replyText: "", classId: 0, methodId: 0 }
const channelCloseOk: Method = { _tag: "channel.close-ok" }
const channelOpen: Method = { _tag: "channel.open" }
const open: Method = { _tag: "connection.open", virtualHost: "/" }
const qos: Method = { _tag: "basic.qos", prefetchSize: 0, prefetchCount: 1, global: false }

const startOk = (
  mechanism: string,
  response: string | Uint8Array,
  capabilities: Record<string, boolean> = {}
): Method => ({
  _tag: "connection.start-ok",
  clientProperties: { capabilities },
  mechanism,
  response: typeof response === "string" ? ascii(response) : response,
  locale: "en_US"
})

const tuneOk = (channelMax: number, frameMax: number): Method => ({
  _tag: "connection.tune-ok",
  channelMax,
  frameMax,
  heartbeat: 0
})

const publish: Method = {
  _tag: "basic.publish",
  exchange: "",
  routingKey: "effect-amqp-test-nowhere",
  mandatory: true,
  immediate: false
}

/** Of no queue: refused with 404. */
const refused: Method = {
  _tag: "queue.declare",
  queue: "effect-amqp-test-nowhere",
  passive: true,
  durable: false,
  exclusive: false,
  autoDelete: false,
  noWait: false,
  arguments: {}
}

const refusal = "1: channel.close 404 NOT_FOUND - no queue 'effect-amqp-test-nowhere' in vhost '/' [50, 10]"

const hex = (value: number, bytes: number): string => value.toString(16).padStart(bytes * 2, "0")

/** A content header on channel 1. */
const header = (bodySize: number, { classId = 60, properties = "0000", weight = 0 } = {}): Uint8Array =>
  frame(2, 1, wire(hex(classId, 2) + hex(weight, 2) + hex(bodySize, 8) + properties))

const headerOf = (payload: string): Uint8Array => frame(2, 1, wire(payload))

const body = (size: number): Uint8Array => frame(3, 1, new Uint8Array(size))

/** A frame that ends before its payload begins. */
const announced = (type: number, channel: number, size: number): Uint8Array =>
  wire(hex(type, 1) + hex(channel, 2) + hex(size, 4))

const returned = (...pieces: ReadonlyArray<number>): ReadonlyArray<string> => [
  "1: basic.return 312 NO_ROUTE  effect-amqp-test-nowhere",
  "header 14",
  ...pieces.map((size) => `body ${size}`)
]

/** The broker closes the connection with these words, and leaves the socket open. */
const closes = (text: string, ids = "0, 0"): ReadonlyArray<string> => [`connection.close ${text} [${ids}]`, "open"]

const silence = ["closed after 3 s"]

const frameError = (text: string, ids?: string) => closes(`501 FRAME_ERROR - ${text}`, ids)
const channelError = (text: string, ids?: string) => closes(`504 CHANNEL_ERROR - ${text}`, ids)
const unexpectedFrame = (text: string, ids?: string) => closes(`505 UNEXPECTED_FRAME - ${text}`, ids)
const internalError = closes("541 INTERNAL_ERROR")
const noText = frameError("Malformed UTF-8 in shortstr")

const foreign = ["AMQP 0 0 9 1", "closed at once"]

const groups: Record<string, Record<string, Case>> = {
  "a protocol header": {
    "of 0-9 is greeted with 0-9": {
      in: "connected",
      send: [wire(`"AMQP" 01 01 00 09`)],
      expected: ["connection.start 0-9", "open"]
    },
    "of 0-8 is greeted with 8-0": {
      in: "connected",
      send: [wire(`"AMQP" 01 01 08 00`)],
      expected: ["connection.start 8-0", "open"]
    },
    "of 0-8, as the specification has it, is greeted with 8-0": {
      in: "connected",
      send: [wire(`"AMQP" 01 01 09 01`)],
      expected: ["connection.start 8-0", "open"]
    },
    "is awaited to its last byte": { in: "connected", send: [ascii("GET / H")], expected: ["open"] },
    "of 1.0 is answered with that of 0-9-1": {
      in: "connected",
      send: [wire(`"AMQP" 00 01 00 00`)],
      expected: foreign
    },
    "of another protocol is answered with that of 0-9-1": {
      in: "connected",
      send: [ascii("GET / HTTP/1.1\r\n\r\n")],
      expected: foreign
    }
  },

  "an error of the handshake closes the socket after 3 seconds, without a word:": {
    "a close": { in: "starting", send: [close], expected: silence },
    "an answer to a close": { in: "starting", send: [closeOk], expected: silence },
    "connection.open too early": { in: "starting", send: [open], expected: silence },
    "a channel too early": { in: "starting", send: [channelOpen], expected: silence },
    "a frame of an unknown type": { in: "starting", send: [frame(9, 0, new Uint8Array(3))], expected: silence },
    "a wrong frame end": { in: "starting", send: [frame(8, 0, new Uint8Array(), 1)], expected: silence },
    "a payload above 4096 bytes before the limit is negotiated": {
      in: "starting",
      send: [announced(1, 0, 4097)],
      expected: silence
    },
    "a method that is cut short": {
      in: "starting",
      send: [frame(1, 0, wire("000a 000b 00000000 05"))],
      expected: silence
    },
    "an unknown mechanism": {
      in: "starting",
      send: [startOk("XX", "", { authentication_failure_close: true })],
      expected: silence
    },
    "a PLAIN response without a password": {
      in: "starting",
      send: [startOk("PLAIN", "\0guest", { authentication_failure_close: true })],
      expected: silence
    },
    "a PLAIN response with an authorization identity": {
      in: "starting",
      send: [startOk("PLAIN", "guest\0guest\0guest")],
      expected: silence
    },
    "an AMQPLAIN response without a login": { in: "starting", send: [startOk("AMQPLAIN", "")], expected: silence },
    "an AMQPLAIN response that is no table": {
      in: "starting",
      send: [startOk("AMQPLAIN", new Uint8Array(7).fill(9))],
      expected: silence
    },
    "a wrong password, of a client that does not announce to understand a close": {
      in: "starting",
      send: [startOk("PLAIN", "\0guest\0wrong")],
      expected: silence
    },
    "a close instead of tune-ok": { in: "tuning", send: [close], expected: silence },
    "a frame-max of 4095": { in: "tuning", send: [tuneOk(2047, 4095)], expected: silence },
    "a frame-max above what was offered": { in: "tuning", send: [tuneOk(2047, 131_073)], expected: silence },
    "no frame-max where there is one": { in: "tuning", send: [tuneOk(2047, 0)], expected: silence },
    "a channel-max above what was offered": { in: "tuning", send: [tuneOk(2048, 131_072)], expected: silence },
    "no channel-max where there is one": { in: "tuning", send: [tuneOk(0, 131_072)], expected: silence },
    "connection.open that is cut short": {
      in: "opening",
      send: [frame(1, 0, wire("000a 0028 05 41"))],
      expected: silence
    }
  },

  "in the handshake": {
    "a wrong password is told to a client that announces to understand it": {
      in: "starting",
      send: [startOk("PLAIN", "\0guest\0wrong", { authentication_failure_close: true })],
      expected: [
        "connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile. [0, 0]",
        "closed after 3 s"
      ]
    },
    "an unknown method ends the connection at once": {
      in: "starting",
      send: [frame(1, 0, wire("000a 00ff"))],
      expected: ["closed at once"]
    },
    "a payload of 4096 bytes is awaited": { in: "starting", send: [announced(1, 0, 4096)], expected: ["open"] },
    "a heartbeat is welcome": { in: "starting", send: [frame(8, 0, new Uint8Array())], expected: ["open"] },
    "a close before the virtual host is open is refused with 504": {
      in: "opening",
      send: [close],
      expected: channelError("unexpected method in connection state opening", "10, 50")
    },
    "a channel before the virtual host is open is refused with 505": {
      in: "opening",
      send: [channelOpen],
      expected: unexpectedFrame("type 1, all octets = <<0,20,0,10,0>>")
    },
    "a virtual host whose name is not UTF-8 is refused with 501": {
      in: "opening",
      send: [frame(1, 0, wire("000a 0028 02 fffe 00 00"))],
      expected: frameError("Malformed UTF-8 in shortstr", "10, 40")
    }
  },

  "a frame": {
    "with as much payload as frame-max is taken": {
      in: "channel",
      send: [publish, header(131_072), body(131_072)],
      expected: [...returned(131_064, 8), "open"]
    },
    "with as much payload as a smaller frame-max is taken": {
      in: "channel",
      tune: { frameMax: 4096 },
      send: [publish, header(4096), body(4096)],
      expected: [...returned(4088, 8), "open"]
    },
    "with a byte more is refused before its payload, and the socket closed 3 seconds later": {
      in: "channel",
      send: [publish, header(131_073), announced(3, 1, 131_073)],
      expected: [
        ...frameError("type 3, all octets = <<>>: {frame_too_large,131073,131064}").slice(0, 1),
        "closed after 3 s"
      ]
    },
    "that is too large is followed by nothing that is understood, not even the answer to the close": {
      in: "channel",
      tune: { frameMax: 4096 },
      send: [announced(1, 1, 5000), "answer", closeOk],
      expected: [
        ...frameError("type 1, all octets = <<>>: {frame_too_large,5000,4088}").slice(0, 1),
        "closed after 3 s"
      ]
    },
    "with a wrong end is refused, and the socket closed 3 seconds later": {
      in: "channel",
      send: [frame(1, 1, wire("003c 000a 00000000 0001 00"), 7), "answer", closeOk],
      expected: [
        ...frameError("type 1, all octets = <<0,60,0,10,0,0,0,0,0,1,0>>: {invalid_frame_end_marker,7}").slice(0, 1),
        "closed after 3 s"
      ]
    },
    "of an unknown type is refused with 501, and the answer to that is understood": {
      in: "running",
      send: [frame(9, 0, new Uint8Array(3)), "answer", closeOk],
      expected: [
        ...frameError("type 9, all octets = <<0,0,0>>: unknown_frame").slice(0, 1),
        "closed at once"
      ]
    },
    "of an unknown type on a channel is quoted as text where it is text": {
      in: "running",
      send: [frame(0, 1, ascii(`hello "w" \\ \n`))],
      expected: frameError(String.raw`type 0, all octets = <<"hello \"w\" \\ \n">>: unknown_frame`)
    },
    "is quoted with 16 bytes of its payload, in lines of 80 characters": {
      in: "running",
      send: [frame(255, 0, Uint8Array.from({ length: 17 }, (_, index) => 128 + index))],
      expected: frameError(
        `type 255, first 16 octets = <<128,129,130,131,132,133,134,135,136,137,138,139,\n${
          " ".repeat(30)
        }140,141,142,143>>: unknown_frame`
      )
    },
    "with a wrong end is quoted with that, in lines of 80 characters": {
      in: "running",
      send: [frame(1, 0, new Uint8Array(12).fill(1), 77)],
      expected: [
        `connection.close 501 FRAME_ERROR - type 1, all octets = <<1,1,1,1,1,1,1,1,1,1,1,1>>: {invalid_frame_end_marker,\n${
          " ".repeat(51)
        }77} [0, 0]`,
        "closed after 3 s"
      ]
    },
    "of a heartbeat with a payload is refused with 501": {
      in: "running",
      send: [frame(8, 0, new Uint8Array(2))],
      expected: frameError("type 8, all octets = <<0,0>>: unknown_frame")
    },
    "of a heartbeat on a channel is refused with 505": {
      in: "running",
      send: [frame(8, 1, new Uint8Array())],
      expected: unexpectedFrame("type 8, all octets = <<>>")
    },
    "of a content on channel 0 is refused with 505": {
      in: "running",
      send: [frame(3, 0, ascii("hello"))],
      expected: unexpectedFrame(`type 3, all octets = <<"hello">>`)
    },
    "of a method without room for its ids is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("003c 00"))],
      expected: frameError("type 1, all octets = <<0,60,0>>: unknown_frame")
    },
    "of a content header without room for a body size is refused with 501": {
      in: "channel",
      send: [publish, headerOf("003c 0000 00000000000000")],
      expected: frameError("type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0>>: unknown_frame")
    },
    "that comes byte by byte is one": {
      in: "channel",
      send: Array.from(
        Buffer.concat([methodFrame(1, publish), header(3), body(2), body(1)]),
        (byte) => Uint8Array.of(byte)
      ),
      expected: [...returned(3), "open"]
    }
  },

  "a content": {
    "is not interrupted by channel.close": {
      in: "channel",
      send: [publish, channelClose],
      expected: unexpectedFrame("expected content header for class 60, got non content header frame instead", "60, 40")
    },
    "whose body is missing is not interrupted by channel.close": {
      in: "channel",
      send: [publish, header(3), channelClose],
      expected: unexpectedFrame("expected content body, got non content body frame instead", "60, 40")
    },
    "is not interrupted by another publish": {
      in: "channel",
      send: [publish, publish],
      expected: unexpectedFrame("expected content header for class 60, got non content header frame instead", "60, 40")
    },
    "has one header": {
      in: "channel",
      send: [publish, header(3), header(3)],
      expected: unexpectedFrame("expected content body, got non content body frame instead", "60, 40")
    },
    "has a header before its body": {
      in: "channel",
      send: [publish, body(3)],
      expected: unexpectedFrame("expected content header for class 60, got non content header frame instead", "60, 40")
    },
    "without a method is refused": {
      in: "channel",
      send: [header(3)],
      expected: unexpectedFrame("expected method frame, got non method frame instead")
    },
    "without a method on a channel that is not open is refused for the former": {
      in: "running",
      send: [body(3)],
      expected: unexpectedFrame("expected method frame, got non method frame instead")
    },
    "of another class is refused": {
      in: "channel",
      send: [publish, header(3, { classId: 50 })],
      expected: unexpectedFrame("expected content header for class 60, got one for class 50 instead", "60, 40")
    },
    "with a weight is refused": {
      in: "channel",
      send: [publish, header(3, { weight: 1 })],
      expected: unexpectedFrame("expected content header for class 60, got non content header frame instead", "60, 40")
    },
    "that is longer than announced goes on until something else comes": {
      in: "channel",
      send: [publish, header(3), body(4), body(1), qos],
      expected: unexpectedFrame("expected content body, got non content body frame instead", "60, 40")
    },
    "on a channel that is not open is awaited before that is said": {
      in: "running",
      send: [publish],
      expected: ["open"]
    },
    "on a channel that is not open is refused with 504": {
      in: "running",
      send: [publish, header(0)],
      expected: channelError("expected 'channel.open'", "60, 40")
    },
    "of a server's method is awaited before the method is refused": {
      in: "channel",
      send: [{ _tag: "basic.return", replyCode: 1, replyText: "", exchange: "", routingKey: "" }, 100, header(0)],
      expected: closes("503 COMMAND_INVALID - unimplemented method", "60, 50")
    },
    "without property flags breaks the channel": {
      in: "channel",
      send: [publish, headerOf("003c 0000 0000000000000000")],
      expected: internalError
    },
    "whose properties are cut short breaks the channel": {
      in: "channel",
      send: [publish, header(0, { properties: "8000 05 41" })],
      expected: internalError
    },
    "with more than its properties breaks the channel": {
      in: "channel",
      send: [publish, header(0, { properties: "0000 05 41" })],
      expected: internalError
    },
    "whose headers have a value of an unknown type breaks the channel": {
      in: "channel",
      send: [publish, header(0, { properties: "2000 00000005 01 41 5a 00 00" })],
      expected: internalError
    }
  },

  "a method": {
    "that is unknown ends the connection at once: on channel 0": {
      in: "running",
      send: [frame(1, 0, wire("000a 00ff"))],
      expected: ["closed at once"]
    },
    "that is unknown ends the connection at once: on a channel": {
      in: "channel",
      send: [frame(1, 1, wire("003c 00ff"))],
      expected: ["closed at once"]
    },
    "that is cut short is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 05 41"))],
      expected: frameError("cannot decode <<0,0,5,65>>", "50, 10")
    },
    "with nothing after its ids is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("003c 000a"))],
      expected: frameError("cannot decode <<>>", "60, 10")
    },
    "with more than its arguments is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("003c 000a 00000000 0001 00 ff"))],
      expected: frameError("cannot decode <<0,0,0,0,0,1,0,255>>", "60, 10")
    },
    "with a table that is longer than the rest is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 00 02 00000009 01 41 5a 00 00"))],
      expected: frameError("cannot decode <<0,0,0,2,0,0,0,9,1,65,90,0,0>>", "50, 10")
    },
    "with a table that is shorter than the rest is refused with 501, whatever is in it": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 00 02 00000003 01 41 5a 00 00"))],
      expected: frameError("cannot decode <<0,0,0,2,0,0,0,3,1,65,90,0,0>>", "50, 10")
    },
    "with a table value of an unknown type ends the connection at once": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 00 02 00000005 01 41 5a 00 00"))],
      expected: ["closed at once"]
    },
    "of channel 0 that is cut short breaks the connection": {
      in: "running",
      send: [frame(1, 0, wire("000a 0032 00"))],
      expected: internalError
    },
    "of the handshake is refused with 504 later": {
      in: "running",
      send: [open],
      expected: channelError("unexpected method in connection state running", "10, 40")
    },
    "of a channel is refused with 504 on channel 0": {
      in: "running",
      send: [methodFrame(0, qos)],
      expected: channelError("unexpected method in connection state running", "60, 10")
    },
    "that answers no close is refused with 504": {
      in: "running",
      send: [closeOk],
      expected: channelError("unexpected method in connection state running", "10, 51")
    },
    "on a channel that is not open is refused with 504": {
      in: "running",
      send: [qos],
      expected: channelError("expected 'channel.open'", "60, 10")
    },
    "on one channel too many is refused with 530, whatever it is": {
      in: "channel",
      tune: { channelMax: 1 },
      send: [methodFrame(2, qos)],
      expected: closes("530 NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (1)")
    },
    "access.request is granted": {
      in: "channel",
      send: [frame(1, 1, wire(`001e 000a 05 "/data" 1d`))],
      expected: ["1: access.request-ok 1", "open"]
    },
    "access.request that is cut short is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("001e 000a 05 00"))],
      expected: frameError("cannot decode <<5,0>>", "30, 10")
    },
    "immediate is refused when the message is complete": {
      in: "channel",
      send: [{ ...publish, immediate: true }, 100, header(0)],
      expected: closes("540 NOT_IMPLEMENTED - immediate=true", "60, 40")
    }
  },

  "a name that is not UTF-8 is refused with 501:": {
    "of a queue that is declared": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 02 fffe 02 00000000"))],
      expected: noText
    },
    "of a queue that is consumed": {
      in: "channel",
      send: [frame(1, 1, wire("003c 0014 0000 02 fffe 00 00 00000000"))],
      expected: noText
    },
    "of an exchange that is declared": {
      in: "channel",
      send: [frame(1, 1, wire(`0028 000a 0000 03 41 c3 41 06 "direct" 00 00000000`))],
      expected: noText
    },
    "of a consumer that is cancelled": {
      in: "channel",
      send: [frame(1, 1, wire("003c 001e 02 fffe 00"))],
      expected: noText
    },
    "a binding's routing key": {
      in: "channel",
      send: [frame(1, 1, wire(`0032 0014 0000 01 41 0a "amq.direct" 02 8041 00 00000000`))],
      expected: noText
    },
    "a close's text": {
      in: "running",
      send: [frame(1, 0, wire("000a 0032 00c8 02 fffe 0000 0000"))],
      expected: frameError("Malformed UTF-8 in shortstr", "10, 50")
    }
  },

  "a name that is not UTF-8 is taken:": {
    "of an exchange that is published to, which is not there": {
      in: "channel",
      send: [frame(1, 1, wire("003c 0028 0000 02 fffe 01 41 01")), header(0)],
      expected: ["1: channel.close 404 NOT_FOUND - no exchange '\uFFFD\uFFFD' in vhost '/' [60, 40]", "open"]
    },
    "a message's routing key": {
      in: "channel",
      send: [frame(1, 1, wire("003c 0028 0000 00 02 fffe 01")), header(0)],
      expected: ["1: basic.return 312 NO_ROUTE  <ff><fe>", "header 14", "open"]
    },
    "within a table": {
      in: "channel",
      send: [frame(1, 1, wire(`0032 000a 0000 0b "amq.nowhere" 01 00000005 02 fffe 74 01`))],
      expected: ["1: channel.close 404 NOT_FOUND - no queue 'amq.nowhere' in vhost '/' [50, 10]", "open"]
    }
  },

  "a confirm": {
    "of a message that no queue takes comes at once, and alone": {
      in: "channel",
      send: [
        { _tag: "confirm.select", noWait: false },
        Buffer.concat(
          Array.from({ length: 3 }, () => [methodFrame(1, { ...publish, mandatory: false }), header(0)]).flat()
        )
      ],
      expected: ["1: confirm.select-ok", "1: basic.ack 1 false", "1: basic.ack 2 false", "1: basic.ack 3 false", "open"]
    },
    "of a message that is returned comes after it, and before the next": {
      in: "channel",
      send: [
        { _tag: "confirm.select", noWait: false },
        Buffer.concat(Array.from({ length: 2 }, () => [methodFrame(1, publish), header(0)]).flat())
      ],
      expected: [
        "1: confirm.select-ok",
        ...returned(),
        "1: basic.ack 1 false",
        ...returned(),
        "1: basic.ack 2 false",
        "open"
      ]
    }
  },

  heartbeats: {
    "come without anything else, and a client without them is dropped after 3 intervals": {
      in: "opening",
      tune: { heartbeat: 1 },
      send: [],
      expected: ["heartbeat", "closed after 3 s"]
    }
  },

  "a connection that the client closes": {
    "is left to the client to end, and every further close is answered": {
      in: "channel",
      send: [
        close,
        "answer",
        qos,
        close,
        close,
        frame(9, 0, new Uint8Array(3)),
        frame(9, 1, new Uint8Array(3)),
        body(3)
      ],
      expected: ["connection.close-ok", "connection.close-ok", "connection.close-ok", "open"]
    },
    "ends with close-ok, which no client has to send": {
      in: "channel",
      send: [close, "answer", closeOk],
      expected: ["connection.close-ok", "closed at once"]
    },
    "ends with an unknown method": {
      in: "channel",
      send: [close, "answer", frame(1, 0, wire("000a 00ff"))],
      expected: ["connection.close-ok", "closed at once"]
    },
    "ends 3 seconds after a wrong frame end": {
      in: "channel",
      send: [close, "answer", frame(8, 0, new Uint8Array(), 1), closeOk],
      expected: ["connection.close-ok", "closed after 3 s"]
    },
    "ends after an interval of heartbeats": {
      in: "channel",
      tune: { heartbeat: 2 },
      send: [close],
      expected: ["connection.close-ok", "heartbeat", "closed after 2 s"]
    }
  },

  "a connection that the broker closes": {
    "answers a close, and ends with the answer to its own": {
      in: "running",
      send: [frame(9, 0, new Uint8Array(3)), "answer", close, "answer", closeOk],
      expected: [
        ...frameError("type 9, all octets = <<0,0,0>>: unknown_frame").slice(0, 1),
        "connection.close-ok",
        "closed at once"
      ]
    },
    "ends unanswered after an interval of heartbeats": {
      in: "running",
      tune: { heartbeat: 2 },
      send: [closeOk],
      expected: [
        ...channelError("unexpected method in connection state running", "10, 51").slice(0, 1),
        "heartbeat",
        "closed after 2 s"
      ]
    }
  },

  "a channel that the broker closes": {
    "ignores what comes, and answers every close": {
      in: "channel",
      send: [refused, "answer", qos, channelClose, channelClose, publish, header(3), body(3)],
      expected: [refusal, "1: channel.close-ok", "1: channel.close-ok", "open"]
    },
    "still wants frames in their order": {
      in: "channel",
      send: [refused, "answer", publish, channelCloseOk],
      expected: [
        refusal,
        ...unexpectedFrame("expected content header for class 60, got non content header frame instead", "60, 40")
      ]
    },
    "counts as one until that is answered": {
      in: "channel",
      tune: { channelMax: 1 },
      send: [refused, "answer", methodFrame(2, channelOpen)],
      expected: [
        refusal,
        ...closes("530 NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (1)")
      ]
    },
    "cannot be opened again before that is answered": {
      in: "channel",
      send: [refused, "answer", channelOpen],
      expected: [refusal, ...channelError("second 'channel.open' seen", "20, 10")]
    },
    "can be opened again once that is answered": {
      in: "channel",
      tune: { channelMax: 1 },
      send: [refused, "answer", channelCloseOk, channelOpen],
      expected: [refusal, "1: channel.open-ok", "open"]
    }
  }
}

/** How many connections talk at once. */
const concurrency = 32

describe.runIf(await versionAt(brokerUrl) === "3.10" && new URL(brokerUrl).pathname.length <= 1)("on the wire,", () => {
  const found = new Map<Case, Promise<ReadonlyArray<string>>>()

  beforeAll(async () => {
    const waiting = Object.values(groups).flatMap((cases) => Object.values(cases))
    await Promise.all(Array.from({ length: concurrency }, async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const { expected, in: state, send, tune = {} } = next
        const lines = expected.filter((line) => line !== "open").length
        const talking = wireTalk(brokerUrl, { state, send, tune, lines })
        found.set(next, talking)
        await talking.catch(() => {})
      }
    }))
  })

  for (const [group, cases] of Object.entries(groups)) {
    describe(group, () => {
      for (const [name, each] of Object.entries(cases)) {
        it(name, async () => assert.deepStrictEqual(await found.get(each), each.expected))
      }
    })
  }
})
