/* state inspect, state read: what a checkpoint or savepoint holds, here, without a cluster. Only the metadata is read, of runs the index, and what
 * is asked for. Nothing is written. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/proto_memory.h"
#include "client_int.h"
#include "graph/plan.h"
#include "state_rows.h"
#include "statefile/metadata.h"
#include "statefile/run.h"
#include "store/store.h"

#define METADATA_SIZE_MAX ((size_t)256 << 20)
#define OFFSETS_SIZE_MAX ((int64_t)16 << 20) /* of the parts of a source that inspect looks into */
#define SCHEMA_TEXT_SIZE 2000

struct saved {
    struct weir_client *client;
    struct weir_config *config;
    struct weir_store *store;
    char *place; /* as given, with what was found there, for people */
    char *below; /* of names without a directory: "" or "dir/" */
    Weir__Snapshot *snapshot;
};

struct bytes { /* of a part; mapped, or the metadata's */
    uint8_t *data;
    size_t size;
    bool mapped;
};

/* --- Opening */

static bool is_local(const char *path)
{
    return strncmp(path, "s3:", 3) != 0;
}

static const char *local_path(const char *path)
{
    if (strncmp(path, "file:", 5) != 0)
        return path;
    path += 5;
    return strncmp(path, "//", 2) == 0 ? path + 2 : path;
}

/* Where below `dir` a job's checkpoint begins: "jobs/<32 hex>/chk-<n>"; NULL: it is none, as a savepoint's directory. */
static const char *checkpoint_of(const char *dir)
{
    const char *last = strrchr(dir, '/');
    size_t id = 0;
    if (!last || strncmp(last, "/chk-", 5) != 0)
        return NULL;
    const char *at = last;
    while (at > dir && at[-1] != '/')
        at--, id++;
    if (id != 32 || at - dir < 6 || strncmp(at - 5, "jobs/", 5) != 0 || at[-6] != '/')
        return NULL;
    return at - 5;
}

static int failed(const struct saved *saved, const struct weir_error *error)
{
    return weir_client_fail(saved->client, error->code == WEIR_ERR_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED, NULL,
                            "%s: %s", saved->place, error->message);
}

/* Reads DIR/NAME. NOT_FOUND is left to the caller. */
static weir_err try_metadata(struct saved *saved, const char *dir, const char *name, struct weir_error *error)
{
    const char *checkpoint = checkpoint_of(dir);
    char *root = checkpoint ? weir_strndup(dir, (size_t)(checkpoint - dir)) : weir_strdup(dir);
    saved->below = checkpoint ? weir_format("%s/", checkpoint) : weir_strdup("");
    char *key = weir_format("%s%s", saved->below, name);
    free(saved->place);
    saved->place = weir_format("%s/%s", dir, name);
    struct weir_buf buf;
    weir_buf_init(&buf, METADATA_SIZE_MAX);
    weir_err err = weir_store_open(root, saved->config, &saved->store, error);
    err = err ? err : weir_store_get(saved->store, key, &buf, NULL, error);
    err = err ? err : weir_metadata_parse(buf.data, buf.size, &saved->snapshot, error);
    weir_buf_fini(&buf);
    free(key);
    free(root);
    if (err) {
        weir_store_close(saved->store);
        saved->store = NULL;
        free(saved->below);
        saved->below = NULL;
    }
    return err;
}

/* A local directory must be there already: opening a store makes it. */
static weir_err look_locally(const char *path, bool *is_file, struct weir_error *error)
{
    struct stat st;
    if (stat(local_path(path), &st) != 0)
        return weir_fail_errno(error, errno == ENOENT || errno == ENOTDIR ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO,
                               "cannot be read");
    *is_file = S_ISREG(st.st_mode);
    return WEIR_OK;
}

