/* What is kept of a registry's answers: schemas by id, which never change, and, for a while, ids that are unknown, so that a topic full of them
 * costs no question each. */
#include "registry/registry_int.h"

#include <stdlib.h>
#include <string.h>

struct weir_registry_entry *weir_registry_entry_new(void)
{
    struct weir_registry_entry *entry = weir_zalloc(sizeof *entry);
    weir_arena_init(&entry->memory);
    return entry;
}

void weir_registry_entry_free(struct weir_registry_entry *entry)
{
    if (!entry)
        return;
    if (entry->schema.program)
        entry->schema.program_free(entry->schema.program);
    weir_arena_fini(&entry->memory);
    free(entry);
}

/* Where `id` is, or belongs. */
static int place_of(const struct weir_registry_cache *cache, int32_t id)
{
    int low = 0, high = cache->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (cache->entries[middle]->schema.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct weir_registry_schema *weir_registry_cache_find(struct weir_registry_cache *cache, int32_t id)
{
    if (!cache->last || cache->last->schema.id != id) {
        int at = place_of(cache, id);
        if (at == cache->count || cache->entries[at]->schema.id != id)
            return NULL;
        cache->last = cache->entries[at];
        cache->last->used_at = ++cache->uses;
    }
    return &cache->last->schema;
}

static void drop(struct weir_registry_cache *cache, int at)
{
    struct weir_registry_entry *entry = cache->entries[at];
    cache->bytes -= entry->memory.size_total;
    memmove(cache->entries + at, cache->entries + at + 1, (size_t)(--cache->count - at) * sizeof *cache->entries);
    if (cache->last == entry)
        cache->last = NULL;
    weir_registry_entry_free(entry);
}

struct weir_registry_schema *weir_registry_cache_put(struct weir_registry_cache *cache,
                                                     struct weir_registry_entry *take_entry)
{
    int at = place_of(cache, take_entry->schema.id);
    if (at < cache->count && cache->entries[at]->schema.id == take_entry->schema.id)
        drop(cache, at);
    while (cache->count > 0 && (cache->count == WEIR_REGISTRY_SCHEMAS_MAX ||
                                cache->bytes + take_entry->memory.size_total > WEIR_REGISTRY_SCHEMA_BYTES_MAX)) {
        int oldest = 0;
        for (int i = 1; i < cache->count; i++)
            if (cache->entries[i]->used_at < cache->entries[oldest]->used_at)
                oldest = i;
        drop(cache, oldest);
    }
    at = place_of(cache, take_entry->schema.id);
    memmove(cache->entries + at + 1, cache->entries + at, (size_t)(cache->count++ - at) * sizeof *cache->entries);
    cache->entries[at] = cache->last = take_entry;
    cache->bytes += take_entry->memory.size_total;
    take_entry->used_at = ++cache->uses;
    return &take_entry->schema;
}

bool weir_registry_cache_is_unknown(const struct weir_registry_cache *cache, int32_t id, int64_t now_ms)
{
    for (int i = 0; i < WEIR_REGISTRY_UNKNOWN_MAX; i++)
        if (cache->unknown[i].id == id && now_ms < cache->unknown[i].until_ms)
            return true;
    return false;
}

void weir_registry_cache_put_unknown(struct weir_registry_cache *cache, int32_t id, int64_t now_ms)
{
    cache->unknown[cache->unknown_next].id = id;
    cache->unknown[cache->unknown_next].until_ms = now_ms + WEIR_REGISTRY_UNKNOWN_MS_MAX;
    cache->unknown_next = (cache->unknown_next + 1) % WEIR_REGISTRY_UNKNOWN_MAX;
}

void weir_registry_cache_fini(struct weir_registry_cache *cache)
{
    while (cache->count > 0)
        drop(cache, cache->count - 1);
}
