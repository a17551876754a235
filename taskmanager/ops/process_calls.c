/* What functions of the job call (struct weir_process_calls): each finds the state's bytes for the key at hand, and copies out what it
 * gives, so that whatever is put afterwards does not move it. A call that cannot be done sets the operator's error; the function's
 * result does not matter then. Owning thread: the worker. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "ops/process_int.h"

#define LIST_PAGE_MAX ((size_t)64 << 10)
#define SPLITS_MAX 4 /* pages of a map that one put may split */

/* --- Errors, memory */

__attribute__((format(printf, 2, 3))) static int fail(struct weir_process *process, const char *format, ...)
{
    char text[900];
    va_list args;
    if (process->op_ctx->error.code)
        return -1; /* the first one counts */
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)weir_fail(&process->op_ctx->error, WEIR_ERR_USER_CODE, "%s", text);
    return -1;
}

/* Memory until the function returns. NULL: it failed. */
static void *results(struct weir_process *process, size_t size)
{
    if (size > WEIR_PROCESS_RESULTS_MAX - process->results_size) {
        fail(
            process,
            "one call got more than %zu MB of state: walk over long lists and maps (weir_list_next(), weir_map_next())",
            WEIR_PROCESS_RESULTS_MAX >> 20);
        return NULL;
    }
    process->results_size += size + 1;
    return weir_arena_alloc(&process->scratch, size);
}

/* --- Which state, of which key */

static struct weir_process_state *find_state(struct weir_process *process, const struct weir_state_decl *decl)
{
    if (process->state_count > 0 && process->states[process->state_hint].decl == decl)
        return &process->states[process->state_hint];
    for (int i = 0; i < process->state_count; i++)
        if (process->states[i].decl == decl) {
            process->state_hint = i;
            return &process->states[i];
        }
    fail(process, "a state is used that the job's object does not declare with a macro of weir/process.h");
    return NULL;
}

/* NULL: it failed, or has before. */
static struct weir_process_state *begin(struct weir_ctx *ctx, const struct weir_state_decl *decl,
                                        const struct weir_process_key **key)
{
    struct weir_process *process = weir_process_of(ctx);
    if (process->op_ctx->error.code)
        return NULL;
    struct weir_process_state *state = find_state(process, decl);
    if (!state)
        return NULL;
    *key = state->keyed ? &process->key : &process->operator_key;
    if (state->keyed && !process->has_key) {
        fail(process,
             process->keyed ? "state '%s' belongs to a key, and rows of a broadcast input have none"
                            : "state '%s' belongs to a key: weir_process(weir_key_by(stream, \"column\"), ...)",
             state->name);
        return NULL;
    }
    return state;
}

static bool may_write(struct weir_process_state *state)
{
    if (state->form != WEIR_FORM_BROADCAST || state->process->broadcast)
        return true;
    fail(state->process,
         "broadcast state '%s' may be changed in .on_row2 of a weir_process2() whose second input is weir_broadcast(): "
         "elsewhere the subtasks would come to differ",
         state->name);
    return false;
}

/* --- Bytes of a value */

static int encode_into(struct weir_process_state *state, const struct weir_typed *typed, const void *value,
                       const char *what, struct weir_buf *out)
{
    struct weir_error error;
    if (!value)
        return fail(state->process, "state '%s' is given NULL as %s", state->name, what);
    if (weir_typed_encode(typed, value, out, &error))
        return fail(state->process, "state '%s', %s: %s", state->name, what, error.message);
    return 0;
}

/* [touched] value, into process->encoded. */
static int encode_value(struct weir_process_state *state, const void *value)
{
    struct weir_process *process = state->process;
    weir_buf_clear(&process->encoded);
    if (state->ttl_ms && !weir_buf_append(&process->encoded, &process->now_ms, sizeof process->now_ms))
        return -1;
    return encode_into(state, &state->value, value, "a value", &process->encoded);
}

static int corrupt(struct weir_process_state *state)
{
    return fail(state->process, "state '%s' holds bytes that are no value of it", state->name);
}

