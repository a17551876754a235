#include "statefile/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/thread.h"
#include "data/row_key.h"

#define VERSION 1
#define BLOCK_HEAD 8               /* u32 size of the records, u32 CRC-32C of them */
#define RECORD_MIN (2 + 4 + 8 + 1) /* behind its size */
static const char MAGIC[8] = "weir-run";

struct block {
    uint64_t offset;
    uint32_t size;        /* of the records */
    uint16_t first, last; /* key groups */
    uint32_t records;
};

/* --- Numbers */

static void put(struct weir_buf *out, const void *bytes, size_t size)
{
    bool ok = size == 0 || weir_buf_append(out, bytes, size);
    weir_assert(ok); /* the maximum is whoever gave the buffer's affair */
}

static void put_number(struct weir_buf *out, uint64_t value, int size)
{
    uint8_t bytes[8];
    for (int i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    put(out, bytes, (size_t)size);
}

static uint64_t number_at(const uint8_t *bytes, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static uint64_t big_endian(uint64_t value)
{
    return __builtin_bswap64(value);
}

/* --- Records */

#define SIGN ((uint64_t)1 << 63)

int weir_record_compare(const struct weir_record *a, const struct weir_record *b)
{
    if (a->key_group != b->key_group)
        return a->key_group < b->key_group ? -1 : 1;
    uint32_t size = a->key_size < b->key_size ? a->key_size : b->key_size;
    int order = size ? memcmp(a->key, b->key, size) : 0;
    if (order)
        return order;
    if (a->key_size != b->key_size)
        return a->key_size < b->key_size ? -1 : 1;
    return (a->namespace > b->namespace) - (a->namespace < b->namespace);
}

/* One record in [at, end): where it ends; NULL: that is none. */
static const uint8_t *parse(const uint8_t *at, const uint8_t *end, struct weir_record *record)
{
    if (end - at < 4 + RECORD_MIN)
        return NULL;
    uint64_t size = number_at(at, 4);
    at += 4;
    if (size < RECORD_MIN || size > (uint64_t)(end - at))
        return NULL;
    end = at + size;
    record->key_group = at[0] << 8 | at[1];
    record->key_size = (uint32_t)number_at(at + 2, 4);
    if (record->key_size > size - RECORD_MIN)
        return NULL;
    record->key = at + 6;
    at += 6 + record->key_size;
    uint64_t word;
    memcpy(&word, at, 8);
    record->namespace = (int64_t)(big_endian(word) ^ SIGN);
    record->kind = (enum weir_record_kind)at[8];
    record->value = at + 9;
    record->value_size = (size_t)(end - record->value);
    if (record->kind != WEIR_RECORD_VALUE && record->kind != WEIR_RECORD_REMOVED)
        return NULL;
    return end;
}

void weir_records_init(struct weir_records *records)
{
    memset(records, 0, sizeof *records);
    weir_buf_init(&records->bytes, SIZE_MAX / 2);
}

void weir_records_fini(struct weir_records *records)
{
    weir_buf_fini(&records->bytes);
    free(records->at);
    memset(records, 0, sizeof *records);
}

void weir_records_clear(struct weir_records *records)
{
    records->bytes.size = records->count = 0;
}

void weir_records_begin(struct weir_records *records, int key_group, const uint8_t *key, uint32_t key_size,
                        int64_t namespace, enum weir_record_kind kind)
{
    if (records->count == records->capacity) {
        records->capacity = records->capacity ? records->capacity * 2 : 64;
        records->at = weir_realloc(records->at, records->capacity * sizeof *records->at);
    }
    records->at[records->count++] = records->bytes.size;
    bool ok = weir_buf_reserve(&records->bytes, 4 + RECORD_MIN + (size_t)key_size);
    weir_assert(ok);
    uint8_t *at = records->bytes.data + records->bytes.size;
    uint64_t word = big_endian((uint64_t) namespace ^ SIGN);
    memset(at, 0, 4);
    at[4] = (uint8_t)(key_group >> 8);
    at[5] = (uint8_t)key_group;
    for (int i = 0; i < 4; i++)
        at[6 + i] = (uint8_t)(key_size >> (8 * i));
    if (key_size)
        memcpy(at + 10, key, key_size);
    memcpy(at + 10 + key_size, &word, 8);
    at[18 + key_size] = (uint8_t)kind;
    records->bytes.size += 4 + RECORD_MIN + (size_t)key_size;
}

void weir_records_end(struct weir_records *records)
{
    size_t at = records->at[records->count - 1];
    size_t size = records->bytes.size - at - 4;
    weir_assert(size <= UINT32_MAX / 2);
    for (int i = 0; i < 4; i++)
        records->bytes.data[at + (size_t)i] = (uint8_t)(size >> (8 * i));
}

void weir_records_take_back(struct weir_records *records)
{
    records->bytes.size = records->at[--records->count];
}

/* --- Writing: dealt out by key group, each of which is sorted when its turn comes. A prefix of the address mostly decides. */

#define TOGETHER 256      /* records that are on their way from memory before the first of them is written */
#define INSERTED 8        /* entries that are sorted by insertion */
#define AT_A_STRETCH 4096 /* entries that are sorted before others may have the CPU */
struct sort_entry {
    uint64_t prefix[2]; /* key group, then the key's first 14 bytes */
    const uint8_t *bytes;
};

static const uint8_t *parse_own(const uint8_t *bytes, struct weir_record *record)
{
    const uint8_t *end = parse(bytes, bytes + 4 + number_at(bytes, 4), record);
    weir_assert(end != NULL);
    return end;
}

static __attribute__((noinline)) bool is_behind_whole(const struct sort_entry *a, const struct sort_entry *b)
{
    struct weir_record left, right;
    parse_own(a->bytes, &left);
    parse_own(b->bytes, &right);
    int order = weir_record_compare(&left, &right);
    return order ? order > 0 : left.kind > right.kind; /* a value before the removal that it wins over */
}

static inline bool is_behind(const struct sort_entry *a, const struct sort_entry *b)
{
    if (a->prefix[0] != b->prefix[0])
        return a->prefix[0] > b->prefix[0];
    if (a->prefix[1] != b->prefix[1])
        return a->prefix[1] > b->prefix[1];
    return is_behind_whole(a, b);
}

struct sorter {
    struct sort_entry *entries, *room; /* by key group; room for as many */
    uint32_t *ends;                    /* of key groups, in `entries` */
    size_t count, sorted, next;        /* those before `sorted` are in order */
};

static void fill_entry(struct sort_entry *entry, const uint8_t *bytes)
{
    struct weir_record record;
    parse_own(bytes, &record);
    uint8_t prefix[16] = {bytes[4], bytes[5]};
    if (record.key_size)
        memcpy(prefix + 2, record.key, record.key_size < 14 ? record.key_size : 14);
    uint64_t words[2];
    memcpy(words, prefix, sizeof words);
    *entry = (struct sort_entry){{big_endian(words[0]), big_endian(words[1])}, bytes};
}

static size_t group_of(const struct sort_entry *entry)
{
    return entry->prefix[0] >> 48;
}

static void sorter_init(struct sorter *sorter, const struct weir_records *const *sets, size_t set_count)
{
    *sorter = (struct sorter){.count = 0};
    for (size_t s = 0; s < set_count; s++)
        sorter->count += sets[s]->count;
    weir_assert(sorter->count <= UINT32_MAX);
    sorter->entries = weir_alloc((sorter->count + 1) * sizeof *sorter->entries);
    sorter->room = weir_alloc((sorter->count + 1) * sizeof *sorter->room);
    struct sort_entry *entry = sorter->room;
    size_t groups = 0;
    for (size_t s = 0; s < set_count; s++) {
        for (size_t i = 0; i < sets[s]->count; i++, entry++) {
            fill_entry(entry, sets[s]->bytes.data + sets[s]->at[i]);
            groups = group_of(entry) < groups ? groups : group_of(entry) + 1;
        }
        weir_thread_give_way();
    }
    uint32_t *at = sorter->ends = weir_zalloc((groups + 2) * sizeof *at); /* where each begins, and at last ends */
    for (size_t i = 0; i < sorter->count; i++)
        at[group_of(&sorter->room[i]) + 1]++;
    for (size_t group = 0; group < groups; group++)
        at[group + 1] += at[group];
    for (size_t i = 0; i < sorter->count; i++)
        sorter->entries[at[group_of(&sorter->room[i])]++] = sorter->room[i];
    weir_thread_give_way();
}

static void sorter_fini(struct sorter *sorter)
{
    free(sorter->entries);
    free(sorter->room);
    free(sorter->ends);
}

static void insert(struct sort_entry *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct sort_entry entry = entries[i];
        size_t at = i;
        for (; at > 0 && is_behind(&entries[at - 1], &entry); at--)
            entries[at] = entries[at - 1];
        entries[at] = entry;
    }
}

static void merge(const struct sort_entry *from, size_t middle, size_t count, struct sort_entry *to)
{
    size_t a = 0, b = middle;
    while (a < middle && b < count) {
        bool second = is_behind(&from[a], &from[b]);
        *to++ = from[second ? b : a];
        b += second;
        a += !second;
    }
    memcpy(to, from + a, (middle - a) * sizeof *to);
    memcpy(to + (middle - a), from + b, (count - b) * sizeof *to);
}

/* From the bottom up, without recursion. `room` is for as many. */
static void sort(struct sort_entry *entries, size_t count, struct sort_entry *room)
{
    for (size_t i = 0; i < count; i += INSERTED)
        insert(entries + i, count - i < INSERTED ? count - i : INSERTED);
    struct sort_entry *from = entries, *to = room;
    for (size_t size = INSERTED; size < count; size *= 2) {
        for (size_t i = 0; i < count; i += 2 * size) {
            size_t some = count - i < 2 * size ? count - i : 2 * size;
            merge(from + i, some < size ? some : size, some, to + i);
            if ((i + some) % AT_A_STRETCH < some)
                weir_thread_give_way();
        }
        struct sort_entry *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != entries)
        memcpy(entries, from, count * sizeof *entries);
}

/* The next records, at most TOGETHER; 0: those were all. */
static int sorter_next(struct sorter *sorter, const uint8_t **records)
{
    int count = 0;
    while (count < TOGETHER && sorter->next < sorter->count) {
        if (sorter->next == sorter->sorted) {
            sorter->sorted = sorter->ends[group_of(&sorter->entries[sorter->next])];
            sort(sorter->entries + sorter->next, sorter->sorted - sorter->next, sorter->room);
        }
        const uint8_t *bytes = sorter->entries[sorter->next++].bytes;
        for (int line = 0; line < 3; line++)
            __builtin_prefetch(bytes + 64 * line);
        records[count++] = bytes;
    }
    return count;
}

struct writer {
    struct weir_buf *out;
    size_t begin; /* of the run, in `out` */
    struct block *blocks;
    uint32_t block_count, block_capacity;
    size_t block_at; /* of the open one's head; SIZE_MAX: none is open */
};

static void end_block(struct writer *writer)
{
    if (writer->block_at == SIZE_MAX)
        return;
    uint8_t *head = writer->out->data + writer->block_at;
    size_t size = writer->out->size - writer->block_at - BLOCK_HEAD;
    weir_assert(size <= UINT32_MAX);
    uint32_t crc = weir_crc32c(0, head + BLOCK_HEAD, size);
    for (int i = 0; i < 4; i++) {
        head[i] = (uint8_t)(size >> (8 * i));
        head[4 + i] = (uint8_t)(crc >> (8 * i));
    }
    writer->blocks[writer->block_count - 1].size = (uint32_t)size;
    writer->block_at = SIZE_MAX;
}

static void write_record(struct writer *writer, const struct weir_record *record, const uint8_t *bytes, size_t size)
{
    if (writer->block_at != SIZE_MAX && writer->out->size - writer->block_at + size > BLOCK_HEAD + WEIR_RUN_BLOCK_SIZE)
        end_block(writer);
    if (writer->block_at == SIZE_MAX) {
        if (writer->block_count == writer->block_capacity) {
            writer->block_capacity = writer->block_capacity ? writer->block_capacity * 2 : 16;
            writer->blocks = weir_realloc(writer->blocks, writer->block_capacity * sizeof *writer->blocks);
        }
        writer->block_at = writer->out->size;
        writer->blocks[writer->block_count++] =
            (struct block){.offset = writer->out->size - writer->begin, .first = (uint16_t)record->key_group};
        put_number(writer->out, 0, BLOCK_HEAD);
    }
    struct block *block = &writer->blocks[writer->block_count - 1];
    block->last = (uint16_t)record->key_group;
    block->records++;
    put(writer->out, bytes, size);
}

static void put_text(struct weir_buf *out, const void *bytes, size_t size)
{
    weir_assert(size <= UINT32_MAX);
    put_number(out, size, 4);
    put(out, bytes, size);
}

static void put_index(struct writer *writer, const struct weir_run_info *info, uint64_t values, uint64_t removed)
{
    struct weir_buf *out = writer->out;
    size_t at = out->size;
    put_number(out, VERSION, 1);
    put_number(out, WEIR_KEY_HASH_ID, 1);
    put_text(out, info->uid, strlen(info->uid));
    put_text(out, info->name, strlen(info->name));
    put_number(out, info->checkpoint, 8);
    put_number(out, info->segment, 4);
    put_number(out, (uint64_t)info->max_parallelism, 4);
    put_number(out, (uint64_t)info->key_group_first, 4);
    put_number(out, (uint64_t)info->key_group_count, 4);
    put_number(out, values, 8);
    put_number(out, removed, 8);
    put_text(out, info->schema, info->schema_size);
    put_number(out, info->dropped_count, 4);
    for (uint32_t i = 0; i < info->dropped_count; i++)
        put_number(out, (uint64_t)info->dropped[i], 8);
    put_number(out, writer->block_count, 4);
    for (uint32_t i = 0; i < writer->block_count; i++) {
        const struct block *block = &writer->blocks[i];
        put_number(out, block->offset, 8);
        put_number(out, block->size, 4);
        put_number(out, block->first, 2);
        put_number(out, block->last, 2);
        put_number(out, block->records, 4);
    }
    size_t size = out->size - at;
    uint32_t crc = weir_crc32c(0, out->data + at, size);
    put_number(out, at - writer->begin, 8);
    put_number(out, size, 8);
    put_number(out, crc, 4);
    put_number(out, VERSION, 4);
    put(out, MAGIC, sizeof MAGIC);
}

void weir_records_write(const struct weir_records *const *sets, size_t set_count, const struct weir_run_info *info,
                        struct weir_buf *out)
{
    size_t size = 512;
    struct sorter sorter;
    struct writer writer = {.out = out, .begin = out->size, .block_at = SIZE_MAX};
    struct weir_record last = {0}, record;
    const uint8_t *records[TOGETHER];
    uint64_t values = 0, removed = 0;
    for (size_t s = 0; s < set_count; s++)
        size += sets[s]->bytes.size + sets[s]->bytes.size / 64;
    bool ok = weir_buf_reserve(out, size);
    weir_assert(ok);
    sorter_init(&sorter, sets, set_count);
    for (int count; (count = sorter_next(&sorter, records)) > 0; weir_thread_give_way())
        for (int i = 0; i < count; i++) {
            const uint8_t *end = parse_own(records[i], &record);
            if (values + removed > 0 && weir_record_compare(&last, &record) == 0) {
                weir_assert(record.kind == WEIR_RECORD_REMOVED); /* an entry is captured once */
                continue;
            }
            write_record(&writer, &record, records[i], (size_t)(end - records[i]));
            last = record;
            if (record.kind == WEIR_RECORD_VALUE)
                values++;
            else
                removed++;
        }
    end_block(&writer);
    put_index(&writer, info, values, removed);
    free(writer.blocks);
    sorter_fini(&sorter);
}

/* --- Reading */

struct weir_run {
    const uint8_t *bytes;
    struct weir_run_info info;
    char *uid, *name;
    int64_t *dropped;
    struct block *blocks;
    uint32_t block_count;
    bool trusted;
};

struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static uint64_t get(struct reader *reader, int size)
{
    if (reader->bad || reader->end - reader->at < size) {
        reader->bad = true;
        return 0;
    }
    reader->at += size;
    return number_at(reader->at - size, size);
}

static const uint8_t *get_text(struct reader *reader, size_t *size)
{
    *size = get(reader, 4);
    if (reader->bad || (size_t)(reader->end - reader->at) < *size) {
        reader->bad = true;
        *size = 0;
        return reader->end;
    }
    reader->at += *size;
    return reader->at - *size;
}

/* A count of things of `size` bytes each, which must be there. */
static uint32_t get_count(struct reader *reader, size_t size)
{
    uint64_t count = get(reader, 4);
    if (count > (size_t)(reader->end - reader->at) / size) {
        reader->bad = true;
        return 0;
    }
    return (uint32_t)count;
}

static weir_err corrupt(const struct weir_run *run, const char *what, struct weir_error *error)
{
    if (run && run->uid)
        return weir_fail(error, WEIR_ERR_DATA,
                         "CHECKPOINT_CORRUPT: the run of state '%s' of operator %s that checkpoint %llu wrote %s",
                         run->name, run->uid, (unsigned long long)run->info.checkpoint, what);
    return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: a run of keyed state %s", what);
}

weir_err weir_run_index_at(const uint8_t *trailer, uint64_t size, uint64_t *offset, struct weir_error *error)
{
    if (size < WEIR_RUN_TRAILER_SIZE || memcmp(trailer + WEIR_RUN_TRAILER_SIZE - sizeof MAGIC, MAGIC, sizeof MAGIC))
        return corrupt(NULL, "does not end as one", error);
    if (number_at(trailer + 20, 4) != VERSION)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "a run of keyed state has version %u, and this weir reads version %d; restore with the weir "
                         "that wrote it, or a later one",
                         (unsigned)number_at(trailer + 20, 4), VERSION);
    *offset = number_at(trailer, 8);
    uint64_t index_size = number_at(trailer + 8, 8);
    if (*offset > size - WEIR_RUN_TRAILER_SIZE || index_size != size - WEIR_RUN_TRAILER_SIZE - *offset)
        return corrupt(NULL, "has an index of another size", error);
    return WEIR_OK;
}

