/* Where dead letters are: part files below a directory or on S3, or a topic; and the marks of what was replayed, beside them: objects
 * _weir/replay-ID, or messages with the header "weir.replay". See dlq.h. */
#include "dlq.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "connectors/kafka/dead_letters.h"
#include "format/text_int.h"

#define FILE_SIZE_MAX ((size_t)1 << 30) /* of a part file, in memory while it is read */
#define MARKS "_weir/replay-"

/* --- Opening */

static void add_property(struct dlq_place *place, const char *name, const char *value)
{
    char *key = weir_format("properties.%s", name);
    place->properties[place->property_count++] = (struct weir_key_value){key, weir_strdup(value)};
}

bool dlq_parse_brokers(struct weir_client *client, const char *name, struct dlq_place *place)
{
    if (strncmp(name, "kafka://", 8) != 0)
        return false;
    const char *slash = strchr(name + 8, '/');
    char *brokers = weir_strndup(name + 8, slash ? (size_t)(slash - name - 8) : strlen(name + 8));
    add_property(place, "bootstrap.servers", brokers);
    free(brokers);
    for (int i = 0; i < client->property_count; i++)
        add_property(place, client->properties[i].key, client->properties[i].value);
    place->topic = slash && slash[1] ? weir_strdup(slash + 1) : NULL;
    return true;
}

int dlq_open(struct weir_client *client, const char *name, struct dlq_place *place)
{
    struct stat st;
    struct weir_error error;
    *place =
        (struct dlq_place){.name = name, .replayed = json_object(), .replays = json_object(), .pending = json_array()};
    if (dlq_parse_brokers(client, name, place))
        return place->topic
                   ? EXIT_DONE
                   : weir_client_fail(client, EXIT_USAGE, NULL, "'%s' names no topic: kafka://BROKERS/TOPIC", name);
    if (strncmp(name, "s3://", 5) != 0 && (stat(name, &st) != 0 || !S_ISDIR(st.st_mode)))
        return weir_client_fail(client, EXIT_NOT_FOUND, NULL,
                                "'%s' is no directory: PLACE is one, or s3://BUCKET/PREFIX, or kafka://BROKERS/TOPIC",
                                name);
    int exit_code = weir_client_config(client, client->config, &place->config);
    if (exit_code != EXIT_DONE)
        return exit_code;
    return weir_store_open(name, place->config, &place->store, &error)
               ? weir_client_fail(client, EXIT_FAILED, NULL, "%s", error.message)
               : EXIT_DONE;
}

void dlq_close(struct dlq_place *place)
{
    weir_store_close(place->store);
    weir_config_free(place->config);
    free(place->topic);
    for (int i = 0; i < place->property_count; i++) {
        free((char *)(uintptr_t)place->properties[i].key);
        free((char *)(uintptr_t)place->properties[i].value);
    }
    json_decref(place->replayed);
    json_decref(place->replays);
    json_decref(place->pending);
}

/* --- Letters */

