/* States as tables of bytes: see process_int.h for their form. Owning thread: the worker. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "data/time_text.h"
#include "ops/process_int.h"

#define HERE_MAX 64 /* a value of fixed size up to this lies in its slot */
#define COMPACT_MIN ((size_t)1 << 20)
#define HERE_TEXT 24           /* of one with strings, a page or timers */
#define PREFETCH_BYTES_MAX 256 /* of a long value; what follows is read in order, as the processor expects */

/* --- Blobs */

uint8_t *weir_process_bytes(struct weir_process_blob *blob)
{
    return blob->capacity ? blob->block : blob->here;
}

/* A table with the free blocks of its heap. */
struct weir_process_place {
    int64_t namespace;
    struct weir_state_table *table;
    uint32_t moves; /* of the table: when it has changed, the free blocks are gone */
    struct weir_heap heap;
};

static int place_index(const struct weir_process_state *state, int64_t namespace)
{
    int low = 0, high = state->place_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (state->places[middle]->namespace < namespace)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* NULL: there is no such table (and `make` is false). */
static struct weir_process_place *place_of(struct weir_process_state *state, int64_t namespace, bool make)
{
    if (state->last && state->last->namespace == namespace)
        return state->last;
    int at = place_index(state, namespace);
    if (at < state->place_count && state->places[at]->namespace == namespace)
        return state->last = state->places[at];
    struct weir_state_table *table =
        make ? weir_state_open(state->state, namespace) : weir_state_find(state->state, namespace);
    if (!table)
        return NULL;
    if (state->place_count == state->place_capacity) {
        state->place_capacity = state->place_capacity ? state->place_capacity * 2 : 4;
        state->places =
            weir_realloc(state->places, (size_t)state->place_capacity * sizeof(struct weir_process_place *));
    }
    memmove(&state->places[at + 1], &state->places[at],
            (size_t)(state->place_count - at) * sizeof(struct weir_process_place *));
    state->place_count++;
    state->last = state->places[at] = weir_zalloc(sizeof(struct weir_process_place));
    state->last->namespace = namespace;
    state->last->table = table;
    return state->last;
}

static void drop_empty(struct weir_process_state *state, int64_t namespace)
{
    struct weir_process_place *place = place_of(state, namespace, false);
    if (namespace == 0 || !place || weir_state_table_count(place->table) > 0)
        return;
    int at = place_index(state, namespace);
    memmove(&state->places[at], &state->places[at + 1],
            (size_t)(--state->place_count - at) * sizeof(struct weir_process_place *));
    free(place);
    state->last = NULL;
    weir_state_drop(state->state, namespace);
}

struct weir_state_table *weir_process_table(struct weir_process_state *state, int64_t namespace)
{
    struct weir_process_place *place = place_of(state, namespace, false);
    return place ? place->table : NULL;
}

/* The place's free blocks, which are gone when the engine has made the heap anew. */
static struct weir_heap *heap_of(struct weir_process_place *place)
{
    uint32_t moves = weir_state_moves(place->table);
    if (moves != place->moves) {
        memset(&place->heap, 0, sizeof place->heap);
        place->moves = moves;
    }
    return &place->heap;
}

/* Room for `size` bytes in a blob of this place (NULL: a block of `arena`); what is there stays. */
static void reserve(struct weir_process_state *state, struct weir_process_place *place, struct weir_arena *arena,
                    struct weir_process_blob *blob, size_t size)
{
    size_t room = blob->capacity ? blob->capacity : state->here_max, capacity;
    if (size <= room)
        return;
    /* What grows will grow again: a quarter more each time. */
    size_t wanted = blob->size ? size + size / 4 : size;
    wanted = wanted > WEIR_HEAP_BLOCK_MAX && size <= WEIR_HEAP_BLOCK_MAX ? size : wanted;
    uint8_t *block = weir_heap_alloc(place ? heap_of(place) : NULL, arena, wanted, &capacity);
    if (blob->size)
        memcpy(block, weir_process_bytes(blob), blob->size);
    if (blob->capacity && place)
        weir_heap_free(heap_of(place), blob->block, blob->capacity);
    blob->block = block;
    blob->capacity = (uint32_t)capacity;
}

/* A block that became far too large is given back. */
static void trim(struct weir_process_state *state, struct weir_process_place *place, struct weir_process_blob *blob)
{
    if (blob->capacity < 128 || blob->size > blob->capacity / 4)
        return;
    struct weir_process_blob old = *blob;
    blob->capacity = blob->size = 0;
    reserve(state, place, weir_state_heap(place->table), blob, old.size);
    memcpy(weir_process_bytes(blob), old.block, old.size);
    blob->size = old.size;
    weir_heap_free(heap_of(place), old.block, old.capacity);
}

static void move_blob(void *arg, uint8_t *value, struct weir_arena *heap)
{
    struct weir_process_blob *blob = (struct weir_process_blob *)(void *)value;
    size_t capacity;
    (void)arg;
    if (!blob->capacity)
        return;
    uint8_t *block = weir_heap_alloc(NULL, heap, blob->capacity, &capacity);
    memcpy(block, blob->block, blob->size);
    blob->block = block;
}

/* More of the heap is free than is used, and in blocks of sizes that nobody wants. */
void weir_process_compact(struct weir_process_state *state)
{
    for (int i = 0; i < state->place_count; i++) {
        struct weir_process_place *place = state->places[i];
        if (heap_of(place)->size_free < COMPACT_MIN ||
            place->heap.size_free < weir_state_heap(place->table)->size_total / 2)
            continue;
        weir_state_compact(place->table, move_blob, state);
        memset(&place->heap, 0, sizeof place->heap);
        place->moves = weir_state_moves(place->table);
    }
}

void weir_process_splice(struct weir_process_state *state, int64_t namespace, struct weir_process_blob *blob, size_t at,
                         size_t old_size, const void *bytes, size_t new_size)
{
    struct weir_process_place *place = place_of(state, namespace, false);
    weir_assert(at <= blob->size && old_size <= blob->size - at);
    size_t size = blob->size - old_size + new_size, tail = blob->size - at - old_size;
    reserve(state, place, weir_state_heap(place->table), blob, size);
    uint8_t *to = weir_process_bytes(blob) + at;
    if (tail && old_size != new_size)
        memmove(to + new_size, to + old_size, tail);
    if (bytes && new_size)
        memcpy(to, bytes, new_size);
    blob->size = (uint32_t)size;
    if (new_size < old_size)
        trim(state, place, blob);
}

/* --- Entries */

static struct weir_process_blob *blob_of(uint8_t *value)
{
    return (struct weir_process_blob *)(void *)value;
}

struct weir_process_blob *weir_process_find(struct weir_process_state *state, const struct weir_process_key *key,
                                            int64_t namespace)
{
    struct weir_process_place *place = place_of(state, namespace, false);
    uint8_t *value = NULL;
    if (!place)
        return NULL;
    if (key->keys)
        weir_state_lookup(place->table, key->keys, &key->row, 1, &value);
    else
        value = weir_state_get(place->table, key->hash, key->bytes, key->size);
    return blob_of(value);
}

struct weir_process_blob *weir_process_make(struct weir_process_state *state, const struct weir_process_key *key,
                                            int64_t namespace)
{
    struct weir_process_place *place = place_of(state, namespace, true);
    uint8_t *value = NULL;
    if (key->keys)
        weir_state_upsert(place->table, key->keys, &key->row, 1, &value);
    else
        value = weir_state_put(place->table, key->bytes, key->size);
    weir_assert(value); /* the bytes came out of a table of this key */
    state->used = true;
    return blob_of(value);
}

void weir_process_touch(struct weir_process_state *state, int64_t namespace, struct weir_process_blob *blob)
{
    weir_state_touch(weir_process_table(state, namespace), (uint8_t *)blob);
}

void weir_process_remove_blob(struct weir_process_state *state, int64_t namespace, struct weir_process_blob *blob)
{
    struct weir_process_place *place = place_of(state, namespace, false);
    struct weir_process_blob gone = *blob; /* a checkpoint under way may still read it while it is removed */
    weir_state_remove_value(place->table, (uint8_t *)blob);
    if (gone.capacity)
        weir_heap_free(heap_of(place), gone.block, gone.capacity);
    drop_empty(state, namespace);
}

void weir_process_remove(struct weir_process_state *state, const struct weir_process_key *key, int64_t namespace)
{
    struct weir_process_blob *blob = weir_process_find(state, key, namespace);
    if (blob)
        weir_process_remove_blob(state, namespace, blob);
}

/* --- Lists and maps */

struct weir_process_head weir_process_head_get(struct weir_process_blob *blob)
{
    struct weir_process_head head = {.pages = 0};
    const uint8_t *at = weir_process_bytes(blob);
    if (blob->size == 0)
        return head;
    weir_assert(blob->size >= WEIR_PROCESS_HEAD_SIZE && at[0] == WEIR_PROCESS_HEAD);
    memcpy(&head.pages, at + 1, sizeof head.pages);
    memcpy(&head.count, at + 5, sizeof head.count);
    memcpy(&head.bytes, at + 13, sizeof head.bytes);
    return head;
}

void weir_process_head_put(struct weir_process_blob *blob, const struct weir_process_head *head)
{
    uint8_t *at = weir_process_bytes(blob);
    weir_assert(blob->size >= WEIR_PROCESS_HEAD_SIZE);
    at[0] = WEIR_PROCESS_HEAD;
    memcpy(at + 1, &head->pages, sizeof head->pages);
    memcpy(at + 5, &head->count, sizeof head->count);
    memcpy(at + 13, &head->bytes, sizeof head->bytes);
}

size_t weir_process_elements_at(const struct weir_process_blob *blob, const uint8_t *bytes)
{
    size_t at = bytes[0] == WEIR_PROCESS_HEAD ? WEIR_PROCESS_HEAD_SIZE : 1;
    weir_assert(at <= blob->size);
    return at;
}

static bool take_size(const uint8_t **at, const uint8_t *end, size_t *size)
{
    uint32_t number;
    if ((size_t)(end - *at) < sizeof number)
        return false;
    memcpy(&number, *at, sizeof number);
    *at += sizeof number;
    *size = number;
    return number <= (size_t)(end - *at);
}

static bool take_element(const struct weir_typed_reader *reader, bool map, bool ttl, const uint8_t **next,
                         const uint8_t *end, struct weir_process_element *element)
{
    if (map) {
        if (!take_size(next, end, &element->key_size))
            return false;
        element->key = *next;
        *next += element->key_size;
    }
    if (ttl) {
        if (end - *next < 8)
            return false;
        element->touched = *next;
        *next += 8;
    }
    if (map && !take_size(next, end, &element->value_size))
        return false;
    element->value = *next;
    if (!map)
        return weir_typed_skip(reader, next, end);
    *next += element->value_size;
    return true;
}

bool weir_process_element_next(const struct weir_process_state *state, const uint8_t **at, const uint8_t *end,
                               struct weir_process_element *element, bool *bad)
{
    if (*at == end)
        return false;
    *element = (struct weir_process_element){.begin = *at};
    *bad |= !take_element(&state->value_reader, weir_process_is_map(state), state->ttl_ms > 0, at, end, element);
    element->end = *at;
    return !*bad;
}

bool weir_process_expired(const struct weir_process_state *state, const uint8_t *touched)
{
    int64_t then;
    if (!touched || !state->ttl_ms)
        return false;
    memcpy(&then, touched, sizeof then);
    return then > INT64_MAX - state->ttl_ms ? false : then + state->ttl_ms <= state->process->now_ms;
}

/* --- Codec: the bytes are what is kept in memory, so that writing and reading is a copy; bytes of an older schema are made anew. */

struct older { /* what reads bytes of another schema */
    struct weir_typed_reader key, value;
    bool ttl;
};

static void encode(void *arg, const uint8_t *value, struct weir_buf *out)
{
    const struct weir_process_blob *blob = (const struct weir_process_blob *)(const void *)value;
    (void)arg;
    bool ok = weir_buf_append(out, blob->capacity ? blob->block : blob->here, blob->size);
    weir_assert(ok); /* the buffer's bound is that of memory */
}

static void prefetch(const uint8_t *value)
{
    const struct weir_process_blob *blob = (const struct weir_process_blob *)(const void *)value;
    uint32_t size = blob->size < PREFETCH_BYTES_MAX ? blob->size : PREFETCH_BYTES_MAX;
    if (!blob->capacity || size == 0)
        return;
    for (uint32_t at = 0; at < size; at += 64)
        __builtin_prefetch(blob->block + at, 1);
    __builtin_prefetch(blob->block + size - 1, 1); /* blocks do not begin with a line of the cache */
}

/* One value: [touched] value, of schema `older` (NULL: ours), appended to out in ours (NULL: only checked). */
static bool convert_value(const struct weir_process_state *state, const struct older *older, const uint8_t **at,
                          const uint8_t *end, struct weir_buf *out)
{
    const struct weir_typed_reader *reader = older ? &older->value : &state->value_reader;
    int64_t touched = state->process->now_ms;
    if (older ? older->ttl : state->ttl_ms > 0) {
        if (end - *at < 8)
            return false;
        memcpy(&touched, *at, sizeof touched);
        *at += 8;
    }
    if (!out)
        return weir_typed_skip(reader, at, end);
    uint8_t *row = weir_alloc(state->value.row_size + 8);
    bool ok = weir_typed_read(reader, at, end, row);
    if (ok && state->ttl_ms)
        ok = weir_buf_append(out, &touched, sizeof touched);
    ok = ok && weir_typed_encode(&state->value, row, out, NULL) == WEIR_OK;
    free(row);
    return ok;
}

static void put_size(struct weir_buf *out, size_t at)
{
    uint32_t size = (uint32_t)(out->size - at - sizeof size);
    memcpy(out->data + at, &size, sizeof size);
}

static bool convert_map_element(const struct weir_process_state *state, const struct older *older, const uint8_t **at,
                                const uint8_t *end, struct weir_buf *out)
{
    struct weir_process_element element = {.begin = *at};
    const uint32_t none = 0;
    if (!take_element(NULL, true, older ? older->ttl : state->ttl_ms > 0, at, end, &element))
        return false;
    const uint8_t *key = element.key, *value = element.value;
    const uint8_t *key_end = key + element.key_size, *value_end = value + element.value_size;
    if (!out)
        return weir_typed_skip(&state->key_reader, &key, key_end) && key == key_end &&
               weir_typed_skip(&state->value_reader, &value, value_end) && value == value_end;
    int64_t touched = state->process->now_ms;
    if (element.touched)
        memcpy(&touched, element.touched, sizeof touched);
    uint8_t *row = weir_alloc(state->value.row_size + 8);
    bool ok = weir_buf_append(out, element.key - 4, 4 + element.key_size);
    if (ok && state->ttl_ms)
        ok = weir_buf_append(out, &touched, sizeof touched);
    size_t size_at = out->size;
    ok = ok && weir_buf_append(out, &none, sizeof none) && weir_typed_read(&older->value, &value, value_end, row) &&
         value == value_end && weir_typed_encode(&state->value, row, out, NULL) == WEIR_OK;
    if (ok)
        put_size(out, size_at);
    free(row);
    return ok;
}

static bool convert_page(const struct weir_process_state *state, const struct older *older, const uint8_t *bytes,
                         const uint8_t *end, struct weir_buf *out)
{
    size_t head = bytes < end && bytes[0] == WEIR_PROCESS_HEAD ? WEIR_PROCESS_HEAD_SIZE : 1;
    if ((size_t)(end - bytes) < head || (bytes[0] != WEIR_PROCESS_HEAD && bytes[0] != WEIR_PROCESS_PAGE))
        return false;
    if (out && !weir_buf_append(out, bytes, head))
        return false;
    uint32_t pages = 0;
    if (bytes[0] == WEIR_PROCESS_HEAD)
        memcpy(&pages, bytes + 1, sizeof pages);
    bytes += head;
    if (pages > 0)
        return bytes == end;
    while (bytes < end)
        if (!(weir_process_is_map(state) ? convert_map_element(state, older, &bytes, end, out)
                                         : convert_value(state, older, &bytes, end, out)))
            return false;
    if (out && out->data[0] == WEIR_PROCESS_HEAD) {
        int64_t size = (int64_t)(out->size - WEIR_PROCESS_HEAD_SIZE);
        memcpy(out->data + 13, &size, sizeof size);
    }
    return true;
}

static weir_err decode(void *arg, const void *reader, const uint8_t *bytes, size_t size, uint8_t *value,
                       struct weir_arena *heap, struct weir_error *error)
{
    struct weir_process_state *state = arg;
    const struct older *older = reader;
    const uint8_t *at = bytes, *end = bytes + size;
    struct weir_buf converted, *out = older ? &converted : NULL;
    bool ok;
    weir_buf_init(&converted, WEIR_PROCESS_VALUE_MAX);
    if (!state->decl)
        ok = size > 0 && size % 8 == 0 && size <= WEIR_PROCESS_VALUE_MAX;
    else if (weir_process_is_paged(state))
        ok = size <= WEIR_PROCESS_VALUE_MAX && convert_page(state, older, at, end, out);
    else
        ok = size <= WEIR_PROCESS_VALUE_MAX && convert_value(state, older, &at, end, out) && at == end;
    if (ok) {
        struct weir_process_blob *blob = blob_of(value);
        blob->size = 0;
        reserve(state, NULL, heap, blob, out ? out->size : size);
        blob->size = (uint32_t)(out ? out->size : size);
        memcpy(weir_process_bytes(blob), out ? out->data : bytes, blob->size);
    }
    weir_buf_fini(&converted);
    return ok ? WEIR_OK
              : weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: a value of state '%s' is not of its schema",
                          state->name);
}

