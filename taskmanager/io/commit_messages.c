#include "taskmanager/io/commit_messages.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/hash.h"
#include "base/json_memory.h"
#include "base/mem.h"
#include "base/op_metrics.h"
#include "connectors/connector.h"
#include "ops/output_log.h"
#include "store/store.h"

/* What one connector is asked for: the output of one sink, whose committables all have the same text. */
struct sink_commit {
    struct weir_message_commit commit; /* first: what read() is given */
    struct weir_store *store;
    struct weir_connector_commit runtime;
    const Weir__OutputSegment **objects; /* beside commit.segments */
    const char **names;                  /* theirs */
    const char **held;                   /* their transactions */
    struct weir_buf bytes;               /* of the segment that was read last */
    struct weir_message_out *messages;
};

/* --- Numbers */

#define SINKS_MAX 256

static struct {
    pthread_mutex_t lock;
    struct counted { /* of a sink; the one that was counted last is the last */
        char *job_id, *operator_id;
        int64_t records, bytes, transactions, failed_transactions, transaction_ms;
    } sinks[SINKS_MAX];
    int count;
} numbers = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void count_commit(const struct weir_message_commit *commit)
{
    pthread_mutex_lock(&numbers.lock);
    int at = 0;
    while (at < numbers.count && (strcmp(numbers.sinks[at].job_id, commit->job_id) != 0 ||
                                  strcmp(numbers.sinks[at].operator_id, commit->operator_id) != 0))
        at++;
    struct counted sink = {.job_id = NULL};
    if (at == SINKS_MAX) { /* the one that nobody has used for longest goes */
        free(numbers.sinks[0].job_id);
        free(numbers.sinks[0].operator_id);
        at = 0;
    } else if (at < numbers.count) {
        sink = numbers.sinks[at];
    } else {
        numbers.count++;
    }
    memmove(&numbers.sinks[at], &numbers.sinks[at + 1], (size_t)(numbers.count - 1 - at) * sizeof sink);
    if (!sink.job_id) {
        sink.job_id = weir_strdup(commit->job_id);
        sink.operator_id = weir_strdup(commit->operator_id);
    }
    sink.records += commit->records;
    sink.bytes += commit->bytes;
    sink.transactions += commit->transactions;
    sink.failed_transactions += commit->failed_transactions;
    sink.transaction_ms = commit->transaction_ms;
    numbers.sinks[numbers.count - 1] = sink;
    pthread_mutex_unlock(&numbers.lock);
}

static Weir__SinkNumbers *sink_numbers(struct weir_arena *arena, const struct counted *sink)
{
    const struct {
        enum weir_op_metric metric;
        int64_t value;
    } list[] = {{WEIR_OP_RECORDS_SEND, sink->records},
                {WEIR_OP_BYTES_SEND, sink->bytes},
                {WEIR_OP_TRANSACTIONS_COMMITTED, sink->transactions},
                {WEIR_OP_TRANSACTIONS_ABORTED, sink->failed_transactions},
                {WEIR_OP_TRANSACTION_TIME, sink->transaction_ms}};
    Weir__SinkNumbers *out = weir_arena_alloc(arena, sizeof *out);
    weir__sink_numbers__init(out);
    out->job_id = weir_arena_strdup(arena, sink->job_id);
    out->operator_ = weir_arena_strdup(arena, sink->operator_id);
    out->numbers = weir_arena_alloc(arena, sizeof list / sizeof *list * sizeof *out->numbers);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        Weir__OpNumber *number = out->numbers[out->n_numbers++] = weir_arena_alloc(arena, sizeof *number);
        weir__op_number__init(number);
        number->metric = list[i].metric;
        number->value = list[i].value;
    }
    return out;
}

void weir_commit_numbers(struct weir_arena *arena, Weir__ProcessMetrics *process)
{
    pthread_mutex_lock(&numbers.lock);
    process->sinks = weir_arena_alloc(arena, (size_t)(numbers.count + 1) * sizeof *process->sinks);
    for (int i = 0; i < numbers.count; i++)
        process->sinks[process->n_sinks++] = sink_numbers(arena, &numbers.sinks[i]);
    pthread_mutex_unlock(&numbers.lock);
}

