/* What `weir dlq` finds where dead letters are: part files and marks of replays in a directory, or a topic's messages. Input: u8 what (0 a directory, 1 a
 * topic; + 2 * answer to "is that replay's transaction committed?"; + 4: the letters' topics are overruled), then for a directory a part file and the
 * content of a mark, both up to a zero byte; for a topic messages, each: u8 how many headers, of each: u8 which name (the last: any, up to a zero byte), u8
 * size, value; u8 size, key; u8 size, value.
 * Checked: list, show and replay end without a crash, and a second replay sends nothing.
 */
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client_int.h"
#include "client/commands.h"
#include "connectors/kafka/dead_letters.h"
#include "fuzz/fuzz.h"

#define MESSAGES_MAX 16
#define HEADERS_MAX 8

static const char *const header_names[] = {"weir.error.code",
                                           "weir.error.text",
                                           "weir.position",
                                           "weir.topic",
                                           "weir.partition",
                                           "weir.offset",
                                           "weir.timestamp",
                                           "weir.failed-at",
                                           "weir.value-size",
                                           "weir.job.id",
                                           "weir.job.name",
                                           "weir.replay",
                                           "own"};
#define NAMES (sizeof header_names / sizeof *header_names)

struct topic_message {
    struct weir_message message;
    struct weir_message_header headers[HEADERS_MAX];
    char *names[HEADERS_MAX];
    char *value; /* of a mark that was written */
};
static struct topic_message messages[4 * MESSAGES_MAX];
static int message_count, sent;
static bool committed;
static char directory[64];

/* --- The brokers, by the linker (mk/fuzz.mk) */

weir_err __wrap_weir_kafka_read_all(const struct weir_key_value *options, int option_count, const char *topic,
                                    weir_kafka_visit *visit, void *arg, struct weir_error *error);
weir_err __wrap_weir_kafka_read_all(const struct weir_key_value *options, int option_count, const char *topic,
                                    weir_kafka_visit *visit, void *arg, struct weir_error *error)
{
    (void)error;
    fuzz_check(options && option_count > 0 && topic[0]);
    for (int i = 0; i < message_count && visit(&messages[i].message, arg); i++)
        ;
    return WEIR_OK;
}

weir_err __wrap_weir_kafka_replay_open(const struct weir_key_value *options, int option_count, const char *id,
                                       struct weir_kafka_replay **replay, struct weir_error *error);
weir_err __wrap_weir_kafka_replay_open(const struct weir_key_value *options, int option_count, const char *id,
                                       struct weir_kafka_replay **replay, struct weir_error *error)
{
    (void)options, (void)option_count, (void)id, (void)error;
    *replay = (struct weir_kafka_replay *)&sent;
    return WEIR_OK;
}

weir_err __wrap_weir_kafka_replay_has(struct weir_kafka_replay *replay, const char *mark, const char *topic, bool *has,
                                      struct weir_error *error);
weir_err __wrap_weir_kafka_replay_has(struct weir_kafka_replay *replay, const char *mark, const char *topic, bool *has,
                                      struct weir_error *error)
{
    (void)replay, (void)error;
    fuzz_check(mark && topic);
    *has = committed;
    return WEIR_OK;
}

weir_err __wrap_weir_kafka_replay_begin(struct weir_kafka_replay *replay, struct weir_error *error);
weir_err __wrap_weir_kafka_replay_begin(struct weir_kafka_replay *replay, struct weir_error *error)
{
    (void)replay, (void)error;
    return WEIR_OK;
}

/* A mark is in the topic from now on. */
weir_err __wrap_weir_kafka_replay_send(struct weir_kafka_replay *replay, const struct weir_message_out *message,
                                       struct weir_error *error);
weir_err __wrap_weir_kafka_replay_send(struct weir_kafka_replay *replay, const struct weir_message_out *message,
                                       struct weir_error *error)
{
    (void)replay, (void)error;
    fuzz_check(message->topic && strlen(message->topic) == message->topic_size && message->header_count >= 0);
    bool is_mark = message->header_count == 1 && strcmp(message->headers[0].name, "weir.replay") == 0 &&
                   message->value_size > 0 && message->value[0] == '{';
    if (!is_mark || message_count == 4 * MESSAGES_MAX) {
        sent++;
        return WEIR_OK;
    }
    struct topic_message *mark = &messages[message_count++];
    mark->value = weir_strndup((const char *)message->value, message->value_size);
    mark->headers[0] = (struct weir_message_header){"weir.replay", (const uint8_t *)"1", 1};
    mark->message = (struct weir_message){.value = (const uint8_t *)mark->value,
                                          .value_size = message->value_size,
                                          .headers = mark->headers,
                                          .header_count = 1,
                                          .position = message_count};
    return WEIR_OK;
}

weir_err __wrap_weir_kafka_replay_commit(struct weir_kafka_replay *replay, const char *mark, const char *topic,
                                         struct weir_error *error);
weir_err __wrap_weir_kafka_replay_commit(struct weir_kafka_replay *replay, const char *mark, const char *topic,
                                         struct weir_error *error)
{
    (void)replay, (void)mark, (void)topic, (void)error;
    return WEIR_OK;
}