/* --- Schemas: "form[ ttl]\nkey's columns\nmap's key\nvalue's fields" */

static const char *form_name(const struct weir_process_state *state)
{
    static const char *const names[] = {"TIMERS",      "VALUE",      "LIST",       "MAP",      "REDUCING",
                                        "AGGREGATING", "SPLIT LIST", "UNION LIST", "BROADCAST"};
    return names[state->form];
}

static char *schema_text(const struct weir_process *process, const struct weir_process_state *state)
{
    struct weir_buf out;
    weir_buf_init(&out, (size_t)8 << 20);
    bool ok = weir_buf_printf(&out, "%s%s\n", form_name(state), state->ttl_ms ? " TTL" : "");
    for (int i = 0; ok && state->keyed && i < process->key_schema->field_count; i++) {
        struct weir_type plain = process->key_schema->fields[i].type; /* NULL or not, the bytes are the same */
        plain.nullable = true;
        ok = (i == 0 || weir_buf_puts(&out, ", ")) && weir_type_text(&plain, &out);
    }
    ok = ok && weir_buf_puts(&out, "\n");
    if (state->key.field_count)
        weir_typed_print(&state->key, &out);
    ok = ok && weir_buf_puts(&out, "\n");
    if (state->value.field_count)
        weir_typed_print(&state->value, &out);
    weir_assert(ok);
    char *text = weir_strdup((const char *)out.data);
    weir_buf_fini(&out);
    return text;
}