/* --- One sink's output */

static weir_err read_segment(struct weir_message_commit *commit, int64_t index,
                             const struct weir_message_out **messages, int64_t *count, struct weir_error *error)
{
    struct sink_commit *sink = (struct sink_commit *)commit;
    const Weir__OutputSegment *object = sink->objects[index];
    free(sink->messages);
    sink->messages = NULL;
    weir_buf_fini(&sink->bytes);
    weir_buf_init(&sink->bytes, (size_t)object->size);
    weir_err err = weir_store_get(sink->store, object->object, &sink->bytes, NULL, error);
    if (!err && ((int64_t)sink->bytes.size != object->size ||
                 weir_crc32c(0, sink->bytes.data, sink->bytes.size) != object->crc32c))
        err = weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: it does not fit its checksum");
    if (err == WEIR_ERR_NOT_FOUND || err == WEIR_ERR_FULL)
        err = weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: it is not there, or of another size");
    if (!err)
        err = weir_output_log_read(sink->bytes.data, sink->bytes.size, &sink->messages, count, error);
    if (!err && *count != object->records)
        err = weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: it has another count of messages");
    *messages = sink->messages;
    return err ? weir_wrap(error, "output in %s", object->object) : WEIR_OK;
}

static void add_segments(struct sink_commit *sink, const Weir__Committable *from)
{
    size_t have = (size_t)sink->commit.segment_count, all = have + from->n_segments;
    struct weir_commit_segment *segments =
        weir_realloc((void *)(uintptr_t)sink->commit.segments, (all + 1) * sizeof *segments);
    sink->objects = weir_realloc(sink->objects, (all + 1) * sizeof *sink->objects);
    sink->names = weir_realloc(sink->names, (all + 1) * sizeof *sink->names);
    sink->held = weir_realloc(sink->held, (all + 1) * sizeof *sink->held);
    for (size_t i = 0; i < from->n_segments; i++) {
        sink->held[have + i] = from->transaction[0] ? from->transaction : NULL;
        const Weir__OutputSegment *object = sink->objects[have + i] = from->segments[i];
        sink->names[have + i] = object->object;
        segments[have + i] = (struct weir_commit_segment){object->size, object->records, from->since};
    }
    sink->commit.segments = segments;
    sink->commit.segment_count = (int64_t)all;
}

/* The options of the text, borrowed from `json`. */
static weir_err take_options(struct sink_commit *sink, json_t *json, struct weir_error *error)
{
    json_t *options = json_object_get(json, "options"), *value;
    const char *key;
    int count = 0;
    sink->commit.operator_id = json_string_value(json_object_get(json, "operator"));
    if (!sink->commit.operator_id || !json_is_object(options))
        return weir_fail(error, WEIR_ERR_PROTOCOL, "this describes no sink's output");
    struct weir_key_value *pairs = weir_zalloc((json_object_size(options) + 1) * sizeof *pairs);
    json_object_foreach(options, key, value) if (json_is_string(value)) pairs[count++] =
        (struct weir_key_value){key, json_string_value(value)};
    sink->commit.options = pairs;
    sink->commit.option_count = count;
    return WEIR_OK;
}

static bool is_same_sink(const Weir__Committable *a, const Weir__Committable *b)
{
    return strcmp(a->text, b->text) == 0 && strcmp(a->connector, b->connector) == 0 &&
           strcmp(a->job_id, b->job_id) == 0;
}

static struct weir_key_value *settings_of(const Weir__CommitOutput *output)
{
    struct weir_key_value *pairs = weir_zalloc((output->n_store_settings + 1) * sizeof *pairs);
    for (size_t i = 0; i < output->n_store_settings; i++)
        pairs[i] = (struct weir_key_value){output->store_settings[i]->key, output->store_settings[i]->value};
    return pairs;
}

