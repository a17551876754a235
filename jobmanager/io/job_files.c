#include "jobmanager/io/job_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/proto_memory.h"
#include "jobmanager/io/savepoint.h"
#include "snapshot.pb-c.h"
#include "statefile/metadata.h"

#define JOBS_MAX 1000000 /* of one listing */
#define PAGE_SIZE 1000
#define OBJECT_SIZE_MAX ((size_t)256 << 20)

/* --- The envelope */

void weir_job_seal(const char kind[4], const uint8_t *bytes, size_t size, uint8_t *out)
{
    uint64_t hash = weir_xxh3(bytes, size);
    memcpy(out, "WEIR", 4);
    memcpy(out + 4, kind, 4);
    for (int i = 0; i < 8; i++)
        out[8 + i] = (uint8_t)(hash >> 8 * i);
    if (size)
        memcpy(out + WEIR_JOB_ENVELOPE_SIZE, bytes, size);
}

bool weir_job_unseal(const char kind[4], const uint8_t *bytes, size_t size)
{
    return weir_envelope_check(kind, bytes, size, NULL) == WEIR_OK;
}

static const uint8_t *inside(const struct weir_buf *buf)
{
    return buf->data + WEIR_JOB_ENVELOPE_SIZE;
}

/* --- A submission */

weir_err weir_job_files_put(struct weir_store *store, const char *job_id, const uint8_t *graph, size_t graph_size,
                            const char *code_sha256, const char *code_dir, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    if (code_sha256[0] && code_dir) {
        char *from = weir_format("%s/%s.so", code_dir, code_sha256);
        char *key = weir_format("jobs/%s/code-%s", job_id, code_sha256);
        int64_t size;
        err = weir_store_put_file(store, key, from, &size, NULL, error);
        free(from);
        free(key);
    }
    if (err)
        return err;
    char sha256[65];
    weir_sha256_hex(graph, graph_size, sha256);
    char *key = weir_format("jobs/%s/graph-%s", job_id, sha256);
    uint8_t *sealed = weir_alloc(graph_size + WEIR_JOB_ENVELOPE_SIZE);
    weir_job_seal("GRPH", graph, graph_size, sealed);
    err = weir_store_put(store, key, sealed, graph_size + WEIR_JOB_ENVELOPE_SIZE, WEIR_STORE_ALWAYS, NULL, NULL, error);
    free(sealed);
    free(key);
    return err;
}

/* --- Listing */

struct listing {
    struct weir_jm_object *list;
    int count, capacity, most;
    int64_t now_ms;
};

static bool add_object(const struct weir_store_entry *entry, void *arg)
{
    struct listing *listing = arg;
    if (listing->count == listing->capacity) {
        listing->capacity = listing->capacity ? listing->capacity * 2 : 64;
        listing->list = weir_realloc(listing->list, (size_t)listing->capacity * sizeof *listing->list);
    }
    /* By two clocks: what is judged by its age is garbage for other reasons. */
    listing->list[listing->count++] = (struct weir_jm_object){
        weir_strdup(entry->key), listing->now_ms > entry->modified_ms ? listing->now_ms - entry->modified_ms : 0};
    return listing->count < listing->most;
}

weir_err weir_job_files_list_jobs(struct weir_store *store, struct weir_jm_object **objects, int *count,
                                  struct weir_error *error)
{
    struct listing listing = {.most = JOBS_MAX};
    weir_err err = weir_store_list_directories(store, "jobs/", add_object, &listing, error);
    *objects = listing.list;
    *count = listing.count;
    return err;
}

weir_err weir_job_files_list(struct weir_store *store, const char *prefix, const char *after,
                             struct weir_jm_object **objects, int *count, bool *more, struct weir_error *error)
{
    struct listing listing = {.most = PAGE_SIZE, .now_ms = weir_clock_wall_ms()};
    weir_err err = weir_store_list(store, prefix, after, add_object, &listing, error);
    *objects = listing.list;
    *count = listing.count;
    *more = listing.count == PAGE_SIZE;
    return err;
}

struct young {
    int64_t since_ms;
    bool found;
};

