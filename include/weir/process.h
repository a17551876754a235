/* process.h: functions with state and timers. Part of weir.h, which includes it.
 *
 *     WEIR_VALUE_STATE(last_seen, "DOUBLE", .ttl = "1 h");
 *
 *     static int spike(struct weir_ctx *ctx, const struct reading *r, struct weir_out *out)
 *     {
 *         double *last = weir_value_get(ctx, &last_seen);
 *         if (last && r->temperature - *last > 20.0)
 *             weir_emit(out, r);
 *         weir_value_put(ctx, &last_seen, &r->temperature);
 *         weir_timer_event(ctx, r->timestamp + 60000);
 *         return 0;
 *     }
 *
 *     weir_process(weir_key_by(readings, "device_id"), .name = "spikes", .in = WEIR_ROW_OF(reading),
 *                  .out = WEIR_ROW_OF(reading), .on_row = spike, .on_timer = quiet);
 *
 * State is declared once, at file scope; its name is its address in checkpoints, together with the operator's uid. Every process
 * operator of the job has states of its own under these names. Keyed state belongs to the key of the row or timer at hand.
 *
 * What a get or next gives is a copy that is valid until the function returns; a change of it is not seen until it is put back. A call
 * that fails (a state of another key's kind, text that is not UTF-8) makes the task fail when the function returns, whatever that returns.
 */
#ifndef WEIR_PROCESS_H
#define WEIR_PROCESS_H

#ifndef WEIR_WEIR_H
#error "include <weir/weir.h>"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- Declarations of state */

enum weir_state_form { /* written into checkpoints: never renumber */
                       WEIR_FORM_VALUE = 1,
                       WEIR_FORM_LIST = 2,
                       WEIR_FORM_MAP = 3,
                       WEIR_FORM_REDUCING = 4,
                       WEIR_FORM_AGGREGATING = 5,
                       WEIR_FORM_SPLIT_LIST = 6, /* of the operator: dealt out anew when its parallelism changes */
                       WEIR_FORM_UNION_LIST = 7, /* of the operator: every subtask begins with all */
                       WEIR_FORM_BROADCAST = 8   /* of the operator: a map that is the same in every subtask */
};
enum weir_ttl_update { WEIR_TTL_ON_WRITE = 0, WEIR_TTL_ON_READ_AND_WRITE = 1 };

struct weir_state_decl {
    uint32_t size; /* of this struct */
    uint16_t form; /* enum weir_state_form */
    uint16_t ttl_update;
    const char *name;
    const char *location; /* "job.c:42" */
    const char *type;     /* of the value: SQL, or NULL and ... */
    const struct weir_row_type *row;
    const char *key_type; /* of a map's key */
    /* "1 h": a value (an element of a list, an entry of a map) is gone so long after it was written, or read too. Keyed state only. */
    const char *ttl;
    const void
        *add; /* reducing: int (ctx, T *sum, const T *value); aggregating: int (ctx, A *accumulator, const I *value) */
    const void *result; /* aggregating: int (ctx, const A *accumulator, R *result) */
};

/* One value of a SQL type: double for "DOUBLE", struct weir_str for "STRING" ... (the list is in weir.h). ..._OF: one row struct that
 * WEIR_ROW binds. Options: .ttl, .ttl_update. */
