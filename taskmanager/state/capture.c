/* See capture.h. The state's side is the worker's; `mutex` guards what the writer shares with it. */
#include "state/capture.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "exchange/channel.h"
#include "state/snapshot.h"
#include "state/spill_int.h"

size_t weir_capture_chunk_size = (size_t)1
                                 << 20; /* of records that are copied together: nothing larger is moved when it grows */
#define RUN_CHUNKS 16                   /* make one run; ... */
#define DISK_RUN_CHUNKS 4               /* ... with entries on disk, where memory is short */
#define CHUNKS_MAX 128                  /* wait to be written, before the capture waits for them; ... */
#define DISK_CHUNKS_MAX 8
#define SPARE_MAX (2 * CHUNKS_MAX) /* written chunks that wait to be filled again, of all captures */
#define SPARE_WINDOW 8
int weir_capture_small = 16384;      /* bytes: a state of so few is written in full */
#define CHECKPOINTS_MAX 400          /* whose runs one checkpoint refers to; ... */
#define DISK_CHECKPOINTS_MAX 100     /* ... with entries on disk, which are not joined */
int weir_capture_fresh_max = 100;    /* checkpoints whose runs are then joined to one's */
double weir_capture_outgrown = 2;    /* times the state's size: its runs should be written anew; ... */
#define OUTGROWN_FAR 5               /* ... at once, though a pass could do it */
double weir_capture_pass_min = 16e6; /* bytes: a smaller state is written in full at once, not in a pass of ... */
#define PASS_CHECKPOINTS 16          /* ... about so many checkpoints */
int weir_capture_pass_least = 1024;  /* entries of each */
#define CAPTURE_TOGETHER 64          /* entries whose memory is fetched at once */
#define SIZED 64                     /* entries say how large one is */

/* What a checkpoint has of a state. Complete once `written`; read-only from then on. */
struct weir_state_runs {
    atomic_int refs;
    uint64_t checkpoint;
    bool savepoint;
    atomic_bool written;
    struct weir_run_ref *runs; /* oldest first */
    int count;
    int64_t bytes;
    int fresh;                                           /* the last ones: since runs were last joined */
    int old;                                             /* the first ones: from before the pass under way */
    int checkpoints, fresh_checkpoints, old_checkpoints; /* that wrote them */
    bool none_fresh; /* this checkpoint joined what was fresh, or a pass has ended with it; */
    bool ends_pass;  /* nothing from before the pass is among the runs */
};

struct chunk {
    struct weir_records records;
    struct chunk *next;
};

/* Chunks that were written are filled again: to get fresh pages costs a worker more than what it copies into them. What was spare all the
 * time that SPARE_WINDOW captures took is given back. */
static struct {
    pthread_mutex_t mutex;
    struct chunk *first;
    int count, least, written; /* in the window */
} spare = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void chunks_free(struct chunk *chunks)
{
    for (struct chunk *next; chunks; chunks = next) {
        next = chunks->next;
        weir_records_fini(&chunks->records);
        free(chunks);
    }
}

static void chunks_spare(struct chunk *chunks)
{
    for (struct chunk *next; chunks; chunks = next) {
        next = chunks->next;
        pthread_mutex_lock(&spare.mutex);
        size_t room = chunks->records.bytes.capacity; /* few entries' or a huge one's is not like the others */
        bool keep = spare.count < SPARE_MAX && room >= weir_capture_chunk_size && room <= 2 * weir_capture_chunk_size;
        chunks->next = keep ? spare.first : NULL;
        if (keep) {
            weir_records_clear(&chunks->records);
            spare.first = chunks;
            spare.count++;
        }
        pthread_mutex_unlock(&spare.mutex);
        if (!keep)
            chunks_free(chunks);
    }
}

static bool chunk_again(struct weir_records *records)
{
    pthread_mutex_lock(&spare.mutex);
    struct chunk *chunk = spare.first;
    if (chunk) {
        spare.first = chunk->next;
        spare.count--;
        if (spare.count < spare.least)
            spare.least = spare.count;
    }
    pthread_mutex_unlock(&spare.mutex);
    if (!chunk)
        return false;
    weir_records_fini(records);
    *records = chunk->records;
    free(chunk);
    return true;
}

/* Another thread's than a worker's: it waits for the kernel. */
static void give_back_spare(void)
{
    struct chunk *over = NULL;
    pthread_mutex_lock(&spare.mutex);
    spare.written++;
    for (; spare.written == SPARE_WINDOW && spare.least > 0; spare.least--, spare.count--) {
        struct chunk *chunk = spare.first;
        spare.first = chunk->next;
        chunk->next = over;
        over = chunk;
    }
    if (spare.written == SPARE_WINDOW) {
        spare.least = spare.count;
        spare.written = 0;
    }
    pthread_mutex_unlock(&spare.mutex);
    chunks_free(over);
}