struct schema_parts {
    char *text; /* the four lie in it */
    char *form, *key, *map_key, *value;
    bool ttl;
};

static bool split_schema(const void *schema, size_t size, struct schema_parts *parts)
{
    char *rest = parts->text = weir_strndup(size ? schema : "", size);
    parts->form = strsep(&rest, "\n");
    parts->key = strsep(&rest, "\n");
    parts->map_key = strsep(&rest, "\n");
    parts->value = rest;
    if (!parts->value)
        return false;
    char *ttl = strstr(parts->form, " TTL");
    parts->ttl = ttl != NULL;
    if (ttl)
        *ttl = 0;
    return true;
}

static void describe(const struct schema_parts *parts, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s%s(%s)%s", parts->form, parts->map_key[0] ? " by (" : "", parts->map_key,
             parts->map_key[0] ? ") " : " ", parts->value, parts->ttl ? " with a ttl" : "");
}

static weir_err differs(const struct weir_process_state *state, const struct schema_parts *was, const char *why,
                        struct weir_error *error)
{
    struct schema_parts is;
    char before[300], now[300];
    bool ok = split_schema(state->schema, strlen(state->schema), &is);
    weir_assert(ok);
    describe(was, before, sizeof before);
    describe(&is, now, sizeof now);
    weir_err err =
        weir_fail(error, WEIR_ERR_INVALID,
                  "state '%s' was %s and is declared as %s: %s. Fields may be added when they may be NULL or "
                  "have a DEFAULT, and numbers may become wider; for anything else give the state another name",
                  state->name, before, now, why);
    free(is.text);
    return err;
}