#define WEIR_VALUE_STATE(id, type, ...) WEIR_SCALAR_STATE_(id, WEIR_FORM_VALUE, value, type, __VA_ARGS__)
#define WEIR_VALUE_STATE_OF(id, row, ...) WEIR_ROW_STATE_(id, WEIR_FORM_VALUE, value, row, __VA_ARGS__)
/* A list that is appended to. */
#define WEIR_LIST_STATE(id, type, ...) WEIR_SCALAR_STATE_(id, WEIR_FORM_LIST, element, type, __VA_ARGS__)
#define WEIR_LIST_STATE_OF(id, row, ...) WEIR_ROW_STATE_(id, WEIR_FORM_LIST, element, row, __VA_ARGS__)
/* Entries by a key of their own; the key is one value of a SQL type. */
#define WEIR_MAP_STATE(id, key, type, ...) WEIR_SCALAR_MAP_(id, WEIR_FORM_MAP, key, type, __VA_ARGS__)
#define WEIR_MAP_STATE_OF(id, key, row, ...) WEIR_ROW_MAP_(id, WEIR_FORM_MAP, key, row, __VA_ARGS__)
/* Values that `fn` folds into one: int fn(struct weir_ctx *ctx, T *sum, const T *value); the first value is the sum as it is. */
#define WEIR_REDUCING_STATE(id, type, fn, ...) \
    WEIR_SCALAR_STATE_( \
        id, WEIR_FORM_REDUCING, reduced, type, \
        .add = WEIR_CHECKED_(fn, int (*)(struct weir_ctx *, WEIR_C_OF_(type) *, const WEIR_C_OF_(type) *)), \
        __VA_ARGS__)
#define WEIR_REDUCING_STATE_OF(id, row, fn, ...) \
    WEIR_ROW_STATE_(id, WEIR_FORM_REDUCING, reduced, row, \
                    .add = WEIR_CHECKED_(fn, int (*)(struct weir_ctx *, struct row *, const struct row *)), \
                    __VA_ARGS__)
/* Values of C type `input` folded into the accumulator, a row struct that begins as zeros, by int add_fn(ctx, struct row *, const input *);
 * int result_fn(ctx, const struct row *, output *) makes of it what weir_aggregating_get() gives. */
#define WEIR_AGGREGATING_STATE(id, row_, input_, output_, add_fn, result_fn, ...) \
    static const struct { \
        struct weir_state_decl decl; \
        struct row_ *accumulator; \
        input_ *input; \
        output_ *output; \
    } id = {.decl = {WEIR_DECL_(id, WEIR_FORM_AGGREGATING), .row = WEIR_ROW_OF(row_), \
                     .add = WEIR_CHECKED_(add_fn, int (*)(struct weir_ctx *, struct row_ *, const input_ *)), \
                     .result = WEIR_CHECKED_(result_fn, int (*)(struct weir_ctx *, const struct row_ *, output_ *)), \
                     __VA_ARGS__}}; \
    WEIR_REGISTER_(id)
/* State of the operator, not of a key: lists of what this subtask has (weir_list_*). Split: another parallelism deals the elements out
 * anew. Union: every subtask begins with the elements of all. */
#define WEIR_SPLIT_LIST_STATE(id, type, ...) WEIR_SCALAR_STATE_(id, WEIR_FORM_SPLIT_LIST, element, type, __VA_ARGS__)
#define WEIR_SPLIT_LIST_STATE_OF(id, row, ...) WEIR_ROW_STATE_(id, WEIR_FORM_SPLIT_LIST, element, row, __VA_ARGS__)
#define WEIR_UNION_LIST_STATE(id, type, ...) WEIR_SCALAR_STATE_(id, WEIR_FORM_UNION_LIST, element, type, __VA_ARGS__)
#define WEIR_UNION_LIST_STATE_OF(id, row, ...) WEIR_ROW_STATE_(id, WEIR_FORM_UNION_LIST, element, row, __VA_ARGS__)
/* A map (weir_map_*) that a broadcast input writes, in .on_row2 of weir_process2() only, and everyone reads. */
#define WEIR_BROADCAST_STATE(id, key, type, ...) WEIR_SCALAR_MAP_(id, WEIR_FORM_BROADCAST, key, type, __VA_ARGS__)
#define WEIR_BROADCAST_STATE_OF(id, key, row, ...) WEIR_ROW_MAP_(id, WEIR_FORM_BROADCAST, key, row, __VA_ARGS__)

/* --- What a function calls; `state` is a pointer to what a macro above declared. `T *` are pointers of the declared C type: another does
 * not compile. Calls that return int: non-zero, the task is failing. */

/* Walks over a list or map; begins as {0}; of the call that it is begun in. */
struct weir_cursor {
    uint64_t opaque[8];
};