static weir_err find_metadata(struct saved *saved, const char *path, struct weir_error *error)
{
    static const char *const names[] = {"_metadata", "metadata"};
    const char *last = strrchr(path, '/');
    bool is_file = last && (strcmp(last + 1, names[0]) == 0 || strcmp(last + 1, names[1]) == 0);
    weir_err err = is_local(path) ? look_locally(path, &is_file, error) : WEIR_OK;
    if (err)
        return err;
    if (is_file) {
        char *dir = last ? weir_strndup(path, (size_t)(last - path)) : weir_strdup(".");
        err = try_metadata(saved, *dir ? dir : "/", last ? last + 1 : path, error);
        free(dir);
        return err;
    }
    err = try_metadata(saved, path, names[0], error);
    if (err == WEIR_ERR_NOT_FOUND)
        err = try_metadata(saved, path, names[1], error);
    if (err == WEIR_ERR_NOT_FOUND) {
        free(saved->place);
        saved->place = weir_strdup(path);
        err =
            weir_fail(error, WEIR_ERR_NOT_FOUND,
                      "there is no _metadata or metadata: PATH is the directory of a checkpoint (DIR/jobs/ID/chk-N) or "
                      "of a savepoint, or its metadata file");
    }
    return err;
}

static int open_saved(struct saved *saved, struct weir_client *client, const char *given)
{
    *saved = (struct saved){.client = client, .place = weir_strdup(given)};
    int exit_code = weir_client_config(client, client->config, &saved->config);
    if (exit_code != EXIT_DONE)
        return exit_code;
    size_t size = strlen(given);
    while (size > 1 && given[size - 1] == '/')
        size--;
    char *path = weir_strndup(given, size);
    struct weir_error error = {.code = WEIR_OK};
    weir_err err = find_metadata(saved, path, &error);
    free(path);
    return err ? failed(saved, &error) : EXIT_DONE;
}

static void close_saved(struct saved *saved)
{
    if (saved->snapshot)
        weir__snapshot__free_unpacked(saved->snapshot, NULL);
    weir_store_close(saved->store);
    weir_config_free(saved->config);
    free(saved->below);
    free(saved->place);
}

/* --- Parts */

static void bytes_fini(struct bytes *bytes)
{
    if (bytes->mapped)
        munmap(bytes->data, bytes->size);
    *bytes = (struct bytes){.data = NULL};
}

/* The newest checkpoint of a running job is soon an old one. */
static bool is_gone(const struct saved *saved)
{
    struct weir_buf buf;
    const char *name = strrchr(saved->place, '/') + 1;
    char *key = weir_format("%s%s", saved->below, name);
    weir_buf_init(&buf, METADATA_SIZE_MAX);
    weir_err err = weir_store_get(saved->store, key, &buf, NULL, NULL);
    weir_buf_fini(&buf);
    free(key);
    return err == WEIR_ERR_NOT_FOUND;
}

static weir_err get_range(const struct saved *saved, const Weir__StatePart *part, int64_t at, int64_t size, int fd,
                          uint32_t *crc32c, struct weir_error *error)
{
    char *key = strchr(part->object, '/') ? weir_strdup(part->object) : weir_format("%s%s", saved->below, part->object);
    weir_err err = weir_store_get_range(saved->store, key, part->offset + at, size, fd, at, crc32c, error);
    if (err == WEIR_ERR_NOT_FOUND && is_gone(saved))
        err = weir_fail(error, err,
                        "the checkpoint was removed while it was read, since its job goes on: take a newer one");
    else if (err == WEIR_ERR_NOT_FOUND)
        err = weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: its object %s/%s is not there",
                        weir_store_uri(saved->store), key);
    else if (err)
        (void)weir_wrap(error, "its object %s", key);
    free(key);
    return err;
}

static weir_err map(int fd, int64_t size, struct bytes *bytes, struct weir_error *error)
{
    uint8_t *data = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot map it");
    *bytes = (struct bytes){data, (size_t)size, true};
    return WEIR_OK;
}