static void read_names(struct weir_run *run, struct reader *reader)
{
    size_t size;
    const uint8_t *text = get_text(reader, &size);
    char *uid = weir_strndup((const char *)text, size);
    text = get_text(reader, &size);
    run->name = weir_strndup((const char *)text, size);
    run->uid = uid;
    run->info.uid = run->uid;
    run->info.name = run->name;
}

static weir_err read_blocks(struct weir_run *run, struct reader *reader, uint64_t index_at, struct weir_error *error)
{
    run->block_count = get_count(reader, 20);
    run->blocks = weir_alloc(((size_t)run->block_count + 1) * sizeof *run->blocks);
    uint64_t end = 0;
    int last = 0;
    for (uint32_t i = 0; i < run->block_count; i++) {
        struct block *block = &run->blocks[i];
        block->offset = get(reader, 8);
        block->size = (uint32_t)get(reader, 4);
        block->first = (uint16_t)get(reader, 2);
        block->last = (uint16_t)get(reader, 2);
        block->records = (uint32_t)get(reader, 4);
        if (block->offset != end || block->first < last || block->last < block->first)
            return corrupt(run, "has blocks out of order", error);
        last = block->last;
        end += BLOCK_HEAD + (uint64_t)block->size;
    }
    if (reader->bad || reader->at != reader->end || end != index_at)
        return corrupt(run, "has an index that does not fit its blocks", error);
    return WEIR_OK;
}