static weir_err check_parts(const struct weir_process_state *state, const struct schema_parts *was,
                            struct weir_error *error)
{
    struct schema_parts is;
    weir_err err = WEIR_OK;
    bool ok = split_schema(state->schema, strlen(state->schema), &is);
    weir_assert(ok);
    if (strcmp(was->form, is.form) != 0)
        err = differs(state, was, "it is of another form", error);
    else if (strcmp(was->key, is.key) != 0)
        err = weir_fail(error, WEIR_ERR_INVALID,
                        "state '%s' belongs to keys of %s, and the stream is keyed by %s now; key types cannot change: "
                        "give the operator another uid, or take the change back",
                        state->name, was->key, is.key);
    else if (strcmp(was->map_key, is.map_key) != 0)
        err = differs(state, was, "the type of a map's key cannot change", error);
    free(is.text);
    return err;
}

static void older_free(void *arg, void *reader)
{
    struct older *older = reader;
    (void)arg;
    weir_typed_reader_fini(&older->value);
    weir_typed_reader_fini(&older->key);
    free(older);
}

static weir_err older_new(void *arg, const uint8_t *schema, size_t size, void **reader, struct weir_error *error)
{
    struct weir_process_state *state = arg;
    struct schema_parts was;
    struct weir_error why;
    weir_err err = WEIR_OK;
    if (!split_schema(schema, size, &was))
        err = weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: the schema of state '%s' is none of this operator",
                        state->name);
    else
        err = check_parts(state, &was, error);
    struct older *older = weir_zalloc(sizeof *older);
    if (!err && state->decl) {
        older->ttl = was.ttl;
        if (weir_typed_reader_init(&older->value, &state->value, was.value, &why))
            err = differs(state, &was, why.message, error);
    }
    if (err)
        older_free(arg, older);
    else
        *reader = older;
    free(was.text);
    return err;
}

