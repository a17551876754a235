/* RocksDB through its C interface; see rocks.h.
 *
 * Options, and why: no write-ahead log (nothing outlives the executor); no compression (values are small and hot, the disk is not the limit);
 * XXH3 as checksum (the CRC of some distributions' builds has no hardware support); index and filters outside the block cache, since a cache
 * of a few MiB that they pass through holds nothing else; a Bloom filter, so that a key that was never written costs no read.
 *
 * A write of many entries becomes a sorted file that RocksDB takes in as it is: an eighth of the CPU time of the way through its
 * memtable. Files are taken in faster than they are compacted, so that writers wait when level 0 has grown long. Files are narrow (spill.c evicts
 * range by range), so that small ones below them and one large level 1 keep compaction from writing what did not change; small blocks,
 * since each read is of one entry.
 */
#include "state/rocks.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/daemon.h"
#include "base/log.h"
#include "base/mem.h"

#define FILE_ENTRIES_MIN 8192 /* fewer go through the memtable: a file costs its syncs */
#define LEVEL0_SLOW 24        /* files of level 0 from which on writers wait, a little at a time ... */
#define LEVEL0_WAIT_MS 2
#define LEVEL0_WAITS_MAX 500 /* ... and so long at most */
#define MEMORY_AGE_MS 20
#define DROPS_FLUSHED 128
#define XXH3_CHECKSUM 4
#define FILE_SIZE ((uint64_t)4 << 20)
#define LEVEL1_SHARE 64 /* level 1 is so many times what RocksDB may have in memory */

struct weir_rocks {
    atomic_int refs, sharers;
    atomic_bool
        failed; /* RocksDB was open and could not do something: it may be so for ever, though the cause is gone */
    char *directory;
    char *first;    /* directory of those before, too; this is the */
    int generation; /* th */
    size_t memory;
    pthread_mutex_t open_lock;
    _Atomic(rocksdb_t *) db; /* NULL: nothing was written yet */
    rocksdb_column_family_handle_t *family;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_envoptions_t *env;
    rocksdb_ingestexternalfileoptions_t *ingest;
    _Atomic uint32_t number_next, drops;
    _Atomic uint64_t file_next;
    _Atomic int64_t memory_at_ms;
    _Atomic size_t memory_used;
};

struct weir_rocks_snapshot {
    const rocksdb_snapshot_t *of; /* NULL: there was nothing */
};

struct weir_rocks_iterator {
    struct weir_rocks *rocks;
    rocksdb_iterator_t *it; /* NULL: RocksDB is not open */
    rocksdb_readoptions_t *read;
    uint8_t *prefix;
    size_t prefix_size;
    bool begun;
};

/* --- Errors */

/* Takes RocksDB's sentence, and says what to do about it. */
static weir_err fail(struct weir_rocks *rocks, const char *what, char *take_message, struct weir_error *error)
{
    weir_err err;
    if (rocks->db)
        atomic_store(&rocks->failed, true);
    if (strstr(take_message, "No space left") || strstr(take_message, "Disk quota"))
        err = weir_fail(error, WEIR_ERR_IO,
                        "%s: the disk of %s is full; free space there, move WEIR_HOME to a larger disk, or raise "
                        "'state.memory.size' so that less state goes to disk",
                        what, rocks->directory);
    else if (strstr(take_message, "Too many open files"))
        err = weir_fail(error, WEIR_ERR_IO, "%s: too many open files; raise the limit (ulimit -n)", what);
    else if (strstr(take_message, "Corruption"))
        err = weir_fail(error, WEIR_ERR_IO,
                        "%s: files in %s are damaged, so that this host's disk or memory is to be looked at: %s", what,
                        rocks->directory, take_message);
    else
        err = weir_fail(error, WEIR_ERR_IO, "%s: %s", what, take_message);
    rocksdb_free(take_message);
    return err;
}

/* --- The directory */