static weir_err read_index(struct weir_run *run, struct reader *reader, uint64_t index_at, struct weir_error *error)
{
    struct weir_run_info *info = &run->info;
    uint64_t version = get(reader, 1), hash = get(reader, 1);
    if (!reader->bad && (version != VERSION || hash != WEIR_KEY_HASH_ID))
        return corrupt(run, "has another version or hash of keys than it says", error);
    read_names(run, reader);
    info->checkpoint = get(reader, 8);
    info->segment = (uint32_t)get(reader, 4);
    uint64_t max_parallelism = get(reader, 4), first = get(reader, 4), count = get(reader, 4);
    info->value_count = get(reader, 8);
    info->removed_count = get(reader, 8);
    info->schema = get_text(reader, &info->schema_size);
    info->dropped_count = get_count(reader, 8);
    run->dropped = weir_alloc(((size_t)info->dropped_count + 1) * sizeof *run->dropped);
    for (uint32_t i = 0; i < info->dropped_count; i++) {
        run->dropped[i] = (int64_t)get(reader, 8);
        if (i > 0 && run->dropped[i] <= run->dropped[i - 1])
            return corrupt(run, "names dropped namespaces out of order", error);
    }
    info->dropped = run->dropped;
    if (reader->bad || max_parallelism < 1 || max_parallelism > WEIR_MAX_PARALLELISM_LIMIT ||
        first + count > max_parallelism)
        return corrupt(run, "has an index that cannot be", error);
    info->max_parallelism = (int)max_parallelism;
    info->key_group_first = (int)first;
    info->key_group_count = (int)count;
    return read_blocks(run, reader, index_at, error);
}

