/* What is on disk of a state as a checkpoint's writer reads it: from a snapshot of RocksDB, while the task goes on. Any thread; see spill.c. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "data/row_key.h"
#include "state/spill_int.h"

/* The next entry of a range; *more false: the range has ended. */
static weir_err capture_one(struct weir_spill_capture *capture, struct weir_records *records, bool *more,
                            struct weir_error *error)
{
    struct weir_rocks_entry entry;
    weir_err err = weir_rocks_next(capture->iterator, &entry, more, error);
    if (err || !*more)
        return err;
    uint32_t shift = capture->index ? PREFIX_SIZE - 4 : 0, key_at = capture->key_at + shift;
    weir_assert(entry.key_size >= key_at && entry.value_size >= VALUE_AT);
    if (weir_state_is_over(capture->over_at, entry.value + VALUE_AT, entry.value_size - VALUE_AT))
        return WEIR_OK;
    uint64_t namespace;
    memcpy(&namespace, entry.key + 4 + shift, sizeof namespace);
    namespace = __builtin_bswap64(namespace) ^ (uint64_t)1 << 63;
    uint32_t hash;
    memcpy(&hash, entry.key + PREFIX_SIZE + shift, sizeof hash); /* the upper half, which says the key group */
    int group = weir_key_group((uint64_t)__builtin_bswap32(hash) << 32, capture->max_parallelism);
    weir_records_begin(records, group, entry.key + key_at, entry.key_size - key_at, (int64_t) namespace,
                       WEIR_RECORD_VALUE);
    bool ok = weir_buf_append(&records->bytes, entry.value + VALUE_AT, entry.value_size - VALUE_AT);
    weir_assert(ok);
    weir_records_end(records);
    return WEIR_OK;
}

weir_err weir_spill_capture_next(struct weir_spill_capture *capture, struct weir_records *records, size_t size,
                                 bool *more, struct weir_error *error)
{
    *more = true;
    while (records->bytes.size < size) {
        bool found = false;
        if (!capture->iterator) {
            if (capture->at == capture->prefix_count) {
                *more = false;
                return WEIR_OK;
            }
            capture->iterator = weir_rocks_iterate(capture->rocks, capture->prefixes[capture->at++],
                                                   (size_t)capture->prefix_size, capture->snapshot);
        }
        weir_err err = capture_one(capture, records, &found, error);
        if (err)
            return err;
        if (!found) { /* a range's entries are newer than those of the range before: a run of their own */
            weir_rocks_iterator_free(capture->iterator);
            capture->iterator = NULL;
            *more = capture->at < capture->prefix_count;
            return WEIR_OK;
        }
    }
    return WEIR_OK;
}

void weir_spill_capture_free(struct weir_spill_capture *capture)
{
    if (!capture)
        return;
    weir_rocks_iterator_free(capture->iterator);
    weir_rocks_snapshot_free(capture->rocks, capture->snapshot);
    weir_rocks_free(capture->rocks);
    free(capture);
}
