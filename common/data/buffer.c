/* Buffers: 64-byte aligned, atomically counted memory, recycled so that a batch costs no malloc in steady state.
 *
 * Any thread makes, shares and frees buffers. Two levels of free lists by size class: a cache per thread (no locks,
 * at most CACHE_BYTES_MAX), and behind it a depot per class that all threads share, through which a pipeline's
 * consumer gives buffers back to its producer a handful at a time. The depot's flag is only ever tried: who finds it
 * taken goes to malloc, so that nobody waits and a fork in the middle leaves nothing locked for ever.
 * Classes: four to each power of two, from 64 B to 2 MiB; larger buffers go to malloc. What is kept idle is bounded:
 * CACHE_BYTES_MAX per thread and DEPOT_BYTES_MAX in the process. A thread's cache is freed when the thread ends.
 * Whoever finds the depots or its cache full looks at one class there, each in turn: what has lain there since it was looked at last is freed. So
 * room goes to the sizes that are in use.
 * With AddressSanitizer or ThreadSanitizer nothing is recycled, so that they see each use after free.
 */
#include <pthread.h>
#include <stdlib.h>
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"
#include "data/batch.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
#define RECYCLE 0
#else
#define RECYCLE 1
#endif

#define CLASSES 56
#define CLASS_SIZE_MAX ((size_t)2 << 20)
#define CACHE_BYTES_MAX ((size_t)4 << 20)
#define DEPOT_BYTES_MAX ((size_t)16 << 20)
/* A class keeps at most this much in a thread's cache; half of it moves at a time. */
#define CACHE_CLASS_BYTES ((size_t)1 << 20)
#define CACHE_CLASS_COUNT_MAX 64

#define BUFFER_OF(node_) ((struct weir_buffer *)(void *)((uint8_t *)(node_)-offsetof(struct weir_buffer, bytes)))

/* An idle buffer: its bytes hold the link. */
struct idle {
    struct idle *next;
};

struct list {
    struct idle *first;
    int count;
    int unused; /* the least that lay there since it was looked at last */
};

struct cache {
    size_t bytes;
    uint32_t looked_at; /* classes, in turn */
    struct list lists[CLASSES];
};

static struct depot {
    int taken; /* atomic flag; guards `list` */
    struct list list;
} depots[CLASSES];
static size_t depot_bytes; /* atomic; of all depots */
static uint32_t looked_at; /* atomic; classes, in turn */

static _Thread_local struct cache *cache;
static _Thread_local bool cache_ended; /* the thread is ending: its later buffers go straight to free */
static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

/* Class of a size that is a multiple of 64, at least 64, at most CLASS_SIZE_MAX. 64 to 256 by 64, then four to each
 * power of two. *capacity is the class's size. */
static inline int class_of(size_t size, size_t *capacity)
{
    if (size <= 256) {
        *capacity = size;
        return (int)(size / 64) - 1;
    }
    int power = 63 - __builtin_clzll(size - 1); /* 2^power < size <= 2^(power + 1) */
    size_t step = (size_t)1 << (power - 2);
    size_t quarter = (size - 1) >> (power - 2) & 3;
    *capacity = ((size_t)1 << power) + (quarter + 1) * step;
    return 4 + (power - 8) * 4 + (int)quarter;
}

static int class_limit(size_t capacity)
{
    size_t count = CACHE_CLASS_BYTES / capacity;
    return count < 2 ? 2 : count > CACHE_CLASS_COUNT_MAX ? CACHE_CLASS_COUNT_MAX : (int)count;
}

static inline void list_push(struct list *list, struct idle *node)
{
    node->next = list->first;
    list->first = node;
    list->count++;
}

static inline struct idle *list_pop(struct list *list)
{
    struct idle *node = list->first;
    list->first = node->next;
    if (--list->count < list->unused)
        list->unused = list->count;
    return node;
}

/* Moves what was not used since the last look. */
static void list_look(struct list *list, struct list *unused)
{
    for (int count = list->unused; count > 0; count--)
        list_push(unused, list_pop(list));
    list->unused = list->count;
}

/* Bytes. */
static size_t list_free(struct list *list)
{
    size_t bytes = list->first ? (size_t)list->count * BUFFER_OF(list->first)->capacity : 0;
    while (list->first)
        free(BUFFER_OF(list_pop(list)));
    return bytes;
}

static bool depot_try(struct depot *depot)
{
    return !__atomic_load_n(&depot->taken, __ATOMIC_RELAXED) &&
           !__atomic_exchange_n(&depot->taken, 1, __ATOMIC_ACQUIRE);
}

static void depot_leave(struct depot *depot)
{
    __atomic_store_n(&depot->taken, 0, __ATOMIC_RELEASE);
}

/* Frees everything in the cache of a thread that ends. */
static void cache_end(void *argument)
{
    struct cache *ending = argument;
    cache = NULL;
    cache_ended = true;
    for (int i = 0; i < CLASSES; i++)
        (void)list_free(&ending->lists[i]);
    free(ending);
}

static void cache_key_new(void)
{
    weir_assert(pthread_key_create(&cache_key, cache_end) == 0);
}