/* Of a run, whose index is at its end, the index; the rest reads as zeros. *is_run. */
static weir_err get_index(const struct saved *saved, const Weir__StatePart *part, int fd, bool *is_run,
                          struct weir_error *error)
{
    uint8_t trailer[WEIR_RUN_TRAILER_SIZE];
    *is_run = false;
    if (part->size < WEIR_RUN_TRAILER_SIZE)
        return WEIR_OK;
    weir_err err = get_range(saved, part, part->size - WEIR_RUN_TRAILER_SIZE, WEIR_RUN_TRAILER_SIZE, fd, NULL, error);
    if (err)
        return err;
    if (pread(fd, trailer, sizeof trailer, part->size - WEIR_RUN_TRAILER_SIZE) != sizeof trailer)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot read it back");
    *is_run = weir_saved_is_run(trailer, sizeof trailer);
    uint64_t at = 0, size = 0, end = (uint64_t)part->size - WEIR_RUN_TRAILER_SIZE;
    for (int i = 7; i >= 0; i--) {
        at = at << 8 | trailer[i];
        size = size << 8 | trailer[8 + i];
    }
    if (!*is_run || at > end || size > end - at)
        return WEIR_OK; /* opening it says so */
    return size ? get_range(saved, part, (int64_t)at, (int64_t)size, fd, NULL, error) : WEIR_OK;
}

/* index: only as much as weir_run_open() needs, and nothing (size 0) of what is no run. */
static weir_err get_part(const struct saved *saved, const Weir__StatePart *part, bool index, struct bytes *bytes,
                         struct weir_error *error)
{
    *bytes = (struct bytes){.data = part->bytes.data, .size = part->bytes.len};
    if (!part->object[0] || part->size == 0)
        return WEIR_OK;
    int fd = memfd_create("weir-state", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, part->size) != 0) {
        if (fd >= 0)
            close(fd);
        return weir_fail_errno(error, WEIR_ERR_IO, "no memory for %" PRId64 " bytes", part->size);
    }
    uint32_t crc32c = 0;
    bool is_run = true;
    weir_err err =
        index ? get_index(saved, part, fd, &is_run, error) : get_range(saved, part, 0, part->size, fd, &crc32c, error);
    if (!err && !index && crc32c != part->crc32c)
        err = weir_fail(error, WEIR_ERR_DATA,
                        "CHECKPOINT_CORRUPT: %s, %" PRId64 " bytes from %" PRId64 ", does not fit its checksum",
                        part->object, part->size, part->offset);
    if (!err && is_run)
        err = map(fd, part->size, bytes, error);
    close(fd);
    return err ? weir_wrap(error, "state '%s' of operator %s, subtask %u", part->name, part->uid, part->subtask) : err;
}

/* --- Inspect */

static const char *kind_name(uint32_t kind)
{
    static const char *const names[] = {"", "subtask", "split", "union", "keyed", "rows-keyed", "rows"};
    return names[kind]; /* the parser has checked it */
}

static bool same_state(const Weir__StatePart *a, const Weir__StatePart *b)
{
    return strcmp(a->uid, b->uid) == 0 && strcmp(a->name, b->name) == 0;
}

static bool is_first(const Weir__Snapshot *snapshot, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (same_state(snapshot->parts[i], snapshot->parts[at]))
            return false;
    return true;
}

static bool collect(json_t *take_row, void *arg)
{
    json_array_append_new(arg, take_row);
    return true;
}

static int add_offsets(const struct saved *saved, const Weir__StatePart *part, json_t *offsets)
{
    struct bytes bytes;
    struct weir_error error;
    weir_err err = get_part(saved, part, false, &bytes, &error);
    if (err)
        return failed(saved, &error);
    struct weir_saved_part one = {(enum weir_state_kind)part->kind, (int)part->subtask, (int)part->parallelism,
                                  bytes.data, bytes.size};
    err = weir_saved_rows(part->name, &one, 1, collect, offsets, &error);
    bytes_fini(&bytes);
    return err ? failed(saved, &error) : EXIT_DONE;
}

