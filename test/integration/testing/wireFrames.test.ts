/** What RabbitMQ, and so the embedded broker, does with valid and invalid frames. */
import { wire } from "../../fixtures/wire.ts"
import { isEmbedded } from "../../support/brokerUnderTest.ts"
import {
  announced,
  ascii,
  body,
  channelClose,
  channelError,
  closeOk,
  closes,
  describeWireCases,
  frameError,
  header,
  headerOf,
  internalError,
  notUtf8,
  open,
  publish,
  qos,
  returned,
  unexpectedFrame
} from "../../support/wireCases.ts"
import { frame, methodFrame } from "../../support/wireTalk.ts"

const noExchange = (name: string): ReadonlyArray<string> => [
  `1: channel.close 404 NOT_FOUND - no exchange '${name}' in vhost '/' [60, 40]`,
  "open"
]

describeWireCases({
  "a frame": {
    "with a payload of frame-max is accepted": {
      in: "channel",
      send: [publish, header(131_072), body(131_072)],
      expected: [...returned(131_064, 8), "open"]
    },
    "with a payload of a smaller frame-max is accepted": {
      in: "channel",
      tune: { frameMax: 8192 },
      send: [publish, header(8192), body(8192)],
      expected: [...returned(8184, 8), "open"]
    },
    "with one byte more is refused before its payload, and the socket closes 3 seconds later": {
      in: "channel",
      send: [publish, header(131_073), announced(3, 1, 131_073)],
      expected: [
        ...frameError("type 3, all octets = <<>>: {frame_too_large,131073,131064}").slice(0, 1),
        "closed after 3 s"
      ]
    },
    "that is too large is the last one that the broker reads, even before close-ok": {
      in: "channel",
      tune: { frameMax: 8192 },
      send: [announced(1, 1, 9000), "answer", closeOk],
      expected: [
        ...frameError("type 1, all octets = <<>>: {frame_too_large,9000,8184}").slice(0, 1),
        "closed after 3 s"
      ]
    },
    "with a wrong end is refused, and the socket closes 3 seconds later": {
      in: "channel",
      send: [frame(1, 1, wire("003c 000a 00000000 0001 00"), 7), "answer", closeOk],
      expected: [
        ...frameError("type 1, all octets = <<0,60,0,10,0,0,0,0,0,1,0>>: {invalid_frame_end_marker,7}").slice(0, 1),
        "closed after 3 s"
      ]
    },
    "of an unknown type is refused with 501, and close-ok is still read": {
      in: "running",
      send: [frame(9, 0, new Uint8Array(3)), "answer", closeOk],
      expected: [
        ...frameError("type 9, all octets = <<0,0,0>>: unknown_frame").slice(0, 1),
        "closed at once"
      ]
    },
    "of an unknown type is quoted as text when its payload is text": {
      in: "running",
      send: [frame(0, 1, ascii(`hello "w" \\ \n`))],
      expected: frameError(String.raw`type 0, all octets = <<"hello \"w\" \\ \n">>: unknown_frame`)
    },
    "is quoted with the first 16 bytes of its payload, in lines of 80 characters": {
      in: "running",
      send: [frame(255, 0, Uint8Array.from({ length: 17 }, (_, index) => 128 + index))],
      expected: frameError(
        `type 255, first 16 octets = <<128,129,130,131,132,133,134,135,136,137,138,139,\n${
          " ".repeat(30)
        }140,141,142,143>>: unknown_frame`
      )
    },
    "with a wrong end is quoted with its end, in lines of 80 characters": {
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
    "of content on channel 0 is refused with 505": {
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
    "that arrives byte by byte is read as one": {
      in: "channel",
      send: Array.from(
        Buffer.concat([methodFrame(1, publish), header(3), body(2), body(1)]),
        (byte) => Uint8Array.of(byte)
      ),
      expected: [...returned(3), "open"]
    }
  },

  content: {
    "must not be interrupted by channel.close": {
      in: "channel",
      send: [publish, channelClose],
      expected: unexpectedFrame("expected content header for class 60, got non content header frame instead", "60, 40")
    },
    "must not be interrupted by channel.close before its body": {
      in: "channel",
      send: [publish, header(3), channelClose],
      expected: unexpectedFrame("expected content body, got non content body frame instead", "60, 40")
    },
    "must not be interrupted by another publish": {
      in: "channel",
      send: [publish, publish],
      expected: unexpectedFrame("expected content header for class 60, got non content header frame instead", "60, 40")
    },
    "must have only one header": {
      in: "channel",
      send: [publish, header(3), header(3)],
      expected: unexpectedFrame("expected content body, got non content body frame instead", "60, 40")
    },
    "must have a header before its body": {
      in: "channel",
      send: [publish, body(3)],
      expected: unexpectedFrame("expected content header for class 60, got non content header frame instead", "60, 40")
    },
    "without a method is refused": {
      in: "channel",
      send: [header(3)],
      expected: unexpectedFrame("expected method frame, got non method frame instead")
    },
    "without a method on a channel that is not open is refused for the missing method": {
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
    "longer than announced is read until another frame arrives, and from 4.3 on refused": {
      in: "channel",
      send: [publish, header(3), body(4), body(1), qos],
      expected: unexpectedFrame("expected content body, got non content body frame instead", "60, 40"),
      expectedSince43: frameError("content body frame exceeds remaining content size", "60, 40")
    },
    "on a channel that is not open is read before it is refused": {
      in: "running",
      send: [publish],
      expected: ["open"]
    },
    "on a channel that is not open is refused with 504": {
      in: "running",
      send: [publish, header(0)],
      expected: channelError("expected 'channel.open'", "60, 40")
    },
    "of a server's method is read before the method is refused": {
      in: "channel",
      send: [{ _tag: "basic.return", replyCode: 1, replyText: "", exchange: "", routingKey: "" }, 100, header(0)],
      expected: closes("503 COMMAND_INVALID - unimplemented method", "60, 50")
    },
    "without property flags causes an internal error": {
      in: "channel",
      send: [publish, headerOf("003c 0000 0000000000000000")],
      expected: internalError
    },
    "with truncated properties causes an internal error": {
      in: "channel",
      send: [publish, header(0, { properties: "8000 05 41" })],
      expected: internalError
    },
    "with bytes after its properties causes an internal error": {
      in: "channel",
      send: [publish, header(0, { properties: "0000 05 41" })],
      expected: internalError
    },
    "with a header value of an unknown type causes an internal error": {
      in: "channel",
      send: [publish, header(0, { properties: "2000 00000005 01 41 5a 00 00" })],
      expected: internalError
    }
  },

  "a method": {
    "that is unknown closes the socket at once: on channel 0": {
      in: "running",
      send: [frame(1, 0, wire("000a 00ff"))],
      expected: ["closed at once"]
    },
    "that is unknown closes the socket at once: on a channel": {
      in: "channel",
      send: [frame(1, 1, wire("003c 00ff"))],
      expected: ["closed at once"]
    },
    "that is truncated is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 05 41"))],
      expected: frameError("cannot decode <<0,0,5,65>>", "50, 10")
    },
    "without its arguments is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("003c 000a"))],
      expected: frameError("cannot decode <<>>", "60, 10")
    },
    "with bytes after its arguments is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("003c 000a 00000000 0001 00 ff"))],
      expected: frameError("cannot decode <<0,0,0,0,0,1,0,255>>", "60, 10")
    },
    "with a table longer than its payload is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 00 02 00000009 01 41 5a 00 00"))],
      expected: frameError("cannot decode <<0,0,0,2,0,0,0,9,1,65,90,0,0>>", "50, 10")
    },
    "with a table shorter than its payload is refused with 501, whatever the table holds": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 00 02 00000003 01 41 5a 00 00"))],
      expected: frameError("cannot decode <<0,0,0,2,0,0,0,3,1,65,90,0,0>>", "50, 10")
    },
    "with a table value of an unknown type closes the socket at once": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 00 02 00000005 01 41 5a 00 00"))],
      expected: ["closed at once"]
    },
    "of channel 0 that is truncated causes an internal error": {
      in: "running",
      send: [frame(1, 0, wire("000a 0032 00"))],
      expected: internalError
    },
    "of the handshake is refused with 504 afterwards": {
      in: "running",
      send: [open],
      expected: channelError("unexpected method in connection state running", "10, 40")
    },
    "of a channel is refused with 504 on channel 0": {
      in: "running",
      send: [methodFrame(0, qos)],
      expected: channelError("unexpected method in connection state running", "60, 10")
    },
    "that is a close-ok without a close is refused with 504": {
      in: "running",
      send: [closeOk],
      expected: channelError("unexpected method in connection state running", "10, 51")
    },
    "on a channel that is not open is refused with 504": {
      in: "running",
      send: [qos],
      expected: channelError("expected 'channel.open'", "60, 10")
    },
    "on a channel beyond channel-max is refused with 530, whatever it is": {
      in: "channel",
      tune: { channelMax: 1 },
      send: [methodFrame(2, qos)],
      expected: closes("530 NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (1)")
    },
    "that is access.request is accepted": {
      in: "channel",
      send: [frame(1, 1, wire(`001e 000a 05 "/data" 1d`))],
      expected: ["1: access.request-ok 1", "open"]
    },
    "that is a truncated access.request is refused with 501": {
      in: "channel",
      send: [frame(1, 1, wire("001e 000a 05 00"))],
      expected: frameError("cannot decode <<5,0>>", "30, 10")
    },
    "with immediate is refused when the message is complete": {
      in: "channel",
      send: [{ ...publish, immediate: true }, 100, header(0)],
      expected: closes("540 NOT_IMPLEMENTED - immediate=true", "60, 40")
    }
  },

  "a name that is not UTF-8 is refused with 501:": {
    "of a queue to declare": {
      in: "channel",
      send: [frame(1, 1, wire("0032 000a 0000 02 fffe 02 00000000"))],
      expected: notUtf8
    },
    "of a queue to consume": {
      in: "channel",
      send: [frame(1, 1, wire("003c 0014 0000 02 fffe 00 00 00000000"))],
      expected: notUtf8
    },
    "of an exchange to declare": {
      in: "channel",
      send: [frame(1, 1, wire(`0028 000a 0000 03 41 c3 41 06 "direct" 00 00000000`))],
      expected: notUtf8
    },
    "of a consumer to cancel": {
      in: "channel",
      send: [frame(1, 1, wire("003c 001e 02 fffe 00"))],
      expected: notUtf8
    },
    "in the routing key of a binding": {
      in: "channel",
      send: [frame(1, 1, wire(`0032 0014 0000 01 41 0a "amq.direct" 02 8041 00 00000000`))],
      expected: notUtf8
    },
    "in the text of a close": {
      in: "running",
      send: [frame(1, 0, wire("000a 0032 00c8 02 fffe 0000 0000"))],
      expected: frameError("Malformed UTF-8 in shortstr", "10, 50")
    }
  },

  "a name that is not UTF-8 is accepted:": {
    "of a missing exchange to publish to": {
      in: "channel",
      send: [frame(1, 1, wire("003c 0028 0000 02 fffe 01 41 01")), header(0)],
      expected: noExchange("\uFFFD\uFFFD"),
      // RabbitMQ takes the bytes for Latin-1; the embedded broker shows them like 3.10.
      expectedIn4: noExchange(isEmbedded ? "\uFFFD\uFFFD" : "\xFF\xFE")
    },
    "in the routing key of a message": {
      in: "channel",
      send: [frame(1, 1, wire("003c 0028 0000 00 02 fffe 01")), header(0)],
      expected: ["1: basic.return 312 NO_ROUTE  <ff><fe>", "header 14", "open"]
    },
    "in a table": {
      in: "channel",
      send: [frame(1, 1, wire(`0032 000a 0000 0b "amq.nowhere" 01 00000005 02 fffe 74 01`))],
      expected: ["1: channel.close 404 NOT_FOUND - no queue 'amq.nowhere' in vhost '/' [50, 10]", "open"]
    }
  },

  "a confirm": {
    "of an unroutable message is sent at once, for that message only": {
      in: "channel",
      send: [
        { _tag: "confirm.select", noWait: false },
        Buffer.concat(
          Array.from({ length: 3 }, () => [methodFrame(1, { ...publish, mandatory: false }), header(0)]).flat()
        )
      ],
      expected: ["1: confirm.select-ok", "1: basic.ack 1 false", "1: basic.ack 2 false", "1: basic.ack 3 false", "open"]
    },
    "of a returned message is sent after the return, and before the next return": {
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
    "are sent on an idle connection, and a silent client is disconnected after 3 intervals": {
      in: "opening",
      tune: { heartbeat: 1 },
      send: [],
      expected: ["heartbeat", "closed after 3 s"]
    }
  }
})