/* A copy of the value at [at, end) as a struct. */
static void *decode_value(struct weir_process_state *state, const uint8_t *at, const uint8_t *end)
{
    uint8_t *row = results(state->process, state->value.row_size + 8);
    size_t size = (size_t)(end - at);
    if (row && state->value.has_strings) {
        uint8_t *copy = results(state->process, size);
        if (!copy)
            return NULL;
        at = memcpy(copy, at, size);
        end = copy + size;
    }
    if (row && !weir_typed_read(&state->value_reader, &at, end, row)) {
        corrupt(state);
        return NULL;
    }
    return row;
}

static void touch_time(struct weir_process_state *state, int64_t namespace, struct weir_process_blob *blob, size_t at)
{
    weir_process_touch(state, namespace, blob);
    memcpy(weir_process_bytes(blob) + at, &state->process->now_ms, sizeof state->process->now_ms);
}

/* --- Values, sums, accumulators */

static void *get_value(struct weir_process_state *state, const struct weir_process_key *key)
{
    struct weir_process_blob *blob = weir_process_find(state, key, 0);
    if (!blob)
        return NULL;
    const uint8_t *bytes = weir_process_bytes(blob);
    size_t head = state->ttl_ms ? 8 : 0;
    if (head && weir_process_expired(state, bytes)) {
        weir_process_remove(state, key, 0);
        return NULL;
    }
    if (state->ttl_read)
        touch_time(state, 0, blob, 0);
    return decode_value(state, bytes + head, bytes + blob->size);
}

static int put_value(struct weir_process_state *state, const struct weir_process_key *key, const void *value)
{
    if (encode_value(state, value))
        return -1;
    const struct weir_buf *bytes = &state->process->encoded;
    weir_process_set(state, 0, weir_process_make(state, key, 0), bytes->data, bytes->size);
    return 0;
}

static void *call_get(struct weir_ctx *ctx, const struct weir_state_decl *decl)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    return state ? get_value(state, key) : NULL;
}

static int call_put(struct weir_ctx *ctx, const struct weir_state_decl *decl, const void *value)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    return state ? put_value(state, key, value) : -1;
}

typedef int fold_fn(struct weir_ctx *ctx, void *into, const void *value);
typedef int result_fn(struct weir_ctx *ctx, const void *accumulator, void *result);

static int fold(struct weir_process_state *state, const struct weir_process_key *key, const void *value)
{
    struct weir_process *process = state->process;
    void *into = get_value(state, key);
    if (process->op_ctx->error.code)
        return -1;
    if (!into && state->form == WEIR_FORM_REDUCING)
        return put_value(state, key, value);
    if (!into) {
        if (!(into = results(process, state->value.row_size + 8)))
            return -1;
        memset(into, 0, state->value.row_size);
    }
    fold_fn *add = __extension__(fold_fn *) state->decl->add;
    int result = add(&process->ctx, into, value);
    if (result)
        return fail(process, "state '%s': its function to add returned %d", state->name, result);
    return put_value(state, key, into);
}

static bool call_result(struct weir_ctx *ctx, const struct weir_state_decl *decl, void *result)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    void *accumulator = state ? get_value(state, key) : NULL;
    if (!accumulator)
        return false;
    result_fn *make = __extension__(result_fn *) state->decl->result;
    int failed = make(ctx, accumulator, result);
    if (failed)
        fail(state->process, "state '%s': its result function returned %d", state->name, failed);
    return !failed;
}

/* --- Lists */

static struct weir_process_blob *make_head(struct weir_process_state *state, const struct weir_process_key *key,
                                           struct weir_process_head *head)
{
    struct weir_process_blob *blob = weir_process_make(state, key, 0);
    *head = weir_process_head_get(blob);
    if (blob->size == 0) {
        weir_process_splice(state, 0, blob, 0, 0, NULL, WEIR_PROCESS_HEAD_SIZE);
        weir_process_head_put(blob, head);
    }
    return blob;
}

static struct weir_process_blob *make_page(struct weir_process_state *state, const struct weir_process_key *key,
                                           int64_t page)
{
    static const uint8_t tag = WEIR_PROCESS_PAGE;
    struct weir_process_blob *blob = weir_process_make(state, key, page);
    if (blob->size == 0)
        weir_process_set(state, page, blob, &tag, 1);
    return blob;
}

