/* See state_rows.h. What a part holds is known by its name (reader, splits, watermark) or by the schema that goes with it: that of a function's
 * states (ops/process_state.c) is a text, that of windows (ops/window_snapshot.c) begins with a type and a layout and goes on as text.
 *
 * A row has "key" (one value, or an array of the key's columns) and what the state holds of it. */
#include "state_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/batch.h"
#include "data/time_text.h"
#include "expr/agg.h"
#include "format/format.h"
#include "statefile/run.h"

#define ROW_SIZE_MAX ((size_t)256 << 20)
#define SCHEMA_TEXT_MAX ((size_t)1 << 20)
#define FIELDS_MAX 64
#define WINDOW_SCHEMA_SIZE 9 /* type, layout; then text */

/* --- JSON */

static json_t *hex(const uint8_t *bytes, size_t size)
{
    struct weir_buf out;
    weir_buf_init(&out, SIZE_MAX / 2);
    bool ok = weir_buf_puts(&out, "0x");
    for (size_t i = 0; ok && i < size; i++)
        ok = weir_buf_printf(&out, "%02x", bytes[i]);
    json_t *text = ok ? json_stringn((const char *)out.data, out.size) : json_null();
    weir_buf_fini(&out);
    return text;
}

static json_t *time_json(int64_t ms)
{
    char text[64];
    if (ms == INT64_MIN || ms == INT64_MAX)
        return json_string(ms == INT64_MIN ? "min" : "max");
    size_t size = weir_timestamp_print_iso(ms, text);
    return json_stringn(text, size);
}

/* Text that may be anything. */
static json_t *text_json(const uint8_t *bytes, size_t size)
{
    json_t *text = json_stringn((const char *)bytes, size);
    return text ? text : hex(bytes, size);
}

/* A row as the JSON format writes it. */
static json_t *row_json(const struct weir_batch *batch, int row)
{
    const struct weir_format *format;
    struct weir_encoder *encoder = NULL;
    struct weir_buf out;
    json_t *json = NULL;
    weir_buf_init(&out, ROW_SIZE_MAX);
    if (!weir_format_find("json", &format, NULL) && !format->encoder_new(batch->schema, NULL, 0, &encoder, NULL)) {
        if (!format->encode(encoder, batch, row, &out, NULL))
            json = json_loadb((const char *)out.data, out.size, JSON_ALLOW_NUL, NULL);
        format->encoder_free(encoder);
    }
    weir_buf_fini(&out);
    return json;
}

/* --- Schemas as text */

struct layout { /* of one state's entries */
    enum { RAW, VALUE, LIST, MAP, TIMERS, WINDOW } form;
    bool ttl;
    struct weir_schema *key, *map_key, *value; /* NULL: none, or (key) not known */
    /* WINDOW */
    struct weir_agg *agg;
    char window[16];
    int64_t size_ms, slide_ms, offset_ms;
    size_t accumulator_size;
};

static void layout_fini(struct layout *layout)
{
    weir_schema_unref(layout->key);
    weir_schema_unref(layout->map_key);
    weir_schema_unref(layout->value);
    weir_agg_free(layout->agg);
}

/* "STRING, DECIMAL(10, 2)" as columns "0", "1". */
static weir_err key_schema(const char *types, struct weir_schema **schema)
{
    struct weir_buf columns;
    int depth = 0, count = 0;
    bool ok = true;
    weir_buf_init(&columns, SCHEMA_TEXT_MAX);
    while (*types && ok) {
        size_t size = 0;
        for (; types[size] && (types[size] != ',' || depth > 0); size++)
            depth += types[size] == '(' || types[size] == '<' ? 1 : types[size] == ')' || types[size] == '>' ? -1 : 0;
        ok = weir_buf_printf(&columns, "%sk%d %.*s", count ? ", " : "", count, (int)size, types);
        count++;
        types += size + (types[size] == ',');
    }
    weir_err err = ok && count <= WEIR_KEY_COLUMNS_MAX && count > 0
                       ? weir_schema_parse((const char *)columns.data, schema, NULL)
                       : WEIR_ERR_INVALID;
    weir_buf_fini(&columns);
    return err;
}

