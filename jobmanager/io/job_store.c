#include "jobmanager/io/job_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/proto_memory.h"
#include "jobmanager/io/job_files.h"
#include "jobmanager/io/savepoint.h"
#include "snapshot.pb-c.h"
#include "store/store.h"

#define STOP_WAIT_MS 3000
#define HEAD_SIZE_MAX ((size_t)16 << 20)

struct operation {
    struct weir_job_store *owner;
    enum weir_jm_effect_kind kind;
    char job_id[WEIR_JM_JOB_ID_SIZE];
    uint64_t checkpoint;
    char *key;
    uint8_t *bytes; /* with the envelope */
    size_t size;
    bool has_tag;
    struct weir_store_tag tag;
    /* the end */
    enum weir_head_put_result put_result;
    enum weir_head_get_result get_result;
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE];
    uint64_t leader_epoch;
    struct weir_error error;
    bool failed;
    char *code_dir, code_sha256[65]; /* JOB_STORE, JOB_READ */
    char *from_uri, *to_uri;         /* STORE_COPY, STORE_DROP; NULL: this store */
    struct weir_jm_copy *copies;
    int copy_count;
    struct weir_jm_object *objects; /* JOBS_LIST, STORE_LIST */
    int object_count;
    bool more;
    char *after; /* STORE_LIST */
    uint64_t request;
    int64_t age_ms; /* STORE_DROP, STORE_SWEEP */
    char **keys;    /* STORE_DELETE */
    int key_count;
    struct weir_job_files files; /* JOB_READ */
    struct weir_jm_read read;
    struct weir_call *call;
    struct operation *next;
};

struct weir_job_store {
    struct weir_store *store;
    const struct weir_config *config;
    struct weir_pool *pool;
    char *code_dir;
    void (*wake)(void *arg);
    void *arg;
    struct operation *first, *last; /* under way, the loop's */
    struct operation *taken;        /* lent out by the last take */
};

/* --- On the pool */

static void put_head(struct operation *op)
{
    struct weir_store *store = op->owner->store;
    struct weir_store_tag now;
    if (weir_fault("jobmanager.head-put-begun")) {
        (void)weir_fail(&op->error, WEIR_ERR_IO, "a fault point kept %s from being written", op->key);
        op->put_result = WEIR_HEAD_PUT_UNKNOWN;
        return;
    }
    weir_err err =
        weir_store_put(store, op->key, op->bytes, op->size, op->has_tag ? WEIR_STORE_IF_MATCH : WEIR_STORE_IF_ABSENT,
                       op->has_tag ? &op->tag : NULL, &now, &op->error);
    if (weir_fault("jobmanager.head-put-done"))
        err = weir_fail(&op->error, WEIR_ERR_IO, "a fault point lost the reply to %s", op->key);
    op->put_result = !err ? WEIR_HEAD_PUT_OK : err == WEIR_ERR_EXISTS ? WEIR_HEAD_PUT_CONDITION : WEIR_HEAD_PUT_UNKNOWN;
    if (!err)
        op->tag = now;
}

static void get_head(struct operation *op)
{
    struct weir_buf buf;
    weir_buf_init(&buf, HEAD_SIZE_MAX);
    weir_err err = weir_fault("jobmanager.head-get")
                       ? weir_fail(&op->error, WEIR_ERR_IO, "a fault point kept %s from being read", op->key)
                       : weir_store_get(op->owner->store, op->key, &buf, &op->tag, &op->error);
    op->get_result = !err ? WEIR_HEAD_GET_OK : err == WEIR_ERR_NOT_FOUND ? WEIR_HEAD_GET_ABSENT : WEIR_HEAD_GET_FAILED;
    Weir__Head *head = !err && weir_job_unseal("HEAD", buf.data, buf.size)
                           ? weir__head__unpack(&weir_proto_memory, buf.size - WEIR_JOB_ENVELOPE_SIZE,
                                                buf.data + WEIR_JOB_ENVELOPE_SIZE)
                           : NULL;
    if (!err && !head)
        weir_log(ERROR, "CHECKPOINT_CORRUPT: %s/%s is not a HEAD object, or was damaged",
                 weir_store_uri(op->owner->store), op->key);
    if (head)
        op->leader_epoch = head->leader_epoch;
    if (head && head->nonce.len == sizeof op->nonce)
        memcpy(op->nonce, head->nonce.data, sizeof op->nonce);
    if (head)
        weir__head__free_unpacked(head, NULL);
    weir_buf_fini(&buf);
}