struct weir_capture {
    atomic_int refs;
    char *uid, *name;
    uint8_t *schema;
    struct weir_run_info info;
    bool full;
    int run_chunks, chunks_max; /* see RUN_CHUNKS, CHUNKS_MAX */
    bool joins;                 /* all that is fresh, too */
    int64_t renew;              /* so many more entries for the pass; ... */
    bool leaves_old;            /* ... which has others left behind them */
    bool own;                   /* later checkpoints may build on it: not a savepoint, not a task's last one */
    int64_t over_at;            /* values that were touched then or before are left out; INT64_MIN: none */
    struct weir_state_runs *base, *result;
    struct weir_state_log **logs;
    size_t log_count;

    /* The writer's: what is on disk; NULL: nothing (any more) */
    struct weir_spill_capture *disk;

    /* The worker's; `state` NULL: it has ended */
    struct weir_state *state;
    struct weir_records open;
    int64_t position; /* namespaces below are done */
    size_t bytes, entries, chunks;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct chunk *first, **last;
    int chunk_count;
    bool ended, failed;
    bool logs_written;
    uint32_t segment_number;
};

/* --- Shared things */

static struct weir_state_runs *runs_ref(struct weir_state_runs *runs)
{
    if (runs)
        atomic_fetch_add(&runs->refs, 1);
    return runs;
}

static void runs_unref(struct weir_state_runs *runs)
{
    if (!runs || atomic_fetch_sub(&runs->refs, 1) > 1)
        return;
    for (int i = 0; i < runs->count; i++)
        free(runs->runs[i].object);
    free(runs->runs);
    free(runs);
}

static struct weir_state_runs *runs_new(uint64_t checkpoint)
{
    struct weir_state_runs *runs = weir_zalloc(sizeof *runs);
    atomic_init(&runs->refs, 1);
    atomic_init(&runs->written, false);
    runs->checkpoint = checkpoint;
    return runs;
}

static void runs_add(struct weir_state_runs *runs, const struct weir_run_ref *refs, int count)
{
    runs->runs = weir_realloc(runs->runs, (size_t)(runs->count + count + 1) * sizeof *runs->runs);
    for (int i = 0; i < count; i++) {
        struct weir_run_ref *ref = &runs->runs[runs->count++];
        *ref = refs[i];
        ref->object = weir_strdup(refs[i].object);
        runs->bytes += ref->size;
    }
}

static void log_unref(struct weir_state_log *log)
{
    if (!log || atomic_fetch_sub(&log->refs, 1) > 1)
        return;
    weir_records_fini(&log->removed);
    free(log->dropped);
    free(log);
}

static void drop_logs(struct weir_state_log **logs, uint64_t up_to)
{
    while (*logs && (*logs)->checkpoint <= up_to) {
        struct weir_state_log *log = *logs;
        *logs = log->next;
        log_unref(log);
    }
}

/* What they tell is in runs of complete checkpoints. It is told again when those are joined. */
static void keep_logs(struct weir_state *state, uint64_t up_to)
{
    struct weir_state_log **end = &state->fresh_logs;
    while (*end)
        end = &(*end)->next;
    while (state->pending_logs && state->pending_logs->checkpoint <= up_to) {
        struct weir_state_log *log = *end = state->pending_logs;
        state->pending_logs = log->next;
        log->next = NULL;
        end = &log->next;
    }
}

struct weir_capture *weir_capture_ref(struct weir_capture *capture)
{
    atomic_fetch_add(&capture->refs, 1);
    return capture;
}

void weir_capture_unref(struct weir_capture *capture)
{
    if (!capture || atomic_fetch_sub(&capture->refs, 1) > 1)
        return;
    weir_assert(!capture->state);
    weir_spill_capture_free(capture->disk);
    chunks_free(capture->first);
    weir_records_fini(&capture->open);
    for (size_t i = 0; i < capture->log_count; i++)
        log_unref(capture->logs[i]);
    free(capture->logs);
    runs_unref(capture->base);
    runs_unref(capture->result);
    pthread_mutex_destroy(&capture->mutex);
    pthread_cond_destroy(&capture->changed);
    free(capture->uid);
    free(capture->name);
    free(capture->schema);
    free(capture);
}

const char *weir_capture_uid(const struct weir_capture *capture)
{
    return capture->uid;
}

const char *weir_capture_name(const struct weir_capture *capture)
{
    return capture->name;
}

const struct weir_run_ref *weir_capture_base(const struct weir_capture *capture, int *count)
{
    *count = capture->base ? capture->base->count : 0;
    return capture->base ? capture->base->runs : NULL;
}

bool weir_capture_is_full(const struct weir_capture *capture)
{
    return capture->full;
}

/* --- Copying entries */

/* What was copied so far can be written. Never waits. */
static void seal(struct weir_capture *capture)
{
    struct chunk *chunk = weir_alloc(sizeof *chunk);
    *chunk = (struct chunk){.records = capture->open};
    weir_records_init(&capture->open);
    pthread_mutex_lock(&capture->mutex);
    *capture->last = chunk;
    capture->last = &chunk->next;
    capture->chunk_count++;
    pthread_cond_signal(&capture->changed);
    pthread_mutex_unlock(&capture->mutex);
}