void __wrap_weir_kafka_replay_close(struct weir_kafka_replay *replay);
void __wrap_weir_kafka_replay_close(struct weir_kafka_replay *replay)
{
    (void)replay;
}

/* --- What is there */

static void take_messages(struct fuzz_input in)
{
    while (in.left > 0 && message_count < MESSAGES_MAX) {
        struct topic_message *one = &messages[message_count++];
        memset(one, 0, sizeof *one);
        one->message.headers = one->headers;
        one->message.header_count = (int)fuzz_number(&in, 1) % HEADERS_MAX;
        one->message.position = message_count;
        for (int i = 0; i < one->message.header_count; i++) {
            size_t which = (size_t)fuzz_number(&in, 1) % (NAMES + 1);
            one->names[i] = which < NAMES ? weir_strdup(header_names[which]) : fuzz_text(fuzz_until(&in, 0));
            struct fuzz_input value = fuzz_take(&in, (size_t)fuzz_number(&in, 1));
            one->headers[i] = (struct weir_message_header){one->names[i], value.left ? value.at : NULL, value.left};
        }
        struct fuzz_input key = fuzz_take(&in, (size_t)fuzz_number(&in, 1)),
                          value = fuzz_take(&in, (size_t)fuzz_number(&in, 1));
        one->message.key = key.left ? key.at : NULL;
        one->message.key_size = key.left;
        one->message.value = value.left ? value.at : NULL;
        one->message.value_size = value.left;
    }
}

static void free_messages(void)
{
    for (int i = 0; i < message_count; i++) {
        free(messages[i].value);
        for (int k = 0; k < HEADERS_MAX; k++)
            free(messages[i].names[k]);
    }
    memset(messages, 0, sizeof messages);
    message_count = 0;
}

static void write_file(const char *name, struct fuzz_input bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_check(fd >= 0 && (bytes.left == 0 || write(fd, bytes.at, bytes.left) == (ssize_t)bytes.left));
    close(fd);
}

static void remove_directory(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    fuzz_check(system(command) == 0);
}

static void make_directory(void)
{
    snprintf(directory, sizeof directory, "%s/weir-dlq-fuzz-%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             (int)getpid());
    setenv("HOME", "/nowhere", 1);
    setenv("WEIR_HOME", "/nowhere", 1);
    char marks[80];
    snprintf(marks, sizeof marks, "%s/_weir", directory);
    fuzz_check(mkdir(directory, 0700) == 0 && mkdir(marks, 0700) == 0);
    atexit(remove_directory);
}

/* --- The commands */

static void run(const char *action, const char *place, const char *to)
{
    char *arguments[] = {weir_strdup(action), weir_strdup(place), NULL};
    struct weir_client client = {.arguments = arguments, .argument_count = 2, .to = to, .json = true};
    (void)weir_command_dlq(&client);
    free(arguments[0]);
    free(arguments[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    static int nowhere = -1;
    if (!directory[0]) {
        make_directory();
        nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    }
    uint8_t what = (uint8_t)fuzz_number(&in, 1);
    const char *place = what & 1 ? "kafka://b:1/letters" : directory,
               *to = what & 4 ? "kafka://b:1/topic" : "kafka://b:1";
    committed = what & 2;
    if (what & 1) {
        take_messages(in);
    } else {
        write_file("part-0", fuzz_until(&in, 0));
        write_file("_weir/replay-1", fuzz_until(&in, 0));
    }
    fflush(stdout);
    int saved = dup(1);
    fuzz_check(saved >= 0 && dup2(nowhere, 1) == 1);
    run("list", place, NULL);
    run("show", place, NULL);
    sent = 0;
    run("replay", place, to);
    int first = sent;
    run("replay", place, to);
    fflush(stdout);
    fuzz_check(dup2(saved, 1) == 1);
    close(saved);
    fuzz_check(sent == first);
    free_messages();
    return 0;
}

/* --- Seeds */

void fuzz_seeds(fuzz_put *put)
{
    static const char files[] =
        "\4{\"value\":\"eA==\",\"value_size\":1,\"key\":null,\"headers\":[{\"name\":\"h\",\"value\":\"AA==\"}],\"code\":\"DATA\",\"error\":\"no\","
        "\"topic\":\"t\",\"partition\":0,\"offset\":5,\"timestamp\":\"2026-01-02T03:04:05.000Z\",\"failed_at\":\"2026-01-02T03:04:05.000Z\",\"job_id\":\"j\"}\n"
        "{\"value\":null}\n[]\n\0{\"replay\":\"0123456789abcdef\",\"state\":\"pending\",\"ids\":[\"part-0:1\"],\"topic\":\"t\"}";
    put("directory", files, sizeof files - 1);
    static const char topic[] = "\1\6\14\1v\0\4DATA\3\1t\4\1"
                                "0\5\1"
                                "7\6\15"
                                "1700000000000\1k\3abc\1\13\1"
                                "1\0\72{\"replay\":\"0123456789abcdef\",\"state\":\"done\",\"ids\":[\"0:1\"]}";
    put("topic", topic, sizeof topic - 1);
}
