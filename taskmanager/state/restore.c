/* A state's entries out of the runs of a checkpoint: all parts of its name as one, each for the key groups that its subtask had and this
 * one has now. In one of two ways:
 *
 *  - newest first (what fits into memory): runs are read one behind the other, the newest first, and an entry that is there already is
 *    newer. Keys are looked up many at a time, nothing is compared or sorted: this is how fast a task is back.
 *  - merged (what has to go to disk, so that looking whether an entry is there would be slow): by address, each once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "state/capture.h"
#include "state/snapshot.h"
#include "state/spill_int.h"
#include "state/state_int.h"
#include "statefile/run.h"

struct restored_run {
    struct weir_run *run;
    void *reader; /* of another schema than the state's */
};

struct restore {
    struct weir_state *state;
    const struct weir_state_codec *codec;
    struct restored_run *runs;
    struct weir_merge_source *sources;
    int count, capacity;
};

static weir_err check_run(const struct restore *restore, const struct weir_run_info *info, struct weir_error *error)
{
    struct weir_state_about about = weir_state_about(restore->state);
    if (strcmp(info->uid, about.uid) != 0 || strcmp(info->name, about.name) != 0)
        return weir_fail(error, WEIR_ERR_DATA,
                         "CHECKPOINT_CORRUPT: what should be state '%s' of operator %s is state '%s' of operator %s",
                         about.name, about.uid, info->name, info->uid);
    if (info->max_parallelism != about.max_parallelism)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "state '%s' was written with a max parallelism of %d, and the operator has %d now; it is fixed "
            "for a job's life: set pipeline.max-parallelism back to %d",
            about.name, info->max_parallelism, about.max_parallelism, info->max_parallelism);
    return WEIR_OK;
}

static weir_err make_reader(struct restore *restore, struct restored_run *run, struct weir_error *error)
{
    const struct weir_state_codec *codec = restore->codec;
    const struct weir_run_info *info = weir_run_info(run->run);
    if (info->schema_size == codec->schema_size &&
        (info->schema_size == 0 || memcmp(info->schema, codec->schema, info->schema_size) == 0))
        return WEIR_OK;
    struct weir_state_about about = weir_state_about(restore->state);
    if (!codec->reader_new)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "state '%s' of operator %s was written with another schema than it has now, and cannot be read "
            "with this one; take the change back, or give the operator another uid",
            about.name, about.uid);
    weir_err err = codec->reader_new(codec->arg, info->schema, info->schema_size, &run->reader, error);
    return err ? weir_wrap(error, "state '%s' of operator %s", about.name, about.uid) : WEIR_OK;
}

static void add_source(struct restore *restore, struct weir_run *run, const struct weir_restored_part *part)
{
    struct weir_state_about about = weir_state_about(restore->state);
    if (restore->count == restore->capacity) {
        restore->capacity = restore->capacity ? restore->capacity * 2 : 8;
        restore->runs = weir_realloc(restore->runs, (size_t)restore->capacity * sizeof *restore->runs);
        restore->sources = weir_realloc(restore->sources, (size_t)restore->capacity * sizeof *restore->sources);
    }
    /* A run may have entries of key groups that had gone to another subtask by the time of this checkpoint. */
    int first, count, end;
    weir_key_group_range(about.max_parallelism, part->parallelism, part->subtask, &first, &count);
    end = first + count;
    if (first < about.key_group_first)
        first = about.key_group_first;
    if (end > about.key_group_first + about.key_group_count)
        end = about.key_group_first + about.key_group_count;
    restore->runs[restore->count] = (struct restored_run){.run = run};
    restore->sources[restore->count++] = (struct weir_merge_source){
        .run = run, .key_group_first = first, .key_group_count = end > first ? end - first : 0};
}

