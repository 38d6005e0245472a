/*
 * Runs a task with librabbitmq, like src/worker.ts: it reads the task from the same environment variable
 * and prints the measurement as a line of JSON. Debian: librabbitmq-dev, libcjson-dev.
 *
 * The library has no calls for publisher confirms, so they are read here as its documentation describes: one thread that
 * publishes until the window is full, and then waits for a frame.
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const amqp_channel_t channel = 1;

typedef struct {
  const char *queue;
  int64_t count;
} pass_t;

typedef struct {
  amqp_connection_state_t connection;
  amqp_bytes_t body;
  uint64_t window;
  /* One flag per delivery tag, because an ack without `multiple` may overtake an earlier one. */
  bool *confirmed;
  uint64_t unconfirmed;
  /* Every tag below is confirmed. */
  uint64_t lowest;
} client_t;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(int status, const char *what) {
  if (status < 0) fail(what, amqp_error_string2(status));
}

static void check_reply(client_t *client, const char *what) {
  amqp_rpc_reply_t reply = amqp_get_rpc_reply(client->connection);
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) fail(what, amqp_error_string2(reply.library_error));
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail(what, "the server has closed the channel or the connection");
}

static void publish(client_t *client, const pass_t *pass) {
  check(
    amqp_basic_publish(
      client->connection, channel, amqp_empty_bytes, amqp_cstring_bytes(pass->queue), 0, 0, NULL, client->body
    ),
    "publish"
  );
}

static void declare_passive(client_t *client, const pass_t *pass) {
  amqp_queue_declare(client->connection, channel, amqp_cstring_bytes(pass->queue), 1, 0, 0, 0, amqp_empty_table);
  check_reply(client, "declare");
  amqp_maybe_release_buffers(client->connection);
}

static void publish_unconfirmed(client_t *client, const pass_t *pass) {
  for (int64_t published = 0; published < pass->count; published++) publish(client, pass);
  /* the broker replies after it has handled all earlier publishes on the same channel */
  declare_passive(client, pass);
}

static void settle(client_t *client, uint64_t tag) {
  if (client->confirmed[tag]) return;
  client->confirmed[tag] = true;
  client->unconfirmed--;
}

static void wait_for_confirm(client_t *client) {
  amqp_frame_t frame;
  amqp_maybe_release_buffers(client->connection);
  check(amqp_simple_wait_frame(client->connection, &frame), "confirm");
  if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD) {
    fail("confirm", "the server has sent something else");
  }
  amqp_basic_ack_t *ack = frame.payload.method.decoded;
  if (ack->multiple) {
    for (; client->lowest <= ack->delivery_tag; client->lowest++) settle(client, client->lowest);
  } else {
    settle(client, ack->delivery_tag);
  }
}

static void publish_confirmed(client_t *client, const pass_t *pass) {
  for (int64_t published = 0; published < pass->count; published++) {
    while (client->unconfirmed >= client->window) wait_for_confirm(client);
    publish(client, pass);
    client->unconfirmed++;
  }
  while (client->unconfirmed > 0) wait_for_confirm(client);
}

static void publish_confirmed_batch(client_t *client, const pass_t *pass) {
  const int64_t window = (int64_t) client->window;
  for (int64_t left = pass->count; left > 0; left -= window) {
    const pass_t batch = { pass->queue, left < window ? left : window };
    publish_confirmed(client, &batch);
  }
}

static void consume(client_t *client, const pass_t *pass, bool no_ack) {
  amqp_basic_consume(
    client->connection, channel, amqp_cstring_bytes(pass->queue), amqp_empty_bytes, 0, no_ack, 0, amqp_empty_table
  );
  check_reply(client, "consume");
  for (int64_t received = 0; received < pass->count; received++) {
    amqp_envelope_t envelope;
    amqp_maybe_release_buffers(client->connection);
    if (amqp_consume_message(client->connection, &envelope, NULL, 0).reply_type != AMQP_RESPONSE_NORMAL) {
      fail("consume", "no delivery");
    }
    if (!no_ack) check(amqp_basic_ack(client->connection, channel, envelope.delivery_tag, 0), "ack");
    amqp_destroy_envelope(&envelope);
  }
}

static void consume_ack(client_t *client, const pass_t *pass) {
  consume(client, pass, false);
  /* the broker replies after it has handled all earlier acks on the same channel */
  declare_passive(client, pass);
}

static void consume_auto_ack(client_t *client, const pass_t *pass) {
  consume(client, pass, true);
}

static void declare(client_t *client, const pass_t *pass) {
  for (int64_t declared = 0; declared < pass->count; declared++) declare_passive(client, pass);
}