/* Counts of a run, and what is in it. */
static int add_run(const struct saved *saved, const Weir__StatePart *part, json_t *state, json_t *entry)
{
    struct bytes bytes;
    struct weir_error error;
    struct weir_run *run = NULL;
    weir_err err = get_part(saved, part, true, &bytes, &error);
    if (!err && weir_saved_is_run(bytes.data, bytes.size)) {
        err = weir_run_open(bytes.data, bytes.size, &run, &error);
        if (err)
            (void)weir_wrap(&error, "state '%s' of operator %s, subtask %u", part->name, part->uid, part->subtask);
    }
    if (run) {
        const struct weir_run_info *info = weir_run_info(run);
        char schema[SCHEMA_TEXT_SIZE];
        json_object_set_new(entry, "checkpoint", json_integer((json_int_t)info->checkpoint));
        json_object_set_new(entry, "values", json_integer((json_int_t)info->value_count));
        json_object_set_new(state, "max-parallelism", json_integer(info->max_parallelism));
        json_object_set_new(entry, "removals", json_integer((json_int_t)info->removed_count));
        json_object_set_new(state, "values",
                            json_integer(weir_json_number(state, "values") + (json_int_t)info->value_count));
        json_object_set_new(state, "runs", json_integer(weir_json_number(state, "runs") + 1));
        weir_saved_schema_text(info->schema, info->schema_size, schema, sizeof schema);
        if (schema[0])
            json_object_set_new(state, "schema", weir_client_string(schema));
    }
    weir_run_close(run);
    bytes_fini(&bytes);
    return err ? failed(saved, &error) : EXIT_DONE;
}

static bool has_offsets(const Weir__StatePart *part)
{
    return (strcmp(part->name, "reader") == 0 || strcmp(part->name, "splits") == 0) && part->kind != WEIR_STATE_KEYED &&
           part->size <= OFFSETS_SIZE_MAX;
}

static int add_part(const struct saved *saved, const Weir__StatePart *part, json_t *state)
{
    json_t *entry = json_pack("{s:I, s:I, s:I}", "subtask", (json_int_t)part->subtask, "parallelism",
                              (json_int_t)part->parallelism, "size", (json_int_t)part->size);
    int exit_code = EXIT_DONE;
    if (part->object[0]) {
        json_object_set_new(entry, "object", weir_client_string(part->object));
        json_object_set_new(entry, "offset", json_integer(part->offset));
    }
    json_object_set_new(entry, "crc32c", json_integer(part->crc32c));
    if (part->kind == WEIR_STATE_KEYED)
        exit_code = add_run(saved, part, state, entry);
    else if (has_offsets(part))
        exit_code = add_offsets(saved, part, json_object_get(state, "offsets"));
    json_object_set_new(state, "size", json_integer(weir_json_number(state, "size") + part->size));
    json_array_append_new(json_object_get(state, "parts"), entry);
    return exit_code;
}

static const Weir__SnapshotOperator *known_operator(const Weir__Snapshot *snapshot, const char *uid)
{
    for (size_t i = 0; i < snapshot->n_operators; i++)
        if (strcmp(snapshot->operators[i]->uid, uid) == 0)
            return snapshot->operators[i];
    return NULL;
}

static json_t *operator_of(const Weir__Snapshot *snapshot, json_t *operators, const char *uid)
{
    size_t i;
    json_t *operator;
    json_array_foreach(operators, i, operator) if (strcmp(weir_json_text(operator, "uid"), uid) == 0) return operator;
    operator= json_pack("{s:o, s:[]}", "uid", weir_client_string(uid), "states");
    const Weir__SnapshotOperator *known = known_operator(snapshot, uid);
    if (known) {
        json_object_set_new(operator, "name", weir_client_string(known->name));
        json_object_set_new(operator, "given-uid",
                            known->given_uid[0] ? weir_client_string(known->given_uid) : json_null());
        json_object_set_new(operator, "parallelism", json_integer(known->parallelism));
    }
    json_array_append_new(operators, operator);
    return operator;
}