void weir_capture_entry(struct weir_state_table *table, uint64_t index)
{
    struct weir_state *state = table->state;
    struct weir_capture *capture = state->capture;
    uint8_t room[WEIR_STATE_RAW_KEY_SIZE_MAX];
    struct weir_state_entry entry;
    bit_clear(table, BITS_LEFT, index);
    if (!slot_is_taken(table, index))
        return;
    weir_state_fill_entry(table, slot_at(table, index), room, &entry);
    uint64_t hash = is_fixed(table) ? weir_xxh3(entry.key, entry.key_size) : *head_of(slot_at(table, index));
    if (capture->open.count == 0 && !chunk_again(&capture->open) && capture->chunks > 0) {
        /* There will be more: no growth by halves. */
        bool ok = weir_buf_reserve(&capture->open.bytes, weir_capture_chunk_size + weir_capture_chunk_size / 16);
        weir_assert(ok);
    }
    weir_records_begin(&capture->open, weir_key_group(hash, state->max_parallelism), entry.key, entry.key_size,
                       table->namespace, WEIR_RECORD_VALUE);
    size_t before = capture->open.bytes.size;
    state->codec.encode(state->codec.arg, entry.value, &capture->open.bytes);
    if (weir_state_is_over(capture->over_at, capture->open.bytes.data + before, capture->open.bytes.size - before)) {
        weir_records_take_back(&capture->open);
        return;
    }
    weir_records_end(&capture->open);
    capture->bytes += 27 + entry.key_size + capture->open.bytes.size - before;
    capture->entries++;
    if (capture->own) {
        bit_set(table, BITS_SAVED, index);
        bit_clear(table, BITS_OLD, index);
        if (!capture->full) {
            bit_set(table, BITS_PENDING, index);
            bit_set(table, BITS_FRESH, index);
        }
        table->saved = true;
    }
    if (capture->open.bytes.size >= weir_capture_chunk_size) {
        seal(capture);
        capture->chunks++;
    }
}

/* Many, whose slots are at hand or on their way: what lies elsewhere is fetched first. */
static void capture_entries(struct weir_state_table *table, const uint64_t *indices, int count)
{
    const struct weir_state *state = table->state;
    for (int i = 0; i < count; i++) {
        if (state->codec.prefetch && slot_is_taken(table, indices[i]))
            state->codec.prefetch(slot_at(table, indices[i]) + state->value_at);
        for (int kind = BITS_PENDING; kind < BITS_KINDS; kind++)
            __builtin_prefetch(&table->bits[kind][indices[i] >> 6], 1);
    }
    for (int i = 0; i < count; i++)
        if (bit_of(table, BITS_LEFT, indices[i])) /* one may be there twice */
            weir_capture_entry(table, indices[i]);
}

/* Bits are scattered over memory. Not looked at: what lies below where the capture has come to; then what is dirty since the barrier of a
 * capture that clears that, since it is in it. */
void weir_capture_all(struct weir_state_table *table, uint8_t *const *values, int count)
{
    const struct weir_state *state = table->state;
    bool dirty_is_captured = state->capture && state->capture->own;
    uint64_t indices[CAPTURE_TOGETHER];
    for (int first = 0; first < count; first += CAPTURE_TOGETHER) {
        int some = count - first < CAPTURE_TOGETHER ? count - first : CAPTURE_TOGETHER, above = 0, clean = 0, left = 0;
        for (int i = 0; i < some; i++) {
            uint64_t index = index_of(table, values[first + i] - state->value_at);
            __builtin_prefetch(&table->bits[BITS_DIRTY][index >> 6], 1); /* it will be set */
            indices[above] = index;
            above += index >> 6 >= table->capture_word;
        }
        for (int i = 0; i < above; i++) {
            if (dirty_is_captured && bit_of(table, BITS_DIRTY, indices[i]))
                continue;
            __builtin_prefetch(&table->bits[BITS_LEFT][indices[i] >> 6], 1);
            indices[clean++] = indices[i];
        }
        for (int i = 0; i < clean; i++)
            if (bit_of(table, BITS_LEFT, indices[i]))
                indices[left++] = indices[i];
        if (left > 0)
            capture_entries(table, indices, left);
    }
}

#define EMPTY_MAX 4096 /* words without any, between two looks at the clock */