/* The elements beside the head move into page 1. */
static void move_out(struct weir_process_state *state, const struct weir_process_key *key,
                     struct weir_process_blob *head_blob, struct weir_process_head *head)
{
    struct weir_process_blob *page = make_page(state, key, 1);
    weir_process_splice(state, 1, page, 1, 0, weir_process_bytes(head_blob) + WEIR_PROCESS_HEAD_SIZE,
                        head_blob->size - WEIR_PROCESS_HEAD_SIZE);
    weir_process_splice(state, 0, head_blob, WEIR_PROCESS_HEAD_SIZE, head_blob->size - WEIR_PROCESS_HEAD_SIZE, NULL, 0);
    head->pages = 1;
}

/* Pages of a long list are larger: there are fewer of them. */
static size_t list_page_max(uint32_t page)
{
    size_t max = (size_t)WEIR_PROCESS_PAGE_BYTES << (page < 7 ? page : 7);
    return max < LIST_PAGE_MAX ? max : LIST_PAGE_MAX;
}

void weir_process_list_append(struct weir_process_state *state, const struct weir_process_key *key,
                              const uint8_t *bytes, size_t size)
{
    struct weir_process_head head;
    struct weir_process_blob *blob = make_head(state, key, &head);
    if (head.pages == 0 && blob->size + size > WEIR_PROCESS_HEAD_SIZE + WEIR_PROCESS_PAGE_BYTES && head.count > 0)
        move_out(state, key, blob, &head);
    if (head.pages == 0) {
        weir_process_splice(state, 0, blob, blob->size, 0, bytes, size);
    } else {
        struct weir_process_blob *page = make_page(state, key, head.pages);
        if (page->size > 1 && page->size + size > list_page_max(head.pages) && head.pages < UINT32_MAX)
            page = make_page(state, key, ++head.pages);
        weir_process_splice(state, head.pages, page, page->size, 0, bytes, size);
    }
    head.count++;
    head.bytes += (int64_t)size;
    weir_process_head_put(blob, &head);
}

static int call_add(struct weir_ctx *ctx, const struct weir_state_decl *decl, const void *value)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    if (!state)
        return -1;
    if (state->form == WEIR_FORM_REDUCING || state->form == WEIR_FORM_AGGREGATING)
        return value ? fold(state, key, value) : fail(state->process, "state '%s' is given NULL", state->name);
    if (encode_value(state, value))
        return -1;
    weir_process_list_append(state, key, state->process->encoded.data, state->process->encoded.size);
    return 0;
}

void weir_process_clear_key(struct weir_process_state *state, const struct weir_process_key *key)
{
    struct weir_process_blob *blob = weir_process_find(state, key, 0);
    if (!blob)
        return;
    uint32_t pages = weir_process_is_paged(state) ? weir_process_head_get(blob).pages : 0;
    for (uint32_t page = 1; page <= pages && page != 0; page++)
        weir_process_remove(state, key, page);
    weir_process_remove(state, key, 0);
}

static int call_clear(struct weir_ctx *ctx, const struct weir_state_decl *decl)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    if (!state || !may_write(state))
        return -1;
    weir_process_clear_key(state, key);
    return 0;
}

static int call_update(struct weir_ctx *ctx, const struct weir_state_decl *decl, const void *values, size_t count)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    if (!state)
        return -1;
    weir_process_clear_key(state, key);
    for (size_t i = 0; i < count; i++)
        if (call_add(ctx, decl, (const uint8_t *)values + i * state->value.row_size))
            return -1;
    return 0;
}

/* --- Walking
 * A page at a time is copied, so that what is done to the state on the way does not disturb. */

struct cursor {
    uint64_t serial; /* of the call it is used in; 0: it begins */
    uint8_t *copy;   /* of the page */
    uint64_t capacity;
    uint32_t size, at;
    uint32_t page, pages; /* page: the one that comes next */
    uint8_t *value;
    uint8_t *key;
};
_Static_assert(sizeof(struct cursor) <= sizeof(struct weir_cursor), "a cursor is one that jobs have room for");