uint8_t *dlq_bytes(const json_t *letter, const char *member, size_t *size)
{
    const json_t *text = json_object_get(letter, member);
    *size = 0;
    if (!json_is_string(text))
        return NULL;
    uint8_t *bytes = weir_alloc(json_string_length(text) + 1);
    if (!weir_base64_decode((const uint8_t *)json_string_value(text), json_string_length(text), bytes, size)) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

bool dlq_is_whole(const json_t *letter)
{
    size_t size;
    uint8_t *bytes = dlq_bytes(letter, "value", &size);
    const json_t *whole = json_object_get(letter, "value_size");
    bool is = bytes && json_is_integer(whole) && (size_t)json_integer_value(whole) == size;
    free(bytes);
    return is;
}

static json_t *base64(const uint8_t *bytes, size_t size)
{
    if (!bytes)
        return json_null();
    char *text = weir_alloc((size + 2) / 3 * 4 + 1);
    json_t *value = json_stringn(text, weir_base64_encode(bytes, size, text));
    free(text);
    return value;
}

static const char *const texts[][2] = {
    {"weir.error.text", "error"},
    {"weir.position", "position"},
    {"weir.error.code", "code"},
    {"weir.topic", "topic"},
    {"weir.path", "path"},
    {"weir.job.id", "job_id"},
    {"weir.job.name", "job_name"},
    {"weir.operator.id", "operator_id"},
    {"weir.operator.name", "operator_name"},
};
static const char *const numbers[][2] = {
    {"weir.partition", "partition"},
    {"weir.offset", "offset"},
    {"weir.value-size", "value_size"},
};
static const char *const times[][2] = {{"weir.timestamp", "timestamp"}, {"weir.failed-at", "failed_at"}};

/* One header of weir's into the letter. */
static void take_header(json_t *letter, const struct weir_message_header *header)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)(header->value_size < 63 ? header->value_size : 63),
             header->value ? (const char *)header->value : "");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(header->name, texts[i][0]) == 0)
            json_object_set_new(letter, texts[i][1], json_stringn((const char *)header->value, header->value_size));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(header->name, numbers[i][0]) == 0)
            json_object_set_new(letter, numbers[i][1], json_integer(strtoll(text, NULL, 10)));
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (strcmp(header->name, times[i][0]) == 0) {
            long long ms = strtoll(text, NULL, 10);
            time_t second = (time_t)(ms / 1000);
            struct tm tm;
            char when[64], all[96];
            strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", gmtime_r(&second, &tm));
            snprintf(all, sizeof all, "%s.%03dZ", when, (int)(ms % 1000));
            json_object_set_new(letter, times[i][1], json_string(all));
        }
}

/* The row that the message was made of; NULL: it is no dead letter. */
static json_t *letter_of(const struct weir_message *message)
{
    int own = message->header_count;
    while (own > 0 && strncmp(message->headers[own - 1].name, "weir.", 5) == 0 &&
           strcmp(message->headers[own - 1].name, "weir.error.code") != 0)
        own--;
    own--; /* weir.error.code is the first of weir's */
    if (own < 0 || strcmp(message->headers[own].name, "weir.error.code") != 0)
        return NULL;
    json_t *letter = json_object(), *headers = json_array();
    json_object_set_new(letter, "value",
                        base64(message->value ? message->value : (const uint8_t *)"", message->value_size));
    json_object_set_new(letter, "key", base64(message->key, message->key_size));
    for (int i = own; i < message->header_count; i++)
        take_header(letter, &message->headers[i]);
    for (int i = 0; i < own; i++)
        json_array_append_new(headers,
                              json_pack("{s:o, s:o}", "name", weir_client_string(message->headers[i].name), "value",
                                        base64(message->headers[i].value, message->headers[i].value_size)));
    json_object_set_new(letter, "headers", headers);
    return letter;
}

/* --- Reading */

struct reading {
    struct dlq_place *place;
    dlq_visit *visit; /* NULL: marks are looked for */
    void *arg;
    json_t *marks; /* by replay */
    weir_err err;
    struct weir_error *error;
};

/* Anybody may have written there: what has no id of a replay is no mark, since the next mark's name is made of it. */
static void take_mark(struct reading *reading, const void *text, size_t size)
{
    json_t *mark = json_loadb(text, size, 0, NULL);
    const char *replay = weir_json_text(mark, "replay");
    if (strlen(replay) == 16 && strspn(replay, "0123456789abcdef") == 16)
        json_object_set(reading->marks, replay, mark);
    json_decref(mark);
}

static bool take_message(const struct weir_message *message, void *arg)
{
    struct reading *reading = arg;
    bool is_mark = message->header_count == 1 && strcmp(message->headers[0].name, "weir.replay") == 0;
    if (is_mark && !reading->visit)
        take_mark(reading, message->value, message->value_size);
    json_t *letter = is_mark || !reading->visit ? NULL : letter_of(message);
    char id[64];
    snprintf(id, sizeof id, "%d:%" PRId64, message->lane, message->position);
    bool go_on = !letter || reading->visit(id, letter, reading->arg);
    json_decref(letter);
    return go_on;
}