static weir_err open_runs(struct restore *restore, const struct weir_restored *restored, struct weir_error *error)
{
    struct weir_state_about about = weir_state_about(restore->state);
    const struct weir_restored_part *part = NULL;
    while ((part = weir_restored_next(restored, about.uid, about.name, part))) {
        struct weir_run *run;
        static const uint8_t nothing;
        weir_err err = weir_run_open(part->bytes ? part->bytes : &nothing, part->size, &run, error);
        if (err)
            return err;
        if (part->object)
            weir_run_trust(run);
        if (part->parallelism < 1 || part->subtask < 0 || part->subtask >= part->parallelism ||
            part->parallelism > about.max_parallelism) {
            weir_run_close(run);
            return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: state '%s' is subtask %d's of %d", about.name,
                             part->subtask, part->parallelism);
        }
        add_source(restore, run, part);
        struct restored_run *added = &restore->runs[restore->count - 1];
        if ((err = check_run(restore, weir_run_info(run), error)) || (err = make_reader(restore, added, error)))
            return err;
    }
    return WEIR_OK;
}

static const void *reader_of(const struct restore *restore, const struct weir_run *run)
{
    int i = 0;
    while (restore->runs[i].run != run)
        i++;
    return restore->runs[i].reader;
}

static weir_err other_keys(const struct restore *restore, struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_INVALID,
                     "state '%s' was written with keys of another type than the operator has now; key types cannot "
                     "change: give the operator another uid, or take the change back",
                     weir_state_about(restore->state).name);
}

static weir_err put_entry(struct restore *restore, struct weir_state_table *table, const struct weir_record *record,
                          const struct weir_run *run, struct weir_error *error)
{
    uint8_t *value = weir_state_put(table, record->key, record->key_size);
    if (!value)
        return other_keys(restore, error);
    weir_err err = restore->codec->decode(restore->codec->arg, reader_of(restore, run), record->value,
                                          record->value_size, value, weir_state_heap(table), error);
    return err ? weir_wrap(error, "state '%s'", weir_state_about(restore->state).name) : WEIR_OK;
}

/* --- Merged */

static weir_err put_merged(struct restore *restore, struct weir_error *error)
{
    struct weir_merge *merge = weir_merge_new(restore->sources, restore->count);
    struct weir_state_table *table = NULL;
    int64_t namespace = 0;
    weir_err err;
    for (;;) {
        struct weir_record record;
        const struct weir_run *run;
        bool more;
        if ((err = weir_merge_next(merge, &record, &run, &more, error)) || !more)
            break;
        if (!table || record.namespace != namespace) {
            namespace = record.namespace;
            table = weir_state_open(restore->state, namespace);
        }
        if ((err = put_entry(restore, table, &record, run, error)))
            break;
    }
    weir_merge_free(merge);
    return err;
}

/* --- Newest first */

#define ROWS 256 /* that are looked up together */

struct set_key { /* hash 0: none */
    uint64_t hash;
    struct weir_record record;
};

struct key_set { /* of records' addresses */
    struct set_key *keys;
    size_t count, capacity; /* a power of two */
};

struct dropped_range { /* a namespace, gone from these key groups of older checkpoints */
    int64_t namespace;
    int first, end;
};

struct fill {
    struct restore *restore;
    const struct weir_run *run; /* of the rows that are gathered, as is `table` */
    struct weir_state_table *table;
    struct weir_record rows[ROWS];
    int count;
    bool on_disk;                  /* it did not fit into memory after all */
    struct key_set removed;        /* by newer checkpoints, as are: */
    struct dropped_range *dropped; /* ascending by namespace; ... */
    size_t dropped_count;
    /* Keys of the rows, in the form of the state's. */
    uint64_t raw[ROWS], hashes[ROWS], valid[ROWS / 64];
    uint32_t offsets[ROWS + 1];
    struct weir_buf bytes;
};

static uint64_t hash_of(const struct weir_record *record)
{
    uint64_t hash = weir_xxh3(record->key, record->key_size) ^ (uint64_t)record->namespace * 0x9e3779b97f4a7c15u;
    return hash ? hash : 1;
}

static struct set_key *find_key(const struct key_set *set, const struct weir_record *record, uint64_t hash)
{
    size_t mask = set->capacity - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        struct set_key *there = &set->keys[at];
        if (!there->hash || (there->hash == hash && weir_record_compare(&there->record, record) == 0))
            return there;
    }
}