/* Elements that were read have been used: their time begins anew. */
static void touch_page(struct weir_process_state *state, int64_t page, struct weir_process_blob *blob)
{
    struct weir_process_element element;
    bool bad = false;
    weir_process_touch(state, page, blob);
    uint8_t *bytes = weir_process_bytes(blob);
    const uint8_t *end = bytes + blob->size, *at = bytes + weir_process_elements_at(blob, bytes);
    while (weir_process_element_next(state, &at, end, &element, &bad))
        if (!weir_process_expired(state, element.touched))
            memcpy(bytes + (element.touched - bytes), &state->process->now_ms, 8);
}

static bool load_page(struct weir_process_state *state, const struct weir_process_key *key, struct cursor *cursor,
                      int64_t page)
{
    struct weir_process_blob *blob = weir_process_find(state, key, page);
    cursor->size = cursor->at = 0;
    if (!blob)
        return true;
    const uint8_t *bytes = weir_process_bytes(blob);
    size_t from = weir_process_elements_at(blob, bytes);
    if (blob->size - from > cursor->capacity) {
        cursor->capacity = (blob->size - from) * 2;
        if (!(cursor->copy = results(state->process, cursor->capacity)))
            return false;
    }
    cursor->size = (uint32_t)(blob->size - from);
    if (cursor->size)
        memcpy(cursor->copy, bytes + from, cursor->size);
    if (state->ttl_read)
        touch_page(state, page, blob);
    return true;
}

static bool begin_walk(struct weir_process_state *state, const struct weir_process_key *key, struct cursor *cursor)
{
    struct weir_process *process = state->process;
    if (cursor->serial == process->serial)
        return true;
    if (cursor->serial != 0) {
        fail(process, "a cursor on state '%s' is of an earlier call: it begins as {{0}} in each", state->name);
        return false;
    }
    struct weir_process_blob *head = weir_process_find(state, key, 0);
    cursor->serial = process->serial;
    cursor->pages = head ? weir_process_head_get(head).pages : 0;
    cursor->page = 1;
    process->walking = true;
    cursor->value = results(process, state->value.row_size + 8);
    cursor->key = weir_process_is_map(state) ? results(process, state->key.row_size + 8) : NULL;
    if (!cursor->value || (weir_process_is_map(state) && !cursor->key))
        return false;
    return cursor->pages > 0 || load_page(state, key, cursor, 0);
}

/* The next element that is alive; false: the end, or it failed. */
static bool walk(struct weir_process_state *state, const struct weir_process_key *key, struct cursor *cursor,
                 struct weir_process_element *element)
{
    if (!begin_walk(state, key, cursor))
        return false;
    for (;;) {
        static const uint8_t nothing;
        const uint8_t *copy = cursor->copy ? cursor->copy : &nothing, *at = copy + cursor->at,
                      *end = copy + cursor->size;
        bool bad = false;
        while (cursor->at < cursor->size && weir_process_element_next(state, &at, end, element, &bad)) {
            cursor->at = (uint32_t)(at - copy);
            if (!weir_process_expired(state, element->touched))
                return true;
        }
        if (bad) {
            corrupt(state);
            return false;
        }
        if (cursor->page > cursor->pages || !load_page(state, key, cursor, cursor->page))
            return false;
        cursor->page++;
    }
}

static void *call_next(struct weir_ctx *ctx, const struct weir_state_decl *decl, struct weir_cursor *opaque,
                       void *key_out)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    struct cursor cursor;
    struct weir_process_element element;
    if (!state)
        return NULL;
    memcpy(&cursor, opaque, sizeof cursor);
    bool more = walk(state, key, &cursor, &element);
    memcpy(opaque, &cursor, sizeof cursor);
    if (!more)
        return NULL;
    const uint8_t *at = element.value, *key_at = element.key;
    if (!weir_typed_read(&state->value_reader, &at, element.end, cursor.value) ||
        (key_out && !weir_typed_read(&state->key_reader, &key_at, element.key + element.key_size, cursor.key))) {
        corrupt(state);
        return NULL;
    }
    if (key_out)
        memcpy(key_out, &cursor.key, sizeof cursor.key);
    return cursor.value;
}