static bool take_lines(struct reading *reading, const char *name, const struct weir_buf *text)
{
    const char *at = (const char *)text->data, *end = at + text->size;
    char id[1200];
    bool go_on = true;
    for (int line = 1; at && at < end && go_on; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        json_t *letter = json_loadb(at, (size_t)(stop - at), 0, NULL);
        snprintf(id, sizeof id, "%s:%d", name, line);
        if (json_is_object(letter) && json_object_get(letter, "value"))
            go_on = reading->visit(id, letter, reading->arg);
        json_decref(letter);
        at = stop + 1;
    }
    return go_on;
}

static bool take_object(const struct weir_store_entry *entry, void *arg)
{
    struct reading *reading = arg;
    struct weir_buf text;
    weir_buf_init(&text, FILE_SIZE_MAX);
    reading->err = weir_store_get(reading->place->store, entry->key, &text, NULL, reading->error);
    bool go_on = !reading->err;
    if (go_on && reading->visit)
        go_on = take_lines(reading, entry->key, &text);
    else if (go_on)
        take_mark(reading, text.data, text.size);
    weir_buf_fini(&text);
    return go_on;
}

static weir_err read_place(struct reading *reading, const char *prefix, struct weir_error *error)
{
    struct dlq_place *place = reading->place;
    reading->error = error;
    weir_err err = place->store ? weir_store_list(place->store, prefix, "", take_object, reading, error)
                                : weir_kafka_read_all(place->properties, place->property_count, place->topic,
                                                      take_message, reading, error);
    return err ? err : reading->err;
}

weir_err dlq_read(struct dlq_place *place, dlq_visit *visit, void *arg, struct weir_error *error)
{
    struct reading reading = {.place = place, .visit = visit, .arg = arg};
    return read_place(&reading, "part-", error);
}

/* --- Marks */

weir_err dlq_read_marks(struct dlq_place *place, struct weir_error *error)
{
    struct reading reading = {.place = place, .marks = json_object()};
    weir_err err = read_place(&reading, MARKS, error);
    const char *replay;
    json_t *mark, *id;
    size_t i;
    json_object_clear(place->replayed);
    json_array_clear(place->pending);
    json_object_foreach(reading.marks, replay, mark)
    {
        if (strcmp(weir_json_text(mark, "state"), "pending") == 0)
            json_array_append(place->pending, mark);
        if (strcmp(weir_json_text(mark, "state"), "done") != 0)
            continue;
        json_object_set_new(place->replays, replay, json_true());
        json_array_foreach(json_object_get(mark, "ids"), i, id) if (json_is_string(id))
            json_object_set_new(place->replayed, json_string_value(id), json_true());
    }
    json_decref(reading.marks);
    return err;
}

weir_err dlq_put_mark(struct dlq_place *place, const json_t *mark, struct weir_error *error)
{
    char *text = json_dumps(mark, JSON_COMPACT);
    weir_err err = WEIR_OK;
    if (place->store) {
        char *key = weir_format(MARKS "%s", weir_json_text(mark, "replay"));
        err = weir_store_put(place->store, key, text, strlen(text), WEIR_STORE_ALWAYS, NULL, NULL, error);
        free(key);
    } else {
        struct weir_kafka_replay *writer = NULL;
        struct weir_message_header header = {"weir.replay", (const uint8_t *)"1", 1};
        struct weir_message_out message = {.value = (const uint8_t *)text,
                                           .value_size = strlen(text),
                                           .topic = place->topic,
                                           .topic_size = strlen(place->topic),
                                           .timestamp_ms = INT64_MIN,
                                           .partition = 0,
                                           .header_count = 1,
                                           .headers = &header};
        err = weir_kafka_replay_open(place->properties, place->property_count, NULL, &writer, error);
        err = err ? err : weir_kafka_replay_send(writer, &message, error);
        err = err ? err : weir_kafka_replay_commit(writer, NULL, NULL, error);
        weir_kafka_replay_close(writer);
    }
    free(text);
    return err;
}
