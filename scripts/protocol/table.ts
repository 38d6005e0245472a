/**
 * AMQP 0-9-1 with RabbitMQ's extensions, as tables from which the codec is generated.
 *
 * A method per line: `class.method  class-id.method-id  sender  [flags]  -> replies  | fields`
 *
 * - sender: `client`, `server` or `both`
 * - `content`: a content header and body follow the method
 * - `-> replies`: its replies, which are methods of the same class
 * - fields: `name:type` in wire order; consecutive bits share octets. `text` is a longstr of text, `longstr` one of
 *   bytes. A name that starts with `reserved` is written as zero or empty, and ignored when read.
 *
 * The class `access` is omitted: RabbitMQ refuses it, and 0-9-1 no longer has it.
 */
export const methods = `
connection.start            10.10   server          -> start-ok           | version-major:octet version-minor:octet server-properties:table mechanisms:text locales:text
connection.start-ok         10.11   client                                | client-properties:table mechanism:shortstr response:longstr locale:shortstr
connection.secure           10.20   server          -> secure-ok          | challenge:longstr
connection.secure-ok        10.21   client                                | response:longstr
connection.tune             10.30   server          -> tune-ok            | channel-max:short frame-max:long heartbeat:short
connection.tune-ok          10.31   client                                | channel-max:short frame-max:long heartbeat:short
connection.open             10.40   client          -> open-ok            | virtual-host:shortstr reserved-1:shortstr reserved-2:bit
connection.open-ok          10.41   server                                | reserved-1:shortstr
connection.close            10.50   both            -> close-ok           | reply-code:short reply-text:shortstr class-id:short method-id:short
connection.close-ok         10.51   both                                  |
connection.blocked          10.60   server                                | reason:shortstr
connection.unblocked        10.61   server                                |
connection.update-secret    10.70   client          -> update-secret-ok   | new-secret:longstr reason:shortstr
connection.update-secret-ok 10.71   server                                |

channel.open                20.10   client          -> open-ok            | reserved-1:shortstr
channel.open-ok             20.11   server                                | reserved-1:longstr
channel.flow                20.20   both            -> flow-ok            | active:bit
channel.flow-ok             20.21   both                                  | active:bit
channel.close               20.40   both            -> close-ok           | reply-code:short reply-text:shortstr class-id:short method-id:short
channel.close-ok            20.41   both                                  |

exchange.declare            40.10   client          -> declare-ok         | reserved-1:short exchange:shortstr type:shortstr passive:bit durable:bit auto-delete:bit internal:bit no-wait:bit arguments:table
exchange.declare-ok         40.11   server                                |
exchange.delete             40.20   client          -> delete-ok          | reserved-1:short exchange:shortstr if-unused:bit no-wait:bit
exchange.delete-ok          40.21   server                                |
exchange.bind               40.30   client          -> bind-ok            | reserved-1:short destination:shortstr source:shortstr routing-key:shortstr no-wait:bit arguments:table
exchange.bind-ok            40.31   server                                |
exchange.unbind             40.40   client          -> unbind-ok          | reserved-1:short destination:shortstr source:shortstr routing-key:shortstr no-wait:bit arguments:table
exchange.unbind-ok          40.51   server                                |

queue.declare               50.10   client          -> declare-ok         | reserved-1:short queue:shortstr passive:bit durable:bit exclusive:bit auto-delete:bit no-wait:bit arguments:table
queue.declare-ok            50.11   server                                | queue:shortstr message-count:long consumer-count:long
queue.bind                  50.20   client          -> bind-ok            | reserved-1:short queue:shortstr exchange:shortstr routing-key:shortstr no-wait:bit arguments:table
queue.bind-ok               50.21   server                                |
queue.unbind                50.50   client          -> unbind-ok          | reserved-1:short queue:shortstr exchange:shortstr routing-key:shortstr arguments:table
queue.unbind-ok             50.51   server                                |
queue.purge                 50.30   client          -> purge-ok           | reserved-1:short queue:shortstr no-wait:bit
queue.purge-ok              50.31   server                                | message-count:long
queue.delete                50.40   client          -> delete-ok          | reserved-1:short queue:shortstr if-unused:bit if-empty:bit no-wait:bit
queue.delete-ok             50.41   server                                | message-count:long

basic.qos                   60.10   client          -> qos-ok             | prefetch-size:long prefetch-count:short global:bit
basic.qos-ok                60.11   server                                |
basic.consume               60.20   client          -> consume-ok         | reserved-1:short queue:shortstr consumer-tag:shortstr no-local:bit no-ack:bit exclusive:bit no-wait:bit arguments:table
basic.consume-ok            60.21   server                                | consumer-tag:shortstr
basic.cancel                60.30   both            -> cancel-ok          | consumer-tag:shortstr no-wait:bit
basic.cancel-ok             60.31   both                                  | consumer-tag:shortstr
basic.publish               60.40   client  content                       | reserved-1:short exchange:shortstr routing-key:shortstr mandatory:bit immediate:bit
basic.return                60.50   server  content                       | reply-code:short reply-text:shortstr exchange:shortstr routing-key:shortstr
basic.deliver               60.60   server  content                       | consumer-tag:shortstr delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr
basic.get                   60.70   client          -> get-ok get-empty   | reserved-1:short queue:shortstr no-ack:bit
basic.get-ok                60.71   server  content                       | delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr message-count:long
basic.get-empty             60.72   server                                | reserved-1:shortstr
basic.ack                   60.80   both                                  | delivery-tag:longlong multiple:bit
basic.reject                60.90   client                                | delivery-tag:longlong requeue:bit
basic.recover-async         60.100  client                                | requeue:bit
basic.recover               60.110  client          -> recover-ok         | requeue:bit
basic.recover-ok            60.111  server                                |
basic.nack                  60.120  both                                  | delivery-tag:longlong multiple:bit requeue:bit

confirm.select              85.10   client          -> select-ok          | no-wait:bit
confirm.select-ok           85.11   server                                |

tx.select                   90.10   client          -> select-ok          |
tx.select-ok                90.11   server                                |
tx.commit                   90.20   client          -> commit-ok          |
tx.commit-ok                90.21   server                                |
tx.rollback                 90.30   client          -> rollback-ok        |
tx.rollback-ok              90.31   server                                |
`

/**
 * The methods of messages, most frequent first: the codec tries them before all others.
 */
export const hotMethods = ["basic.deliver", "basic.publish", "basic.ack", "basic.get-ok", "basic.nack", "basic.reject"]

/**
 * The properties of content, `name:type`, in the order of their flags from bit 15 down.
 */
export const properties =
  "content-type:shortstr content-encoding:shortstr headers:table delivery-mode:octet priority:octet correlation-id:shortstr " +
  "reply-to:shortstr expiration:shortstr message-id:shortstr timestamp:longlong type:shortstr user-id:shortstr app-id:shortstr " +
  "cluster-id:shortstr"
