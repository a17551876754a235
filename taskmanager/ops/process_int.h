/* process: C functions of the job with state and timers (weir/process.h). What its files share:
 *   process.c        the operator: plan, rows, watermarks, calls into user code
 *   process_state.c  states as tables of bytes: values, pages of lists and maps, their codec
 *   process_calls.c  what functions call: get, put, add, next ...
 *   process_timer.c  timers
 *   process_kept.c   the operator's own state in checkpoints; time to live
 *
 * Bytes of a state, in memory and in checkpoints alike. Of a value: [i64 when touched, with a ttl] the value (state/typed.h). Lists and maps have
 * a head in namespace 0, u8 1, u32 pages, i64 elements, i64 their bytes, then the elements while they are few (pages is 0); else they
 * lie in pages, namespaces 1 to pages, u8 2, then elements. An element of a list: as a value. Of a map: u32 size of the key, the key (a value),
 * [i64 when touched], u32 size of the value, the value. A list fills its pages in turn; a map's entry is in the page of its hash (linear
 * hashing), so that a large one is neither read nor written whole. Timers: by namespace time >> 16, the sorted times of a key, i64 each.
 */
#ifndef WEIR_OPS_PROCESS_INT_H
#define WEIR_OPS_PROCESS_INT_H

#include "ops/row_writer.h"
#include "state/heap.h"
#include "state/snapshot.h"
#include "state/table.h"
#include "state/typed.h"

#define WEIR_PROCESS_HEAD 1
#define WEIR_PROCESS_PAGE 2
#define WEIR_PROCESS_HEAD_SIZE 21 /* u8, u32, i64, i64 */
#define WEIR_PROCESS_PAGE_BYTES 1024
#define WEIR_PROCESS_VALUE_MAX ((size_t)128 << 20)
#define WEIR_PROCESS_SCRATCH_MAX ((size_t)16 << 20)  /* that a function asks for */
#define WEIR_PROCESS_RESULTS_MAX ((size_t)512 << 20) /* copies of state that one call gets */

struct weir_process;

/* The value in a slot of a state table: bytes, in the slot itself while they are few. Size 0: none yet. */
struct weir_process_blob {
    uint32_t size;
    uint32_t capacity; /* of the block; 0: the bytes lie here */
    union {
        uint8_t here[8]; /* the slot's size decides how many */
        uint8_t *block;
    };
};

struct weir_process_state {
    struct weir_process *process;
    const struct weir_state_decl *decl; /* NULL: timers */
    const char *name;
    int form;
    bool keyed;
    struct weir_typed key, value; /* key: of a map */
    struct weir_typed_reader key_reader, value_reader;
    int64_t ttl_ms; /* 0: none */
    bool ttl_read;
    char *schema; /* text, see schema_text() */
    struct weir_state_codec codec;
    struct weir_state *state;
    struct weir_process_place **places; /* tables that were used, by namespace */
    int place_count, place_capacity;
    struct weir_process_place *last;
    size_t here_max; /* bytes in a slot */
    bool used;       /* something was ever put: all states of the job are every operator's, few are used */
    /* TTL: where the walk is. */
    int64_t walk_namespace, walk_cursor;
};

/* A key whose state is asked for: row `row` of `keys`, or (keys NULL) canonical bytes. */
struct weir_process_key {
    const struct weir_state_keys *keys;
    int32_t row;
    const uint8_t *bytes;
    uint32_t size;
    uint64_t hash;
};

struct weir_process_due { /* a timer, in the order in which it fires */
    int64_t time;
    struct weir_state_id id; /* of its entry */
};
struct weir_process_timers {
    struct weir_process_state state;
    struct weir_process_due *heap; /* binary, the earliest first; what was deleted stays until its time comes */
    int64_t count, capacity;
    int64_t set; /* those that are really there */
};

struct weir_process_input {
    struct weir_row_converter converter;
    uint8_t *rows; /* a block of structs */
    int block_rows;
    struct weir_state_key_scratch *scratch; /* NULL: not keyed */
    struct weir_key_spec key;
    const void *function;
};

struct weir_process_key_row { /* weir_key() of one row type */
    const struct weir_row_type *type;
    struct weir_row_converter converter;
    struct weir_row_type part; /* its fields that are key columns */
    struct weir_row_field *fields;
};
#define WEIR_PROCESS_KEY_ROWS_MAX 8

struct weir_process {
    struct weir_ctx ctx; /* what functions see; first: their calls find the rest by it */
    struct weir_out_rows out;
    struct weir_op_ctx *op_ctx;
    struct weir_process_input inputs[2];
    int input_count;
    weir_timer_fn *on_timer;
    struct weir_row_writer writer, sides[2];
    const struct weir_side_decl *side_decls[2]; /* of those that are read */
    struct weir_process_state *states;
    int state_count;
    int state_hint;                       /* the one asked for last */
    struct weir_process_timers timers[2]; /* event, processing */
    bool keyed;
    struct weir_process_key operator_key; /* the empty one, of what belongs to no key */
    enum weir_type_id fixed_key;
    struct weir_schema *key_schema; /* the key's columns, or NULL */
    struct weir_process_key_row key_rows[WEIR_PROCESS_KEY_ROWS_MAX];
    int key_row_count;

    /* The item in hand. */
    struct weir_state_keys keys;
    bool begun;
    int row, block_first, block_count, step;
    int block_near; /* row of the block whose state, and that of those after it, has not been brought near yet; INT_MAX: all has */
    struct weir_batch *batch; /* borrowed; NULL in timers */