/* "form[ ttl]\nkey\nmap's key\nvalue". */
static bool process_layout(char *text, struct layout *layout)
{
    static const char *const names[] = {"TIMERS",      "VALUE",      "LIST",       "MAP",      "REDUCING",
                                        "AGGREGATING", "SPLIT LIST", "UNION LIST", "BROADCAST"};
    static const int forms[] = {TIMERS, VALUE, LIST, MAP, VALUE, VALUE, LIST, LIST, MAP};
    char *rest = text, *form = strsep(&rest, "\n"), *key = strsep(&rest, "\n"), *map_key = strsep(&rest, "\n");
    if (!rest)
        return false;
    char *ttl = strstr(form, " TTL");
    layout->ttl = ttl != NULL;
    if (ttl)
        *ttl = 0;
    size_t i = 0;
    while (i < sizeof names / sizeof *names && strcmp(names[i], form) != 0)
        i++;
    if (i == sizeof names / sizeof *names || (*key && key_schema(key, &layout->key)) ||
        (*map_key && weir_schema_parse(map_key, &layout->map_key, NULL)) ||
        (*rest && weir_schema_parse(rest, &layout->value, NULL)))
        return false;
    layout->form = forms[i];
    return (layout->form == TIMERS || layout->value) && (layout->form != MAP || layout->map_key) &&
           (!layout->value || layout->value->field_count <= FIELDS_MAX) &&
           (!layout->map_key || layout->map_key->field_count <= FIELDS_MAX);
}

/* "type size slide offset\nkey's columns\ninput\naggregates"; lines. */
static bool window_layout(char *text, uint64_t hash, struct layout *layout)
{
    char *rest = text, *head = strsep(&rest, "\n"), *key = strsep(&rest, "\n"), *input = strsep(&rest, "\n");
    struct weir_schema *schema = NULL;
    struct weir_key_spec spec = {.column_count = 0};
    bool ok = rest &&
              sscanf(head, "%15s %" SCNd64 " %" SCNd64 " %" SCNd64, layout->window, &layout->size_ms, &layout->slide_ms,
                     &layout->offset_ms) == 4 &&
              !weir_schema_parse(input, &schema, NULL);
    struct weir_field fields[WEIR_KEY_COLUMNS_MAX];
    for (char *at = key; ok && at && *at && spec.column_count < WEIR_KEY_COLUMNS_MAX;) {
        int column = (int)strtol(at, &at, 10);
        at += *at == ' ';
        ok = column >= 0 && column < schema->field_count;
        if (!ok)
            break;
        fields[spec.column_count] = schema->fields[column];
        spec.columns[spec.column_count++] = column;
    }
    struct weir_expr_error why;
    ok = ok && !weir_agg_compile(rest, schema, &spec, true, &layout->agg, &why) && weir_agg_layout(layout->agg) == hash;
    if (ok && spec.column_count)
        layout->key = weir_schema_new(fields, spec.column_count);
    if (ok)
        layout->accumulator_size = weir_agg_accumulator_size(layout->agg);
    weir_schema_unref(schema);
    layout->form = WINDOW;
    return ok;
}

static void layout_init(struct layout *layout, const uint8_t *schema, size_t size)
{
    *layout = (struct layout){.form = RAW};
    bool window = size > WINDOW_SCHEMA_SIZE && schema[0] < ' ';
    uint64_t hash = 0;
    for (int i = 0; window && i < 8; i++)
        hash |= (uint64_t)schema[1 + i] << 8 * i;
    size_t skip = window ? WINDOW_SCHEMA_SIZE : 0;
    char *text =
        size && size < SCHEMA_TEXT_MAX ? weir_strndup((const char *)schema + skip, size - skip) : weir_strdup("");
    if (window ? !window_layout(text, hash, layout) : !process_layout(text, layout)) {
        layout_fini(layout);
        *layout = (struct layout){.form = RAW};
    }
    free(text);
}

void weir_saved_schema_text(const uint8_t *schema, size_t schema_size, char *out, size_t size)
{
    struct layout layout;
    layout_init(&layout, schema, schema_size);
    out[0] = 0;
    if (layout.form == WINDOW) {
        const char *text = (const char *)schema + WINDOW_SCHEMA_SIZE, *end = text + schema_size - WINDOW_SCHEMA_SIZE;
        for (int line = 0; line < 3; line++)
            text = (const char *)memchr(text, '\n', (size_t)(end - text)) + 1;
        snprintf(out, size, "%s window: %.*s", layout.window, (int)(end - text), text);
    } else if (layout.form != RAW) {
        snprintf(out, size, "%.*s", (int)schema_size, (const char *)schema);
        for (char *p = out; *p; p++)
            *p = *p == '\n' ? ' ' : *p;
    }
    layout_fini(&layout);
}