static void delete_files(const char *directory)
{
    DIR *dir = opendir(directory);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

void weir_rocks_forget(const char *directory)
{
    delete_files(directory);
    rmdir(directory);
}

static weir_err make_directory(const char *directory, struct weir_error *error)
{
    weir_err err = weir_make_directories(directory, error);
    if (err)
        return weir_wrap(error, "the directory for state on disk (give WEIR_HOME one that can be written)");
    delete_files(directory);
    char *path = weir_format("%s/probe", directory);
    FILE *file = fopen(path, "we");
    bool wrote = file && fputs("weir\n", file) >= 0;
    int why = errno;
    if (file && fclose(file) != 0 && wrote) {
        wrote = false;
        why = errno;
    }
    if (!wrote) {
        errno = why;
        err = weir_fail_errno(error, WEIR_ERR_IO,
                              "the directory for state on disk cannot be written; give WEIR_HOME a directory with room "
                              "that this user may write: %s",
                              directory);
    }
    unlink(path);
    free(path);
    return err;
}

weir_err weir_rocks_new(const char *directory, size_t memory, struct weir_rocks **out, struct weir_error *error)
{
    weir_assert(memory >= WEIR_ROCKS_MEMORY_MIN);
    *out = NULL;
    weir_err err = make_directory(directory, error);
    if (err)
        return err;
    struct weir_rocks *rocks = weir_zalloc(sizeof *rocks);
    atomic_init(&rocks->refs, 1);
    rocks->directory = weir_strdup(directory);
    rocks->first = weir_strdup(directory);
    rocks->generation = 1;
    rocks->memory = memory;
    pthread_mutex_init(&rocks->open_lock, NULL);
    *out = rocks;
    return WEIR_OK;
}

weir_err weir_rocks_renew(struct weir_rocks **rocks, struct weir_error *error)
{
    struct weir_rocks *old = *rocks, *fresh;
    if (!atomic_load(&old->failed))
        return WEIR_OK;
    char *directory = weir_format("%s.%d", old->first, old->generation + 1);
    weir_err err = weir_rocks_new(directory, old->memory, &fresh, error);
    free(directory);
    if (err)
        return err;
    free(fresh->first);
    fresh->first = weir_strdup(old->first);
    fresh->generation = old->generation + 1;
    *rocks = fresh;
    weir_rocks_free(old);
    return WEIR_OK;
}

/* --- Opening */

static void set_table_options(struct weir_rocks *rocks)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocks->cache = rocksdb_cache_create_lru(rocks->memory / 2);
    rocksdb_block_based_options_set_block_cache(table, rocks->cache);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_checksum(table, XXH3_CHECKSUM);
    rocksdb_block_based_options_set_block_size(table, 2048);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(8));
    rocksdb_block_based_options_set_data_block_index_type(
        table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_options_set_block_based_table_factory(rocks->options, table);
    rocksdb_block_based_options_destroy(table);
}

static void set_options(struct weir_rocks *rocks)
{
    rocksdb_options_t *options = rocks->options = rocksdb_options_create();
    size_t buffer = rocks->memory / 4;
    buffer = buffer > (size_t)32 << 20 ? (size_t)32 << 20 : buffer;
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_error_if_exists(options, 1);
    rocksdb_options_set_compression(options, rocksdb_no_compression);
    rocksdb_options_set_info_log_level(options, 4); /* fatal: what fails is said by its caller */
    rocksdb_options_set_keep_log_file_num(options, 1);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_use_fsync(options, 0);
    rocksdb_options_set_write_buffer_size(options, buffer);
    rocksdb_options_set_max_write_buffer_number(options, 2);
    rocksdb_options_set_max_background_jobs(options, 2);
    rocksdb_options_set_level0_slowdown_writes_trigger(options, 2 * LEVEL0_SLOW);
    rocksdb_options_set_level0_stop_writes_trigger(options, 4 * LEVEL0_SLOW);
    rocksdb_options_set_target_file_size_base(options, FILE_SIZE);
    rocksdb_options_set_max_bytes_for_level_base(options, LEVEL1_SHARE * rocks->memory);
    rocksdb_options_set_max_open_files(options, -1);
    set_table_options(rocks);
    rocks->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(rocks->write, 1);
    rocks->read = rocksdb_readoptions_create();
    rocks->env = rocksdb_envoptions_create();
    rocks->ingest = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(rocks->ingest, 1);
}

static weir_err open_db(struct weir_rocks *rocks, rocksdb_t **out, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    pthread_mutex_lock(&rocks->open_lock);
    rocksdb_t *db = rocks->db;
    if (!db) {
        char *message = NULL;
        const char *name = "default";
        if (!rocks->options)
            set_options(rocks);
        const rocksdb_options_t *options = rocks->options;
        db = rocksdb_open_column_families(rocks->options, rocks->directory, 1, &name, &options, &rocks->family,
                                          &message);
        if (message) {
            delete_files(rocks->directory);
            db = NULL;
            err = fail(rocks, "state cannot be put on disk", message, error);
        } else {
            weir_log(INFO, "state has outgrown its memory: cold entries go to %s", rocks->directory);
        }
        rocks->db = db;
    }
    pthread_mutex_unlock(&rocks->open_lock);
    *out = db;
    return err;
}