static void drop(struct operation *op)
{
    weir_err err = op->from_uri ? weir_savepoint_dispose(op->from_uri, op->owner->config, &op->error)
                                : weir_job_files_remove(op->owner->store, op->key, op->age_ms, &op->error);
    if (err)
        weir_log(WARN, "garbage remains for now: %s", op->error.message);
}

static void delete_keys(struct operation *op)
{
    weir_err err = weir_fault("jobmanager.garbage-begun")
                       ? weir_fail(&op->error, WEIR_ERR_IO, "a fault point kept objects from being deleted")
                       : weir_store_delete(op->owner->store, (const char *const *)op->keys, op->key_count, &op->error);
    op->failed = err != WEIR_OK;
    if (err)
        weir_log(WARN, "garbage remains for now: %s", op->error.message);
    (void)weir_fault("jobmanager.garbage-done");
}

/* The metadata last: without it there is nothing. */
static weir_err copy(struct operation *op)
{
    struct weir_store *from = NULL, *to = NULL, *own = op->owner->store;
    weir_err err = WEIR_OK;
    if (op->from_uri)
        err = weir_store_open(op->from_uri, op->owner->config, &from, &op->error);
    if (!err && op->to_uri)
        err = weir_store_open(op->to_uri, op->owner->config, &to, &op->error);
    for (int i = 0; i < op->copy_count && !err; i++)
        err = weir_savepoint_copy(from ? from : own, to ? to : own, &op->copies[i], &op->error);
    if (!err)
        err = weir_store_put(to ? to : own, op->key, op->bytes, op->size, WEIR_STORE_ALWAYS, NULL, NULL, &op->error);
    weir_store_close(from);
    weir_store_close(to);
    return err;
}

static weir_err put_metadata(struct operation *op)
{
    if (weir_fault("jobmanager.metadata-put-begun"))
        return weir_fail(&op->error, WEIR_ERR_IO, "a fault point kept %s from being written", op->key);
    weir_err err =
        weir_store_put(op->owner->store, op->key, op->bytes, op->size, WEIR_STORE_ALWAYS, NULL, NULL, &op->error);
    if (!err && weir_fault("jobmanager.metadata-put-done"))
        err = weir_fail(&op->error, WEIR_ERR_IO, "a fault point lost the reply to %s", op->key);
    return err;
}

static weir_err store_job(struct operation *op)
{
    if (weir_fault("jobmanager.job-store"))
        return weir_fail(&op->error, WEIR_ERR_IO, "a fault point kept job %s from being stored", op->job_id);
    return weir_job_files_put(op->owner->store, op->job_id, op->bytes, op->size, op->code_sha256, op->code_dir,
                              &op->error);
}

static weir_err run(void *arg, struct weir_error *error)
{
    (void)error;
    struct operation *op = arg;
    switch (op->kind) {
    case WEIR_JM_EFFECT_STORE_PUT:
        op->failed = put_metadata(op) != WEIR_OK;
        break;
    case WEIR_JM_EFFECT_STORE_COPY:
        op->failed = copy(op) != WEIR_OK;
        break;
    case WEIR_JM_EFFECT_HEAD_PUT:
        put_head(op);
        break;
    case WEIR_JM_EFFECT_HEAD_GET:
        get_head(op);
        break;
    case WEIR_JM_EFFECT_JOB_STORE:
        op->failed = store_job(op) != WEIR_OK;
        break;
    case WEIR_JM_EFFECT_STORE_DELETE:
        delete_keys(op);
        break;
    case WEIR_JM_EFFECT_STORE_LIST:
        op->failed = weir_job_files_list(op->owner->store, op->key, op->after, &op->objects, &op->object_count,
                                         &op->more, &op->error) != WEIR_OK;
        break;
    case WEIR_JM_EFFECT_STORE_SWEEP:
        if (weir_store_sweep(op->owner->store, op->key, op->age_ms, &op->error) != WEIR_OK)
            weir_log(WARN, "garbage remains for now: %s", op->error.message);
        break;
    case WEIR_JM_EFFECT_JOBS_LIST:
        op->failed = weir_job_files_list_jobs(op->owner->store, &op->objects, &op->object_count, &op->error) != WEIR_OK;
        break;
    case WEIR_JM_EFFECT_JOB_READ:
        if (weir_fault("jobmanager.job-read")) {
            op->files.result = WEIR_JM_READ_FAILED;
            (void)weir_fail(&op->files.error, WEIR_ERR_IO, "a fault point kept job %s from being read", op->job_id);
            break;
        }
        weir_job_files_get(op->owner->store, op->job_id, op->code_dir, &op->files);
        break;
    default:
        drop(op);
    }
    return WEIR_OK;
}

static void ended(void *arg)
{
    struct weir_job_store *store = arg;
    store->wake(store->arg);
}

/* --- The loop */