/* False: it was there. */
static bool add_key(struct key_set *set, const struct weir_record *record)
{
    if (set->count >= set->capacity / 2) {
        struct set_key *old = set->keys;
        size_t capacity = set->capacity;
        set->capacity = capacity ? capacity * 2 : 1024;
        set->keys = weir_zalloc(set->capacity * sizeof *set->keys);
        for (size_t i = 0; i < capacity; i++)
            if (old[i].hash)
                *find_key(set, &old[i].record, old[i].hash) = old[i];
        free(old);
    }
    uint64_t hash = hash_of(record);
    struct set_key *there = find_key(set, record, hash);
    bool is_new = !there->hash;
    set->count += is_new;
    *there = (struct set_key){hash, *record};
    return is_new;
}

static bool is_gone(struct fill *fill, const struct weir_record *record)
{
    if (fill->removed.count > 0 && find_key(&fill->removed, record, hash_of(record))->hash)
        return true;
    size_t low = 0, high = fill->dropped_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (fill->dropped[middle].namespace < record->namespace)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < fill->dropped_count && fill->dropped[low].namespace == record->namespace; low++)
        if (record->key_group >= fill->dropped[low].first && record->key_group < fill->dropped[low].end)
            return true;
    return false;
}

/* Keys as a batch has them; false: they are of another type. */
static bool gather_keys(struct fill *fill, struct weir_state_keys *keys)
{
    const struct weir_state *state = fill->restore->state;
    *keys = (struct weir_state_keys){.row_count = fill->count};
    if (state->fixed_key == WEIR_TYPE_NONE) {
        fill->bytes.size = 0;
        for (int i = 0; i < fill->count; i++) {
            const struct weir_record *row = &fill->rows[i];
            fill->offsets[i] = (uint32_t)fill->bytes.size;
            fill->hashes[i] = weir_xxh3(row->key, row->key_size);
            bool ok = row->key_size == 0 || weir_buf_append(&fill->bytes, row->key, row->key_size);
            weir_assert(ok);
        }
        fill->offsets[fill->count] = (uint32_t)fill->bytes.size;
        keys->hashes = fill->hashes;
        keys->bytes = fill->bytes.data;
        keys->offsets = fill->offsets;
        return true;
    }
    uint8_t room[WEIR_STATE_RAW_KEY_SIZE_MAX];
    uint32_t size = weir_state_encode_raw(state->fixed_key, 0, room);
    memset(fill->valid, 0xff, sizeof fill->valid);
    for (int i = 0; i < fill->count; i++) {
        const struct weir_record *row = &fill->rows[i];
        bool null = row->key_size > 0 && row->key[0] == 0;
        if (row->key_size < 1 || (!null && row->key_size != size))
            return false;
        if (!weir_state_decode_raw(state->fixed_key, row->key, row->key_size, &fill->raw[i])) {
            fill->valid[i / 64] &= ~((uint64_t)1 << (i % 64));
            keys->validity = fill->valid;
        }
    }
    keys->fixed = fill->raw;
    return true;
}

/* Whoever is not there yet gets its value. That it was there shows by a bit which a new entry does not have (until the end). */
static weir_err put_rows(struct fill *fill, struct weir_error *error)
{
    struct restore *restore = fill->restore;
    struct weir_state_table *table = fill->table;
    struct weir_state_keys keys;
    uint8_t *values[ROWS];
    if (fill->count == 0)
        return WEIR_OK;
    if (!gather_keys(fill, &keys))
        return other_keys(restore, error);
    weir_state_upsert(table, &keys, NULL, fill->count, values);
    fill->on_disk |= table->disk;
    const void *reader = reader_of(restore, fill->run);
    uint64_t indices[ROWS];
    for (int i = 0; i < fill->count; i++) {
        indices[i] = index_of(table, values[i] - restore->state->value_at);
        __builtin_prefetch(&table->bits[BITS_SAVED][indices[i] >> 6], 1);
    }
    weir_err err = WEIR_OK;
    for (int i = 0; i < fill->count && !err; i++) {
        uint64_t index = indices[i];
        if (bit_of(table, BITS_SAVED, index))
            continue;
        bit_set(table, BITS_SAVED, index);
        err = restore->codec->decode(restore->codec->arg, reader, fill->rows[i].value, fill->rows[i].value_size,
                                     values[i], weir_state_heap(table), error);
    }
    fill->count = 0;
    return err ? weir_wrap(error, "state '%s'", weir_state_about(restore->state).name) : WEIR_OK;
}

