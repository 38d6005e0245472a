/** What RabbitMQ, and so the embedded broker, does with valid and invalid bytes in the handshake. */
import { wire } from "../../fixtures/wire.ts"
import {
  announced,
  ascii,
  channelError,
  channelOpen,
  close,
  closeOk,
  describeWireCases,
  frameError,
  open,
  otherProtocol,
  otherProtocolIn4,
  silence,
  startOk,
  tuneOk,
  unexpectedFrame
} from "../../support/wireCases.ts"
import { frame } from "../../support/wireTalk.ts"

describeWireCases({
  "a protocol header": {
    "of 0-9 is answered with a start of 0-9": {
      in: "connected",
      send: [wire(`"AMQP" 01 01 00 09`)],
      expected: ["connection.start 0-9", "open"]
    },
    "of 0-8 is answered with a start of 8-0, in 4.x with the header of 1.0": {
      in: "connected",
      send: [wire(`"AMQP" 01 01 08 00`)],
      expected: ["connection.start 8-0", "open"],
      expectedIn4: otherProtocolIn4
    },
    "of 0-8 in the specification's form is answered like the other one": {
      in: "connected",
      send: [wire(`"AMQP" 01 01 09 01`)],
      expected: ["connection.start 8-0", "open"],
      expectedIn4: otherProtocolIn4
    },
    "is read to its last byte before it is answered": { in: "connected", send: [ascii("GET / H")], expected: ["open"] },
    "of 1.0 without SASL is answered with the header of 0-9-1, in 4.x with that of 1.0 with SASL": {
      in: "connected",
      send: [wire(`"AMQP" 00 01 00 00`)],
      expected: otherProtocol,
      expectedIn4: otherProtocolIn4
    },
    "of another protocol is answered with the header of 0-9-1, in 4.x with that of 1.0": {
      in: "connected",
      send: [ascii("GET / HTTP/1.1\r\n\r\n")],
      expected: otherProtocol,
      expectedIn4: otherProtocolIn4
    }
  },

  "an error in the handshake closes the socket after 3 seconds, without a close:": {
    "a close": { in: "starting", send: [close], expected: silence },
    "a close-ok": { in: "starting", send: [closeOk], expected: silence },
    "connection.open too early": { in: "starting", send: [open], expected: silence },
    "channel.open too early": { in: "starting", send: [channelOpen], expected: silence },
    "a frame of an unknown type": { in: "starting", send: [frame(9, 0, new Uint8Array(3))], expected: silence },
    "a wrong frame end": { in: "starting", send: [frame(8, 0, new Uint8Array(), 1)], expected: silence },
    "a payload above 4096 bytes before frame-max is negotiated": {
      in: "starting",
      send: [announced(1, 0, 4097)],
      expected: silence
    },
    "a truncated method": {
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
    "an AMQPLAIN response that is not a table": {
      in: "starting",
      send: [startOk("AMQPLAIN", new Uint8Array(7).fill(9))],
      expected: silence
    },
    "a wrong password of a client without authentication_failure_close": {
      in: "starting",
      send: [startOk("PLAIN", "\0guest\0wrong")],
      expected: silence
    },
    "a close instead of tune-ok": { in: "tuning", send: [close], expected: silence },
    "a frame-max of 4095": { in: "tuning", send: [tuneOk(2047, 4095)], expected: silence },
    "a frame-max above the offered one": { in: "tuning", send: [tuneOk(2047, 131_073)], expected: silence },
    "an unlimited frame-max where one was offered": { in: "tuning", send: [tuneOk(2047, 0)], expected: silence },
    "a channel-max above the offered one": { in: "tuning", send: [tuneOk(2048, 131_072)], expected: silence },
    "an unlimited channel-max where one was offered": { in: "tuning", send: [tuneOk(0, 131_072)], expected: silence },
    "a truncated connection.open": {
      in: "opening",
      send: [frame(1, 0, wire("000a 0028 05 41"))],
      expected: silence
    }
  },

  "in the handshake": {
    "a wrong password is reported to a client with authentication_failure_close": {
      in: "starting",
      send: [startOk("PLAIN", "\0guest\0wrong", { authentication_failure_close: true })],
      expected: [
        "connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile. [0, 0]",
        "closed after 3 s"
      ]
    },
    "an unknown method closes the socket at once": {
      in: "starting",
      send: [frame(1, 0, wire("000a 00ff"))],
      expected: ["closed at once"]
    },
    "a payload of 4096 bytes is allowed": { in: "starting", send: [announced(1, 0, 4096)], expected: ["open"] },
    "a heartbeat is allowed": { in: "starting", send: [frame(8, 0, new Uint8Array())], expected: ["open"] },
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
  }
})