/* That of committable `first` and of all behind it that are the same sink's. */
static weir_err commit_sink(const Weir__CommitOutput *output, size_t first, struct weir_store *store,
                            struct weir_error *error)
{
    const Weir__Committable *committable = output->committables[first];
    const struct weir_connector *connector;
    struct sink_commit sink = {.store = store};
    sink.commit.size = sizeof sink.commit;
    sink.commit.job_id = committable->job_id[0] ? committable->job_id : output->job_id;
    sink.commit.checkpoint = output->checkpoint;
    sink.commit.after = committable->job_id[0] ? committable->after : 0; /* one's own comes in its order */
    sink.commit.read = read_segment;
    weir_buf_init(&sink.bytes, 0);
    weir_json_memory();
    json_t *json = json_loads(committable->text, 0, NULL);
    weir_err err = take_options(&sink, json, error);
    if (!err)
        err = weir_connector_find(committable->connector, &connector, error);
    if (!err && !connector->commit_messages)
        err = weir_fail(error, WEIR_ERR_PROTOCOL, "connector '%s' cannot publish messages of a log", connector->name);
    for (size_t i = first; i < output->n_committables && !err; i++)
        if (is_same_sink(output->committables[i], committable))
            add_segments(&sink, output->committables[i]);
    struct weir_key_value *settings = settings_of(output);
    sink.runtime = (struct weir_connector_commit){sink.names, settings, (int)output->n_store_settings};
    sink.commit.runtime = &sink.runtime;
    sink.commit.held = sink.held;
    if (!err)
        err = connector->commit_messages(&sink.commit, error);
    if (sink.commit.transactions + sink.commit.failed_transactions > 0)
        count_commit(&sink.commit);
    free(settings);
    free(sink.names);
    free(sink.held);
    json_decref(json);
    free((void *)(uintptr_t)sink.commit.options);
    free((void *)(uintptr_t)sink.commit.segments);
    free(sink.objects);
    free(sink.messages);
    weir_buf_fini(&sink.bytes);
    return err;
}

static weir_err open_store(const Weir__CommitOutput *output, struct weir_store **store, struct weir_error *error)
{
    struct weir_key_value *pairs = settings_of(output);
    struct weir_config *config = NULL;
    weir_err err = weir_config_load("/dev/null", "", pairs, (int)output->n_store_settings, &config, error);
    if (!err)
        err = weir_store_open(output->store, config, store, error);
    weir_config_free(config);
    free(pairs);
    return err ? weir_wrap(error, "execution.checkpointing.dir") : WEIR_OK;
}

/* The store of the last commit stays open, with its connections: commits come several times a second. */
static weir_err find_store(const Weir__CommitOutput *output, struct weir_store **store, struct weir_error *error)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static struct weir_store *last;
    static char *last_uri; /* as it was asked for */
    weir_err err = WEIR_OK;
    pthread_mutex_lock(&mutex);
    if (!last || strcmp(last_uri, output->store) != 0) {
        struct weir_store *opened = NULL;
        err = open_store(output, &opened, error);
        if (!err) {
            weir_store_close(last);
            free(last_uri);
            last = opened;
            last_uri = weir_strdup(output->store);
        }
    }
    *store = err ? NULL : weir_store_ref(last);
    pthread_mutex_unlock(&mutex);
    return err;
}

static bool is_first_of_sink(const Weir__CommitOutput *output, size_t index)
{
    if (output->committables[index]->n_segments == 0)
        return false;
    for (size_t i = 0; i < index; i++)
        if (output->committables[i]->n_segments > 0 &&
            is_same_sink(output->committables[i], output->committables[index]))
            return false;
    return true;
}

weir_err weir_commit_messages(const Weir__CommitOutput *output, struct weir_error *error)
{
    struct weir_store *store = NULL;
    weir_err err = WEIR_OK;
    for (size_t i = 0; i < output->n_committables && !err; i++) {
        if (!is_first_of_sink(output, i))
            continue;
        if (!store)
            err = find_store(output, &store, error);
        if (!err)
            err = commit_sink(output, i, store, error);
    }
    weir_store_close(store);
    return err;
}