weir_err weir_run_open(const uint8_t *bytes, uint64_t size, struct weir_run **out, struct weir_error *error)
{
    *out = NULL;
    if (size < WEIR_RUN_TRAILER_SIZE)
        return corrupt(NULL, "is too short", error);
    const uint8_t *trailer = bytes + size - WEIR_RUN_TRAILER_SIZE;
    uint64_t index_at = 0;
    weir_err err = weir_run_index_at(trailer, size, &index_at, error);
    if (err)
        return err;
    struct reader reader = {.at = bytes + index_at, .end = trailer};
    if (weir_crc32c(0, reader.at, (size_t)(reader.end - reader.at)) != number_at(trailer + 16, 4))
        return corrupt(NULL, "has an index that does not fit its checksum", error);
    struct weir_run *run = weir_zalloc(sizeof *run);
    run->bytes = bytes;
    if ((err = read_index(run, &reader, index_at, error))) {
        weir_run_close(run);
        return err;
    }
    *out = run;
    return WEIR_OK;
}

void weir_run_close(struct weir_run *run)
{
    if (!run)
        return;
    free(run->uid);
    free(run->name);
    free(run->dropped);
    free(run->blocks);
    free(run);
}

const struct weir_run_info *weir_run_info(const struct weir_run *run)
{
    return &run->info;
}