/* T *: NULL, there is none (or it has expired). */
#define weir_value_get(ctx, state) ((__typeof__(&*(state)->value))(ctx)->process->get(ctx, &(state)->decl))
#define weir_value_put(ctx, state, v) ((ctx)->process->put(ctx, &(state)->decl, WEIR_FITS_(v, (state)->value)))
#define weir_value_clear(ctx, state) ((ctx)->process->clear(ctx, WEIR_DECL_OF_(state, value)))

#define weir_list_add(ctx, state, v) ((ctx)->process->add(ctx, &(state)->decl, WEIR_FITS_(v, (state)->element)))
/* All elements as an array of *count (size_t *); NULL: none. Of long lists weir_list_next() needs less memory. */
#define weir_list_get(ctx, state, count) \
    ((__typeof__(&*(state)->element))(ctx)->process->list_get(ctx, &(state)->decl, count))
/* T *: the next element, valid until the next call; NULL: the end.
 *     struct weir_cursor at = {{0}};
 *     for (double *v; (v = weir_list_next(ctx, &history, &at));) */
#define weir_list_next(ctx, state, cursor) \
    ((__typeof__(&*(state)->element))(ctx)->process->next(ctx, &(state)->decl, cursor, NULL))
/* Replaces all elements by an array. */
#define weir_list_update(ctx, state, values, count) \
    ((ctx)->process->update(ctx, &(state)->decl, WEIR_FITS_(values, (state)->element), count))
#define weir_list_clear(ctx, state) ((ctx)->process->clear(ctx, WEIR_DECL_OF_(state, element)))

/* `key`: pointer to the key's C type. */
#define weir_map_get(ctx, state, key) \
    ((__typeof__(&*(state)->map_value))(ctx)->process->map_get(ctx, &(state)->decl, WEIR_FITS_(key, (state)->map_key)))
#define weir_map_contains(ctx, state, key) (weir_map_get(ctx, state, key) != NULL)
#define weir_map_put(ctx, state, key, v) \
    ((ctx)->process->map_put(ctx, &(state)->decl, WEIR_FITS_(key, (state)->map_key), WEIR_FITS_(v, (state)->map_value)))
#define weir_map_remove(ctx, state, key) \
    ((ctx)->process->map_remove(ctx, &(state)->decl, WEIR_FITS_(key, (state)->map_key)))
/* T *: the value of the next entry, in no particular order, valid until the next call; *key (K **) points to its key. Entries may be
 * put and removed on the way: each is seen once at most, new ones or not. */
#define weir_map_next(ctx, state, cursor, key) \
    ((__typeof__(&*(state)->map_value))(ctx)->process->next(ctx, &(state)->decl, cursor, \
                                                            WEIR_KEY_FITS_(key, (state)->map_key)))
#define weir_map_clear(ctx, state) ((ctx)->process->clear(ctx, WEIR_DECL_OF_(state, map_value)))

#define weir_reducing_add(ctx, state, v) ((ctx)->process->add(ctx, &(state)->decl, WEIR_FITS_(v, (state)->reduced)))
#define weir_reducing_get(ctx, state) ((__typeof__(&*(state)->reduced))(ctx)->process->get(ctx, &(state)->decl))
#define weir_reducing_clear(ctx, state) ((ctx)->process->clear(ctx, WEIR_DECL_OF_(state, reduced)))

#define weir_aggregating_add(ctx, state, v) ((ctx)->process->add(ctx, &(state)->decl, WEIR_FITS_(v, (state)->input)))
/* False: nothing was added yet; *result is as it was. */
#define weir_aggregating_get(ctx, state, result_) \
    ((ctx)->process->result(ctx, &(state)->decl, WEIR_FITS_(result_, (state)->output)))
#define weir_aggregating_clear(ctx, state) ((ctx)->process->clear(ctx, WEIR_DECL_OF_(state, accumulator)))

/* --- Timers of the key at hand: on_timer is called once for each time, however often it was set. An event-time timer fires when the
 * watermark reaches it, before that passes on, in the order of time; at the end of bounded input all fire. A processing-time timer fires
 * by the wall clock; those that are left at the end of the input do not. */