/* Entries that are left, in the slots' order: their slots are on their way from memory. At most CAPTURE_TOGETHER and a word. */
static int gather(struct weir_state_table *table, uint64_t *indices)
{
    int count = 0;
    for (int empty = 0; table->capture_word < table->words && count < CAPTURE_TOGETHER && empty < EMPTY_MAX;) {
        uint64_t at = table->capture_word++, word = table->bits[BITS_LEFT][at];
        empty += word == 0;
        for (; word; word &= word - 1) {
            uint64_t index = at * 64 + (uint64_t)__builtin_ctzll(word);
            if (index >= table->capacity + SPECIAL_SLOTS) {
                bit_clear(table, BITS_LEFT, index);
                continue;
            }
            __builtin_prefetch(slot_at(table, index));
            indices[count++] = index;
        }
    }
    return count;
}

/* True: the table has nothing left; false: `deadline_ns` has come. The slots of one lot come from memory while the lot before is captured. */
static bool capture_table(struct weir_state_table *table, int64_t deadline_ns)
{
    uint64_t lots[2][CAPTURE_TOGETHER + 64];
    int lot = 0, count = gather(table, lots[lot]);
    for (bool over = false; count > 0 || (!over && table->capture_word < table->words);) {
        int next = over ? 0 : gather(table, lots[!lot]);
        capture_entries(table, lots[lot], count);
        lot = !lot;
        count = next;
        over = over || weir_clock_mono_ns() >= deadline_ns;
    }
    if (table->capture_word < table->words)
        return false;
    table->capturing = false;
    return true;
}

static bool waits_for_writer(struct weir_capture *capture, int chunks_max)
{
    pthread_mutex_lock(&capture->mutex);
    bool waits = capture->chunk_count >= chunks_max;
    pthread_mutex_unlock(&capture->mutex);
    return waits;
}

/* The capture and its state part. */
static void finish(struct weir_capture *capture, bool failed)
{
    struct weir_state *state = capture->state;
    if (!failed && capture->entries >= SIZED)
        state->record_bytes = (double)capture->bytes / (double)capture->entries;
    pthread_mutex_lock(&capture->mutex);
    capture->ended = true;
    capture->failed = failed;
    pthread_cond_signal(&capture->changed);
    pthread_mutex_unlock(&capture->mutex);
    while (state->dropped_tables) {
        struct weir_state_table *table = state->dropped_tables;
        state->dropped_tables = table->next_dropped;
        weir_state_table_free(table);
    }
    capture->state = NULL;
    state->capture = NULL;
    weir_capture_unref(capture);
}

bool weir_capture_step(struct weir_capture *capture, int64_t budget_ns, bool *moved)
{
    struct weir_state *state = capture->state;
    if (!state)
        return true;
    if (budget_ns && waits_for_writer(capture, capture->chunks_max))
        return false;
    if (moved)
        *moved = true;
    int64_t deadline_ns = budget_ns ? weir_clock_mono_ns() + budget_ns : INT64_MAX;
    while (state->dropped_tables) {
        struct weir_state_table *table = state->dropped_tables;
        if (!capture_table(table, deadline_ns))
            return false;
        state->dropped_tables = table->next_dropped;
        weir_state_table_free(table);
    }
    for (int64_t at; (at = weir_state_next(state, capture->position)) != INT64_MAX; capture->position = at + 1) {
        struct weir_state_table *table = weir_state_find(state, at);
        if (table->capturing && !capture_table(table, deadline_ns))
            return false;
    }
    if (capture->open.count > 0)
        seal(capture);
    finish(capture, false);
    return true;
}

/* --- What the tables tell */

static struct weir_state_log *log_of(struct weir_state *state)
{
    if (!state->log) {
        state->log = weir_zalloc(sizeof *state->log);
        atomic_init(&state->log->refs, 1);
        weir_records_init(&state->log->removed);
    }
    return state->log;
}

void weir_capture_removed(struct weir_state_table *table, uint64_t index)
{
    struct weir_state *state = table->state;
    if (bit_of(table, BITS_LEFT, index))
        weir_capture_entry(table, index);
    if (bit_of(table, BITS_SAVED, index)) {
        uint8_t room[WEIR_STATE_RAW_KEY_SIZE_MAX];
        struct weir_state_entry entry;
        weir_state_fill_entry(table, slot_at(table, index), room, &entry);
        uint64_t hash = is_fixed(table) ? weir_xxh3(entry.key, entry.key_size) : *head_of(slot_at(table, index));
        struct weir_records *removed = &log_of(state)->removed;
        weir_records_begin(removed, weir_key_group(hash, state->max_parallelism), entry.key, entry.key_size,
                           table->namespace, WEIR_RECORD_REMOVED);
        weir_records_end(removed);
    }
    for (int kind = 0; kind < BITS_KINDS; kind++)
        bit_clear(table, kind, index);
}

bool weir_capture_dropped(struct weir_state_table *table)
{
    struct weir_state *state = table->state;
    bool keep = state->capture && table->capturing;
    /* What the capture still takes of it will be in a run, too. */
    if (table->saved || (keep && state->capture->own)) {
        struct weir_state_log *log = log_of(state);
        if (log->dropped_count == log->dropped_capacity) {
            log->dropped_capacity = log->dropped_capacity ? log->dropped_capacity * 2 : 16;
            log->dropped = weir_realloc(log->dropped, log->dropped_capacity * sizeof *log->dropped);
        }
        log->dropped[log->dropped_count++] = table->namespace;
    }
    if (!keep)
        return false;
    table->next_dropped = state->dropped_tables;
    state->dropped_tables = table;
    return true;
}