static void open_and_close(client_t *client, const pass_t *pass) {
  const amqp_channel_t other = 2;
  for (int64_t opened = 0; opened < pass->count; opened++) {
    amqp_channel_open(client->connection, other);
    check_reply(client, "open");
    amqp_rpc_reply_t reply = amqp_channel_close(client->connection, other, AMQP_REPLY_SUCCESS);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("close", "no reply");
    amqp_maybe_release_buffers(client->connection);
  }
}

typedef struct {
  const char *name;
  bool confirms;
  bool prefetches;
  void (*section)(client_t *, const pass_t *);
} workload_t;

static const workload_t workloads[] = {
  { "publish", false, false, publish_unconfirmed },
  { "publish-confirmed", true, false, publish_confirmed },
  { "publish-confirmed-batch", true, false, publish_confirmed_batch },
  { "consume-ack", false, true, consume_ack },
  { "consume-auto-ack", false, false, consume_auto_ack },
  { "declare", false, false, declare },
  { "channel", false, false, open_and_close },
};

static amqp_connection_state_t connect_to(char *url) {
  struct amqp_connection_info info;
  amqp_default_connection_info(&info);
  check(amqp_parse_url(url, &info), "url");
  amqp_connection_state_t connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  check(amqp_socket_open(socket, info.host, info.port), "connect");
  amqp_rpc_reply_t reply = amqp_login(
    connection, info.vhost, AMQP_DEFAULT_MAX_CHANNELS, AMQP_DEFAULT_FRAME_SIZE, AMQP_DEFAULT_HEARTBEAT,
    AMQP_SASL_METHOD_PLAIN, info.user, info.password
  );
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("login", "refused");
  return connection;
}

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t microseconds_of(struct timeval time) {
  return time.tv_sec * 1000000LL + time.tv_usec;
}

static int64_t cpu_microseconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return microseconds_of(usage.ru_utime) + microseconds_of(usage.ru_stime);
}

/* Not ru_maxrss: Linux starts it at the size of the process that has forked this one. */
static int64_t peak_rss_bytes(void) {
  FILE *status = fopen("/proc/self/status", "r");
  char line[256];
  long long kibibytes = 0;
  while (status != NULL && fgets(line, sizeof line, status) != NULL) {
    if (sscanf(line, "VmHWM: %lld", &kibibytes) == 1) break;
  }
  if (status != NULL) fclose(status);
  return kibibytes * 1024;
}

static const cJSON *field(const cJSON *object, const char *name) {
  const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
  if (value == NULL) fail(name, "missing in the task");
  return value;
}

static pass_t pass_of(const cJSON *task, const char *name) {
  const cJSON *pass = field(task, name);
  return (pass_t) { field(pass, "queue")->valuestring, (int64_t) field(pass, "count")->valuedouble };
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--version") == 0) {
    puts(amqp_version());
    return 0;
  }
  const char *json = getenv("EFFECT_AMQP_BENCH_TASK");
  cJSON *task = json == NULL ? NULL : cJSON_Parse(json);
  if (task == NULL) fail("EFFECT_AMQP_BENCH_TASK", "started by the benchmark: npm run bench");
  const char *name = field(task, "workload")->valuestring;
  const workload_t *workload = NULL;
  for (size_t index = 0; index < sizeof workloads / sizeof *workloads; index++) {
    if (strcmp(workloads[index].name, name) == 0) workload = &workloads[index];
  }
  if (workload == NULL) fail(name, "not supported");
  const pass_t warm_up = pass_of(task, "warmUp");
  const pass_t measured = pass_of(task, "measured");
  const size_t size = (size_t) field(task, "size")->valuedouble;

  client_t client = { .connection = connect_to(field(task, "url")->valuestring), .lowest = 1 };
  client.body = amqp_bytes_malloc(size);
  client.window = (uint64_t) field(task, "window")->valuedouble;
  memset(client.body.bytes, 'x', size);
  amqp_channel_open(client.connection, channel);
  check_reply(&client, "open");
  if (workload->confirms) {
    client.confirmed = calloc((size_t) (warm_up.count + measured.count) + 1, sizeof *client.confirmed);
    amqp_confirm_select(client.connection, channel);
    check_reply(&client, "confirm.select");
  }
  if (workload->prefetches) {
    amqp_basic_qos(client.connection, channel, 0, (uint16_t) client.window, 0);
    check_reply(&client, "qos");
  }

  workload->section(&client, &warm_up);
  const int64_t started_cpu = cpu_microseconds();
  const int64_t started_at = nanoseconds();
  workload->section(&client, &measured);
  const int64_t took = nanoseconds() - started_at;
  const int64_t cpu = cpu_microseconds() - started_cpu;
  printf(
    "{\"nanoseconds\":%lld,\"cpuMicroseconds\":%lld,\"peakRssBytes\":%lld}\n", (long long) took, (long long) cpu,
    (long long) peak_rss_bytes()
  );
  fflush(stdout);
  amqp_connection_close(client.connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(client.connection);
  return 0;
}