static bool see_young(const struct weir_store_entry *entry, void *arg)
{
    struct young *young = arg;
    young->found |= entry->modified_ms > young->since_ms;
    return !young->found;
}

weir_err weir_job_files_remove(struct weir_store *store, const char *prefix, int64_t age_ms, struct weir_error *error)
{
    struct young young = {.since_ms = weir_clock_wall_ms() - age_ms};
    weir_err err = age_ms > 0 ? weir_store_list(store, prefix, "", see_young, &young, error) : WEIR_OK;
    return err || young.found ? err : weir_savepoint_remove(store, prefix, error);
}

/* --- Reading */

static void failed(struct weir_job_files *files, weir_err err)
{
    files->result = err == WEIR_ERR_NOT_FOUND || err == WEIR_ERR_DATA ? WEIR_JM_READ_CORRUPT : WEIR_JM_READ_FAILED;
}

static void get_head(struct weir_store *store, const char *job_id, struct weir_job_files *files)
{
    char *key = weir_format("jobs/%s/HEAD", job_id);
    struct weir_buf buf;
    weir_buf_init(&buf, OBJECT_SIZE_MAX);
    weir_err err = weir_store_get(store, key, &buf, &files->tag, &files->error);
    Weir__Head *head = !err && weir_job_unseal("HEAD", buf.data, buf.size)
                           ? weir__head__unpack(&weir_proto_memory, buf.size - WEIR_JOB_ENVELOPE_SIZE, inside(&buf))
                           : NULL;
    bool good = head && head->nonce.len == WEIR_HEAD_NONCE_SIZE && strcmp(head->job_id, job_id) == 0 &&
                head->job_state < WEIR_JOB_STATES;
    if (good) {
        files->head = head;
    } else {
        if (head)
            weir__head__free_unpacked(head, NULL);
        if (!err) {
            files->result = WEIR_JM_READ_CORRUPT;
            (void)weir_fail(&files->error, WEIR_ERR_DATA, "%s/%s is not a HEAD object, or was damaged",
                            weir_store_uri(store), key);
        } else if (err == WEIR_ERR_NOT_FOUND) {
            files->result = WEIR_JM_READ_ABSENT;
        } else {
            failed(files, err);
        }
    }
    weir_buf_fini(&buf);
    free(key);
}

static void get_graph(struct weir_store *store, const char *job_id, struct weir_job_files *files)
{
    char *key = weir_format("jobs/%s/graph-%s", job_id, files->head->graph_sha256);
    char sha256[65];
    struct weir_buf buf;
    weir_buf_init(&buf, OBJECT_SIZE_MAX);
    weir_err err = weir_store_get(store, key, &buf, NULL, &files->error);
    bool good = !err && weir_job_unseal("GRPH", buf.data, buf.size);
    if (good) {
        weir_sha256_hex(inside(&buf), buf.size - WEIR_JOB_ENVELOPE_SIZE, sha256);
        good = strcmp(sha256, files->head->graph_sha256) == 0;
    }
    if (good)
        good = weir_buf_append(&files->graph, inside(&buf), buf.size - WEIR_JOB_ENVELOPE_SIZE);
    else if (err)
        failed(files, err);
    else
        files->result = WEIR_JM_READ_CORRUPT;
    if (!good && !err)
        (void)weir_fail(&files->error, WEIR_ERR_DATA, "%s/%s is not the graph that was stored, or was damaged",
                        weir_store_uri(store), key);
    weir_buf_fini(&buf);
    free(key);
}

/* NULL and WEIR_OK: it is there no more, or is not what was written. */
static weir_err get_snapshot(struct weir_store *store, const Weir__RetainedCheckpoint *retained, Weir__Snapshot **out,
                             struct weir_error *error)
{
    struct weir_buf buf;
    char sha256[65] = "";
    weir_buf_init(&buf, OBJECT_SIZE_MAX);
    weir_err err = weir_store_get(store, retained->metadata, &buf, NULL, error);
    if (!err && weir_job_unseal("META", buf.data, buf.size)) {
        weir_sha256_hex(inside(&buf), buf.size - WEIR_JOB_ENVELOPE_SIZE, sha256);
        if (strcmp(sha256, retained->sha256) == 0)
            err = weir_metadata_parse(buf.data, buf.size, out, error);
        if (err)
            weir_log(ERROR, "%s/%s: %s", weir_store_uri(store), retained->metadata, error->message);
    }
    weir_buf_fini(&buf);
    return err == WEIR_ERR_NOT_FOUND || err == WEIR_ERR_DATA || err == WEIR_ERR_UNSUPPORTED ? WEIR_OK : err;
}