#define weir_timer_event(ctx, time) ((ctx)->process->timer(ctx, WEIR_TIMER_EVENT, true, time))
#define weir_timer_event_delete(ctx, time) ((ctx)->process->timer(ctx, WEIR_TIMER_EVENT, false, time))
#define weir_timer_processing(ctx, time) ((ctx)->process->timer(ctx, WEIR_TIMER_PROCESSING, true, time))
#define weir_timer_processing_delete(ctx, time) ((ctx)->process->timer(ctx, WEIR_TIMER_PROCESSING, false, time))
enum weir_timer_type { WEIR_TIMER_NONE, WEIR_TIMER_EVENT, WEIR_TIMER_PROCESSING };
/* Which kind on_timer is called for; NONE in other functions. */
#define weir_timer_kind(ctx) ((ctx)->process->timer_kind(ctx))
/* Processing time, ms since 1970; the same within one batch. */
#define weir_now(ctx) ((ctx)->process->now(ctx))
/* const struct ROW *: the key at hand, in the fields of the key's columns (the rest is zeros): weir_key(ctx, reading)->device_id. */
#define weir_key(ctx, row) ((const struct row *)(ctx)->process->key(ctx, WEIR_ROW_OF(row)))

/* --- Side outputs: rows of another type, to a stream of their own (late rows, alarms, rejects). Since ABI 1.2.
 *
 *     WEIR_SIDE_OUTPUT(too_late, reading);                                 at file scope
 *     weir_emit_side(ctx, &too_late, r);                                   in a function of weir_process(); copied as weir_emit() does
 *     struct weir_stream *late = weir_side_output(processed, &too_late);   in the job
 *
 * An operator has up to two that are read. What is emitted to one that nobody reads is dropped. */
struct weir_side_decl {
    uint32_t size; /* of this struct */
    uint32_t reserved;
    const char *name;
    const char *location; /* "job.c:42" */
    const struct weir_row_type *row;
};
#define WEIR_SIDE_OUTPUT(id, row_) \
    __attribute__((unused)) static const struct { \
        struct weir_side_decl decl; \
        struct row_ *side_row; \
    } id = {.decl = {.size = sizeof(struct weir_side_decl), \
                     .name = #id, \
                     .location = __FILE__ ":" WEIR_LINE_(__LINE__), \
                     .row = WEIR_ROW_OF(row_)}}
#define weir_emit_side(ctx, side, row) \
    ((ctx)->process->emit_side(ctx, &(side)->decl, WEIR_FITS_(row, (side)->side_row)))
#define weir_side_output(stream, side) \
    weir_side_output_at(__FILE__, __LINE__, stream, ((void)sizeof((side)->side_row), &(side)->decl))
struct weir_stream *weir_side_output_at(const char *file, int line, struct weir_stream *stream,
                                        const struct weir_side_decl *side);

/* --- The operator */

typedef int weir_timer_fn(struct weir_ctx *ctx, weir_ts time, struct weir_out_rows *out);
struct weir_process_spec {
    uint32_t size; /* set by the macro */
    const char *name;
    const struct weir_row_type *in, *in2, *out;
    const void *on_row;  /* int (struct weir_ctx *, const struct IN *, struct weir_out *) */
    const void *on_row2; /* of the second input */
    weir_timer_fn *on_timer;
    const struct weir_state_decl *const *states, *const *states_end; /* set by the macro: all that the job declares */
};
/* weir_process(weir_key_by(readings, "device_id"), .in = WEIR_ROW_OF(reading), .out = WEIR_ROW_OF(alert), .on_row = spike)
 * A stream without key_by has the operator's state only. WEIR_ON_ROW(reading, alert, spike) sets .in, .out and .on_row, and does not
 * compile when the function's type does not fit; WEIR_ON_ROW2(rule, apply) sets .in2 and .on_row2. */