struct weir_rocks *weir_rocks_ref(struct weir_rocks *rocks)
{
    atomic_fetch_add(&rocks->refs, 1);
    return rocks;
}

uint32_t weir_rocks_number(struct weir_rocks *rocks)
{
    return ++rocks->number_next;
}

void weir_rocks_free(struct weir_rocks *rocks)
{
    if (!rocks || atomic_fetch_sub(&rocks->refs, 1) > 1)
        return;
    if (rocks->db) {
        rocksdb_cancel_all_background_work(rocks->db, 1);
        rocksdb_column_family_handle_destroy(rocks->family);
        rocksdb_close(rocks->db);
    }
    if (rocks->options) {
        rocksdb_options_destroy(rocks->options);
        rocksdb_cache_destroy(rocks->cache);
        rocksdb_readoptions_destroy(rocks->read);
        rocksdb_writeoptions_destroy(rocks->write);
        rocksdb_envoptions_destroy(rocks->env);
        rocksdb_ingestexternalfileoptions_destroy(rocks->ingest);
    }
    weir_rocks_forget(rocks->directory);
    pthread_mutex_destroy(&rocks->open_lock);
    free(rocks->directory);
    free(rocks->first);
    free(rocks);
}

/* --- Memory */

static size_t property(rocksdb_t *db, const char *name)
{
    uint64_t value = 0;
    return rocksdb_property_int(db, name, &value) == 0 ? (size_t)value : 0;
}

size_t weir_rocks_memory(struct weir_rocks *rocks)
{
    rocksdb_t *db = rocks->db;
    int64_t now_ms = weir_clock_mono_ms();
    if (!db)
        return 0;
    if (rocks->memory_at_ms == 0 || now_ms - rocks->memory_at_ms >= MEMORY_AGE_MS) {
        rocks->memory_used = property(db, "rocksdb.cur-size-all-mem-tables") +
                             property(db, "rocksdb.estimate-table-readers-mem") + rocksdb_cache_get_usage(rocks->cache);
        rocks->memory_at_ms = now_ms;
    }
    return rocks->memory_used;
}

void weir_rocks_share(struct weir_rocks *rocks, int change)
{
    atomic_fetch_add(&rocks->sharers, change);
}

size_t weir_rocks_excess(struct weir_rocks *rocks)
{
    size_t memory = weir_rocks_memory(rocks);
    int sharers = atomic_load(&rocks->sharers);
    return memory > rocks->memory && sharers > 0 ? (memory - rocks->memory) / (size_t)sharers : 0;
}

/* --- Writing */