struct code_size {
    const char *key;
    int64_t size;
};

static bool see_size(const struct weir_store_entry *entry, void *arg)
{
    struct code_size *code = arg;
    if (strcmp(entry->key, code->key) == 0)
        code->size = entry->size;
    return code->size < 0;
}

static weir_err download_code(struct weir_store *store, const char *key, const char *sha256, const char *part,
                              struct weir_error *error)
{
    struct code_size code = {key, -1};
    weir_err err = weir_store_list(store, key, "", see_size, &code, error);
    if (!err && code.size < 0)
        err = weir_fail(error, WEIR_ERR_NOT_FOUND, "%s/%s, the job's shared object, is missing", weir_store_uri(store),
                        key);
    int fd = err ? -1 : open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (!err && fd < 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write '%s'", part);
    if (!err && code.size > 0)
        err = weir_store_get_range(store, key, 0, code.size, fd, 0, NULL, error);
    if (fd >= 0)
        close(fd);
    char found[65];
    if (!err)
        err = weir_sha256_file_hex(part, found, error);
    if (!err && strcmp(found, sha256) != 0)
        err = weir_fail(error, WEIR_ERR_DATA, "%s/%s, the job's shared object, was damaged: its SHA-256 is %s",
                        weir_store_uri(store), key, found);
    return err;
}

static void get_code(struct weir_store *store, const char *code_dir, struct weir_job_files *files)
{
    const char *sha256 = files->head->code_sha256;
    char *path = weir_format("%s/%s.so", code_dir, sha256);
    if (access(path, R_OK) != 0) {
        char *key = weir_format("jobs/%s/code-%s", files->head->job_id, sha256);
        char *part = weir_format("%s/.code-%s", code_dir, files->head->job_id); /* jobs are read beside each other */
        weir_err err = download_code(store, key, sha256, part, &files->error);
        if (!err && rename(part, path) != 0)
            err = weir_fail_errno(&files->error, WEIR_ERR_IO, "cannot store the job's code as '%s'", path);
        if (err) {
            unlink(part);
            failed(files, err);
        }
        free(key);
        free(part);
    }
    free(path);
}

void weir_job_files_get(struct weir_store *store, const char *job_id, const char *code_dir,
                        struct weir_job_files *files)
{
    memset(files, 0, sizeof *files);
    weir_buf_init(&files->graph, OBJECT_SIZE_MAX);
    files->result = WEIR_JM_READ_OK;
    get_head(store, job_id, files);
    if (files->result != WEIR_JM_READ_OK)
        return;
    const Weir__Head *head = files->head;
    files->snapshots = weir_zalloc((head->n_retained + 1) * sizeof *files->snapshots);
    get_graph(store, job_id, files);
    for (size_t i = 0; i < head->n_retained && files->result == WEIR_JM_READ_OK; i++)
        if (get_snapshot(store, head->retained[i], &files->snapshots[i], &files->error) != WEIR_OK)
            files->result = WEIR_JM_READ_FAILED;
    bool needed = !weir_job_state_terminal((enum weir_job_state)head->job_state) ||
                  (head->n_retained && head->retained[head->n_retained - 1]->id > head->committed_upto);
    if (files->result == WEIR_JM_READ_OK && code_dir && needed && head->code_sha256[0])
        get_code(store, code_dir, files);
}

void weir_job_files_fini(struct weir_job_files *files)
{
    for (size_t i = 0; files->snapshots && i < files->head->n_retained; i++)
        if (files->snapshots[i])
            weir__snapshot__free_unpacked(files->snapshots[i], NULL);
    free(files->snapshots);
    if (files->head)
        weir__head__free_unpacked(files->head, NULL);
    weir_buf_fini(&files->graph);
    memset(files, 0, sizeof *files);
}