static void *call_list_get(struct weir_ctx *ctx, const struct weir_state_decl *decl, size_t *count)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    struct weir_process_blob *blob = state ? weir_process_find(state, key, 0) : NULL;
    struct cursor cursor = {.serial = 0};
    struct weir_process_element element;
    *count = 0;
    if (!blob)
        return NULL;
    struct weir_process *process = state->process;
    size_t max = (size_t)weir_process_head_get(blob).count;
    if (max > WEIR_PROCESS_RESULTS_MAX / state->value.row_size)
        max = WEIR_PROCESS_RESULTS_MAX / state->value.row_size; /* too many: results() says so */
    uint8_t *rows = results(process, max * state->value.row_size + 8);
    bool walking = process->walking;
    while (rows && *count < max && walk(state, key, &cursor, &element)) {
        const uint8_t *at = element.value, *end = element.end;
        if (state->value.has_strings) { /* the page's copy is reused */
            uint8_t *copy = results(process, (size_t)(end - at));
            if (!copy)
                return NULL;
            end = copy + (end - at);
            at = memcpy(copy, at, (size_t)(end - copy));
        }
        if (!weir_typed_read(&state->value_reader, &at, end, rows + *count * state->value.row_size)) {
            corrupt(state);
            return NULL;
        }
        (*count)++;
    }
    process->walking = walking;
    return *count && !process->op_ctx->error.code ? rows : NULL;
}

/* --- Maps */

/* -0.0 is 0.0 and every NaN the same, so that equal keys have equal bytes. */
static void plain_key(const struct weir_typed *typed, struct weir_buf *bytes)
{
    double wide;
    float narrow;
    if (typed->fields[0].type.id == WEIR_TYPE_DOUBLE) {
        memcpy(&wide, bytes->data, sizeof wide);
        wide = wide == 0 ? 0 : wide == wide ? wide : __builtin_nan("");
        memcpy(bytes->data, &wide, sizeof wide);
    } else if (typed->fields[0].type.id == WEIR_TYPE_FLOAT) {
        memcpy(&narrow, bytes->data, sizeof narrow);
        narrow = narrow == 0 ? 0 : narrow == narrow ? narrow : __builtin_nanf("");
        memcpy(bytes->data, &narrow, sizeof narrow);
    }
}

static int encode_key(struct weir_process_state *state, const void *map_key)
{
    struct weir_buf *out = &state->process->encoded_key;
    weir_buf_clear(out);
    if (encode_into(state, &state->key, map_key, "a key", out))
        return -1;
    plain_key(&state->key, out);
    return 0;
}

/* Which of `pages` (1 or more, numbered from 1) a key with this hash is in: linear hashing. */
static int64_t page_of(uint64_t hash, uint32_t pages)
{
    uint64_t half = (uint64_t)1 << (31 - __builtin_clz(pages));
    uint64_t page = hash & (2 * half - 1);
    if (page >= pages)
        page = hash & (half - 1);
    return (int64_t)page + 1;
}

struct found {
    struct weir_process_head head;
    struct weir_process_blob *head_blob; /* NULL: the map is empty */
    int64_t page;
    struct weir_process_blob *blob; /* of the page; NULL: there is none */
    size_t at, size;                /* of the element */
    struct weir_process_element element;
    bool there;
};

static struct found find_entry(struct weir_process_state *state, const struct weir_process_key *key,
                               const uint8_t *map_key, size_t map_key_size)
{
    struct found found = {.head_blob = weir_process_find(state, key, 0)};
    bool bad = false;
    if (!found.head_blob)
        return found;
    found.head = weir_process_head_get(found.head_blob);
    found.blob = found.head_blob;
    if (found.head.pages > 0) {
        found.page = page_of(weir_xxh3(map_key, map_key_size), found.head.pages);
        found.blob = weir_process_find(state, key, found.page);
    }
    if (!found.blob)
        return found;
    const uint8_t *bytes = weir_process_bytes(found.blob), *end = bytes + found.blob->size;
    const uint8_t *at = bytes + weir_process_elements_at(found.blob, bytes);
    while (weir_process_element_next(state, &at, end, &found.element, &bad)) {
        if (found.element.key_size != map_key_size || memcmp(found.element.key, map_key, map_key_size) != 0)
            continue;
        found.there = true;
        found.at = (size_t)(found.element.begin - bytes);
        found.size = (size_t)(found.element.end - found.element.begin);
        return found;
    }
    if (bad)
        corrupt(state);
    return found;
}