/* The text of one with segments has all options of its sink: passwords, too. */
static json_t *committable_of(const Weir__Committable *committable)
{
    json_t *segments = json_array();
    for (size_t i = 0; i < committable->n_segments; i++)
        json_array_append_new(segments, json_pack("{s:o, s:I, s:I}", "object",
                                                  weir_client_string(committable->segments[i]->object), "size",
                                                  (json_int_t)committable->segments[i]->size, "messages",
                                                  (json_int_t)committable->segments[i]->records));
    json_t *one = json_pack("{s:o}", "connector", weir_client_string(committable->connector));
    if (committable->n_segments == 0)
        json_object_set_new(one, "text", weir_client_string(committable->text));
    else
        json_object_set_new(one, "since", json_integer((json_int_t)committable->since));
    if (committable->transaction[0])
        json_object_set_new(one, "transaction", weir_client_string(committable->transaction));
    json_object_set_new(one, "segments", segments);
    return one;
}

static int describe(const struct saved *saved, json_t **out)
{
    const Weir__Snapshot *snapshot = saved->snapshot;
    json_t *operators = json_array(), *committables = json_array();
    int64_t size = 0;
    int exit_code = EXIT_DONE;
    for (size_t i = 0; i < snapshot->n_parts && exit_code == EXIT_DONE; i++) {
        const Weir__StatePart *first = snapshot->parts[i];
        size += first->size;
        if (!is_first(snapshot, i))
            continue;
        json_t *state = json_pack("{s:o, s:s, s:i, s:[]}", "name", weir_client_string(first->name), "kind",
                                  kind_name(first->kind), "size", 0, "parts");
        json_array_append_new(json_object_get(operator_of(snapshot, operators, first->uid), "states"), state);
        if (has_offsets(first))
            json_object_set_new(state, "offsets", json_array());
        for (size_t j = i; j < snapshot->n_parts && exit_code == EXIT_DONE; j++)
            if (same_state(first, snapshot->parts[j]))
                exit_code = add_part(saved, snapshot->parts[j], state);
    }
    for (size_t i = 0; i < snapshot->n_committables; i++)
        json_array_append_new(committables, committable_of(snapshot->committables[i]));
    *out = json_pack("{s:o, s:i, s:o, s:o, s:I, s:b, s:b, s:I, s:o, s:I, s:o, s:o}", "path",
                     weir_client_string(saved->place), "version", (int)snapshot->version, "jobid",
                     weir_client_string(snapshot->job_id), "name", weir_client_string(snapshot->job_name), "checkpoint",
                     (json_int_t)snapshot->checkpoint, "savepoint", snapshot->savepoint, "final", snapshot->final,
                     "trigger-timestamp", (json_int_t)snapshot->triggered_ms, "weir-version",
                     weir_client_string(snapshot->weir_version), "size", (json_int_t)size, "operators", operators,
                     "committables", committables);
    return exit_code;
}

static void print_states(struct weir_client *client, const json_t *operators)
{
    static const char *const titles[] = {"OPERATOR", "STATE", "KIND", ">PARTS", ">VALUES", ">SIZE", "SCHEMA", NULL};
    struct weir_table table;
    size_t i, j;
    const json_t *operator, * state;
    weir_table_init(&table, titles);
    json_array_foreach(operators, i, operator)
    {
        json_array_foreach(json_object_get(operator, "states"), j, state)
        {
            char size[WEIR_TEXT_SIZE], values[32] = "";
            const char *name = weir_json_text(operator, "given-uid");
            name = *name ? name : weir_json_text(operator, "name");
            if (json_object_get(state, "values"))
                snprintf(values, sizeof values, "%" PRId64, weir_json_number(state, "values"));
            weir_table_add(&table, WEIR_COLOR_NONE, "%s%s%s", weir_json_text(operator, "uid"), *name ? " " : "", name);
            weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(state, "name"));
            weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(state, "kind"));
            weir_table_add(&table, WEIR_COLOR_NONE, "%zu", json_array_size(json_object_get(state, "parts")));
            weir_table_add(&table, WEIR_COLOR_NONE, "%s", values);
            weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_text_bytes(size, weir_json_number(state, "size")));
            weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(state, "schema"));
        }
    }
    weir_table_print(client, &table);
}