static void free_operation(void *arg)
{
    struct operation *op = arg;
    for (int i = 0; i < op->object_count; i++)
        free((char *)(uintptr_t)op->objects[i].key);
    free(op->objects);
    for (int i = 0; i < op->key_count; i++)
        free(op->keys[i]);
    free(op->keys);
    weir_job_files_fini(&op->files);
    for (int i = 0; i < op->copy_count; i++) {
        free((char *)(uintptr_t)op->copies[i].from);
        free((char *)(uintptr_t)op->copies[i].to);
        free(op->copies[i].checks);
    }
    free(op->copies);
    free(op->from_uri);
    free(op->to_uri);
    free(op->after);
    free(op->code_dir);
    free(op->key);
    free(op->bytes);
    free(op);
}

struct weir_job_store *weir_job_store_new(const char *uri, const struct weir_config *config, struct weir_pool *pool,
                                          const char *code_dir, void (*wake)(void *arg), void *arg,
                                          struct weir_error *error)
{
    struct weir_store *store = NULL;
    weir_err err = weir_store_open(uri, config, &store, error);
    if (!err)
        err = weir_store_probe(store, "probe", error);
    if (err) {
        (void)!weir_wrap(error, "execution.checkpointing.dir");
        weir_store_close(store);
        return NULL;
    }
    struct weir_job_store *jobs = weir_zalloc(sizeof *jobs);
    jobs->store = store;
    jobs->config = config;
    jobs->pool = pool;
    jobs->code_dir = code_dir ? weir_strdup(code_dir) : NULL;
    jobs->wake = wake;
    jobs->arg = arg;
    return jobs;
}

const char *weir_job_store_uri(const struct weir_job_store *store)
{
    return weir_store_uri(store->store);
}

void weir_job_store_free(struct weir_job_store *store)
{
    if (!store)
        return;
    struct weir_jm_event event;
    for (int waited_ms = 0; (store->first || store->taken) && waited_ms < STOP_WAIT_MS;)
        if (!weir_job_store_take(store, &event) && store->first) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            waited_ms++;
        }
    if (store->first) { /* they use the store until they end, or the process does */
        weir_log(WARN, "%s has not answered: what was asked of it last may or may not have happened",
                 weir_store_uri(store->store));
        for (struct operation *op = store->first, *next; op; op = next) {
            next = op->next;
            weir_call_free(op->call);
        }
        return;
    }
    weir_store_close(store->store);
    free(store->code_dir);
    free(store);
}

void weir_job_store_begin(struct weir_job_store *store, const struct weir_jm_effect *effect)
{
    struct operation *op = weir_zalloc(sizeof *op);
    op->owner = store;
    op->kind = effect->kind;
    snprintf(op->job_id, sizeof op->job_id, "%s", effect->job_id ? effect->job_id : "");
    op->checkpoint = effect->checkpoint;
    bool head = effect->kind == WEIR_JM_EFFECT_HEAD_PUT || effect->kind == WEIR_JM_EFFECT_HEAD_GET;
    op->key = head ? weir_format("jobs/%s/HEAD", effect->job_id) : weir_strdup(effect->text ? effect->text : "");
    op->code_dir = store->code_dir ? weir_strdup(store->code_dir) : NULL;
    if (effect->kind == WEIR_JM_EFFECT_JOB_STORE) {
        snprintf(op->code_sha256, sizeof op->code_sha256, "%s", effect->text);
        op->size = effect->size;
        op->bytes = memcpy(weir_alloc(op->size + 1), effect->bytes, op->size);
    } else if (effect->bytes) {
        op->size = effect->size + WEIR_JOB_ENVELOPE_SIZE;
        op->bytes = weir_alloc(op->size);
        weir_job_seal(head ? "HEAD" : "META", effect->bytes, effect->size, op->bytes);
    }
    op->from_uri = effect->from_uri ? weir_strdup(effect->from_uri) : NULL;
    op->to_uri = effect->to_uri ? weir_strdup(effect->to_uri) : NULL;
    op->copies = weir_alloc((size_t)(effect->copy_count + 1) * sizeof *op->copies);
    for (int i = 0; i < effect->copy_count; i++) {
        op->copies[i] = effect->copies[i];
        op->copies[i].from = weir_strdup(effect->copies[i].from);
        op->copies[i].to = weir_strdup(effect->copies[i].to);
        size_t checks = (size_t)effect->copies[i].check_count * sizeof *op->copies[i].checks;
        op->copies[i].checks = memcpy(weir_alloc(checks + 1), effect->copies[i].checks, checks);
    }
    op->copy_count = effect->copy_count;
    op->keys = weir_zalloc((size_t)(effect->key_count + 1) * sizeof *op->keys);
    for (; op->key_count < effect->key_count; op->key_count++)
        op->keys[op->key_count] = weir_strdup(effect->keys[op->key_count]);
    op->after = effect->after ? weir_strdup(effect->after) : NULL;
    op->request = effect->request;
    op->age_ms = effect->age_ms;
    op->has_tag = effect->tag != NULL;
    if (effect->tag)
        snprintf(op->tag.text, sizeof op->tag.text, "%s", effect->tag);
    if (store->last)
        store->last->next = op;
    else
        store->first = op;
    store->last = op;
    struct weir_call_spec spec = {
        .run = run, .arg = op, .free_arg = free_operation, .ended = ended, .ended_arg = store};
    op->call = weir_call_begin(store->pool, &spec);
}

