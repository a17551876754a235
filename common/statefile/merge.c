/* Many runs as one: a heap of cursors, by address, the newest run first. */
#include <stdlib.h>
#include <string.h>

#include "statefile/run.h"

struct source {
    struct weir_run_cursor cursor;
    struct weir_record record; /* the next one */
    const struct weir_run_info *info;
};

struct weir_merge {
    struct source *sources; /* the newest first */
    int source_count;
    int *heap; /* indices of sources that have a record */
    int heap_count;
    bool begun;
    int taken; /* the source whose record was given last; -1: none */
};

static bool newer(const struct weir_run_info *a, const struct weir_run_info *b)
{
    if (a->checkpoint != b->checkpoint)
        return a->checkpoint > b->checkpoint;
    return a->segment > b->segment;
}

struct weir_merge *weir_merge_new(const struct weir_merge_source *sources, int count)
{
    struct weir_merge *merge = weir_zalloc(sizeof *merge);
    merge->sources = weir_zalloc((size_t)(count + 1) * sizeof *merge->sources);
    merge->heap = weir_zalloc((size_t)(count + 1) * sizeof *merge->heap);
    merge->source_count = count;
    merge->taken = -1;
    for (int i = 0; i < count; i++) {
        const struct weir_run_info *info = weir_run_info(sources[i].run);
        int at = i;
        for (; at > 0 && newer(info, merge->sources[at - 1].info); at--)
            merge->sources[at] = merge->sources[at - 1];
        struct source *source = &merge->sources[at];
        memset(source, 0, sizeof *source);
        source->info = info;
        /* What it dropped, too, is of its own key groups only. */
        int first = sources[i].key_group_first, end = first + sources[i].key_group_count;
        if (first < info->key_group_first)
            first = info->key_group_first;
        if (end > info->key_group_first + info->key_group_count)
            end = info->key_group_first + info->key_group_count;
        weir_run_seek(&source->cursor, sources[i].run, first, end > first ? end - first : 0);
    }
    return merge;
}

void weir_merge_free(struct weir_merge *merge)
{
    if (!merge)
        return;
    free(merge->sources);
    free(merge->heap);
    free(merge);
}

static bool before(const struct weir_merge *merge, int a, int b)
{
    int order = weir_record_compare(&merge->sources[a].record, &merge->sources[b].record);
    return order ? order < 0 : a < b;
}

static void sift_down(struct weir_merge *merge, int at)
{
    int moved = merge->heap[at];
    for (;;) {
        int child = 2 * at + 1;
        if (child >= merge->heap_count)
            break;
        if (child + 1 < merge->heap_count && before(merge, merge->heap[child + 1], merge->heap[child]))
            child++;
        if (!before(merge, merge->heap[child], moved))
            break;
        merge->heap[at] = merge->heap[child];
        at = child;
    }
    merge->heap[at] = moved;
}

static weir_err begin(struct weir_merge *merge, struct weir_error *error)
{
    for (int i = 0; i < merge->source_count; i++) {
        bool more;
        weir_err err = weir_run_next(&merge->sources[i].cursor, &merge->sources[i].record, &more, error);
        if (err)
            return err;
        if (more)
            merge->heap[merge->heap_count++] = i;
    }
    for (int i = merge->heap_count / 2 - 1; i >= 0; i--)
        sift_down(merge, i);
    merge->begun = true;
    return WEIR_OK;
}

/* The first source goes on to its next record. */
static weir_err advance(struct weir_merge *merge, struct weir_error *error)
{
    struct source *source = &merge->sources[merge->heap[0]];
    bool more;
    weir_err err = weir_run_next(&source->cursor, &source->record, &more, error);
    if (err)
        return err;
    if (!more)
        merge->heap[0] = merge->heap[--merge->heap_count];
    if (merge->heap_count > 0)
        sift_down(merge, 0);
    return WEIR_OK;
}

static bool names(const struct weir_run_info *info, int64_t namespace)
{
    uint32_t low = 0, high = info->dropped_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (info->dropped[middle] < namespace)
            low = middle + 1;
        else
            high = middle;
    }
    return low < info->dropped_count && info->dropped[low] == namespace;
}

/* A run of a later checkpoint, of the subtask that had the key, dropped the namespace. */
static bool dropped(const struct weir_merge *merge, int of, const struct weir_record *record)
{
    for (int i = 0; i < of; i++) {
        const struct source *source = &merge->sources[i];
        if (source->info->dropped_count > 0 && source->info->checkpoint > merge->sources[of].info->checkpoint &&
            record->key_group >= source->cursor.key_group_first && record->key_group < source->cursor.key_group_end &&
            names(source->info, record->namespace))
            return true;
    }
    return false;
}

weir_err weir_merge_next(struct weir_merge *merge, struct weir_record *record, const struct weir_run **run, bool *more,
                         struct weir_error *error)
{
    weir_err err = merge->begun ? WEIR_OK : begin(merge, error);
    *more = false;
    while (!err) {
        if (merge->taken >= 0) { /* the one that was given, and all older ones of its address */
            struct weir_record last = merge->sources[merge->taken].record;
            while (!err && merge->heap_count > 0 &&
                   weir_record_compare(&last, &merge->sources[merge->heap[0]].record) == 0)
                err = advance(merge, error);
            merge->taken = -1;
            continue;
        }
        if (merge->heap_count == 0)
            return WEIR_OK;
        merge->taken = merge->heap[0];
        *record = merge->sources[merge->taken].record;
        if (record->kind != WEIR_RECORD_VALUE || dropped(merge, merge->taken, record))
            continue;
        if (run)
            *run = merge->sources[merge->taken].cursor.run;
        *more = true;
        return WEIR_OK;
    }
    return err;
}