static void *call_map_get(struct weir_ctx *ctx, const struct weir_state_decl *decl, const void *map_key)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    if (!state || encode_key(state, map_key))
        return NULL;
    const struct weir_buf *bytes = &state->process->encoded_key;
    struct found found = find_entry(state, key, bytes->data, bytes->size);
    if (!found.there || weir_process_expired(state, found.element.touched))
        return NULL;
    void *value = decode_value(state, found.element.value, found.element.end);
    if (state->ttl_read)
        touch_time(state, found.page, found.blob, (size_t)(found.element.touched - weir_process_bytes(found.blob)));
    return value;
}

/* Page `pages` + 1 gets its share of the page that it splits. */
static void split_page(struct weir_process_state *state, const struct weir_process_key *key,
                       struct weir_process_head *head)
{
    struct weir_process_element element;
    struct weir_buf *kept = &state->process->page;
    uint32_t half = (uint32_t)1 << (31 - __builtin_clz(head->pages));
    int64_t old_page = (int64_t)(head->pages - half) + 1, new_page = (int64_t)++head->pages;
    struct weir_process_blob *from = weir_process_find(state, key, old_page), *to = NULL;
    bool bad = false;
    if (!from)
        return;
    const uint8_t *bytes = weir_process_bytes(from), *at = bytes + 1, *end = bytes + from->size;
    weir_buf_clear(kept);
    while (weir_process_element_next(state, &at, end, &element, &bad)) {
        size_t size = (size_t)(element.end - element.begin);
        if (page_of(weir_xxh3(element.key, element.key_size), head->pages) == old_page) {
            bool ok = weir_buf_append(kept, element.begin, size);
            weir_assert(ok);
            continue;
        }
        if (!to)
            to = make_page(state, key, new_page); /* another table than from's */
        weir_process_splice(state, new_page, to, to->size, 0, element.begin, size);
    }
    if (bad) {
        corrupt(state);
    } else if (kept->size == 0) {
        weir_process_remove(state, key, old_page);
    } else if (to) {
        weir_process_touch(state, old_page, from);
        weir_process_splice(state, old_page, from, 1, from->size - 1, kept->data, kept->size);
    }
}

/* Entries of a page that is walked over stay where they are until the call ends. */
static void split_pages(struct weir_process_state *state, const struct weir_process_key *key,
                        struct weir_process_head *head)
{
    if (state->process->walking)
        return;
    for (int i = 0; i < SPLITS_MAX && head->pages < (uint32_t)1 << 30 &&
                    head->bytes > (int64_t)head->pages * WEIR_PROCESS_PAGE_BYTES && head->count > head->pages;
         i++)
        split_page(state, key, head);
}

void weir_process_map_insert(struct weir_process_state *state, const struct weir_process_key *key,
                             const uint8_t *map_key, size_t map_key_size, const uint8_t *bytes, size_t size)
{
    struct found found = find_entry(state, key, map_key, map_key_size);
    struct weir_process_head head;
    struct weir_process_blob *head_blob = make_head(state, key, &head);
    if (found.there) {
        /* The same blob, to be written. */
        struct weir_process_blob *blob = found.page ? weir_process_make(state, key, found.page) : head_blob;
        weir_process_splice(state, found.page, blob, found.at, found.size, bytes, size);
        head.bytes += (int64_t)size - (int64_t)found.size;
        weir_process_head_put(head_blob, &head);
        return;
    }
    if (head.pages == 0 && head.count > 0 && !state->process->walking &&
        head_blob->size + size > WEIR_PROCESS_HEAD_SIZE + WEIR_PROCESS_PAGE_BYTES)
        move_out(state, key, head_blob, &head);
    int64_t number = head.pages ? page_of(weir_xxh3(map_key, map_key_size), head.pages) : 0;
    struct weir_process_blob *page = number ? make_page(state, key, number) : head_blob;
    weir_process_splice(state, number, page, page->size, 0, bytes, size);
    head.count++;
    head.bytes += (int64_t)size;
    if (head.pages > 0)
        split_pages(state, key, &head);
    weir_process_head_put(head_blob, &head);
}