/* --- Making */

static weir_err typed_of(struct weir_typed *typed, const char *type, const struct weir_row_type *row,
                         struct weir_error *error)
{
    if (!row)
        return weir_typed_scalar(typed, type, error);
    weir_err err = WEIR_OK;
    for (uint32_t i = 0; i < row->field_count && !err; i++)
        err = weir_typed_add(typed, row->fields[i].name, row->fields[i].type, row->fields[i].offset, error);
    if (!err)
        weir_typed_finish(typed, row->size, row->nulls_offset);
    return err;
}

static void make_state(struct weir_process *process, struct weir_process_state *state)
{
    const struct weir_op_ctx *ctx = process->op_ctx;
    bool fixed = !weir_process_is_paged(state) && state->decl && !state->value.has_strings;
    size_t size = state->value.size_max + (state->ttl_ms ? 8 : 0);
    state->here_max = fixed && size <= HERE_MAX ? (size + 7) / 8 * 8 : HERE_TEXT;
    state->schema = schema_text(process, state);
    state->codec = (struct weir_state_codec){.arg = state,
                                             .encode = encode,
                                             .prefetch = prefetch,
                                             .decode = decode,
                                             .schema = state->schema,
                                             .schema_size = strlen(state->schema),
                                             .reader_new = older_new,
                                             .reader_free = older_free,
                                             .ttl_ms = weir_process_is_paged(state) ? 0 : state->ttl_ms,
                                             .now_ms = &process->now_ms};
    struct weir_state_spec spec = {.uid = ctx->plan->uid,
                                   .name = state->name,
                                   .value_size = offsetof(struct weir_process_blob, here) +
                                                 (state->here_max < 8 ? 8 : state->here_max),
                                   .fixed_key = state->keyed ? process->fixed_key : WEIR_TYPE_NONE,
                                   .codec = state->keyed ? &state->codec : NULL,
                                   .memory = state->keyed ? ctx->memory : NULL,
                                   .max_parallelism = ctx->max_parallelism,
                                   .key_group_first = ctx->key_group_first,
                                   .key_group_count = ctx->key_group_count};
    if (state->here_max < 8)
        state->here_max = 8;
    state->state = weir_state_new(&spec);
}