/* --- Values */

/* `count` more bytes, or NULL. */
static const uint8_t *take(const uint8_t **at, const uint8_t *end, size_t count)
{
    const uint8_t *bytes = *at;
    if ((size_t)(end - bytes) < count)
        return NULL;
    *at += count;
    return bytes;
}

static uint64_t number_of(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static size_t fixed_size(enum weir_type_id type)
{
    return type == WEIR_TYPE_BOOLEAN ? 1 : (size_t)weir_type_width(type);
}

static bool put_field(struct weir_column *column, const uint8_t **at, const uint8_t *end)
{
    size_t size = fixed_size(column->type);
    const uint8_t *bytes = take(at, end, size ? size : 4);
    if (!bytes)
        return false;
    if (!size) {
        size = number_of(bytes, 4);
        if (!(bytes = take(at, end, size)))
            return false;
        weir_column_set_bytes(column, 0, bytes, size);
    } else if (column->type == WEIR_TYPE_BOOLEAN) {
        weir_bit_put(column->bits, 0, *bytes != 0);
    } else {
        memcpy(column->values, bytes, size); /* little-endian, as this machine is */
    }
    return true;
}

/* One typed value (state/typed.h), which moves *at behind it. NULL: the bytes are none. */
static json_t *typed_json(struct weir_schema *schema, const uint8_t **at, const uint8_t *end)
{
    bool nullable = false, ok = true;
    for (int i = 0; i < schema->field_count; i++)
        nullable |= schema->fields[i].type.nullable;
    const uint8_t *nulls = nullable ? take(at, end, (size_t)(schema->field_count + 7) / 8) : NULL;
    if (nullable && !nulls)
        return NULL;
    struct weir_batch *batch = weir_batch_new(schema, 1);
    for (int i = 0; ok && i < schema->field_count; i++) {
        if (nulls && (nulls[i / 8] >> (i % 8) & 1))
            weir_column_set_null(&batch->columns[i], 0, batch->row_capacity);
        else
            ok = put_field(&batch->columns[i], at, end);
    }
    batch->row_count = 1;
    json_t *json = ok ? row_json(batch, 0) : NULL;
    weir_batch_unref(batch);
    if (json && schema->field_count == 1 && strcmp(schema->fields[0].name, "value") == 0 && !nullable) {
        json_t *only = json_incref(json_object_get(json, "value"));
        json_decref(json);
        return only;
    }
    return json;
}

/* A canonical key: its one value, an array of several, NULL where it is none of the schema's. */
static json_t *key_json(struct weir_schema *schema, const uint8_t *key, size_t size)
{
    if (!schema)
        return size ? hex(key, size) : json_null();
    struct weir_key_spec spec = {.column_count = schema->field_count};
    struct weir_column *columns[WEIR_KEY_COLUMNS_MAX];
    struct weir_batch *batch = weir_batch_new(schema, 1);
    for (int i = 0; i < schema->field_count; i++) {
        spec.columns[i] = i;
        columns[i] = &batch->columns[i];
    }
    json_t *json = NULL, *object = NULL;
    if (!weir_key_decode(key, size, &spec, schema, columns, 0, 1, NULL)) {
        batch->row_count = 1;
        object = row_json(batch, 0);
    }
    if (object && schema->field_count == 1) {
        json = json_incref(json_object_get(object, schema->fields[0].name));
    } else if (object) {
        json = json_array();
        for (int i = 0; i < schema->field_count; i++)
            json_array_append(json, json_object_get(object, schema->fields[i].name));
    }
    json_decref(object);
    weir_batch_unref(batch);
    return json;
}

/* --- Entries */

struct rows {
    const char *state;
    weir_saved_visit *visit;
    void *arg;
    bool stopped;
};

static weir_err damaged(const struct rows *rows, struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: an entry of state '%s' is not of its schema",
                     rows->state);
}

static void give(struct rows *rows, json_t *take_row)
{
    if (rows->stopped)
        json_decref(take_row);
    else
        rows->stopped = !rows->visit(take_row, rows->arg);
}

/* [touched] before a value or behind a map's key. */
static bool take_touched(const struct layout *layout, const uint8_t **at, const uint8_t *end, json_t *row)
{
    if (!layout->ttl)
        return true;
    const uint8_t *bytes = take(at, end, 8);
    if (bytes)
        json_object_set_new(row, "touched", time_json((int64_t)number_of(bytes, 8)));
    return bytes != NULL;
}