/* --- The barrier */

static void clear_bits(struct weir_state *state, enum bits kind)
{
    for (int i = 0; i < state->count; i++) {
        struct weir_state_table *table = state->entries[state->first + i].table;
        memset(table->bits[kind], 0, table->words * sizeof(uint64_t));
    }
}

/* A capture that nobody will finish: what it has not copied is as dirty as before. */
static void give_up(struct weir_capture *capture)
{
    struct weir_state *state = capture->state;
    for (int i = 0; i < state->count; i++) {
        struct weir_state_table *table = state->entries[state->first + i].table;
        if (!table->capturing)
            continue;
        for (uint64_t w = 0; w < table->words; w++) {
            if (!capture->full) /* after one in full nothing builds on what was before */
                table->bits[BITS_DIRTY][w] |= table->bits[BITS_LEFT][w];
            table->bits[BITS_LEFT][w] = 0;
        }
        table->capturing = false;
    }
    finish(capture, true);
}

/* The newest complete checkpoint is `complete`: the next one builds on it, if it can. */
static void settle(struct weir_state *state, uint64_t complete)
{
    struct weir_state_runs *found = NULL;
    int kept = 0;
    for (int i = 0; i < state->result_count; i++) {
        struct weir_state_runs *result = state->results[i];
        if (result->checkpoint == complete)
            found = runs_ref(result);
        if (result->checkpoint > complete)
            state->results[kept++] = result;
        else
            runs_unref(result);
    }
    state->result_count = kept;
    if (found && found->savepoint) { /* what is in it is its own */
        runs_unref(found);
        return;
    }
    if (!found && state->base && state->base->checkpoint == complete)
        return;
    runs_unref(state->base);
    state->base = found && atomic_load(&found->written) ? found : NULL;
    if (found && !state->base)
        runs_unref(found);
    if (weir_spill_on_disk(state))
        drop_logs(&state->pending_logs, complete);
    else
        keep_logs(state, complete);
    /* A later one that is under way may build on an earlier one: what was fresh then is so again when it is complete. */
    if (kept == 0 && state->base && state->base->none_fresh) {
        drop_logs(&state->fresh_logs, complete);
        clear_bits(state, BITS_FRESH);
    }
    if (state->base && state->base->ends_pass)
        state->pass = 0;
    if (kept == 0 && state->pending && state->base) { /* all that was captured is in it */
        clear_bits(state, BITS_PENDING);
        state->pending = false;
    }
}

static void drop_results(struct weir_state *state)
{
    for (int i = 0; i < state->result_count; i++)
        runs_unref(state->results[i]);
    state->result_count = 0;
}

static double live_bytes(const struct weir_state *state)
{
    return (double)weir_state_entry_count(state) * state->record_bytes;
}

/* Much of what the runs have is of entries that were written again since, or are gone. */
static bool has_outgrown(const struct weir_state *state, double factor)
{
    return (double)state->base->bytes > factor * live_bytes(state) + weir_capture_small;
}

static bool wants_all(const struct weir_state *state)
{
    if (!state->base || state->result_count == RESULTS_MAX || weir_spill_wants_all(state) ||
        state->base->checkpoints >= (weir_spill_on_disk(state) ? DISK_CHECKPOINTS_MAX : CHECKPOINTS_MAX))
        return true;
    double live = live_bytes(state), removed = 0;
    for (const struct weir_state_log *log = state->pending_logs; log; log = log->next)
        removed += (double)log->removed.bytes.size;
    for (const struct weir_state_log *log = state->fresh_logs; log; log = log->next)
        removed += (double)log->removed.bytes.size;
    if (state->log)
        removed += (double)state->log->removed.bytes.size;
    bool in_passes = live >= weir_capture_pass_min && !weir_spill_on_disk(state);
    return live < weir_capture_small || has_outgrown(state, in_passes ? OUTGROWN_FAR : weir_capture_outgrown) ||
           removed > live;
}

/* From here on each checkpoint writes some entries of those that have not changed, until all that is live was written since: the runs from before
 * are not needed then. Unlike a checkpoint in full it keeps none waiting. Entries that go to disk end it. */
static void begin_pass(struct weir_state *state, uint64_t checkpoint)
{
    state->pass = checkpoint;
    for (int i = 0; i < state->count; i++) {
        struct weir_state_table *table = state->entries[state->first + i].table;
        memcpy(table->bits[BITS_OLD], table->bits[BITS_SAVED], table->words * sizeof(uint64_t));
    }
}