weir_err weir_process_state_init(struct weir_process *process, struct weir_process_state *state,
                                 const struct weir_state_decl *decl, struct weir_error *error)
{
    if (decl->size < sizeof *decl || decl->form < WEIR_FORM_VALUE || decl->form > WEIR_FORM_BROADCAST || !decl->name)
        return weir_fail(error, WEIR_ERR_INVALID, "a state is not declared by a macro of weir/process.h");
    state->process = process;
    state->decl = decl;
    state->name = decl->name;
    state->form = decl->form;
    state->keyed = decl->form < WEIR_FORM_SPLIT_LIST;
    state->ttl_read = decl->ttl_update == WEIR_TTL_ON_READ_AND_WRITE;
    if (decl->ttl && (!weir_duration_parse(decl->ttl, &state->ttl_ms) || state->ttl_ms <= 0))
        return weir_fail(error, WEIR_ERR_INVALID, "state '%s': .ttl '%.100s' is not a duration", decl->name, decl->ttl);
    weir_err err = typed_of(&state->value, decl->type, decl->row, error);
    if (!err && weir_process_is_map(state))
        err = typed_of(&state->key, decl->key_type, NULL, error);
    if (!err)
        err = weir_typed_reader_init(&state->value_reader, &state->value, NULL, error);
    if (!err && weir_process_is_map(state))
        err = weir_typed_reader_init(&state->key_reader, &state->key, NULL, error);
    if (err)
        return weir_wrap(error, "state '%s'", decl->name);
    if (!state->keyed || process->keyed)
        make_state(process, state);
    return WEIR_OK;
}

weir_err weir_process_timers_init(struct weir_process *process, struct weir_process_timers *timers, const char *name,
                                  struct weir_error *error)
{
    struct weir_process_state *state = &timers->state;
    (void)error;
    state->process = process;
    state->name = name;
    state->keyed = true;
    if (process->keyed)
        make_state(process, state);
    return WEIR_OK;
}

void weir_process_state_fini(struct weir_process_state *state)
{
    weir_state_free(state->state);
    for (int i = 0; i < state->place_count; i++)
        free(state->places[i]);
    free(state->places);
    state->places = NULL;
    state->place_count = 0;
    weir_typed_reader_fini(&state->key_reader);
    weir_typed_reader_fini(&state->value_reader);
    weir_typed_fini(&state->key);
    weir_typed_fini(&state->value);
    free(state->schema);
    state->state = NULL;
}