static weir_err fill_from(struct fill *fill, const struct weir_merge_source *source, struct weir_error *error)
{
    struct weir_run_cursor cursor;
    weir_err err = WEIR_OK;
    bool some_gone = fill->removed.count > 0 || fill->dropped_count > 0;
    weir_run_seek(&cursor, source->run, source->key_group_first, source->key_group_count);
    fill->run = source->run;
    while (!err && !fill->on_disk) {
        struct weir_record *row = &fill->rows[fill->count];
        bool more;
        if ((err = weir_run_next(&cursor, row, &more, error)) || !more)
            break;
        if (row->kind == WEIR_RECORD_REMOVED) {
            (void)add_key(&fill->removed, row);
            continue;
        }
        if (some_gone && is_gone(fill, row))
            continue;
        if (!fill->table || fill->table->namespace != row->namespace) {
            struct weir_record kept = *row;
            if ((err = put_rows(fill, error)))
                break;
            fill->table = weir_state_open(fill->restore->state, kept.namespace);
            fill->on_disk |= fill->table->disk;
            fill->rows[0] = kept;
        }
        if (++fill->count == ROWS)
            err = put_rows(fill, error);
    }
    return err ? err : put_rows(fill, error);
}

static int newest_first(const void *a, const void *b)
{
    const struct weir_run_info *x = weir_run_info(((const struct weir_merge_source *)a)->run);
    const struct weir_run_info *y = weir_run_info(((const struct weir_merge_source *)b)->run);
    if (x->checkpoint != y->checkpoint)
        return x->checkpoint > y->checkpoint ? -1 : 1;
    return (x->segment < y->segment) - (x->segment > y->segment);
}

static int by_namespace(const void *a, const void *b)
{
    int64_t x = ((const struct dropped_range *)a)->namespace, y = ((const struct dropped_range *)b)->namespace;
    return (x > y) - (x < y);
}

/* What runs of one checkpoint dropped is gone from the runs of older ones. */
static void add_dropped(struct fill *fill, const struct weir_merge_source *sources, int count)
{
    size_t added = 0;
    for (int i = 0; i < count; i++)
        added += weir_run_info(sources[i].run)->dropped_count;
    if (added == 0)
        return;
    fill->dropped = weir_realloc(fill->dropped, (fill->dropped_count + added) * sizeof *fill->dropped);
    for (int i = 0; i < count; i++) {
        const struct weir_run_info *info = weir_run_info(sources[i].run);
        int first = sources[i].key_group_first, end = first + sources[i].key_group_count;
        if (first < info->key_group_first)
            first = info->key_group_first;
        if (end > info->key_group_first + info->key_group_count)
            end = info->key_group_first + info->key_group_count;
        for (uint32_t d = 0; d < info->dropped_count; d++)
            fill->dropped[fill->dropped_count++] = (struct dropped_range){info->dropped[d], first, end};
    }
    qsort(fill->dropped, fill->dropped_count, sizeof *fill->dropped, by_namespace);
}

static int same_checkpoint(const struct weir_merge_source *sources, int count)
{
    int n = 1;
    while (n < count && weir_run_info(sources[n].run)->checkpoint == weir_run_info(sources[0].run)->checkpoint)
        n++;
    return n;
}

#define SAMPLE_PART 64     /* of the key groups one in so many says how many of all records are entries, ... */
#define SAMPLE_MARGIN 0.03 /* ... give or take so much */