static void step_pass(struct weir_state *state, struct weir_capture *capture)
{
    if (weir_spill_on_disk(state))
        state->pass = 0;
    else if (!state->pass && has_outgrown(state, weir_capture_outgrown))
        begin_pass(state, capture->info.checkpoint);
    if (!state->pass)
        return;
    int64_t share = weir_state_entry_count(state) / PASS_CHECKPOINTS;
    capture->renew = share > weir_capture_pass_least ? share : weir_capture_pass_least;
}

static void seal_log(struct weir_state *state, uint64_t checkpoint)
{
    if (!state->log)
        return;
    struct weir_state_log **end = &state->pending_logs;
    while (*end)
        end = &(*end)->next;
    state->log->checkpoint = checkpoint;
    *end = state->log;
    state->log = NULL;
}

static void take_logs(struct weir_capture *capture, struct weir_state_log *logs)
{
    size_t count = capture->log_count;
    for (const struct weir_state_log *log = logs; log; log = log->next)
        count++;
    capture->logs = weir_realloc(capture->logs, (count + 1) * sizeof(struct weir_state_log *));
    for (struct weir_state_log *log = logs; log; log = log->next) {
        atomic_fetch_add(&log->refs, 1);
        capture->logs[capture->log_count++] = log;
    }
}

/* The runs before what is fresh; that the capture writes again. */
static struct weir_state_runs *without_fresh(const struct weir_state_runs *base)
{
    struct weir_state_runs *runs = runs_new(base->checkpoint);
    runs_add(runs, base->runs, base->count - base->fresh);
    runs->checkpoints = base->checkpoints - base->fresh_checkpoints;
    return runs;
}

static void fix_table(struct weir_capture *capture, struct weir_state_table *table)
{
    size_t size = table->words * sizeof(uint64_t);
    uint64_t **bits = table->bits;
    table->capturing = true;
    table->capture_word = 0;
    if (capture->full) {
        memset(bits[BITS_LEFT], 0xff, size);
        if (capture->own) {
            memset(bits[BITS_DIRTY], 0, size);
            if (capture->state->pending)
                memset(bits[BITS_PENDING], 0, size);
            memset(bits[BITS_FRESH], 0, size);
        }
        return;
    }
    uint64_t *todo = bits[BITS_LEFT];
    bits[BITS_LEFT] = bits[BITS_DIRTY];
    bits[BITS_DIRTY] = todo; /* zeros */
    for (uint64_t w = 0; capture->state->pending && w < table->words; w++)
        bits[BITS_LEFT][w] |= bits[BITS_PENDING][w];
    for (uint64_t w = 0; capture->joins && w < table->words; w++)
        bits[BITS_LEFT][w] |= bits[BITS_FRESH][w];
    for (uint64_t w = 0; capture->state->pass && w < table->words; w++) {
        uint64_t more = bits[BITS_OLD][w] & ~bits[BITS_LEFT][w];
        if (!more)
            continue;
        if (capture->renew <= 0) {
            capture->leaves_old = true;
            break;
        }
        bits[BITS_LEFT][w] |= more;
        capture->renew -= __builtin_popcountll(more);
    }
}

/* The runs that are known already, once it is known what the checkpoint's own ones will have. */
static void begin_result(struct weir_capture *capture, uint64_t pass)
{
    struct weir_state_runs *base = capture->base, *result = capture->result;
    bool in_pass = base->checkpoint >= pass;
    int old = in_pass ? base->old : base->count, old_checkpoints = in_pass ? base->old_checkpoints : base->checkpoints;
    result->ends_pass = pass && !capture->leaves_old;
    result->none_fresh = capture->joins || result->ends_pass;
    if (result->ends_pass) {
        capture->base = runs_new(base->checkpoint);
        runs_add(capture->base, base->runs + old, base->count - old);
        capture->base->checkpoints = base->checkpoints - old_checkpoints;
        runs_unref(base);
        base = capture->base;
    } else if (pass) {
        result->old = old;
        result->old_checkpoints = old_checkpoints;
    }
    runs_add(result, base->runs, base->count);
    result->checkpoints = base->checkpoints;
    result->fresh = base->fresh;
    result->fresh_checkpoints = base->fresh_checkpoints;
}

static struct weir_capture *capture_new(struct weir_state *state, const struct weir_snapshot *snapshot)
{
    struct weir_capture *capture = weir_zalloc(sizeof *capture);
    const struct weir_state_codec *codec = &state->codec;
    atomic_init(&capture->refs, 2); /* the state's and the snapshot's */
    pthread_mutex_init(&capture->mutex, NULL);
    pthread_cond_init(&capture->changed, NULL);
    capture->last = &capture->first;
    capture->state = state;
    capture->position = INT64_MIN;
    weir_records_init(&capture->open);
    capture->uid = weir_strdup(state->uid);
    capture->name = weir_strdup(state->name);
    capture->schema = weir_alloc(codec->schema_size + 1);
    if (codec->schema_size)
        memcpy(capture->schema, codec->schema, codec->schema_size);
    capture->info = (struct weir_run_info){
        .uid = capture->uid,
        .name = capture->name,
        .checkpoint = snapshot->checkpoint,
        .max_parallelism = state->max_parallelism,
        .key_group_first = state->key_group_first,
        .key_group_count = state->key_group_count,
        .schema = capture->schema,
        .schema_size = codec->schema_size,
    };
    return capture;
}

