/**
 * The tests that prove the features of docs/features.md: by section, feature and file, names of tests or of groups of tests,
 * or beginnings of them. They stand as in the source, with `${…}`, `%s` and the like where a test has parameters.
 *
 * `npm run proofs` looks them up in the results of a test run. Names in `types/` are reasons of `@ts-expect-error`.
 */
import type { References } from "../../scripts/proofs/prove.ts"

export const proofs: References = {
  Connection: {
    "URLs `amqp[s]://user:pass@host:port/vhost?…`, default ports": {
      "integration/connection/NodeAmqp.test.ts": [
        "can be made from a URL: a string, a redacted or a parsed one"
      ],
      "unit/AmqpUri.test.ts": [
        "without a port, amqp uses 5672"
      ]
    },
    "No path, `/` and `%2F` all mean the virtual host `/`": {
      "unit/AmqpUri.test.ts": [
        "a path of /%2F is the virtual host /",
        "a scheme alone means guest at localhost"
      ]
    },
    "User, password and virtual host are percent-decoded": {
      "unit/AmqpUri.test.ts": [
        "S9: user and password are percent-decoded"
      ],
      "integration/connection/security.test.ts": [
        "S9: receives user and password unchanged, from a URL and from options, with PLAIN and AMQPLAIN"
      ]
    },
    "IPv6 addresses": {
      "unit/AmqpUri.test.ts": [
        "an IPv6 address may have a port"
      ]
    },
    "Query `heartbeat`, `channel_max`, `frame_max`, `timeout`, `locale`": {
      "unit/AmqpUri.test.ts": [
        "heartbeat is in seconds"
      ],
      "integration/connection/NodeAmqp.test.ts": [
        "takes its settings from the URL, which options override"
      ]
    },
    "TLS options in the query (listed below)": {
      "unit/AmqpUri.test.ts": [
        "${query} sets ${JSON.stringify(expected)}"
      ],
      "unit/node/socket.test.ts": [
        "trusts the authorities in the folder capath",
        "with ssl_check_hostname=false accepts a certificate for another host, but not of an unknown authority"
      ]
    },
    "Unknown or malformed parameters are errors": {
      "unit/AmqpUri.test.ts": [
        "refuses ${sentence}"
      ]
    },
    "Connection name and client properties": {
      "integration/connection/security.test.ts": [
        "lists the connection with its name and client properties"
      ],
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 6: the broker receives the client's properties"
      ]
    },
    "Server properties, capabilities, negotiated values": {
      "simulation/connection/connection.test.ts": [
        "has the capabilities that the broker lists as true, and not those that are false",
        "is known as soon as the connection is open"
      ]
    },
    "Blocked state": {
      "simulation/connection/connection.test.ts": [
        "W1: is Blocked with the broker's reason while publishes wait, and finally Closed with the cause"
      ],
      "integration/connection/security.test.ts": [
        "W1: blocks a publishing connection while it is out of memory, and unblocks it afterwards"
      ]
    },
    "Negotiation: the smaller value wins, 0 means no preference": {
      "simulation/connection/negotiation.test.ts": [
        "H9: negotiates ${what}"
      ],
      "simulation/connection/heartbeat.test.ts": [
        "are turned off by 0 from ${what}"
      ]
    },
    "Heartbeats at half the interval, only while idle": {
      "simulation/connection/heartbeat.test.ts": [
        "are sent every half interval by an idle client",
        "are not sent by a busy client",
        "stop with the connection"
      ]
    },
    "Number of open channels": {
      "simulation/connection/connection.test.ts": [
        "counts open channels, including idle ones that are kept for the next programs"
      ]
    }
  },
  Channels: {
    "Channel numbers are reused after a close": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: each channel has its own number, which is reused"
      ],
      "simulation/channel/channelNumbers.test.ts": [
        "Q1: are reused by thousands of consecutive channels"
      ]
    },
    "An error when all channel numbers are in use": {
      "integration/channel/program.test.ts": [
        "has its own channel number, which is reused after it"
      ],
      "simulation/channel/channelNumbers.test.ts": [
        "Q1: are reused once they are free, and opening a channel fails in time while all are in use"
      ]
    },
    "Waiting for a free channel": {
      "simulation/channel/waitingForChannels.test.ts": [
        "programs wait, and get the channel in their order"
      ]
    },
    "Prefetch count": {
      "integration/consuming/consumer.test.ts": [
        "has at most as many unacknowledged messages as its prefetch"
      ],
      "simulation/consuming/consumer.test.ts": [
        "sets its prefetch before it consumes"
      ]
    },
    "Prefetch size": {
      "simulation/consuming/consumerHandle.test.ts": [
        "V5: sets the prefetch per consumer and never per channel, as AmqpConsumer.make does"
      ]
    },
    "Publisher confirms": {
      "integration/publishing/publisher.test.ts": [
        "has each message in its queue when it is confirmed"
      ],
      "integration/channel/runners.test.ts": [
        "returns its value when all its publishes are confirmed, more than can be in flight"
      ]
    },
    "Recover with requeue": {
      "simulation/channel/leases.test.ts": [
        "fails a basic.get whose handler acknowledges after a recover"
      ]
    },
    "A typed error without `publisher_confirms`": {
      "simulation/publishing/publisher.test.ts": [
        "H14: asks for no confirms when the broker offers only ${JSON.stringify(capabilities)}"
      ]
    },
    "A typed error without `consumer_priorities`": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy: a priority is not sent to a broker without consumer priorities"
      ]
    },
    "No `basic.nack` without the capability": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy: a nack is sent as a reject to a broker without basic.nack"
      ]
    },
    "A typed error without `exchange_exchange_bindings`": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy: an exchange is not bound to another on a broker without such bindings"
      ]
    }
  },
  Exchanges: {
    "Direct, fanout, headers, topic": {
      "integration/topology/exchange.test.ts": [
        "of each type exists after it is declared, and is not found after it is deleted"
      ],
      "integration/topology/topology.test.ts": [
        "of a queue or an exchange reaches the broker with all its options"
      ]
    },
    "`x-…` types": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy: a queue and an exchange are declared exactly as described"
      ],
      "integration/topology/exchange.test.ts": [
        "of an unknown type ends the connection, or since 4.0 the channel, with the broker's reply text"
      ]
    },
    "Durable, auto-delete, internal, arguments": {
      "integration/topology/exchange.test.ts": [
        "accepts messages only from other exchanges when it is internal",
        "is deleted with its last binding when it is autoDelete"
      ]
    },
    "Alternate exchange": {
      "integration/topology/exchange.test.ts": [
        "routes unroutable messages to its alternate exchange"
      ]
    },
    "Declare, passive declare": {
      "integration/topology/exchange.test.ts": [
        "E9: fails with PreconditionFailed when it exists with another type"
      ],
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a deleted queue or exchange is not found"
      ]
    },
    "Delete, if unused": {
      "integration/topology/exchange.test.ts": [
        "is not deleted with ifUnused while a queue is bound to it"
      ]
    },
    "Bind and unbind exchange to exchange, with arguments": {
      "integration/topology/exchange.test.ts": [
        "routes to an exchange while it is bound",
        "is declared with the exchanges that it is bound to, by pattern and by headers"
      ]
    }
  },
  Queues: {
    "Durable, exclusive, auto-delete": {
      "integration/topology/queue.test.ts": [
        "is deleted with its last consumer when it is autoDelete",
        "is deleted with its connection when it is exclusive"
      ],
      "integration/topology/topology.test.ts": [
        "V6: that is only a name declares a durable queue or exchange"
      ]
    },
    "Maximum length in messages and bytes, overflow": {
      "integration/topology/queue.test.ts": [
        "dead-letters its oldest messages when it exceeds %s",
        "P7: nacks the new message with reject-publish, and also dead-letters it with reject-publish-dlx"
      ]
    },
    "Time to live, expiry": {
      "integration/topology/queue.test.ts": [
        "dead-letters messages older than its messageTtl: %s",
        "is deleted when it is unused for its expires time"
      ]
    },
    "Dead-letter exchange, key and strategy": {
      "integration/topology/queue.test.ts": [
        "dead-letters messages with their own routing key or the given one, and with x-death"
      ],
      "unit/AmqpTopology.test.ts": [
        "dead-lettering at least once without an exchange"
      ]
    },
    Priorities: {
      "integration/topology/queue.test.ts": [
        "delivers messages by priority, up to its maxPriority"
      ]
    },
    "Single active consumer": {
      "integration/topology/queue.test.ts": [
        "has a single active consumer, and then the next one: %s"
      ]
    },
    "Quorum queues, delivery limit": {
      "integration/topology/queue.test.ts": [
        "K12: redelivers a requeued message %i times, and then dead-letters it"
      ]
    },
    "Streams, their retention and offsets": {
      "integration/consuming/streamQueue.test.ts": [
        "V8: can start at the oldest message, at an offset, at a time or some time ago"
      ],
      "integration/topology/topology.test.ts": [
        "of a queue or an exchange reaches the broker with all its options"
      ]
    },
    "Other arguments": {
      "unit/AmqpTopology.test.ts": [
        "accepts further arguments by the broker's names"
      ],
      "integration/topology/topology.test.ts": [
        "of a queue or an exchange reaches the broker with all its options"
      ]
    },
    "Options are checked when a description is made; 0 is valid": {
      "unit/AmqpTopology.test.ts": [
        "keeps 0, false and empty values, and omits undefined ones",
        "a negative time to live"
      ],
      "integration/topology/queue.test.ts": [
        "dead-letters every message when its maxLength or maxLengthBytes is 0"
      ]
    },
    "Combinations that make no sense do not compile": {
      "types/topology.ts": [
        "a server-named queue is deleted with its connection, so it is never durable",
        "a stream drops messages by age and size, not one by one",
        "a stream can't be consumed with autoAck"
      ]
    },
    "Declare returns name, message count and consumer count": {
      "integration/topology/queue.test.ts": [
        "can be declared again, and its counts are returned"
      ]
    },
    "Names given by the server": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a queue without a name is named by the broker"
      ],
      "integration/topology/topology.test.ts": [
        "declares new server-named queues each time, with their bindings"
      ]
    },
    "Passive declare, message count": {
      "simulation/connection/session.test.ts": [
        "E14: of a channel after a failed passive declare fails nothing else"
      ],
      "integration/channel/program.test.ts": [
        "E14: fails with NotFound for a queue that does not exist, and nothing else fails with it"
      ]
    },
    "Bind and unbind with arguments": {
      "integration/topology/exchange.test.ts": [
        "routes to a queue while it is bound"
      ],
      "integration/topology/topology.test.ts": [
        "matches all headers of its arguments, or any of them"
      ]
    },
    "Purge and delete return counts": {
      "integration/topology/queue.test.ts": [
        "can be purged: 5 messages, then 0",
        "can be deleted with its messages, and is not found afterwards"
      ]
    },
    "Get without blocking": {
      "integration/consuming/basicGet.test.ts": [
        "is removed when it is acknowledged or rejected"
      ],
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a get from an empty queue returns none"
      ]
    },
    "Guards; look-alikes of descriptions are refused": {
      "unit/internal/topology/descriptions.test.ts": [
        "${name} is true for what its module makes, and false for everything else",
        "what only looks like a description is refused:"
      ],
      "simulation/topology/descriptions.test.ts": [
        "what only looks like a description is refused with nothing sent:"
      ]
    },
    "Exchanges and queues that belong together, as data": {
      "integration/topology/topology.test.ts": [
        "can be declared repeatedly with all that it refers to, and returns the counts of its queues",
        "is declared before anything that depends on its layer"
      ],
      "unit/AmqpTopology.test.ts": [
        "refuses different descriptions of the same name, including referenced ones"
      ]
    }
  },
  Consumers: {
    "Without acknowledgements": {
      "integration/consuming/consumer.test.ts": [
        "needs no acknowledgements with autoAck, as the queue removes what it delivers"
      ]
    },
    Priority: {
      "integration/consuming/consumerOptions.test.ts": [
        "of higher priority is sent messages up to its prefetch before the others"
      ]
    },
    "Consumer tag": {
      "integration/consuming/consumerOptions.test.ts": [
        "has the given consumer tag, numbered when it consumes several queues"
      ]
    },
    Exclusive: {
      "integration/consuming/consumerOptions.test.ts": [
        "K9: is the only consumer of its queue when it is exclusive, and is refused when there are others"
      ]
    },
    "Stopping from another fiber": {
      "integration/consuming/consumerOptions.test.ts": [
        "can be cancelled while another fiber waits for messages, and the program continues"
      ],
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a consumer cancelled by another fiber has received all ten messages, and its loop ends"
      ]
    },
    "Several queues in one consumer": {
      "integration/consuming/consumerOptions.test.ts": [
        "of several queues has a prefetch for each of them, and settles each message separately"
      ]
    },
    "Changing the prefetch while consuming": {
      "integration/consuming/consumerOptions.test.ts": [
        "can be lowered while it consumes, and earlier deliveries can still be settled (%s tag)",
        "can be raised while it consumes, and more messages are delivered"
      ]
    },
    "Ack, nack and reject with their flags": {
      "integration/consuming/consumer.test.ts": [
        "requeues or dead-letters a message according to the options of nack and reject"
      ]
    },
    "Settlement by what the handler returns": {
      "integration/consuming/serve.test.ts": [
        "acknowledges, rejects or requeues each message as its handler decides"
      ],
      "types/settlement.ts": [
        "the handler returns no settlement"
      ]
    },
    "Graceful stop": {
      "integration/consuming/serve.test.ts": [
        "K10: lets all running handlers finish when it is stopped, and requeues the messages behind them",
        "K10: waits for a handler no longer than its drain timeout, and requeues its message"
      ]
    },
    "Cancelled by the broker": {
      "integration/consuming/consumer.test.ts": [
        "K1: fails with AmqpConsumerCancelled when the queue is deleted"
      ]
    },
    "Acknowledgement timeout of the broker": {
      "integration/testing/brokerLimits.test.ts": [
        "K2, E9: ends a consumer that does not settle in time, with the reason, and another can consume: %s queue"
      ]
    }
  },
  Messages: {
    "All properties of the basic class": {
      "unit/AmqpMessage.test.ts": [
        "arrive as they were sent, all thirteen"
      ],
      "integration/message/message.test.ts": [
        "arrives with all its properties"
      ]
    },
    "Timestamp as DateTime or Date": {
      "unit/AmqpMessage.test.ts": [
        "of ${name} arrives as a Date",
        "that is ${name} is refused"
      ]
    },
    "JSON in and out, with its content type": {
      "unit/AmqpMessage.test.ts": [
        "encodes a value and decodes it",
        "decodes any JSON that was encoded"
      ]
    },
    "Text, bytes": {
      "unit/AmqpMessage.test.ts": [
        "of text is UTF-8, and its content type says so unless another is given",
        "of bytes has no content type"
      ]
    },
    "Automatic message id and timestamp, optional": {
      "unit/AmqpMessage.test.ts": [
        "is a version 7 UUID and the time of the clock"
      ]
    },
    "Delivery tag, redelivered, routing key, exchange": {
      "integration/consuming/basicGet.test.ts": [
        "is removed at once with getAutoAck"
      ],
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 9: each delivery tag comes with its own body, in order, during other requests"
      ]
    },
    "Readable printing": {
      "unit/AmqpMessage.test.ts": [
        "shows the properties that are set, the headers and the body"
      ],
      "unit/AmqpDelivery.test.ts": [
        "is what Effect's loggers print"
      ]
    },
    "Values of the wrong type, unknown properties": {
      "unit/AmqpMessage.test.ts": [
        "with an error that names it",
        "an invalid property is refused:"
      ]
    },
    "Decode errors, handled by a policy": {
      "integration/consuming/serve.test.ts": [
        "K7: dead-letters a message that cannot be decoded, and continues, with the policy %s",
        "K7: leaves a message that cannot be decoded to onFailure, with the policy fail"
      ]
    }
  },
  "Publishing and transactions": {
    "Mandatory; returns with code and text, joined to the publish": {
      "integration/publishing/mandatory.test.ts": [
        "E2, P3: each get the right result, with hundreds in flight on two publishers",
        "arrive with exactly the properties and headers that were given"
      ]
    },
    "Which message came back": {
      "integration/publishing/mandatory.test.ts": [
        "P3: in a batch fail with their index"
      ]
    },
    "The result of a confirm": {
      "simulation/publishing/publisher.test.ts": [
        "P2: fails nacked publishes with Nacked, and no others",
        "P4: fails publishes in flight with OutcomeUnknown, and waiting ones with NotSent, when the connection is lost"
      ]
    },
    "Empty bodies": {
      "integration/publishing/mandatory.test.ts": [
        "E2, P3: each get the right result, with hundreds in flight on two publishers"
      ],
      "integration/message/message.test.ts": [
        "C17: arrives whole at every size around that of a frame"
      ]
    },
    "Size limits, the client's and the broker's": {
      "integration/testing/brokerLimits.test.ts": [
        "P8, V3: fails a publish over its size limit once, with its reply text, and accepts the next one",
        "P8: is not sent a message over maxPublishSize"
      ]
    },
    "Commit on success, roll back on failure": {
      "integration/channel/runners.test.ts": [
        "publishes nothing before its commit, and then everything",
        "publishes nothing when it fails, dies or is interrupted"
      ]
    },
    "No \"no active transaction\" error": {
      "integration/channel/runners.test.ts": [
        "have the mode of their program on the broker"
      ]
    },
    "One-shot helpers: publish, get, consume, create and delete": {
      "integration/connection/NodeAmqpOneShot.test.ts": [
        "create a queue, publish to it, get from it and delete it",
        "consume until the stream ends"
      ],
      "integration/rabbitpy.test.ts": [
        "rabbitpy: an exchange of each type exists after a one-shot declare"
      ]
    }
  },
  Errors: {
    "One per reply code, 311 to 541": {
      "unit/AmqpError.test.ts": [
        "${replyCode} is a ${tag} with the reply code, text and method"
      ],
      "simulation/connection/session.test.ts": [
        "E13, E15: of the connection with ${code} fails every waiter with the broker's text"
      ]
    },
    "Closed, connection reset": {
      "simulation/connection/session.test.ts": [
        "N1: fails every waiter at once after a reset, ${what}"
      ],
      "integration/connection/loss.test.ts": [
        "N1: a socket that closes without connection.close is a SocketLost"
      ]
    },
    "Cancelled by the broker": {
      "integration/consuming/consumer.test.ts": [
        "K1: fails with AmqpConsumerCancelled when the queue is deleted"
      ]
    },
    Returned: {
      "integration/channel/program.test.ts": [
        "fails with Returned when no queue takes a mandatory message"
      ]
    },
    "Not supported, too many channels": {
      "simulation/publishing/publisher.test.ts": [
        "H14: asks for no confirms when the broker offers only ${JSON.stringify(capabilities)}"
      ],
      "simulation/channel/channelNumbers.test.ts": [
        "Q1: are reused once they are free, and opening a channel fails in time while all are in use"
      ]
    },
    "Unexpected reply": {
      "simulation/wire/framing.test.ts": [
        "R6: a reply that does not match the waiting request"
      ],
      "simulation/rabbitpy.test.ts": [
        "rabbitpy: a method other than ${step} ends the handshake"
      ]
    }
  },
  "Field tables": {
    "An integer is the smallest signed of b, s, I and l, exact up to 2^63": {
      "unit/protocol/fieldTable.test.ts": [
        "encodes small bigints as the smallest integer"
      ],
      "unit/protocol/byteWriter.test.ts": [
        "C18: round-trips 64-bit integers exactly, as numbers when they are safe"
      ]
    },
    "A larger integer is an error": {
      "unit/protocol/fieldTable.test.ts": [
        "C19: throws an error that names the key of a value without a field type"
      ]
    },
    "Fraction d, string S, boolean t, null V, bytes x, array A, record F": {
      "unit/protocol/fieldTable.test.ts": [
        "encodes and decodes ${name}"
      ],
      "integration/message/message.test.ts": [
        "C9: arrives with headers of each field type"
      ]
    },
    "Map as F": {
      "unit/protocol/fieldTable.test.ts": [
        "encodes maps and objects without prototype like plain objects, in order"
      ]
    },
    "Date as T in seconds": {
      "unit/protocol/fieldTable.test.ts": [
        "encodes a date in whole seconds"
      ]
    },
    "DateTime as T": {
      "unit/protocol/fieldTable.test.ts": [
        "encodes a DateTime as a timestamp"
      ],
      "unit/AmqpMessage.test.ts": [
        "of ${name} arrives as a Date"
      ]
    },
    "Forced types": {
      "unit/AmqpMessage.test.ts": [
        "send a TypedField in headers with its type"
      ],
      "unit/protocol/fieldTable.test.ts": [
        "C9: decodes ${name}"
      ]
    },
    "Undefined keys are left out, undefined items are an error": {
      "unit/protocol/fieldTable.test.ts": [
        "omits keys whose value is undefined",
        "C19: throws an error that names the key of a value without a field type"
      ]
    },
    "Decoding l, T, L and U: a number when it is safe, otherwise a bigint": {
      "unit/protocol/fieldTable.test.ts": [
        "C9: decodes ${name}"
      ]
    },
    "Decoding D as a signed decimal, x as bytes, S as text if it is UTF-8": {
      "unit/protocol/fieldTable.test.ts": [
        "C9: decodes ${name}"
      ]
    },
    "A round trip keeps the type": {
      "unit/protocol/fieldTable.test.ts": [
        "round-trips any table, and encodes it to the same bytes again"
      ],
      "unit/protocol/fuzz.test.ts": [
        "give a table that can be sent again unchanged, or a protocol error"
      ]
    },
    "A forwarded header keeps its type, also beside changed headers": {
      "unit/internal/message/properties.test.ts": [
        "keep ${name} when another header is added, replaced or removed"
      ],
      "integration/message/forwardedMessages.test.ts": [
        "keeps the types of its headers when the broker dead-letters it"
      ]
    },
    "NaN, infinities and what rounds to them": {
      "integration/message/refusedValues.test.ts": [
        "fails with its key, and nothing is sent: ${name}"
      ]
    },
    "Code of a user that runs while a message is read, as a getter": {
      "simulation/message/userCode.test.ts": [
        "can publish, and messages are still sent whole: ${name}"
      ]
    }
  },
  "Failures of rabbitpy 3.0.2": {
    "1 Busy loop while idle": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 1: an idle connection, publisher and consumer use no CPU time"
      ]
    },
    "2 A send that timed out sends the whole payload again": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy failure 2: a slow message is sent once, and the byte stream stays intact"
      ]
    },
    "3 Confirms are matched without delivery tags": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 3: a return followed by an ack of another message confirms the right one"
      ]
    },
    "4 Publishes go on after a remote channel close; the next request hangs": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 4: after the broker closes a channel, each operation on it fails at once, and other channels work"
      ]
    },
    "5 Closing with a live consumer raises an error": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 5: a connection with a running consumer can be closed"
      ]
    },
    "6 Client properties are dropped": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 6: the broker receives the client's properties"
      ]
    },
    "7 Body frames of frame_max instead of frame_max - 8": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 7: body frames with their overhead do not exceed the negotiated frame size"
      ]
    },
    "8 Malformed frames are taken for incomplete ones": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy failure 8: a malformed frame ends the connection at once"
      ]
    },
    "9 Unmatched frames go to the end of the queue": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 9: each delivery tag comes with its own body, in order, during other requests"
      ]
    },
    "10 Close does not wait for close-ok": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy failure 10: a close ends when the peer has answered it"
      ]
    },
    "11 Two consumers on one channel mix their deliveries": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 11: two consumers on one channel each receive their own messages"
      ]
    },
    "12 An exception wakes one thread, the others hang": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy failure 12: every waiter fails when the broker closes the connection"
      ]
    },
    "13 Heartbeats are not checked on the receiving side": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy failure 13: a peer that is silent for two intervals ends the connection"
      ]
    },
    "14 No close-ok in reply to a remote close": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy failure 14: the broker's close of a channel or of the connection is answered"
      ]
    },
    "15 Unbounded queues in both directions": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy failure 15: unconfirmed messages are bounded (Q2)",
        "rabbitpy failure 15: unhandled deliveries are bounded (Q3)"
      ]
    }
  },
  "Tests of rabbitpy": {
    "Five confirmed publishes": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: five confirmed publishes are five messages in the queue"
      ]
    },
    "Properties round trip": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: properties arrive unchanged"
      ]
    },
    "Consume with prefetch 1, then break": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a consumer that stops after one message consumes no more"
      ]
    },
    "Stop from another thread": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a consumer cancelled by another fiber has received all ten messages, and its loop ends"
      ]
    },
    "Chosen consumer tag": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a consumer has the given consumer tag"
      ]
    },
    "Reject with requeue, then get": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a message rejected with requeue is redelivered"
      ]
    },
    "Unnamed queue": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a queue without a name is named by the broker"
      ]
    },
    "One-shot creation of each exchange type": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: an exchange of each type exists after a one-shot declare"
      ]
    },
    "Empty name: a local error before connecting": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: an empty name is refused before connecting"
      ]
    },
    "Delete, then passive declare": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a deleted queue or exchange is not found"
      ]
    },
    "Get on an empty queue": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a get from an empty queue returns none"
      ]
    },
    "Confirmed mandatory publish to a missing exchange": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a confirmed mandatory publish to a missing exchange fails promptly with NotFound"
      ]
    },
    "Access denied on connect": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a denied login fails promptly with AuthenticationFailed"
      ]
    },
    "Channel ids are distinct, and reused after a close": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: each channel has its own number, which is reused"
      ]
    },
    "Nack without requeue": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a message nacked without requeue is removed"
      ]
    },
    "Purge returns 5, then 0": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a queue of five messages is empty after a purge"
      ]
    },
    "A message of 300,000 bytes": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a message of 300,000 bytes arrives in many frames"
      ]
    },
    "A commit is visible, a rollback is not": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a transaction's messages arrive when it is committed, and not when it is rolled back"
      ]
    },
    "Handshake: the normal course, and a wrong frame at each step": {
      "simulation/connection/handshake.test.ts": [
        "H8: ends with open-ok and not before"
      ],
      "simulation/rabbitpy.test.ts": [
        "rabbitpy: a method other than ${step} ends the handshake"
      ]
    },
    "Negotiation: minimum and zero": {
      "simulation/connection/negotiation.test.ts": [
        "H9: negotiates ${what}"
      ]
    },
    "Heartbeat at half the interval, only while idle, stops": {
      "simulation/connection/heartbeat.test.ts": [
        "are sent every half interval by an idle client",
        "are not sent by a busy client",
        "stop with the connection"
      ]
    },
    "All kinds of timestamps": {
      "unit/AmqpMessage.test.ts": [
        "of ${name} arrives as a Date",
        "that is ${name} is refused"
      ]
    },
    "All kinds of wrong and unknown properties": {
      "unit/AmqpMessage.test.ts": [
        "an invalid property is refused:"
      ]
    },
    "Exact declare frames for all arguments": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy: a queue and an exchange are declared exactly as described"
      ]
    },
    "Missing capabilities": {
      "simulation/rabbitpy.test.ts": [
        "rabbitpy: a priority is not sent to a broker without consumer priorities",
        "rabbitpy: a nack is sent as a reject to a broker without basic.nack"
      ],
      "simulation/publishing/publisher.test.ts": [
        "H14: asks for no confirms when the broker offers only ${JSON.stringify(capabilities)}"
      ]
    }
  },
  "What rabbitpy's users asked for": {
    "Reconnect (137)": {
      "simulation/connection/recovery.test.ts": [
        "N1: fails a program at once when the socket is reset in mid-write",
        "N6: grow when a broker accepts each connection and closes it again"
      ],
      "integration/orderService.test.ts": [
        "B1, B2: places and bills each order once while its broker is restarted three times, and says so on the screen"
      ]
    },
    "Client properties (141)": {
      "integration/connection/security.test.ts": [
        "lists the connection with its name and client properties"
      ]
    },
    "Publishing fails when the broker is down (128)": {
      "integration/connection/loss.test.ts": [
        "E4, E13: every waiting operation fails at once, with the cause",
        "every later operation fails at once, and a late ack returns false"
      ]
    },
    "No uncatchable errors on close with live consumers (129, 117, 66)": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 5: a connection with a running consumer can be closed"
      ]
    },
    "Several queues in one consumer (83)": {
      "integration/consuming/consumerOptions.test.ts": [
        "of several queues has a prefetch for each of them, and settles each message separately"
      ]
    },
    "Fast confirms (73)": {
      "integration/publishing/publisher.test.ts": [
        "publishes a batch of 5,000 messages in order"
      ],
      "simulation/publishing/publisher.test.ts": [
        "P1: matches confirms to hundreds of publishes in flight"
      ]
    },
    "Channel ids after thousands of channels (121)": {
      "simulation/channel/channelNumbers.test.ts": [
        "Q1: are reused by thousands of consecutive channels"
      ]
    },
    "No hang on a missing virtual host or a booting server (124, 133)": {
      "integration/connection/NodeAmqp.test.ts": [
        "fails with VirtualHostRefused for a virtual host that does not exist",
        "H1: fails with HandshakeTimeout for a silent server, within the timeout, and leaves no socket"
      ]
    },
    "Get without blocking (100)": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: a get from an empty queue returns none"
      ]
    },
    "Missed heartbeats are noticed (74)": {
      "simulation/connection/heartbeat.test.ts": [
        "N3: detect a silent peer after two intervals, and every waiter fails with the reason (E13)"
      ]
    },
    "Graceful stop (38)": {
      "integration/consuming/serve.test.ts": [
        "K10: lets all running handlers finish when it is stopped, and requeues the messages behind them"
      ]
    },
    "Low CPU use with many threads (31, 35)": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy failure 1: an idle connection, publisher and consumer use no CPU time"
      ]
    }
  },
  "What peers have: amqplib": {
    "Any option of `tls.connect`": {
      "unit/node/socket.test.ts": [
        "prefers the options to the URL"
      ]
    },
    "SASL PLAIN, AMQPLAIN, EXTERNAL, custom": {
      "simulation/connection/sasl.test.ts": [
        "${mechanism.name} sends its response, and gets the credentials only if it needs them"
      ],
      "integration/connection/security.test.ts": [
        "logs in the user of the client certificate with EXTERNAL",
        "accepts a custom mechanism that responds to its challenge"
      ]
    },
    IPv6: {
      "unit/AmqpUri.test.ts": [
        "an IPv6 address may have a port"
      ]
    },
    "Update-secret": {
      "simulation/connection/credentialRenewal.test.ts": [
        "succeeds when the broker has confirmed the secret"
      ],
      "integration/connection/security.test.ts": [
        "S6: accepts a token that is renewed before it expires, and the connection stays open"
      ]
    },
    "Lowest free channel numbers": {
      "integration/rabbitpy.test.ts": [
        "rabbitpy: each channel has its own number, which is reused"
      ]
    },
    "Generated codec": {
      "unit/protocol/methods.test.ts": [
        "encodes and decodes ${method._tag} as the specification says: ${hex(payload).slice(0, 60)}"
      ]
    },
    "Fair channels: a large message does not delay the others": {
      "simulation/wire/largeBodies.test.ts": [
        "is interleaved with other channels",
        "alternates with another one",
        "arrives whole, followed by the next messages of its channel in order"
      ],
      "integration/wire/largeMessages.test.ts": [
        "arrives unchanged among other messages",
        "does not hold up confirms of small messages or replies to requests while it is sent"
      ]
    }
  },
  "What peers have: rabbitmq-client": {
    "Always-on reconnect": {
      "simulation/connection/recovery.test.ts": [
        "see one warning when a connection is lost, and one line when it is back"
      ],
      "simulation/consuming/recovery.test.ts": [
        "B1: goes on after a broker that shut down"
      ]
    },
    "Host list": {
      "integration/connection/endpoints.test.ts": [
        "H13: connects to the next one when one is refused, and when one says nothing",
        "takes them from one environment variable"
      ]
    },
    "Consumer concurrency": {
      "integration/consuming/serve.test.ts": [
        "runs as many handlers at once as its concurrency, and no more"
      ]
    },
    "Requeue policy": {
      "simulation/consuming/serve.test.ts": [
        "K5: settles as onFailure decides from the cause and the message"
      ]
    },
    "Draining close": {
      "integration/consuming/serve.test.ts": [
        "K10: lets all running handlers finish when it is stopped, and requeues the messages behind them"
      ],
      "integration/publishing/publisher.test.ts": [
        "has sent all messages and received their confirms when its scope closes"
      ]
    },
    "RPC client and server": {
      "integration/consuming/rpc.test.ts": [
        "V9: gives each of 500 calls by 50 fibers its own reply"
      ]
    },
    "Publish retries": {
      "simulation/publishing/publisher.test.ts": [
        "with a retry, publishes a nacked message again unchanged, no more often than the schedule allows"
      ],
      "unit/AmqpError.test.ts": [
        "are retryable when the cause is temporary, whether or not the message was sent"
      ]
    },
    "Other publishes on a channel that one publish closed": {
      "integration/publishing/publisher.test.ts": [
        "republishes messages that failed because of another message, but not that message"
      ],
      "simulation/publishing/suspectRoutes.test.ts": [
        "does not affect others again, however often the same message is published"
      ]
    },
    "Defaults of a publisher": {
      "simulation/publishing/publisherOptions.test.ts": [
        "fill in the properties that a message lacks, and headers are merged"
      ]
    },
    "A codec error affects one channel only": {
      "simulation/wire/framing.test.ts": [
        "C19: a value that AMQP can't express is a local error: nothing is written, no publish number is used"
      ],
      "integration/publishing/publisher.test.ts": [
        "C19: refuses a routing key that is too long before anything is sent, and still works"
      ]
    }
  },
  "What peers have: @cloudamqp/amqp-client": {
    "WebSocket and browser": {
      "integration/connection/webSocket.test.ts": [
        "publishes and consumes small and large messages",
        "fails with SocketLost when its WebSocket closes",
        "fails with the reason why the relay closed its WebSocket"
      ]
    },
    "Async iterator consumers": {
      "integration/consuming/consumer.test.ts": [
        "delivers the messages of its queue, which removes those that are acknowledged"
      ]
    },
    "Codecs for JSON and text": {
      "unit/AmqpMessage.test.ts": [
        "encodes a value and decodes it"
      ]
    },
    "Codecs for gzip and deflate": {
      "integration/message/envelope.test.ts": [
        "is small on the wire, and is decoded from a get",
        "is decoded from a consumer's stream"
      ],
      "unit/AmqpCompression.test.ts": [
        "reference bytes of zlib and gzip are decompressed",
        "may decompress to the limit, but not to a byte more"
      ]
    },
    "One buffer and one write per publish": {
      "unit/protocol/byteWriter.test.ts": [
        "hands out committed bytes in order, whenever they are taken"
      ]
    },
    "Reads without a copy": {
      "unit/protocol/contentAssembler.test.ts": [
        "returns the body of a single frame without copying it"
      ]
    }
  },
  "What peers have: rascal and amqp-connection-manager": {
    "Publishes buffered across reconnects, setup functions": {
      "simulation/publishing/recovery.test.ts": [
        "P4, N1: fails what was in flight at once, and sends what waits and what is new on the next",
        "Q2: refuses a publish at once if maxWaiting others wait",
        "Q2: refuses a publish at once if others of maxWaitingBytes wait"
      ],
      "simulation/topology/recovery.test.ts": [
        "is declared before programs that wait for the connection use it"
      ]
    },
    "Failure strategies: nack, dead-letter": {
      "integration/consuming/serve.test.ts": [
        "K5: retries a message whose handler %s, and then dead-letters it"
      ]
    },
    "Failure strategies: delayed republish, forward, after n attempts": {
      "integration/consuming/failure.test.ts": [
        "redelivers the message unchanged after each delay, with the history of its failures",
        "ends at the dead-letter target of the queue's description",
        "arrives in the other queue with the failure in its headers"
      ],
      "simulation/consuming/retryAndForward.test.ts": [
        "can come from a schedule, and end with it",
        "is confirmed before the original is acknowledged"
      ]
    },
    "Reading a queue until it is empty": {
      "integration/consuming/getAll.test.ts": [
        "empties a queue in order"
      ]
    },
    "Moving messages to another queue or exchange without loss": {
      "integration/moving/move.test.ts": [
        "moves all messages of a ${make(\"q\").type} queue to another one, in order"
      ],
      "simulation/moving/move.test.ts": [
        "loses no message at any byte, and reports how many it has moved"
      ]
    },
    "A dead-letter queue as an option": {
      "integration/topology/queue.test.ts": [
        "is declared with its queue, and receives the dead letters"
      ]
    },
    "Publishing a received message again": {
      "integration/message/envelope.test.ts": [
        "keeps its body and its properties when it is forwarded"
      ],
      "integration/message/forwardedMessages.test.ts": [
        "is forwarded byte for byte, with what a program adds"
      ]
    },
    "A consumer as a layer, ready when the broker has accepted it": {
      "simulation/consuming/layerServe.test.ts": [
        "is built only once the broker has accepted the consumer"
      ]
    },
    "Redelivery counts": {
      "integration/message/message.test.ts": [
        "has an x-death header when it is dead-lettered"
      ],
      "integration/topology/queue.test.ts": [
        "K12: redelivers a requeued message %i times, and then dead-letters it"
      ]
    },
    "Virtual host and topology from a config": {
      "integration/connection/NodeAmqp.test.ts": [
        "can be made from Config"
      ],
      "integration/topology/topology.test.ts": [
        "can be declared repeatedly with all that it refers to, and returns the counts of its queues"
      ]
    },
    "Changing the prefetch of a live consumer": {
      "integration/consuming/consumerOptions.test.ts": [
        "can be lowered while it consumes, and earlier deliveries can still be settled (%s tag)"
      ]
    },
    "Shutdown that waits for acks": {
      "integration/consuming/serve.test.ts": [
        "K10: lets all running handlers finish when it is stopped, and requeues the messages behind them"
      ]
    }
  },
  "What peers have: Java, .NET, Rust, Scala, Effect": {
    "Topology and consumer recovery": {
      "simulation/topology/recovery.test.ts": [
        "B8, B9: reports a queue that exists with other arguments, and declares the others"
      ],
      "simulation/consuming/recovery.test.ts": [
        "sets its prefetch and consumes again on the next connection, before anything else, and logs nothing itself"
      ]
    },
    "Request timeout": {
      "simulation/channel/requestQueue.test.ts": [
        "R1: drops a reply that arrives after its timeout, and the next one gets its own reply"
      ]
    },
    "Limit of inbound messages": {
      "integration/consuming/consumer.test.ts": [
        "K7: dead-letters a message larger than maxBodySize, and continues"
      ],
      "unit/protocol/contentAssembler.test.ts": [
        "C12: drops a body over the limit as it arrives, and accepts the next one"
      ]
    },
    "Content headers larger than a frame": {
      "integration/wire/largeHeaders.test.ts": [
        "is read, and the connection stays open"
      ]
    },
    "OAuth2 token refresh": {
      "simulation/connection/credentialRenewal.test.ts": [
        "S6: is renewed a minute before it expires, each time"
      ]
    },
    Metrics: {
      "integration/telemetry/telemetry.test.ts": [
        "count 1,000 messages from publish to settlement, and the open connections"
      ],
      "simulation/telemetry/counters.test.ts": [
        "count sent messages, unconfirmed ones and their outcomes",
        "count deliveries and how they were settled"
      ]
    },
    "One-shot acks that know their connection": {
      "simulation/consuming/consumer.test.ts": [
        "K3: returns false after its consumer has ended, even if the channel number is in use again"
      ],
      "integration/consuming/consumer.test.ts": [
        "K4: settles each delivery once, and none after its channel has closed"
      ]
    },
    "Confirms as futures": {
      "simulation/publishing/publisher.test.ts": [
        "P1: settles exactly the publishes that are confirmed, with ${what}"
      ]
    },
    "The end of a consumer as a value": {
      "integration/consuming/consumer.test.ts": [
        "K1: fails with AmqpConsumerCancelled when the queue is deleted"
      ]
    },
    "Channel kinds in types, a transaction as a scope": {
      "integration/channel/runners.test.ts": [
        "have the mode of their program on the broker",
        "belong to one program each, also when programs are nested"
      ]
    },
    "Typed queues and exchanges": {
      "types/topology.ts": [
        "a stream does not support get"
      ]
    },
    "Decoders of properties, headers and payload together": {
      "unit/AmqpEnvelope.test.ts": [
        "encodes properties, headers and body as one message, and decodes them as one value"
      ],
      "integration/message/envelope.test.ts": [
        "is decoded for a handler of serve, and invalid messages are dead-lettered"
      ]
    },
    Router: {
      "integration/consuming/consumerOptions.test.ts": [
        "marks each delivery with its queue and its tag, also for a server-named queue"
      ],
      "simulation/seeded.test.ts": [
        "violate no guarantee in the ${seedsPerBatch} runs from seed %i"
      ]
    },
    "Spans of publish and consume": {
      "integration/telemetry/telemetry.test.ts": [
        "continues from the publisher to the handler, with the relation ${relation}",
        "continues from an RPC call to the handler of the request"
      ],
      "simulation/telemetry/publishSpans.test.ts": [
        "creates a span from the call to the confirm, and puts its id into the message"
      ],
      "simulation/telemetry/consumeSpans.test.ts": [
        "handles a message in a child of the span in its header"
      ]
    },
    "A handler returns its settlement; drain": {
      "types/settlement.ts": [
        "the handler returns no settlement"
      ],
      "integration/consuming/serve.test.ts": [
        "K10: lets all running handlers finish when it is stopped, and requeues the messages behind them"
      ]
    }
  },
  "What no peer has": {
    "Misuse of a channel is a compile error": {
      "unit/compilerMessages.test.ts": [
        "Effect.all",
        "Effect.forEach"
      ]
    },
    "Returns joined to their publish on a shared channel": {
      "integration/publishing/mandatory.test.ts": [
        "E2, P3: each get the right result, with hundreds in flight on two publishers"
      ]
    },
    "`OutcomeUnknown` apart from `Nacked`, and both from `NotSent`": {
      "simulation/publishing/publisher.test.ts": [
        "P4: fails publishes in flight with OutcomeUnknown, and waiting ones with NotSent, when the connection is lost"
      ]
    },
    "Inbound backpressure down to the socket": {
      "simulation/wire/flow.test.ts": [
        "K6: a slow consumer without a prefetch stops the reader, and heartbeats continue"
      ]
    },
    "An embedded broker for users' tests": {
      "simulation/seeded.test.ts": [
        "violate no guarantee in the ${seedsPerBatch} runs from seed %i"
      ],
      "simulation/testing/inspection.test.ts": [
        "shows messages in their order and as they were sent"
      ],
      "integration/testing/exchangeReplies.test.ts": [
        "an exchange"
      ],
      "integration/testing/wireFrames.test.ts": [
        "of an unknown type is refused with 501, and close-ok is still read"
      ],
      "integration/testing/routing.test.ts": [
        "is routed by a topic exchange according to its key"
      ],
      "integration/testing/otherClients.test.ts": [
        "publishes with confirms, consumes and acknowledges"
      ],
      "unit/node/NodeAmqpBroker.test.ts": [
        "is closed with its connections when the scope closes"
      ]
    },
    "Timeout and interruption of every call": {
      "simulation/channel/requestQueue.test.ts": [
        "R4: keeps its place after an interruption until its reply arrives"
      ],
      "simulation/connection/handshake.test.ts": [
        "H12, X1: leaves no socket and no fiber when it is interrupted while it waits for ${phase}"
      ],
      "simulation/publishing/publisher.test.ts": [
        "X2: keeps the numbers of the others when a publish is interrupted before its confirm"
      ]
    },
    "Native tracing and metrics": {
      "integration/telemetry/telemetry.test.ts": [
        "continues from the publisher to the handler, with the relation ${relation}",
        "continues from an RPC call to the handler of the request",
        "count 1,000 messages from publish to settlement, and the open connections"
      ],
      "simulation/telemetry/publishSpans.test.ts": [
        "creates a span from the call to the confirm, and puts its id into the message"
      ],
      "simulation/telemetry/consumeSpans.test.ts": [
        "handles a message in a child of the span in its header"
      ],
      "simulation/telemetry/counters.test.ts": [
        "count sent messages, unconfirmed ones and their outcomes",
        "count deliveries and how they were settled"
      ]
    },
    "Coalesced acks": {
      "simulation/consuming/consumer.test.ts": [
        "of one turn are sent as one"
      ]
    }
  },
  "Where peers fail": {
    "amqplib: headers of 65,526 bytes or more give a malformed frame": {
      "integration/wire/largeHeaders.test.ts": [
        "of more than 65,526 bytes arrive if they fit a frame",
        "that do not fit a frame are refused before anything is sent, and the channel still works"
      ]
    },
    "amqplib: channel.flow kills the connection": {
      "simulation/channel/requestQueue.test.ts": [
        "is answered and obeyed: publishes wait, requests do not"
      ]
    },
    "amqplib: a server cancel for a consumer just cancelled kills the connection": {
      "simulation/channel/requestQueue.test.ts": [
        "R5: ignores the broker's cancel that crosses the close"
      ]
    },
    "amqplib: a channel error without a listener kills the process": {
      "simulation/connection/session.test.ts": [
        "X4: ignores later errors of its socket"
      ],
      "integration/connection/loss.test.ts": [
        "X5: a process that uses every part of the client sees each part fail, and exits by itself"
      ]
    },
    "amqplib: int64 values lose precision": {
      "integration/message/message.test.ts": [
        "C18: arrives with exact 64-bit integers, also after the broker has decoded them"
      ],
      "unit/protocol/methods.test.ts": [
        "C18: keeps a delivery tag beyond 2^53 exact"
      ]
    },
    "rabbitmq-client: uses the requested frame_max, not the negotiated one": {
      "simulation/wire/framing.test.ts": [
        "C17: with frame_max ${frameMax} bodies are split into as few frames as fit"
      ]
    },
    "rabbitmq-client: a body in many frames is delivered in part": {
      "integration/wire/frameMax.test.ts": [
        "V1: of 8192 bytes, the minimum, carries bodies of many frames in both directions"
      ]
    },
    "rabbitmq-client: short strings are cut inside a character": {
      "unit/protocol/byteWriter.test.ts": [
        "C19: accepts a short string of up to 255 bytes of UTF-8, whatever the number of characters"
      ]
    },
    "rabbitmq-client: early replies are dropped": {
      "simulation/channel/requestQueue.test.ts": [
        "R3: is sent after the reply to the one before it, and gets its own reply"
      ]
    },
    "@cloudamqp: heartbeat is 0 by default, and only echoed": {
      "simulation/connection/heartbeat.test.ts": [
        "are sent every half interval by an idle client"
      ]
    },
    "@cloudamqp: 3e9 is encoded as a negative int, 0.1 as float32": {
      "unit/protocol/fieldTable.test.ts": [
        "encodes and decodes ${name}"
      ],
      "integration/message/message.test.ts": [
        "C9: has headers of each field type that the broker decodes correctly"
      ]
    },
    "@cloudamqp: a multiple ack on a tag already confirmed hangs the earlier ones": {
      "simulation/publishing/publisher.test.ts": [
        "P1: settles exactly the publishes that are confirmed, with ${what}"
      ]
    },
    "@cloudamqp: close leaves pending publishes hanging": {
      "simulation/publishing/publisher.test.ts": [
        "waits at most the close timeout for confirms, and again for its channel, when it closes"
      ]
    },
    "@cloudamqp: iterators hang forever after a channel error": {
      "simulation/consuming/consumer.test.ts": [
        "K9, E6, E7: fails with ${reason} when the broker refuses it with ${code}"
      ],
      "simulation/consuming/consumerHandle.test.ts": [
        "K1: fails the stream when the connection is lost meanwhile"
      ]
    },
    "@cloudamqp: falsy properties are dropped": {
      "integration/message/message.test.ts": [
        "arrives with properties that are empty or zero"
      ]
    },
    "@cloudamqp: a refused update-secret resolves as success": {
      "simulation/connection/credentialRenewal.test.ts": [
        "S7: fails when the broker refuses, and the connection ends with the same reason"
      ]
    },
    "All: one unknown field type costs the connection": {
      "simulation/consuming/serveFailure.test.ts": [
        "C9, K7: treats a message with unreadable properties like any other"
      ]
    },
    "All: Nagle's algorithm is on": {
      "unit/node/socket.test.ts": [
        "disables Nagle's algorithm"
      ]
    },
    "All: requests have no timeout": {
      "simulation/channel/requestQueue.test.ts": [
        "R1: drops a reply that arrives after its timeout, and the next one gets its own reply"
      ]
    },
    "All: the messages of a turn are not written together": {
      "unit/protocol/byteWriter.test.ts": [
        "hands out committed bytes in order, whenever they are taken"
      ]
    },
    "effect-messaging: after a reconnect an old ack goes to the new channel": {
      "simulation/consuming/consumer.test.ts": [
        "K3: returns false after its consumer has ended, even if the channel number is in use again"
      ]
    },
    "effect-messaging: a missing queue leaks fibers": {
      "simulation/connection/session.test.ts": [
        "X5: leaves no socket and no fiber behind, even while its scope stays open"
      ],
      "integration/consuming/consumer.test.ts": [
        "fails with NotFound when its queue does not exist"
      ]
    },
    "effect-messaging: server cancel is ignored": {
      "simulation/consuming/consumer.test.ts": [
        "K1: fails when the broker cancels it, after the deliveries before that (noWait: ${noWait})"
      ]
    },
    "effect-messaging: publisher, consumers and health check share one channel": {
      "integration/channel/program.test.ts": [
        "E14: fails with NotFound for a queue that does not exist, and nothing else fails with it"
      ]
    },
    "effect-messaging: secrets in spans": {
      "simulation/connection/secrets.test.ts": [
        "${mechanism.name}: appear in no part, log line or error of a connection",
        "can't reach a password or token, and nothing that it has prints one"
      ],
      "integration/connection/secrets.test.ts": [
        "cannot reach a password or a channel, and no value that it holds prints one"
      ]
    },
    "Passwords stay in buffers after they were sent": {
      "simulation/connection/secrets.test.ts": [
        "leaves no password or token in memory once the broker has it, with ${mechanism.name}"
      ],
      "integration/connection/secrets.test.ts": [
        "leaves no password or token in memory after the broker has accepted or refused it"
      ]
    },
    "Channels can be reached by a private property, a prototype or a package path": {
      "simulation/connection/secrets.test.ts": [
        "can't reach a channel, session or buffer of the package",
        "can't make or change a class of the package to get the channel"
      ],
      "package/packed.test.ts": [
        "do not export %s"
      ]
    },
    "Values cannot be destructured or copied": {
      "simulation/consuming/plainObjects.test.ts": [
        "copied by ${how} has all members of its interface, and the copy settles it",
        "of a description is a description, and has pipe"
      ]
    },
    "lepus: 11 undrained confirms wedge the connection": {
      "simulation/publishing/publisher.test.ts": [
        "P9: holds nothing up when a fiber never continues after its publish"
      ]
    },
    "lepus: flow(false) deadlocks": {
      "simulation/channel/requestQueue.test.ts": [
        "is answered and obeyed: publishes wait, requests do not"
      ]
    },
    "lepus: a cancel during a publish corrupts the channel": {
      "simulation/publishing/publisher.test.ts": [
        "P11: sends messages of many fibers whole, even if the fibers are interrupted"
      ]
    },
    "Go: stale acks reach the new session's messages": {
      "simulation/consuming/consumer.test.ts": [
        "K3: returns false and sends nothing after the ${what} has closed"
      ]
    },
    "Go: pending confirms are reported as nacks after a loss": {
      "simulation/publishing/publisher.test.ts": [
        "P4: fails publishes in flight with OutcomeUnknown, and waiting ones with NotSent, when the connection is lost"
      ]
    }
  }
}
