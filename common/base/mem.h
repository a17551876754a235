/* Memory: allocation that aborts the process when there is none (recovery is the crash path), arenas,
 * and a growable buffer that demands its maximum at init. Nothing here is thread-safe; an arena or
 * buffer belongs to one thread at a time.
 */
#ifndef WEIR_BASE_MEM_H
#define WEIR_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The end of a process without memory: says so and aborts. A command and the child that builds a job's graph say it in their own way
 * instead: `say` is called with the size that was not to be had, and must not return. Set before threads start. */
_Noreturn void weir_out_of_memory(size_t size);
void weir_on_out_of_memory(void (*say)(size_t size));

void *weir_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *weir_zalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *weir_realloc(void *old, size_t size) __attribute__((returns_nonnull));
char *weir_strdup(const char *s) __attribute__((malloc, returns_nonnull, nonnull));
char *weir_strndup(const char *s, size_t size) __attribute__((malloc, returns_nonnull, nonnull));
char *weir_format(const char *format, ...) __attribute__((format(printf, 1, 2), malloc, returns_nonnull));

/* Advice to the kernel for memory that is accessed here and there: its whole huge pages, before it is touched. */
#define WEIR_HUGE_PAGE ((size_t)2 << 20)
void weir_huge_pages(void *p, size_t size);

/* --- Arena: bump allocation, freed all at once. Zero-initialise (or weir_arena_init) before use. */
struct weir_arena_chunk;
struct weir_arena {
    struct weir_arena_chunk *chunks; /* newest first */
    uint8_t *next;                   /* free space of the newest chunk */
    uint8_t *end;
    size_t size_total; /* bytes taken from malloc */
};
void weir_arena_init(struct weir_arena *arena);
/* Aligned to 16 bytes; never NULL; contents undefined. */
void *weir_arena_alloc(struct weir_arena *arena, size_t size);
void *weir_arena_zalloc(struct weir_arena *arena, size_t size);
char *weir_arena_strdup(struct weir_arena *arena, const char *s);
char *weir_arena_strndup(struct weir_arena *arena, const char *s, size_t size);
char *weir_arena_format(struct weir_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Forgets everything but keeps the newest chunk for reuse. */
void weir_arena_reset(struct weir_arena *arena);
void weir_arena_fini(struct weir_arena *arena);

/* --- Growable bytes with a maximum. Appending past `max` fails (returns false) and changes nothing. */
struct weir_buf {
    uint8_t *data; /* NULL while empty; data[size] is kept 0, so that text can be read as a C string */
    size_t size;
    size_t capacity;
    size_t max;
};
void weir_buf_init(struct weir_buf *buf, size_t max);
bool weir_buf_reserve(struct weir_buf *buf, size_t more) __attribute__((warn_unused_result));
bool weir_buf_append(struct weir_buf *buf, const void *bytes, size_t size) __attribute__((warn_unused_result));
bool weir_buf_puts(struct weir_buf *buf, const char *s) __attribute__((warn_unused_result));
bool weir_buf_printf(struct weir_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));
void weir_buf_clear(struct weir_buf *buf); /* keeps the capacity */
void weir_buf_fini(struct weir_buf *buf);

#endif