static void print_offsets(struct weir_client *client, const json_t *operators)
{
    static const char *const titles[] = {"SOURCE", ">SUBTASK", "SPLIT",     ">FROM",
                                         ">SIZE",  "POSITION", "WATERMARK", NULL};
    struct weir_table table;
    size_t i, j, k;
    const json_t *operator, * state, *row;
    weir_table_init(&table, titles);
    json_array_foreach(operators, i, operator)
    {
        json_array_foreach(json_object_get(operator, "states"), j, state)
        {
            json_array_foreach(json_object_get(state, "offsets"), k, row)
            {
                bool begun = json_object_get(row, "position") != NULL;
                weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(operator, "uid"));
                weir_table_add(&table, WEIR_COLOR_NONE, "%" PRId64, weir_json_number(row, "subtask"));
                weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(row, "split"));
                weir_table_add(&table, WEIR_COLOR_NONE, "%" PRId64, weir_json_number(row, "offset"));
                weir_table_add(&table, WEIR_COLOR_NONE, "%" PRId64, weir_json_number(row, "size"));
                weir_table_add(&table, WEIR_COLOR_NONE, "%s", begun ? weir_json_text(row, "position") : "not begun");
                weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(row, "watermark"));
            }
        }
    }
    if (table.cell_count > 0)
        printf("\n");
    weir_table_print(client, &table);
}

static void print_inspected(struct weir_client *client, const struct saved *saved, const json_t *json)
{
    const Weir__Snapshot *snapshot = saved->snapshot;
    char time[WEIR_TEXT_SIZE], size[WEIR_TEXT_SIZE];
    char *name = weir_client_clean(snapshot->job_name), *version = weir_client_clean(snapshot->weir_version);
    printf("%s %" PRIu64 "%s of job %s (%s), %s, weir %s\n", snapshot->savepoint ? "savepoint" : "checkpoint",
           snapshot->checkpoint, snapshot->final ? ", the last," : "", name, weir_json_text(json, "jobid"),
           weir_text_time(time, snapshot->triggered_ms), version);
    printf("%s, %s, %zu outputs to commit\n\n", saved->place, weir_text_bytes(size, weir_json_number(json, "size")),
           snapshot->n_committables);
    free(name);
    free(version);
    print_states(client, json_object_get(json, "operators"));
    print_offsets(client, json_object_get(json, "operators"));
}

static int inspect(struct weir_client *client, struct saved *saved)
{
    json_t *json = NULL;
    int exit_code = describe(saved, &json);
    if (exit_code == EXIT_DONE && client->json)
        weir_client_print_json(json);
    else if (exit_code == EXIT_DONE)
        print_inspected(client, saved, json);
    json_decref(json);
    return exit_code;
}

/* --- Read */