static void give_back(struct weir_job_store *store)
{
    if (store->taken)
        weir_call_free(store->taken->call);
    store->taken = NULL;
}

static void describe_read(struct operation *op, struct weir_jm_event *event)
{
    op->read = (struct weir_jm_read){
        .result = op->files.result,
        .text = op->files.error.message,
        .head = op->files.head,
        .tag = op->files.tag.text,
        .graph = op->files.graph.data,
        .graph_size = op->files.graph.size,
        .take_snapshots = op->files.snapshots,
    };
    op->files.snapshots = NULL;
    event->kind = WEIR_JM_EVENT_JOB_READ;
    event->read = &op->read;
}

/* True: it is an event for the core. */
static bool describe(struct operation *op, struct weir_jm_event *event)
{
    *event = (struct weir_jm_event){.job_id = op->job_id, .checkpoint = op->checkpoint};
    switch (op->kind) {
    case WEIR_JM_EFFECT_STORE_PUT:
    case WEIR_JM_EFFECT_STORE_COPY:
        event->kind = WEIR_JM_EVENT_STORED;
        event->text = op->failed ? op->error.message : NULL;
        return true;
    case WEIR_JM_EFFECT_HEAD_PUT:
        (void)weir_fault("jobmanager.head-answered");
        event->kind = WEIR_JM_EVENT_HEAD_PUT;
        event->put_result = op->put_result;
        event->tag = op->tag.text;
        if (op->put_result == WEIR_HEAD_PUT_UNKNOWN)
            weir_log(WARN, "%s; what is there is looked at", op->error.message);
        return true;
    case WEIR_JM_EFFECT_HEAD_GET:
        event->kind = WEIR_JM_EVENT_HEAD_GOT;
        event->get_result = op->get_result;
        event->tag = op->tag.text;
        event->nonce = op->nonce;
        event->leader_epoch = op->leader_epoch;
        if (op->get_result == WEIR_HEAD_GET_FAILED)
            weir_log(WARN, "%s; it is tried again", op->error.message);
        return true;
    case WEIR_JM_EFFECT_JOB_STORE:
        event->kind = WEIR_JM_EVENT_JOB_STORED;
        event->text = op->failed ? op->error.message : NULL;
        return true;
    case WEIR_JM_EFFECT_JOBS_LIST:
        event->kind = WEIR_JM_EVENT_JOBS_LISTED;
        event->text = op->failed ? op->error.message : NULL;
        event->objects = op->objects;
        event->object_count = op->object_count;
        return true;
    case WEIR_JM_EFFECT_STORE_LIST:
        event->kind = WEIR_JM_EVENT_STORE_LISTED;
        event->request = op->request;
        event->text = op->failed ? op->error.message : NULL;
        event->objects = op->objects;
        event->object_count = op->object_count;
        event->more = op->more;
        return true;
    case WEIR_JM_EFFECT_STORE_DELETE:
        event->kind = WEIR_JM_EVENT_STORE_DELETED;
        event->text = op->failed ? op->error.message : NULL;
        return true;
    case WEIR_JM_EFFECT_JOB_READ:
        describe_read(op, event);
        return true;
    case WEIR_JM_EFFECT_STORE_DROP:
        event->kind = WEIR_JM_EVENT_JOB_DELETED;
        return !op->from_uri;
    default:
        return false;
    }
}

bool weir_job_store_take(struct weir_job_store *store, struct weir_jm_event *event)
{
    give_back(store);
    struct operation *before = NULL;
    for (struct operation *op = store->first, *next; op; op = next) {
        next = op->next;
        if (!op->call || !weir_call_ended(op->call)) {
            before = op;
            continue;
        }
        if (before)
            before->next = next;
        else
            store->first = next;
        if (store->last == op)
            store->last = before;
        store->taken = op;
        if (describe(op, event))
            return true;
        give_back(store);
    }
    return false;
}