static int call_map_put(struct weir_ctx *ctx, const struct weir_state_decl *decl, const void *map_key,
                        const void *value)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    if (!state || !may_write(state) || encode_key(state, map_key))
        return -1;
    struct weir_process *process = state->process;
    struct weir_buf *out = &process->encoded;
    uint32_t size = (uint32_t)process->encoded_key.size;
    weir_buf_clear(out);
    bool ok = weir_buf_append(out, &size, sizeof size) && weir_buf_append(out, process->encoded_key.data, size);
    if (ok && state->ttl_ms)
        ok = weir_buf_append(out, &process->now_ms, sizeof process->now_ms);
    size_t size_at = out->size;
    ok = ok && weir_buf_append(out, &size, sizeof size);
    if (!ok)
        return fail(process, "state '%s': the key is too large", state->name);
    if (encode_into(state, &state->value, value, "a value", out))
        return -1;
    size = (uint32_t)(out->size - size_at - sizeof size);
    memcpy(out->data + size_at, &size, sizeof size);
    weir_process_map_insert(state, key, process->encoded_key.data, process->encoded_key.size, out->data, out->size);
    return 0;
}

static int call_map_remove(struct weir_ctx *ctx, const struct weir_state_decl *decl, const void *map_key)
{
    const struct weir_process_key *key;
    struct weir_process_state *state = begin(ctx, decl, &key);
    if (!state || !may_write(state) || encode_key(state, map_key))
        return -1;
    const struct weir_buf *bytes = &state->process->encoded_key;
    struct found found = find_entry(state, key, bytes->data, bytes->size);
    if (!found.there)
        return 0;
    if (found.head.count == 1) {
        weir_process_clear_key(state, key);
        return 0;
    }
    struct weir_process_blob *head_blob = weir_process_make(state, key, 0);
    if (found.page && found.blob->size == 1 + found.size) {
        weir_process_remove(state, key, found.page);
    } else {
        struct weir_process_blob *blob = found.page ? weir_process_make(state, key, found.page) : head_blob;
        weir_process_splice(state, found.page, blob, found.at, found.size, NULL, 0);
    }
    found.head.count--;
    found.head.bytes -= (int64_t)found.size;
    weir_process_head_put(head_blob, &found.head);
    return 0;
}

/* --- Timers, time, the key */

static int call_timer(struct weir_ctx *ctx, enum weir_timer_type type, bool set, weir_ts time)
{
    struct weir_process *process = weir_process_of(ctx);
    if (process->op_ctx->error.code)
        return -1;
    if (!process->has_key)
        return fail(process, process->keyed
                                 ? "timers belong to a key, and rows of a broadcast input have none"
                                 : "timers belong to a key: weir_process(weir_key_by(stream, \"column\"), ...)");
    if (!process->on_timer)
        return fail(process, "a timer is set, and weir_process() has no .on_timer");
    return weir_process_timer_set(process, type, set, time) ? -1 : 0;
}

static enum weir_timer_type call_timer_kind(struct weir_ctx *ctx)
{
    return weir_process_of(ctx)->timer_type;
}

static weir_ts call_now(struct weir_ctx *ctx)
{
    return weir_process_of(ctx)->now_ms;
}