    /* The call in hand. */
    struct weir_process_key key;
    bool has_key, broadcast; /* broadcast: of the input that may write broadcast state */
    bool walking;            /* a map is being walked: its pages stay as they are */
    int input;
    enum weir_timer_type timer_type;
    struct weir_buf timer_key;
    uint64_t serial; /* of the call, for cursors */
    int64_t now_ms;
    struct weir_arena scratch;
    size_t scratch_size, results_size;
    bool failed;
    struct weir_buf encoded, encoded_key, page; /* of one state call */
    int ttl_turn;
    uint32_t items; /* that were done */
};

static inline struct weir_process *weir_process_of(struct weir_ctx *ctx)
{
    return (struct weir_process *)(void *)ctx;
}

/* --- process.c */
int weir_process_emit_side(struct weir_ctx *ctx, const struct weir_side_decl *side, const void *row);

/* --- process_state.c */
weir_err weir_process_state_init(struct weir_process *process, struct weir_process_state *state,
                                 const struct weir_state_decl *decl, struct weir_error *error);
weir_err weir_process_timers_init(struct weir_process *process, struct weir_process_timers *timers, const char *name,
                                  struct weir_error *error);
void weir_process_state_fini(struct weir_process_state *state);

/* NULL: none. */
struct weir_process_blob *weir_process_find(struct weir_process_state *state, const struct weir_process_key *key,
                                            int64_t namespace);
/* Made when it is not there; to be written. */
struct weir_process_blob *weir_process_make(struct weir_process_state *state, const struct weir_process_key *key,
                                            int64_t namespace);
/* A blob that was found is about to be changed. */
void weir_process_touch(struct weir_process_state *state, int64_t namespace, struct weir_process_blob *blob);
void weir_process_remove(struct weir_process_state *state, const struct weir_process_key *key, int64_t namespace);
/* The entry of a blob that was found. */
void weir_process_remove_blob(struct weir_process_state *state, int64_t namespace, struct weir_process_blob *blob);
uint8_t *weir_process_bytes(struct weir_process_blob *blob);
/* Bytes [at, at + old_size) become new_size other ones (`bytes` NULL: as they lie). */
void weir_process_splice(struct weir_process_state *state, int64_t namespace, struct weir_process_blob *blob, size_t at,
                         size_t old_size, const void *bytes, size_t new_size);
static inline void weir_process_set(struct weir_process_state *state, int64_t namespace, struct weir_process_blob *blob,
                                    const void *bytes, size_t size)
{
    weir_process_splice(state, namespace, blob, 0, blob->size, bytes, size);
}
/* NULL: nothing is in it. */
struct weir_state_table *weir_process_table(struct weir_process_state *state, int64_t namespace);
/* Between items: heaps that are mostly free are made anew. */
void weir_process_compact(struct weir_process_state *state);

struct weir_process_head {
    uint32_t pages;
    int64_t count, bytes;
};
struct weir_process_head weir_process_head_get(struct weir_process_blob *blob);
void weir_process_head_put(struct weir_process_blob *blob, const struct weir_process_head *head);

/* An element of a list or map, in its page's bytes. */
struct weir_process_element {
    const uint8_t *begin, *end;
    const uint8_t *key; /* of a map */
    size_t key_size;
    const uint8_t *touched; /* NULL: no ttl */
    const uint8_t *value;
    size_t value_size; /* of a list's: not known, 0 */
};
/* The element at *at, which moves behind it; false: the end (or, `bad` set, bytes that are none). */
bool weir_process_element_next(const struct weir_process_state *state, const uint8_t **at, const uint8_t *end,
                               struct weir_process_element *element, bool *bad);
bool weir_process_expired(const struct weir_process_state *state, const uint8_t *touched);
static inline bool weir_process_is_map(const struct weir_process_state *state)
{
    return state->form == WEIR_FORM_MAP || state->form == WEIR_FORM_BROADCAST;
}
static inline bool weir_process_is_paged(const struct weir_process_state *state)
{
    return weir_process_is_map(state) || state->form == WEIR_FORM_LIST || state->form == WEIR_FORM_SPLIT_LIST ||
           state->form == WEIR_FORM_UNION_LIST;
}
size_t weir_process_elements_at(const struct weir_process_blob *blob, const uint8_t *bytes);

/* --- process_calls.c */
extern const struct weir_process_calls weir_process_calls;
void weir_process_clear_key(struct weir_process_state *state, const struct weir_process_key *key);
/* Appends one encoded element of a list. */
void weir_process_list_append(struct weir_process_state *state, const struct weir_process_key *key,
                              const uint8_t *bytes, size_t size);
/* Puts one encoded element of a map, whose key is element->key. */
void weir_process_map_insert(struct weir_process_state *state, const struct weir_process_key *key,
                             const uint8_t *map_key, size_t map_key_size, const uint8_t *bytes, size_t size);

/* --- process_timer.c */
weir_err weir_process_timer_set(struct weir_process *process, enum weir_timer_type type, bool set, int64_t time);
/* The earliest; INT64_MAX: none. What was deleted is dropped on the way. */
bool weir_process_timer_due(struct weir_process *process, struct weir_process_timers *timers, int64_t until,
                            int64_t *time);
void weir_process_timers_rebuild(struct weir_process_timers *timers);
int64_t weir_process_timers_next(const struct weir_process_timers *timers); /* may be of a deleted one */

/* --- process_kept.c */
weir_err weir_process_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                               struct weir_error *error);
weir_err weir_process_restore(struct weir_process *process, struct weir_op_ctx *ctx, struct weir_error *error);
/* After an item of so many rows: a bounded step of the walk that removes what has expired; now and then, a look at the heaps. */
void weir_process_clean(struct weir_process *process, int rows);

#endif