/* Compaction lags behind: every read looks into each file of level 0. */
static void wait_for_compaction(rocksdb_t *db)
{
    for (int i = 0; i < LEVEL0_WAITS_MAX && property(db, "rocksdb.num-files-at-level0") >= LEVEL0_SLOW; i++) {
        struct timespec pause = {.tv_nsec = LEVEL0_WAIT_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
}

struct weir_rocks_writer {
    struct weir_rocks *rocks;
    rocksdb_t *db;
    rocksdb_writebatch_t *batch; /* of few entries; NULL: of many, see `file` */
    rocksdb_sstfilewriter_t *file;
    char *path;
    char *message; /* the first error; NULL: none */
};

weir_err weir_rocks_begin(struct weir_rocks *rocks, size_t count, struct weir_rocks_writer **out,
                          struct weir_error *error)
{
    rocksdb_t *db;
    *out = NULL;
    weir_err err = open_db(rocks, &db, error);
    if (err)
        return err;
    struct weir_rocks_writer *writer = *out = weir_zalloc(sizeof *writer);
    writer->rocks = rocks;
    writer->db = db;
    wait_for_compaction(db);
    if (count < FILE_ENTRIES_MIN) {
        writer->batch = rocksdb_writebatch_create();
        return WEIR_OK;
    }
    writer->path = weir_format("%s/in-%" PRIu64 ".sst", rocks->directory, ++rocks->file_next);
    writer->file = rocksdb_sstfilewriter_create(rocks->env, rocks->options);
    rocksdb_sstfilewriter_open(writer->file, writer->path, &writer->message);
    return WEIR_OK;
}

void weir_rocks_put(struct weir_rocks_writer *writer, const uint8_t *key, size_t key_size, const uint8_t *value,
                    size_t value_size)
{
    if (writer->batch)
        rocksdb_writebatch_put(writer->batch, (const char *)key, key_size, (const char *)value, value_size);
    else if (!writer->message)
        rocksdb_sstfilewriter_put(writer->file, (const char *)key, key_size, (const char *)value, value_size,
                                  &writer->message);
}

static void delete_key(struct weir_rocks_writer *writer, const uint8_t *key, size_t key_size)
{
    if (writer->batch)
        rocksdb_writebatch_delete(writer->batch, (const char *)key, key_size);
    else if (!writer->message)
        rocksdb_sstfilewriter_delete(writer->file, (const char *)key, key_size, &writer->message);
}

static void end_file(struct weir_rocks_writer *writer)
{
    const char *paths[1] = {writer->path};
    if (!writer->message)
        rocksdb_sstfilewriter_finish(writer->file, &writer->message);
    rocksdb_sstfilewriter_destroy(writer->file);
    if (!writer->message)
        rocksdb_ingest_external_file(writer->db, paths, 1, writer->rocks->ingest, &writer->message);
    unlink(writer->path); /* RocksDB has its own link */
    free(writer->path);
}

weir_err weir_rocks_end(struct weir_rocks_writer *take_writer, struct weir_error *error)
{
    struct weir_rocks_writer *writer = take_writer;
    if (writer->batch) {
        rocksdb_write(writer->db, writer->rocks->write, writer->batch, &writer->message);
        rocksdb_writebatch_destroy(writer->batch);
    } else {
        end_file(writer);
    }
    weir_err err =
        writer->message ? fail(writer->rocks, "state cannot be written to disk", writer->message, error) : WEIR_OK;
    free(writer);
    return err;
}

weir_err weir_rocks_write(struct weir_rocks *rocks, const struct weir_rocks_entry *entries, size_t count,
                          struct weir_error *error)
{
    struct weir_rocks_writer *writer;
    weir_err err = count ? weir_rocks_begin(rocks, count, &writer, error) : WEIR_OK;
    if (err || count == 0)
        return err;
    for (size_t i = 0; i < count; i++) {
        const struct weir_rocks_entry *entry = &entries[i];
        if (entry->removed)
            delete_key(writer, entry->key, entry->key_size);
        else
            weir_rocks_put(writer, entry->key, entry->key_size, entry->value, entry->value_size);
    }
    return weir_rocks_end(writer, error);
}

/* The first key behind all that begin with the prefix; false: there is none. */
static bool prefix_end(const uint8_t *prefix, size_t size, uint8_t *end, size_t *end_size)
{
    memcpy(end, prefix, size);
    while (size > 0 && end[size - 1] == 0xff)
        size--;
    if (size > 0)
        end[size - 1]++;
    *end_size = size;
    return size > 0;
}

weir_err weir_rocks_drop(struct weir_rocks *rocks, const uint8_t *prefix, size_t prefix_size, struct weir_error *error)
{
    uint8_t end[64];
    size_t end_size;
    rocksdb_t *db = rocks->db;
    if (!db)
        return WEIR_OK;
    weir_assert(prefix_size <= sizeof end);
    bool bounded = prefix_end(prefix, prefix_size, end, &end_size);
    weir_assert(bounded);
    char *message = NULL;
    rocksdb_delete_range_cf(db, rocks->write, rocks->family, (const char *)prefix, prefix_size, (const char *)end,
                            end_size, &message);
    /* Reads look at all that is removed so in a memtable: not too many of them there. */
    if (!message && ++rocks->drops % DROPS_FLUSHED == 0) {
        rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
        rocksdb_flushoptions_set_wait(options, 0);
        rocksdb_flush_cf(db, options, rocks->family, &message);
        rocksdb_flushoptions_destroy(options);
    }
    return message ? fail(rocks, "state cannot be removed from disk", message, error) : WEIR_OK;
}

/* --- Reading */

weir_err weir_rocks_get(struct weir_rocks *rocks, const uint8_t *const *keys, const size_t *key_sizes, size_t count,
                        struct weir_rocks_slice *values, struct weir_error *error)
{
    rocksdb_t *db = rocks->db;
    memset(values, 0, count * sizeof *values);
    if (!db || count == 0)
        return WEIR_OK;
    bool sorted = true;
    for (size_t i = 1; i < count && sorted; i++) {
        size_t size = key_sizes[i] < key_sizes[i - 1] ? key_sizes[i] : key_sizes[i - 1];
        sorted = memcmp(keys[i - 1], keys[i], size) < 0;
    }
    rocksdb_pinnableslice_t **pins = weir_zalloc(count * sizeof *pins);
    char **messages = weir_zalloc(count * sizeof *messages), *first = NULL;
    rocksdb_batched_multi_get_cf(db, rocks->read, rocks->family, count, (const char *const *)keys, key_sizes, pins,
                                 messages, sorted);
    for (size_t i = 0; i < count; i++) {
        if (messages[i] && first)
            rocksdb_free(messages[i]);
        else if (messages[i])
            first = messages[i];
        if (pins[i])
            values[i].bytes = (const uint8_t *)rocksdb_pinnableslice_value(pins[i], &values[i].size);
        values[i].pin = pins[i];
    }
    free(messages);
    free(pins);
    if (!first)
        return WEIR_OK;
    weir_rocks_release(values, count);
    return fail(rocks, "state cannot be read from disk", first, error);
}

void weir_rocks_release(struct weir_rocks_slice *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (values[i].pin)
            rocksdb_pinnableslice_destroy(values[i].pin);
        values[i] = (struct weir_rocks_slice){.bytes = NULL};
    }
}

/* --- Snapshots and iterators. Of a RocksDB that is not open: empty. */

struct weir_rocks_snapshot *weir_rocks_snapshot_new(struct weir_rocks *rocks)
{
    struct weir_rocks_snapshot *snapshot = weir_zalloc(sizeof *snapshot);
    snapshot->of = rocks->db ? rocksdb_create_snapshot(rocks->db) : NULL;
    return snapshot;
}

void weir_rocks_snapshot_free(struct weir_rocks *rocks, struct weir_rocks_snapshot *snapshot)
{
    if (snapshot && snapshot->of)
        rocksdb_release_snapshot(rocks->db, snapshot->of);
    free(snapshot);
}

struct weir_rocks_iterator *weir_rocks_iterate(struct weir_rocks *rocks, const uint8_t *prefix, size_t prefix_size,
                                               const struct weir_rocks_snapshot *snapshot)
{
    struct weir_rocks_iterator *iterator = weir_zalloc(sizeof *iterator);
    iterator->rocks = rocks;
    iterator->prefix = weir_alloc(prefix_size ? prefix_size : 1);
    memcpy(iterator->prefix, prefix, prefix_size);
    iterator->prefix_size = prefix_size;
    if (!rocks->db || (snapshot && !snapshot->of))
        return iterator;
    iterator->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(iterator->read, 0);
    if (snapshot)
        rocksdb_readoptions_set_snapshot(iterator->read, snapshot->of);
    iterator->it = rocksdb_create_iterator_cf(rocks->db, iterator->read, rocks->family);
    return iterator;
}

weir_err weir_rocks_next(struct weir_rocks_iterator *iterator, struct weir_rocks_entry *entry, bool *more,
                         struct weir_error *error)
{
    rocksdb_iterator_t *it = iterator->it;
    *more = false;
    if (!it)
        return WEIR_OK;
    if (!iterator->begun)
        rocksdb_iter_seek(it, (const char *)iterator->prefix, iterator->prefix_size);
    else if (rocksdb_iter_valid(it))
        rocksdb_iter_next(it);
    iterator->begun = true;
    if (!rocksdb_iter_valid(it)) {
        char *message = NULL;
        rocksdb_iter_get_error(it, &message);
        return message ? fail(iterator->rocks, "state cannot be read from disk", message, error) : WEIR_OK;
    }
    size_t key_size, value_size;
    entry->key = (const uint8_t *)rocksdb_iter_key(it, &key_size);
    if (key_size < iterator->prefix_size || memcmp(entry->key, iterator->prefix, iterator->prefix_size) != 0)
        return WEIR_OK;
    entry->value = (const uint8_t *)rocksdb_iter_value(it, &value_size);
    entry->key_size = (uint32_t)key_size;
    entry->value_size = (uint32_t)value_size;
    entry->removed = false;
    *more = true;
    return WEIR_OK;
}

void weir_rocks_iterator_free(struct weir_rocks_iterator *iterator)
{
    if (!iterator)
        return;
    if (iterator->it) {
        rocksdb_iter_destroy(iterator->it);
        rocksdb_readoptions_destroy(iterator->read);
    }
    free(iterator->prefix);
    free(iterator);
}
