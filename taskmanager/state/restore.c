/* A state's entries out of the runs of a checkpoint: all parts of its name are merged, each for the key groups that its subtask had and this
 * one has now. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "state/capture.h"
#include "state/snapshot.h"
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

static weir_err put_entry(struct restore *restore, struct weir_state_table *table, const struct weir_record *record,
                          const struct weir_run *run, struct weir_error *error)
{
    uint8_t *value = weir_state_put(table, record->key, record->key_size);
    if (!value)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "state '%s' was written with keys of another type than the operator has now; key types cannot "
                         "change: give the operator another uid, or take the change back",
                         weir_state_about(restore->state).name);
    weir_err err = restore->codec->decode(restore->codec->arg, reader_of(restore, run), record->value,
                                          record->value_size, value, weir_state_heap(table), error);
    return err ? weir_wrap(error, "state '%s'", weir_state_about(restore->state).name) : WEIR_OK;
}

static weir_err put_all(struct restore *restore, struct weir_error *error)
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

/* Objects of checkpoints may be referred to by later ones; a savepoint's are its own. */
static bool may_refer(const struct weir_restored_part *part)
{
    return part->object && strncmp(part->object, "jobs/", 5) == 0 && strstr(part->object, "/chk-");
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
    while ((part = weir_restored_next(restored, about.uid, about.name, part))) {
        const struct weir_run_info *info = weir_run_info(restore->runs[count].run);
        refs[count++] = (struct weir_run_ref){part->object, part->offset, (int64_t)part->size, part->crc32c};
        may &= may_refer(part) && info->checkpoint > 0;
        bytes += (double)part->size;
        records += (double)(info->value_count + info->removed_count);
    }
    weir_capture_restored(restore->state, restored ? restored->checkpoint : 0, may ? refs : NULL, count,
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