struct sample {
    struct key_set keys;
    uint64_t records, entries;
    int64_t namespace;
    bool is_mixed; /* of more than one namespace, or not to be read */
};

static void sample_group(struct sample *sample, const struct weir_merge_source *source, int key_group)
{
    struct weir_run_cursor cursor;
    struct weir_record record;
    bool more;
    if (key_group < source->key_group_first || key_group >= source->key_group_first + source->key_group_count)
        return;
    weir_run_seek(&cursor, source->run, key_group, 1);
    for (;; sample->records++) {
        if (weir_run_next(&cursor, &record, &more, NULL) ||
            (more && sample->records && record.namespace != sample->namespace))
            sample->is_mixed = true;
        if (sample->is_mixed || !more)
            return;
        sample->namespace = record.namespace;
        sample->entries += add_key(&sample->keys, &record) && record.kind == WEIR_RECORD_VALUE;
    }
}

/* Room for the entries, when they all seem to be of one namespace: a table of many millions that grows by doubling is written twice. How many of
 * the records are entries a sample says. Of the sources the newest comes first. */
static void make_room(struct fill *fill, const struct weir_merge_source *sources, int count)
{
    const struct weir_state *state = fill->restore->state;
    struct sample sample = {0};
    uint64_t records = 0;
    int step = state->key_group_count < SAMPLE_PART ? state->key_group_count : SAMPLE_PART;
    for (int g = step / 2; g < state->key_group_count && !sample.is_mixed; g += step)
        for (int i = 0; i < count && !sample.is_mixed; i++)
            sample_group(&sample, &sources[i], state->key_group_first + g);
    for (int i = 0; i < count; i++)
        records += weir_run_record_count(sources[i].run, sources[i].key_group_first, sources[i].key_group_count);
    if (!sample.is_mixed && sample.entries) {
        double estimate = (double)records * (double)sample.entries / (double)sample.records;
        weir_state_reserve(weir_state_open(fill->restore->state, sample.namespace),
                           (int64_t)(estimate * (1 + SAMPLE_MARGIN)));
    }
    free(sample.keys.keys);
}

/* The bit means something else from here on. */
static void clear_saved(struct weir_state *state)
{
    for (int i = 0; i < state->count; i++) {
        struct weir_state_table *table = state->entries[state->first + i].table;
        memset(table->bits[BITS_SAVED], 0, table->words * sizeof(uint64_t));
    }
}

/* Nothing of what was put is known to any run: that it goes is no news for the next checkpoint, whose runs would otherwise say that all of
 * these namespaces are gone from what they build on. */
static void take_back(struct weir_state *state)
{
    for (int64_t at; (at = weir_state_next(state, INT64_MIN)) != INT64_MAX;) {
        weir_state_find(state, at)->saved = false;
        weir_state_drop(state, at);
    }
}

/* *fits false: nothing was put, since it is too much for memory. */
static weir_err put_newest_first(struct restore *restore, bool *fits, struct weir_error *error)
{
    struct fill *fill = weir_zalloc(sizeof *fill);
    struct weir_merge_source *sources = weir_alloc(((size_t)restore->count + 1) * sizeof *sources);
    weir_err err = WEIR_OK;
    fill->restore = restore;
    weir_buf_init(&fill->bytes, UINT32_MAX);
    if (restore->count > 0) {
        memcpy(sources, restore->sources, (size_t)restore->count * sizeof *sources);
        qsort(sources, (size_t)restore->count, sizeof *sources, newest_first);
        make_room(fill, sources, restore->count);
    }
    for (int i = 0, n; i < restore->count && !err && !fill->on_disk; i += n) {
        n = same_checkpoint(sources + i, restore->count - i);
        for (int k = i; k < i + n && !err && !fill->on_disk; k++)
            err = fill_from(fill, &sources[k], error);
        add_dropped(fill, sources + i, n);
    }
    for (int i = 0; i < restore->state->count; i++)
        fill->on_disk |= restore->state->entries[restore->state->first + i].table->disk;
    *fits = !fill->on_disk;
    if (fill->on_disk)
        take_back(restore->state);
    else
        clear_saved(restore->state);
    weir_buf_fini(&fill->bytes);
    free(fill->removed.keys);
    free(fill->dropped);
    free(fill);
    free(sources);
    return err;
}