/* A uid of 32 digits, a unique beginning of one, one as the job gave it, or an operator's name. */
static int find_operator(struct saved *saved, const char *given, const char **uid)
{
    const Weir__Snapshot *snapshot = saved->snapshot;
    char hashed[WEIR_VERTEX_ID_SIZE];
    weir_plan_given_uid(given, hashed);
    *uid = NULL;
    for (size_t i = 0; i < snapshot->n_parts; i++) {
        const char *one = snapshot->parts[i]->uid;
        const Weir__SnapshotOperator *known = known_operator(snapshot, one);
        bool whole = strcmp(one, given) == 0 || strcmp(one, hashed) == 0 || (known && strcmp(known->name, given) == 0);
        if (!whole && strncmp(one, given, strlen(given)) != 0)
            continue;
        if (!whole && *uid && strcmp(*uid, one) != 0)
            return weir_client_fail(saved->client, EXIT_USAGE, NULL, "several operators' uids begin with '%.100s'",
                                    given);
        *uid = one;
        if (whole)
            return EXIT_DONE;
    }
    return *uid ? EXIT_DONE
                : weir_client_fail(saved->client, EXIT_NOT_FOUND, "weir state inspect lists them",
                                   "%s has no state of an operator '%.100s'", saved->place, given);
}

static int unknown_state(struct saved *saved, const char *uid, const char *given)
{
    const char *names[64];
    char near[160];
    int count = 0;
    for (size_t i = 0; i < saved->snapshot->n_parts && count < 64; i++)
        if (strcmp(saved->snapshot->parts[i]->uid, uid) == 0 && is_first(saved->snapshot, i))
            names[count++] = saved->snapshot->parts[i]->name;
    return weir_client_fail(saved->client, EXIT_NOT_FOUND, "weir state inspect lists them",
                            "operator %s has no state '%.100s'%s", uid, given,
                            weir_client_nearest(near, given, names, count));
}

static bool print_row(json_t *take_row, void *arg)
{
    (void)arg;
    weir_client_print_json_line(take_row);
    json_decref(take_row);
    return !ferror(stdout);
}

static int read_rows(struct weir_client *client, struct saved *saved)
{
    const Weir__Snapshot *snapshot = saved->snapshot;
    const char *uid;
    int exit_code = find_operator(saved, client->operator_uid, &uid), count = 0;
    if (exit_code != EXIT_DONE)
        return exit_code;
    struct weir_saved_part *parts = weir_zalloc((snapshot->n_parts + 1) * sizeof *parts);
    struct bytes *bytes = weir_zalloc((snapshot->n_parts + 1) * sizeof *bytes);
    struct weir_error error;
    weir_err err = WEIR_OK;
    for (size_t i = 0; i < snapshot->n_parts && !err; i++) {
        const Weir__StatePart *part = snapshot->parts[i];
        if (strcmp(part->uid, uid) != 0 || strcmp(part->name, client->state) != 0)
            continue;
        if ((err = get_part(saved, part, false, &bytes[count], &error)))
            break;
        parts[count] = (struct weir_saved_part){(enum weir_state_kind)part->kind, (int)part->subtask,
                                                (int)part->parallelism, bytes[count].data, bytes[count].size};
        count++;
    }
    if (!err && count == 0)
        exit_code = unknown_state(saved, uid, client->state);
    else if (!err)
        err = weir_saved_rows(client->state, parts, count, print_row, NULL, &error);
    if (err)
        exit_code = failed(saved, &error);
    while (count-- > 0)
        bytes_fini(&bytes[count]);
    free(bytes);
    free(parts);
    return exit_code;
}

int weir_command_state(struct weir_client *client)
{
    const char *what = client->arguments[0];
    bool reads = strcmp(what, "read") == 0;
    char near[160];
    if (!reads && strcmp(what, "inspect") != 0)
        return weir_client_fail(client, EXIT_USAGE, NULL, "unknown word '%.100s'%s", what,
                                weir_client_nearest_choice(near, what, "inspect|read"));
    if (reads && (!client->operator_uid || !client->state))
        return weir_client_fail(client, EXIT_USAGE, NULL, "usage: weir state read PATH --operator UID --state NAME");
    struct saved saved;
    int exit_code = open_saved(&saved, client, client->arguments[1]);
    if (exit_code == EXIT_DONE)
        exit_code = reads ? read_rows(client, &saved) : inspect(client, &saved);
    close_saved(&saved);
    return exit_code;
}