static bool take_sized(struct weir_schema *schema, const uint8_t **at, const uint8_t *end, json_t **json)
{
    const uint8_t *size = take(at, end, 4), *bytes = size ? take(at, end, number_of(size, 4)) : NULL, *next = bytes;
    *json = bytes ? typed_json(schema, &next, *at) : NULL;
    return *json && next == *at;
}

/* One element of `begin` (taken): a value, or a map's entry. */
static bool element(struct rows *rows, const struct layout *layout, const uint8_t **at, const uint8_t *end,
                    json_t *take_row)
{
    json_t *map_key = NULL, *value = NULL;
    bool ok;
    if (layout->form == MAP) {
        const uint8_t *size = take(at, end, 4), *bytes = size ? take(at, end, number_of(size, 4)) : NULL, *next = bytes;
        map_key = bytes ? typed_json(layout->map_key, &next, *at) : NULL;
        ok = map_key && next == *at && take_touched(layout, at, end, take_row) &&
             take_sized(layout->value, at, end, &value);
        if (map_key)
            json_object_set_new(take_row, "map-key", map_key);
    } else {
        ok = take_touched(layout, at, end, take_row) && (value = typed_json(layout->value, at, end));
    }
    if (value)
        json_object_set_new(take_row, "value", value);
    if (ok)
        give(rows, take_row);
    else
        json_decref(take_row);
    return ok;
}

static bool page(struct rows *rows, const struct layout *layout, const json_t *key, const uint8_t *at, size_t size)
{
    const uint8_t *end = at + size;
    if (size < 1 || (at[0] != 1 && at[0] != 2) || (at[0] == 1 && size < 21))
        return false;
    for (at += *at == 1 ? 21 : 1; at < end;)
        if (!element(rows, layout, &at, end, json_pack("{s:O}", "key", key)))
            return false;
    return true;
}

/* An accumulator as what it would give now. */
static json_t *agg_json(const struct layout *layout, const struct weir_record *record, const uint8_t *bytes,
                        size_t size, int64_t start_ms, int64_t end_ms)
{
    struct weir_arena heap;
    struct weir_batch *batch = NULL;
    json_t *json = NULL;
    weir_arena_init(&heap);
    uint8_t *accumulator = weir_arena_zalloc(&heap, layout->accumulator_size + 8);
    struct weir_agg_group group = {record->key, record->key_size, accumulator, start_ms, end_ms};
    if (weir_agg_decode(layout->agg, bytes, size, accumulator, &heap) &&
        !weir_agg_result(layout->agg, &group, 1, &batch, NULL)) {
        json = row_json(batch, 0);
        weir_batch_unref(batch);
    }
    weir_arena_fini(&heap);
    return json;
}

/* Where the pane that ends at `end_ms` begins: windows begin and end at its edges. */
static int64_t pane_start(const struct layout *layout, int64_t end_ms)
{
    if (layout->slide_ms <= 0 || layout->size_ms % layout->slide_ms == 0)
        return end_ms - (layout->slide_ms > 0 ? layout->slide_ms : layout->size_ms);
    int64_t rest = layout->size_ms % layout->slide_ms;
    int64_t in_slide = ((end_ms - layout->offset_ms) % layout->slide_ms + layout->slide_ms) % layout->slide_ms;
    return end_ms - (in_slide == rest ? rest : layout->slide_ms - rest);
}

static bool window_entry(struct rows *rows, const struct layout *layout, const struct weir_record *record, json_t *key)
{
    bool session = strcmp(layout->window, "session") == 0;
    const uint8_t *at = record->value, *end = at + record->value_size;
    do {
        int64_t start_ms = pane_start(layout, record->namespace), end_ms = record->namespace;
        const uint8_t *bytes = at;
        size_t size = (size_t)(end - at);
        if (session) {
            const uint8_t *head = take(&at, end, 29);
            if (!head)
                return false;
            start_ms = (int64_t)number_of(head, 8), end_ms = (int64_t)number_of(head + 8, 8);
            size = number_of(head + 25, 4);
            if (!(bytes = take(&at, end, size)))
                return false;
        } else {
            at = end;
        }
        json_t *value = agg_json(layout, record, bytes, size, start_ms, end_ms);
        if (!value)
            return false;
        give(rows, json_pack("{s:O, s:o, s:o, s:o}", "key", key, "start", time_json(start_ms), "end", time_json(end_ms),
                             "value", value));
    } while (session && at < end);
    return true;
}