static bool may_fit(const struct restore *restore)
{
    double bytes = 0;
    for (int i = 0; i < restore->count; i++) {
        uint64_t offset, size;
        weir_run_range(restore->sources[i].run, restore->sources[i].key_group_first,
                       restore->sources[i].key_group_count, &offset, &size);
        bytes += (double)size;
    }
    return restore->state->codec.encode && weir_spill_may_hold(restore->state, bytes);
}

static weir_err put_all(struct restore *restore, struct weir_error *error)
{
    bool fits = may_fit(restore);
    weir_err err = fits ? put_newest_first(restore, &fits, error) : WEIR_OK;
    return err || fits ? err : put_merged(restore, error);
}

/* Objects of checkpoints may be referred to by later ones; a savepoint's are its own. */
static bool may_refer(const struct weir_restored_part *part)
{
    return part->object && strncmp(part->object, "jobs/", 5) == 0 && strstr(part->object, "/chk-");
}

/* Whoever refers to a run has all of it that is in his key groups. A run of another parallelism may have more there than the part counts for:
 * what was removed since by the subtask that had those key groups. */
static bool counts_whole(const struct restore *restore, int i)
{
    struct weir_state_about about = weir_state_about(restore->state);
    const struct weir_run_info *info = weir_run_info(restore->runs[i].run);
    const struct weir_merge_source *source = &restore->sources[i];
    int first = info->key_group_first, end = first + info->key_group_count;
    if (first < about.key_group_first)
        first = about.key_group_first;
    if (end > about.key_group_first + about.key_group_count)
        end = about.key_group_first + about.key_group_count;
    return first >= end ||
           (source->key_group_first <= first && source->key_group_first + source->key_group_count >= end);
}

/* The next checkpoint can build on what was read. */
static void take_as_base(const struct restore *restore, const struct weir_restored *restored)
{
    struct weir_state_about about = weir_state_about(restore->state);
    struct weir_run_ref *refs = weir_alloc(((size_t)restore->count + 1) * sizeof *refs);
    const struct weir_restored_part *part = NULL;
    int count = 0;
    bool may = restored && restored->checkpoint > 0;
    double bytes = 0, records = 0;
    int checkpoints = 0;
    while ((part = weir_restored_next(restored, about.uid, about.name, part))) {
        const struct weir_run_info *info = weir_run_info(restore->runs[count].run);
        refs[count++] = (struct weir_run_ref){part->object, part->offset, (int64_t)part->size, part->crc32c};
        may &= may_refer(part) && info->checkpoint > 0 && counts_whole(restore, count - 1);
        checkpoints += count == 1 || info->checkpoint != weir_run_info(restore->runs[count - 2].run)->checkpoint;
        bytes += (double)part->size;
        records += (double)(info->value_count + info->removed_count);
    }
    weir_capture_restored(restore->state, restored ? restored->checkpoint : 0, may ? refs : NULL, count, checkpoints,
                          records > 0 ? bytes / records : 0);
    free(refs);
}

weir_err weir_state_restore(struct weir_state *state, const struct weir_restored *restored, struct weir_error *error)
{
    struct restore restore = {.state = state, .codec = weir_state_codec(state)};
    weir_assert(restore.codec->decode != NULL);
    weir_assert(weir_state_entry_count(state) == 0);
    weir_err err = open_runs(&restore, restored, error);
    if (!err)
        err = put_all(&restore, error);
    if (!err)
        take_as_base(&restore, restored);
    for (int i = 0; i < restore.count; i++) {
        if (restore.runs[i].reader && restore.codec->reader_free)
            restore.codec->reader_free(restore.codec->arg, restore.runs[i].reader);
        weir_run_close(restore.runs[i].run);
    }
    free(restore.runs);
    free(restore.sources);
    return err;
}