void weir_state_snapshot(struct weir_state *state, struct weir_snapshot *snapshot)
{
    weir_assert(state->codec.encode != NULL && state->max_parallelism > 0);
    if (snapshot->without_tables)
        return;
    if (state->capture) {
        /* One at a time. The older one is as good as the newer; only when its writer is far behind has it to go. */
        if (waits_for_writer(state->capture, CHUNKS_MAX))
            give_up(state->capture);
        else
            (void)weir_capture_step(state->capture, 0, NULL);
    }
    struct weir_capture *capture = state->capture = capture_new(state, snapshot);
    bool disk = weir_spill_on_disk(state);
    capture->run_chunks = disk ? DISK_RUN_CHUNKS : RUN_CHUNKS;
    capture->chunks_max = disk ? DISK_CHUNKS_MAX : CHUNKS_MAX;
    bool savepoint = snapshot->flags & WEIR_BARRIER_SAVEPOINT;
    capture->own = !savepoint && snapshot->checkpoint != 0;
    settle(state, snapshot->complete);
    capture->full = !capture->own || wants_all(state);
    if (capture->own && capture->full) {
        /* From here on nothing is known of what has changed since an earlier one: none can be built on any more. */
        runs_unref(state->base);
        state->base = NULL;
        drop_results(state);
        seal_log(state, snapshot->checkpoint);
        drop_logs(&state->pending_logs, snapshot->checkpoint);
        drop_logs(&state->fresh_logs, snapshot->checkpoint);
        state->pass = 0;
    } else if (capture->own) {
        step_pass(state, capture);
        capture->joins =
            state->base->fresh_checkpoints >= weir_capture_fresh_max && !weir_spill_on_disk(state) && !state->pass;
        capture->base = capture->joins ? without_fresh(state->base) : runs_ref(state->base);
        seal_log(state, snapshot->checkpoint);
        if (capture->joins)
            take_logs(capture, state->fresh_logs);
        take_logs(capture, state->pending_logs);
    }
    capture->over_at = capture->full && state->codec.ttl_ms ? *state->codec.now_ms - state->codec.ttl_ms : INT64_MIN;
    for (int i = 0; i < state->count; i++)
        fix_table(capture, state->entries[state->first + i].table);
    capture->disk = weir_spill_capture(state, snapshot->checkpoint, capture->base ? capture->base->checkpoint : 0,
                                       capture->full, capture->own, capture->over_at);
    if (capture->own)
        state->pending = !capture->full;
    capture->result = runs_new(snapshot->checkpoint);
    capture->result->savepoint = savepoint;
    if (capture->base)
        begin_result(capture, state->pass);
    if (snapshot->checkpoint != 0) {
        if (state->result_count == RESULTS_MAX) { /* the oldest would be complete by now */
            runs_unref(state->results[0]);
            memmove(state->results, state->results + 1, (RESULTS_MAX - 1) * sizeof(struct weir_state_runs *));
            state->result_count--;
        }
        state->results[state->result_count++] = runs_ref(capture->result);
    }
    weir_snapshot_add_capture(snapshot, capture);
}

void weir_capture_state_freed(struct weir_state *state)
{
    if (state->capture)
        finish(state->capture, true);
    log_unref(state->log);
    drop_logs(&state->pending_logs, UINT64_MAX);
    drop_logs(&state->fresh_logs, UINT64_MAX);
    runs_unref(state->base);
    drop_results(state);
}

/* --- After a restore: nothing is dirty; what was read can be built on, if it may be referred to. */

void weir_capture_restored(struct weir_state *state, uint64_t checkpoint, const struct weir_run_ref *refs, int count,
                           int checkpoints, double record_bytes)
{
    for (int i = 0; i < state->count; i++) {
        struct weir_state_table *table = state->entries[state->first + i].table;
        uint64_t *saved = table->bits[BITS_SAVED];
        table->bits[BITS_SAVED] = table->bits[BITS_DIRTY];
        table->bits[BITS_DIRTY] = saved;
        table->saved = true;
    }
    state->record_bytes = record_bytes;
    weir_spill_restored(state, checkpoint);
    if (!refs)
        return;
    state->base = runs_new(checkpoint);
    runs_add(state->base, refs, count);
    state->base->checkpoints = checkpoints;
    atomic_store(&state->base->written, true);
}

/* --- Writing */

