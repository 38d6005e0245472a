/** What RabbitMQ, and so the embedded broker, does with bytes that arrive while a connection or a channel closes. */
import { wire } from "../../fixtures/wire.ts"
import {
  body,
  channelClose,
  channelCloseOk,
  channelError,
  channelOpen,
  close,
  closeOk,
  closes,
  describeWireCases,
  frameError,
  header,
  publish,
  qos,
  refusal,
  refused,
  unexpectedFrame
} from "../../support/wireCases.ts"
import { frame, methodFrame } from "../../support/wireTalk.ts"

describeWireCases({
  "a connection that the client closes": {
    "is left for the client to end, and every further close is answered": {
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
    "ends with close-ok, which a client need not send": {
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
    "ends after a heartbeat interval": {
      in: "channel",
      tune: { heartbeat: 2 },
      send: [close],
      expected: ["connection.close-ok", "heartbeat", "closed after 2 s"]
    }
  },

  "a connection that the broker closes": {
    "answers the client's close, and ends with close-ok": {
      in: "running",
      send: [frame(9, 0, new Uint8Array(3)), "answer", close, "answer", closeOk],
      expected: [
        ...frameError("type 9, all octets = <<0,0,0>>: unknown_frame").slice(0, 1),
        "connection.close-ok",
        "closed at once"
      ]
    },
    "ends without close-ok after a heartbeat interval": {
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
    "ignores further methods, and answers every close": {
      in: "channel",
      send: [refused, "answer", qos, channelClose, channelClose, publish, header(3), body(3)],
      expected: [refusal, "1: channel.close-ok", "1: channel.close-ok", "open"]
    },
    "still requires frames in their order": {
      in: "channel",
      send: [refused, "answer", publish, channelCloseOk],
      expected: [
        refusal,
        ...unexpectedFrame("expected content header for class 60, got non content header frame instead", "60, 40")
      ]
    },
    "counts for channel-max until close-ok": {
      in: "channel",
      tune: { channelMax: 1 },
      send: [refused, "answer", methodFrame(2, channelOpen)],
      expected: [
        refusal,
        ...closes("530 NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (1)")
      ]
    },
    "cannot be opened again before close-ok": {
      in: "channel",
      send: [refused, "answer", channelOpen],
      expected: [refusal, ...channelError("second 'channel.open' seen", "20, 10")]
    },
    "can be opened again after close-ok": {
      in: "channel",
      tune: { channelMax: 1 },
      send: [refused, "answer", channelCloseOk, channelOpen],
      expected: [refusal, "1: channel.open-ok", "open"]
    }
  }
})