#define weir_process(stream, ...) weir_process_at(__FILE__, __LINE__, stream, NULL, WEIR_PROCESS_(__VA_ARGS__))
/* Two inputs: both keyed by columns of the same types (they share the keyed state), or the second one weir_broadcast(). */
#define weir_process2(first, second, ...) \
    weir_process_at(__FILE__, __LINE__, first, WEIR_SECOND_(second), WEIR_PROCESS_(__VA_ARGS__))
#define WEIR_ON_ROW(row_in, row_out, fn) \
    .in = WEIR_ROW_OF(row_in), .out = WEIR_ROW_OF(row_out), \
    .on_row = WEIR_CHECKED_(fn, int (*)(struct weir_ctx *, const struct row_in *, struct weir_out_rows *))
#define WEIR_ON_ROW2(row_in, fn) \
    .in2 = WEIR_ROW_OF(row_in), \
    .on_row2 = WEIR_CHECKED_(fn, int (*)(struct weir_ctx *, const struct row_in *, struct weir_out_rows *))

struct weir_second { /* tells weir_process2(s, NULL, ...) from weir_process() */
    struct weir_stream *stream;
};
struct weir_stream *weir_process_at(const char *file, int line, struct weir_stream *stream,
                                    const struct weir_second *second, const struct weir_process_spec *spec);

/* --- Machinery */

struct weir_process_calls { /* the runtime's; members are added at the end */
    uint32_t size;
    void *(*get)(struct weir_ctx *ctx, const struct weir_state_decl *state);
    int (*put)(struct weir_ctx *ctx, const struct weir_state_decl *state, const void *value);
    int (*clear)(struct weir_ctx *ctx, const struct weir_state_decl *state);
    int (*add)(struct weir_ctx *ctx, const struct weir_state_decl *state, const void *value);
    int (*update)(struct weir_ctx *ctx, const struct weir_state_decl *state, const void *values, size_t count);
    void *(*list_get)(struct weir_ctx *ctx, const struct weir_state_decl *state, size_t *count);
    void *(*next)(struct weir_ctx *ctx, const struct weir_state_decl *state, struct weir_cursor *cursor, void *key);
    void *(*map_get)(struct weir_ctx *ctx, const struct weir_state_decl *state, const void *key);
    int (*map_put)(struct weir_ctx *ctx, const struct weir_state_decl *state, const void *key, const void *value);
    int (*map_remove)(struct weir_ctx *ctx, const struct weir_state_decl *state, const void *key);
    bool (*result)(struct weir_ctx *ctx, const struct weir_state_decl *state, void *result);
    int (*timer)(struct weir_ctx *ctx, enum weir_timer_type kind, bool set, weir_ts time);
    enum weir_timer_type (*timer_kind)(struct weir_ctx *ctx);
    weir_ts (*now)(struct weir_ctx *ctx);
    const void *(*key)(struct weir_ctx *ctx, const struct weir_row_type *row);
    int (*emit_side)(struct weir_ctx *ctx, const struct weir_side_decl *side, const void *row); /* since ABI 1.2 */
};

/* Where the linker gathers the job's states; not there when it has none. */
extern const struct weir_state_decl *const __start_weir_states[] __attribute__((weak, visibility("hidden")));
extern const struct weir_state_decl *const __stop_weir_states[] __attribute__((weak, visibility("hidden")));

/* clang-format off */
#define WEIR_PROCESS_(...)                                                                         \
    (&(struct weir_process_spec){.size = sizeof(struct weir_process_spec),                         \
                                 .states = __start_weir_states, .states_end = __stop_weir_states,  \
                                 __VA_ARGS__})
#define WEIR_SECOND_(s) (&(struct weir_second){s})
#define WEIR_LINE_2_(line) #line
#define WEIR_LINE_(line) WEIR_LINE_2_(line)
#define WEIR_DECL_(id, form_)                                                                      \
    .size = sizeof(struct weir_state_decl), .form = form_, .name = #id, .location = __FILE__ ":" WEIR_LINE_(__LINE__)
#define WEIR_DECL_OF_(state, member) ((void)sizeof((state)->member), &(state)->decl)
#define WEIR_REGISTER_(id)                                                                         \
    static const struct weir_state_decl *const weir_state_##id                                     \
        __attribute__((section("weir_states"), used)) = &id.decl