static __attribute__((noinline)) struct cache *cache_new(void)
{
    if (cache_ended)
        return NULL;
    pthread_once(&cache_once, cache_key_new);
    struct cache *created = weir_zalloc(sizeof *created);
    if (pthread_setspecific(cache_key, created) != 0) {
        free(created);
        return NULL;
    }
    cache = created;
    return created;
}

static inline struct cache *cache_get(void)
{
    return __builtin_expect(cache != NULL, 1) ? cache : cache_new();
}

/* Half a cache's share of the class from the depot; false: nothing there, or another thread is at it. */
static bool depot_take(struct cache *to, int class, size_t capacity)
{
    struct depot *depot = &depots[class];
    if (!__atomic_load_n(&depot->list.first, __ATOMIC_RELAXED) || !depot_try(depot))
        return false;
    int want = class_limit(capacity) / 2, moved = 0;
    while (moved < want && depot->list.first && (moved == 0 || to->bytes + capacity <= CACHE_BYTES_MAX)) {
        list_push(&to->lists[class], list_pop(&depot->list));
        to->bytes += capacity;
        moved++;
    }
    depot_leave(depot);
    __atomic_fetch_sub(&depot_bytes, (size_t)moved * capacity, __ATOMIC_RELAXED);
    return moved > 0;
}

static void depot_look(void)
{
    struct depot *depot = &depots[__atomic_fetch_add(&looked_at, 1, __ATOMIC_RELAXED) % CLASSES];
    struct list unused = {0};
    if (!__atomic_load_n(&depot->list.first, __ATOMIC_RELAXED) || !depot_try(depot))
        return;
    list_look(&depot->list, &unused);
    depot_leave(depot);
    __atomic_fetch_sub(&depot_bytes, list_free(&unused), __ATOMIC_RELAXED);
}

static void cache_look(struct cache *own)
{
    struct list unused = {0};
    list_look(&own->lists[own->looked_at++ % CLASSES], &unused);
    own->bytes -= list_free(&unused);
}

/* Half a cache's share of the class goes to the depot, or to free() where the depot is full or busy. */
static void depot_give(struct cache *from, int class, size_t capacity)
{
    struct depot *depot = &depots[class];
    struct list *list = &from->lists[class];
    int give = list->count / 2 > 0 ? list->count / 2 : list->count;
    size_t bytes = (size_t)give * capacity;
    from->bytes -= bytes;
    if (__atomic_add_fetch(&depot_bytes, bytes, __ATOMIC_RELAXED) <= DEPOT_BYTES_MAX && depot_try(depot)) {
        for (int i = 0; i < give; i++)
            list_push(&depot->list, list_pop(list));
        depot_leave(depot);
        return;
    }
    bool full = __atomic_sub_fetch(&depot_bytes, bytes, __ATOMIC_RELAXED) + bytes > DEPOT_BYTES_MAX;
    for (int i = 0; i < give; i++)
        free(BUFFER_OF(list_pop(list)));
    if (full)
        depot_look();
}

size_t weir_buffer_depot_bytes(void)
{
    return __atomic_load_n(&depot_bytes, __ATOMIC_RELAXED);
}

static struct weir_buffer *buffer_malloc(size_t capacity)
{
    struct weir_buffer *buffer = aligned_alloc(64, offsetof(struct weir_buffer, bytes) + capacity);
    if (!buffer)
        weir_out_of_memory(capacity);
    buffer->capacity = capacity;
    buffer->refs = 1;
    return buffer;
}

struct weir_buffer *weir_buffer_new(size_t size)
{
    weir_assert(size <= SIZE_MAX / 2);
    size_t capacity = size == 0 ? 64 : (size + 63) & ~(size_t)63;
    if (!RECYCLE || capacity > CLASS_SIZE_MAX)
        return buffer_malloc(capacity);
    int class = class_of(capacity, &capacity);
    struct cache *own = cache_get();
    if (!own || (!own->lists[class].first && !depot_take(own, class, capacity)))
        return buffer_malloc(capacity);
    struct weir_buffer *buffer = BUFFER_OF(list_pop(&own->lists[class]));
    own->bytes -= capacity;
    buffer->refs = 1;
    return buffer;
}

struct weir_buffer *weir_buffer_ref(struct weir_buffer *buffer)
{
    __atomic_fetch_add(&buffer->refs, 1, __ATOMIC_RELAXED);
    return buffer;
}

static void buffer_free(struct weir_buffer *buffer)
{
    struct cache *own = RECYCLE && buffer->capacity <= CLASS_SIZE_MAX ? cache_get() : NULL;
    if (!own) {
        free(buffer);
        return;
    }
    size_t capacity;
    int class = class_of(buffer->capacity, &capacity);
    weir_assert(capacity == buffer->capacity);
    list_push(&own->lists[class], (struct idle *)(void *)buffer->bytes);
    own->bytes += capacity;
    bool full = own->bytes > CACHE_BYTES_MAX;
    if (full)
        cache_look(own);
    if (own->lists[class].count > class_limit(capacity) || (full && own->lists[class].count > 0))
        depot_give(own, class, capacity);
}

void weir_buffer_unref(struct weir_buffer *buffer)
{
    if (buffer && __atomic_fetch_sub(&buffer->refs, 1, __ATOMIC_ACQ_REL) == 1)
        buffer_free(buffer);
}