/* The first block that may hold the key group or one after it. */
static uint32_t first_block(const struct weir_run *run, int key_group)
{
    uint32_t low = 0, high = run->block_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (run->blocks[middle].last < key_group)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void weir_run_range(const struct weir_run *run, int key_group_first, int key_group_count, uint64_t *offset,
                    uint64_t *size)
{
    *offset = *size = 0;
    for (uint32_t i = first_block(run, key_group_first);
         i < run->block_count && run->blocks[i].first < key_group_first + key_group_count; i++) {
        const struct block *block = &run->blocks[i];
        if (*size == 0)
            *offset = block->offset;
        *size = block->offset + BLOCK_HEAD + block->size - *offset;
    }
}

uint64_t weir_run_record_count(const struct weir_run *run, int key_group_first, int key_group_count)
{
    uint64_t count = 0;
    for (uint32_t i = first_block(run, key_group_first);
         i < run->block_count && run->blocks[i].first < key_group_first + key_group_count; i++)
        count += run->blocks[i].records;
    return count;
}

void weir_run_seek(struct weir_run_cursor *cursor, const struct weir_run *run, int key_group_first, int key_group_count)
{
    *cursor = (struct weir_run_cursor){
        .run = run,
        .key_group_first = key_group_first,
        .key_group_end = key_group_first + key_group_count,
        .block = first_block(run, key_group_first),
    };
}

void weir_run_trust(struct weir_run *run)
{
    run->trusted = true;
}

/* Into the block at the cursor; its checksum is looked at here, before its records. */
static weir_err enter_block(struct weir_run_cursor *cursor, bool trusted, struct weir_error *error)
{
    const struct weir_run *run = cursor->run;
    const struct block *block = &run->blocks[cursor->block++];
    const uint8_t *head = run->bytes + block->offset;
    cursor->next = head + BLOCK_HEAD;
    cursor->end = cursor->next + block->size;
    if (number_at(head, 4) != block->size ||
        (!trusted && number_at(head + 4, 4) != weir_crc32c(0, cursor->next, block->size)))
        return corrupt(run, "has a block that does not fit its checksum", error);
    return WEIR_OK;
}

weir_err weir_run_check(const struct weir_run *run, int key_group_first, int key_group_count, struct weir_error *error)
{
    struct weir_run_cursor cursor;
    weir_run_seek(&cursor, run, key_group_first, key_group_count);
    weir_err err = WEIR_OK;
    while (!err && cursor.block < run->block_count && run->blocks[cursor.block].first < cursor.key_group_end)
        err = enter_block(&cursor, false, error);
    return err;
}

weir_err weir_run_next(struct weir_run_cursor *cursor, struct weir_record *record, bool *more, struct weir_error *error)
{
    const struct weir_run *run = cursor->run;
    *more = false;
    for (;;) {
        if (cursor->next == cursor->end) {
            if (cursor->block == run->block_count || run->blocks[cursor->block].first >= cursor->key_group_end)
                return WEIR_OK;
            weir_err err = enter_block(cursor, run->trusted, error);
            if (err)
                return err;
            continue;
        }
        cursor->next = parse(cursor->next, cursor->end, record);
        if (!cursor->next)
            return corrupt(run, "has a record that cannot be", error);
        if (record->key_group >= cursor->key_group_end)
            return WEIR_OK;
        if (record->key_group >= cursor->key_group_first) {
            *more = true;
            return WEIR_OK;
        }
    }
}