static bool timers(struct rows *rows, const struct weir_record *record, json_t *key)
{
    if (record->value_size % 8)
        return false;
    for (size_t i = 0; i < record->value_size; i += 8)
        give(rows, json_pack("{s:O, s:o}", "key", key, "time", time_json((int64_t)number_of(record->value + i, 8))));
    return true;
}

static weir_err entry(struct rows *rows, const struct layout *layout, const struct weir_record *record,
                      struct weir_error *error)
{
    const uint8_t *at = record->value, *end = at + record->value_size;
    bool ok = true;
    json_t *key = key_json(layout->form == RAW ? NULL : layout->key, record->key, record->key_size);
    if (!key)
        return damaged(rows, error);
    if (layout->form == RAW)
        give(rows, json_pack("{s:O, s:I, s:o}", "key", key, "namespace", (json_int_t)record->namespace, "value",
                             hex(record->value, record->value_size)));
    else if (layout->form == WINDOW)
        ok = window_entry(rows, layout, record, key);
    else if (layout->form == TIMERS)
        ok = timers(rows, record, key);
    else if (layout->form == VALUE)
        ok = element(rows, layout, &at, end, json_pack("{s:O}", "key", key)) && at == end;
    else
        ok = page(rows, layout, key, at, record->value_size);
    json_decref(key);
    return ok ? WEIR_OK : damaged(rows, error);
}

/* --- Keyed states: runs */

bool weir_saved_is_run(const uint8_t *bytes, size_t size)
{
    return size >= WEIR_RUN_TRAILER_SIZE && memcmp(bytes + size - 8, "weir-run", 8) == 0;
}

struct opened {
    struct weir_run *run;
    struct layout layout;
};

static weir_err merge_rows(struct rows *rows, const struct opened *opened, const struct weir_merge_source *sources,
                           int count, struct weir_error *error)
{
    struct weir_merge *merge = weir_merge_new(sources, count);
    weir_err err = WEIR_OK;
    while (!err && !rows->stopped) {
        struct weir_record record;
        const struct weir_run *run;
        bool more;
        if ((err = weir_merge_next(merge, &record, &run, &more, error)) || !more)
            break;
        int i = 0;
        while (opened[i].run != run)
            i++;
        err = entry(rows, &opened[i].layout, &record, error);
    }
    weir_merge_free(merge);
    return err;
}

static weir_err run_rows(struct rows *rows, const struct weir_saved_part *parts, int count, struct weir_error *error)
{
    struct opened *opened = weir_zalloc((size_t)(count + 1) * sizeof *opened);
    struct weir_merge_source *sources = weir_zalloc((size_t)(count + 1) * sizeof *sources);
    weir_err err = WEIR_OK;
    int open = 0;
    for (; open < count; open++) {
        const struct weir_saved_part *part = &parts[open];
        if ((err = weir_run_open(part->bytes, part->size, &opened[open].run, error)))
            break;
        const struct weir_run_info *info = weir_run_info(opened[open].run);
        layout_init(&opened[open].layout, info->schema, info->schema_size);
        sources[open].run = opened[open].run;
        int max_parallelism = weir_run_info(opened[0].run)->max_parallelism;
        if (info->max_parallelism == max_parallelism && part->parallelism <= max_parallelism) {
            weir_key_group_range(max_parallelism, part->parallelism, part->subtask, &sources[open].key_group_first,
                                 &sources[open].key_group_count);
            continue;
        }
        err = weir_fail(error, WEIR_ERR_DATA,
                        "CHECKPOINT_CORRUPT: state '%s' is in runs of max parallelism %d and %d, by %d subtasks",
                        rows->state, max_parallelism, info->max_parallelism, part->parallelism);
        open++;
        break;
    }
    if (!err)
        err = merge_rows(rows, opened, sources, open, error);
    while (open-- > 0) {
        weir_run_close(opened[open].run);
        layout_fini(&opened[open].layout);
    }
    free(opened);
    free(sources);
    return err;
}

/* --- Others: by name, a part at a time */