/* The fields of `type` that are key columns. */
static struct weir_process_key_row *key_row_of(struct weir_process *process, const struct weir_row_type *type)
{
    for (int i = 0; i < process->key_row_count; i++)
        if (process->key_rows[i].type == type)
            return &process->key_rows[i];
    if (process->key_row_count == WEIR_PROCESS_KEY_ROWS_MAX) {
        fail(process, "weir_key() is asked for more than %d row types", WEIR_PROCESS_KEY_ROWS_MAX);
        return NULL;
    }
    struct weir_process_key_row *made = &process->key_rows[process->key_row_count];
    struct weir_error error;
    made->part = *type;
    made->fields = weir_zalloc(type->field_count * sizeof *made->fields);
    made->part.fields = made->fields;
    made->part.field_count = 0;
    for (uint32_t i = 0; i < type->field_count; i++) {
        const char *name = type->fields[i].name;
        if (weir_schema_find(process->key_schema, name, strlen(name)) >= 0)
            made->fields[made->part.field_count++] = type->fields[i];
    }
    if (weir_row_converter_init(&made->converter, &made->part, process->key_schema, &error)) {
        free(made->converter.fields);
        free(made->fields);
        memset(made, 0, sizeof *made);
        fail(process, "weir_key(): %s", error.message);
        return NULL;
    }
    for (int f = 0; f < made->converter.field_count; f++) /* NULL bits are those of the whole struct */
        for (uint32_t i = 0; i < type->field_count; i++)
            if (strcmp(type->fields[i].name, made->converter.fields[f].name) == 0)
                made->converter.fields[f].null_bit = (uint64_t)1 << i;
    made->type = type;
    process->key_row_count++;
    return made;
}

/* The key at hand as a batch of one row, or of all rows of the item. One reference. */
static struct weir_batch *key_batch(struct weir_process *process)
{
    const struct weir_schema *schema = process->key_schema;
    struct weir_column *columns[WEIR_KEY_COLUMNS_MAX];
    struct weir_key_spec spec = {.column_count = schema->field_count};
    struct weir_error error;
    if (process->key.keys) {
        const struct weir_key_spec *key = &process->inputs[process->input].key;
        struct weir_batch *all = weir_batch_new_shell(process->key_schema, process->batch->row_count);
        for (int c = 0; c < schema->field_count; c++)
            weir_column_share(&all->columns[c], &process->batch->columns[key->columns[c]]);
        return all;
    }
    struct weir_batch *one = weir_batch_new(process->key_schema, 1);
    for (int c = 0; c < schema->field_count; c++) {
        columns[c] = &one->columns[c];
        spec.columns[c] = c;
    }
    if (weir_key_decode(process->key.bytes, process->key.size, &spec, schema, columns, 0, 1, &error)) {
        weir_batch_unref(one);
        fail(process, "a timer's key: %s", error.message);
        return NULL;
    }
    one->row_count = 1;
    return one;
}

static const void *call_key(struct weir_ctx *ctx, const struct weir_row_type *type)
{
    struct weir_process *process = weir_process_of(ctx);
    uint8_t *row = results(process, type->size + 8);
    if (!row)
        return NULL;
    memset(row, 0, type->size); /* zeros when it failed, so that what is asked of it does not crash */
    if (!process->has_key) {
        fail(process, "weir_key(): there is no key here");
        return row;
    }
    struct weir_process_key_row *part = key_row_of(process, type);
    struct weir_batch *batch = part ? key_batch(process) : NULL;
    if (!batch)
        return row;
    weir_row_load(&part->converter, batch, process->key.keys ? process->key.row : 0, 1, row);
    for (int f = 0; f < part->converter.field_count; f++) { /* strings outlive the batch */
        const struct weir_row_converter_field *field = &part->converter.fields[f];
        struct weir_str text;
        if (!weir_type_is_variable(field->type))
            continue;
        memcpy(&text, row + field->offset, sizeof text);
        char *copy = text.size ? results(process, text.size) : NULL;
        if (copy)
            text.data = memcpy(copy, text.data, text.size);
        else
            text = (struct weir_str){"", 0};
        memcpy(row + field->offset, &text, sizeof text);
    }
    weir_batch_unref(batch);
    return row;
}

const struct weir_process_calls weir_process_calls = {
    .size = sizeof weir_process_calls,
    .get = call_get,
    .put = call_put,
    .clear = call_clear,
    .add = call_add,
    .update = call_update,
    .list_get = call_list_get,
    .next = call_next,
    .map_get = call_map_get,
    .map_put = call_map_put,
    .map_remove = call_map_remove,
    .result = call_result,
    .timer = call_timer,
    .timer_kind = call_timer_kind,
    .now = call_now,
    .key = call_key,
    .emit_side = weir_process_emit_side,
};