#define WEIR_SCALAR_STATE_(id, form, member, type_, ...)                                           \
    _Static_assert(WEIR_SQL_KNOWN_(type_), "state " #id ": its type is unknown: " type_);          \
    static const struct { struct weir_state_decl decl; WEIR_C_OF_(type_) *member; } id =           \
        {.decl = {WEIR_DECL_(id, form), .type = type_, __VA_ARGS__}};                              \
    WEIR_REGISTER_(id)
#define WEIR_ROW_STATE_(id, form, member, row_, ...)                                               \
    static const struct { struct weir_state_decl decl; struct row_ *member; } id =                 \
        {.decl = {WEIR_DECL_(id, form), .row = WEIR_ROW_OF(row_), __VA_ARGS__}};                   \
    WEIR_REGISTER_(id)
#define WEIR_SCALAR_MAP_(id, form, key_, type_, ...)                                               \
    _Static_assert(WEIR_SQL_KNOWN_(key_), "state " #id ": its key's type is unknown: " key_);      \
    _Static_assert(WEIR_SQL_KNOWN_(type_), "state " #id ": its type is unknown: " type_);          \
    static const struct {                                                                          \
        struct weir_state_decl decl; WEIR_C_OF_(key_) *map_key; WEIR_C_OF_(type_) *map_value;      \
    } id = {.decl = {WEIR_DECL_(id, form), .key_type = key_, .type = type_, __VA_ARGS__}};         \
    WEIR_REGISTER_(id)
#define WEIR_ROW_MAP_(id, form, key_, row_, ...)                                                   \
    _Static_assert(WEIR_SQL_KNOWN_(key_), "state " #id ": its key's type is unknown: " key_);      \
    static const struct {                                                                          \
        struct weir_state_decl decl; WEIR_C_OF_(key_) *map_key; struct row_ *map_value;            \
    } id = {.decl = {WEIR_DECL_(id, form), .key_type = key_, .row = WEIR_ROW_OF(row_), __VA_ARGS__}}; \
    WEIR_REGISTER_(id)

/* The C type of a SQL type's text. */
#define WEIR_PICK_(type, upper, lower, c_type, otherwise)                                          \
    __builtin_choose_expr(WEIR_SQL_(type, upper, lower), (c_type *)0, otherwise)
#define WEIR_C_OF_(type)                                                                           \
    __typeof__(*WEIR_PICK_(type, "BOOLEAN", "boolean", _Bool,                                      \
                WEIR_PICK_(type, "TINYINT", "tinyint", int8_t,                                     \
                WEIR_PICK_(type, "SMALLINT", "smallint", int16_t,                                  \
                WEIR_PICK_(type, "INT", "int", int32_t,                                            \
                WEIR_PICK_(type, "BIGINT", "bigint", int64_t,                                      \
                WEIR_PICK_(type, "FLOAT", "float", float,                                          \
                WEIR_PICK_(type, "DOUBLE", "double", double,                                       \
                WEIR_PICK_(type, "DATE", "date", int32_t,                                          \
                WEIR_PICK_(type, "TIMESTAMP", "timestamp", weir_ts,                                \
                WEIR_PICK_(type, "TIME", "time", int32_t,                                          \
                WEIR_PICK_(type, "DEC", "dec", struct weir_decimal,                                \
                WEIR_PICK_(type, "NUMERIC", "numeric", struct weir_decimal,                        \
                           (struct weir_str *)0)))))))))))))
/* An error of _Generic here: the pointer is not of the type that the state was declared with. */
#define WEIR_FITS_(v, member)                                                                      \
    _Generic((v), __typeof__(&*(member)): (v), const __typeof__(*(member)) *: (v))
#define WEIR_KEY_FITS_(v, member)                                                                  \
    _Generic((v), __typeof__(&*(member)) *: (v), const __typeof__(*(member)) **: (v))
/* clang-format on */

#ifdef __cplusplus
}
#endif
#endif