static int by_namespace(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The namespaces of all logs, each once. */
static int64_t *all_dropped(const struct weir_capture *capture, uint32_t *count)
{
    size_t total = 0, kept = 0;
    for (size_t i = 0; i < capture->log_count; i++)
        total += capture->logs[i]->dropped_count;
    int64_t *all = weir_alloc((total + 1) * sizeof *all);
    total = 0;
    for (size_t i = 0; i < capture->log_count; i++) {
        const struct weir_state_log *log = capture->logs[i];
        if (log->dropped_count)
            memcpy(all + total, log->dropped, log->dropped_count * sizeof *all);
        total += log->dropped_count;
    }
    qsort(all, total, sizeof *all, by_namespace);
    for (size_t i = 0; i < total; i++)
        if (i == 0 || all[i] != all[i - 1])
            all[kept++] = all[i];
    *count = (uint32_t)kept;
    return all;
}

/* Of records, or of chunks, or of neither. */
static void write_run(struct weir_capture *capture, const struct weir_records *records, const struct chunk *chunks,
                      struct weir_buf *out)
{
    const struct weir_records **sets = weir_alloc((capture->log_count + RUN_CHUNKS + 1) * sizeof *sets);
    size_t count = 0;
    if (records)
        sets[count++] = records;
    for (; chunks; chunks = chunks->next)
        sets[count++] = &chunks->records;
    struct weir_run_info info = capture->info;
    int64_t *dropped = NULL;
    info.segment = capture->segment_number++;
    if (!capture->logs_written) {
        capture->logs_written = true;
        for (size_t i = 0; i < capture->log_count; i++)
            sets[count++] = &capture->logs[i]->removed;
        info.dropped = dropped = all_dropped(capture, &info.dropped_count);
    }
    weir_records_write(sets, count, &info, out);
    free(dropped);
    free(sets);
}

/* What is on disk comes first: what was captured from memory is newer. The removals go with the first run, since what was removed is not on
 * disk any more, or again. */
static weir_err next_from_disk(struct weir_capture *capture, struct weir_buf *out, bool *more, struct weir_error *error)
{
    struct weir_records records;
    bool more_on_disk;
    weir_records_init(&records);
    weir_err err = weir_spill_capture_next(capture->disk, &records,
                                           (size_t)capture->run_chunks * weir_capture_chunk_size, &more_on_disk, error);
    if (!err && !more_on_disk) {
        weir_spill_capture_free(capture->disk);
        capture->disk = NULL;
    }
    if (!err && records.count > 0) {
        *more = true;
        write_run(capture, &records, NULL, out);
    }
    weir_records_fini(&records);
    return err;
}

/* The chunks of the next run, once they are all there. */
static struct chunk *take_chunks(struct weir_capture *capture, bool *last, bool *failed)
{
    pthread_mutex_lock(&capture->mutex);
    while (!capture->ended && capture->chunk_count <= capture->run_chunks)
        pthread_cond_wait(&capture->changed, &capture->mutex);
    struct chunk *chunks = NULL;
    *failed = capture->failed;
    if (!*failed && capture->first) {
        chunks = capture->first;
        struct chunk *end = chunks;
        capture->chunk_count--;
        for (int i = 1; i < capture->run_chunks && end->next; i++, capture->chunk_count--)
            end = end->next;
        capture->first = end->next;
        if (!capture->first)
            capture->last = &capture->first;
        end->next = NULL;
    }
    *last = capture->ended && !capture->first;
    pthread_mutex_unlock(&capture->mutex);
    return chunks;
}

weir_err weir_capture_next(struct weir_capture *capture, struct weir_buf *out, bool *more, bool *last,
                           struct weir_error *error)
{
    *more = *last = false;
    while (capture->disk && !*more) {
        weir_err err = next_from_disk(capture, out, more, error);
        if (err)
            return err;
    }
    if (*more)
        return WEIR_OK;
    bool failed;
    struct chunk *chunks = take_chunks(capture, last, &failed);
    if (failed)
        return weir_fail(error, WEIR_ERR_CANCELED,
                         "state '%s' of operator %s was not captured: its task has ended, or a newer checkpoint has "
                         "begun before the writes of this one got anywhere",
                         capture->name, capture->uid);
    *more = chunks || (!capture->logs_written && capture->log_count > 0);
    if (*more)
        write_run(capture, NULL, chunks, out);
    chunks_spare(chunks);
    return WEIR_OK;
}

void weir_capture_written(struct weir_capture *capture, const struct weir_run_ref *refs, int count)
{
    struct weir_state_runs *result = capture->result;
    runs_add(result, refs, count);
    result->checkpoints += count > 0;
    if (!capture->full && !result->none_fresh) {
        result->fresh += count;
        result->fresh_checkpoints += count > 0;
    }
    atomic_store(&result->written, true);
    give_back_spare();
}

/* --- Who the state is */

struct weir_state_about weir_state_about(const struct weir_state *state)
{
    return (struct weir_state_about){
        state->uid, state->name, state->max_parallelism, state->key_group_first, state->key_group_count,
    };
}

const struct weir_state_codec *weir_state_codec(const struct weir_state *state)
{
    return &state->codec;
}