static bool split_rows(struct rows *rows, const struct weir_saved_part *part, struct weir_part_reader *in, bool reader)
{
    uint32_t count = weir_get_u32(in);
    for (uint32_t i = 0; i < count && !in->bad; i++) {
        size_t size;
        const uint8_t *id = weir_get_bytes(in, &size);
        json_t *row =
            json_pack("{s:i, s:o}", "subtask", part->subtask, "split", size ? text_json(id, size) : json_null());
        json_object_set_new(row, "offset", json_integer(weir_get_i64(in)));
        json_object_set_new(row, "size", json_integer(weir_get_i64(in)));
        if (reader)
            (void)weir_get_i64(in); /* how many come after it */
        bool begun = reader && weir_get_u8(in);
        if (begun) {
            json_object_set_new(row, "watermark", time_json(weir_get_i64(in)));
            (void)weir_get_u8(in);
            const uint8_t *position = weir_get_bytes(in, &size);
            json_object_set_new(row, "position", text_json(position, size));
        }
        if (in->bad)
            json_decref(row);
        else
            give(rows, row);
    }
    return !in->bad && in->at == in->end;
}

/* u8 version, bytes schema, i64 count, elements: a function's own state. *known: it has such a schema. */
static bool own_rows(struct rows *rows, const struct weir_saved_part *part, struct weir_part_reader *in, bool *known)
{
    size_t size;
    const uint8_t *schema = weir_get_bytes(in, &size);
    (void)weir_get_i64(in);
    struct layout layout;
    layout_init(&layout, schema, in->bad ? 0 : size);
    bool ok = *known = !in->bad && (layout.form == LIST || layout.form == MAP);
    while (ok && in->at < in->end)
        ok = element(rows, &layout, &in->at, in->end, json_pack("{s:i}", "subtask", part->subtask));
    layout_fini(&layout);
    return ok;
}

/* Rows that a barrier overtook; their columns are those of the job's edge, which is not here. */
static bool overtaken_rows(struct rows *rows, const struct weir_saved_part *part, struct weir_part_reader *in)
{
    size_t size;
    (void)weir_get_u8(in);
    (void)weir_get_bytes(in, &size);
    while (!in->bad && in->at < in->end) {
        bool batch = weir_get_u8(in) == 1;
        json_t *row = json_pack("{s:i, s:I}", "subtask", part->subtask, "from", (json_int_t)weir_get_u32(in));
        if (batch) {
            const uint8_t *bytes = weir_get_bytes(in, &size);
            json_object_set_new(row, "batch", hex(bytes, size));
        } else {
            json_object_set_new(row, "watermark", time_json(weir_get_i64(in)));
        }
        if (in->bad)
            json_decref(row);
        else
            give(rows, row);
    }
    return !in->bad;
}

static weir_err part_rows(struct rows *rows, const struct weir_saved_part *part, struct weir_error *error)
{
    struct weir_part_reader in = {.at = part->bytes, .end = part->bytes + part->size};
    bool version = weir_get_u8(&in) == 1, ok = true, known = false;
    struct weir_part_reader own = in;
    bool reader = strcmp(rows->state, "reader") == 0;
    bool overtaken = part->kind == WEIR_STATE_ROWS || part->kind == WEIR_STATE_ROWS_KEYED;
    if (version && overtaken)
        ok = overtaken_rows(rows, part, &in);
    else if (version && (reader || strcmp(rows->state, "splits") == 0))
        ok = split_rows(rows, part, &in, reader);
    else if (version && strcmp(rows->state, "watermark") == 0 && part->size == 9)
        give(rows, json_pack("{s:i, s:o}", "subtask", part->subtask, "watermark", time_json(weir_get_i64(&in))));
    else if (version)
        ok = own_rows(rows, part, &own, &known) || !known;
    if (!known && !reader && !overtaken && in.at == own.at)
        give(rows, json_pack("{s:i, s:o}", "subtask", part->subtask, "bytes", hex(part->bytes, part->size)));
    return ok ? WEIR_OK
              : weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: state '%s' of subtask %d is not as it is written",
                          rows->state, part->subtask);
}

weir_err weir_saved_rows(const char *state, const struct weir_saved_part *parts, int count, weir_saved_visit *visit,
                         void *arg, struct weir_error *error)
{
    struct rows rows = {.state = state, .visit = visit, .arg = arg};
    if (count > 0 && parts[0].kind == WEIR_STATE_KEYED && weir_saved_is_run(parts[0].bytes, parts[0].size))
        return run_rows(&rows, parts, count, error);
    weir_err err = WEIR_OK;
    for (int i = 0; i < count && !err && !rows.stopped; i++)
        err = part_rows(&rows, &parts[i], error);
    return err;
}
