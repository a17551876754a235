/* JSON records into batches.
 *
 * Data path of sources, on the source's task thread; a decoder belongs to one task. Records that repeat the shape of one before
 * are taken by json_expect.c; what is here reads all others, and decides what is bad. Speed comes from three things: simdjson's
 * stage 1 indexes a window of many lines at once; one walk over that index checks the grammar and stores the wanted
 * values straight into the columns; and members are expected in the order of the record before, so that a name costs one
 * comparison.
 *
 * What a bad record is: one that is not valid JSON AS A WHOLE (unread members included: their grammar, escapes and numbers
 * are checked too), not an object, nested deeper than DEPTH_MAX, or that breaks what format.h says of its columns. Types:
 *   BOOLEAN from true/false; integers from numbers without point or exponent, in range; FLOAT and DOUBLE from any number
 *   in range and from "NaN", "Infinity", "-Infinity"; STRING from strings (an escaped lone surrogate is not UTF-8: bad);
 *   BYTES from base64; DATE from "2013-01-01"; TIME from "06:00:00[.123]"; TIMESTAMP from ISO-8601 or SQL text or from
 *   whole ms since the epoch, cut to the column's precision, and TIMESTAMP_LTZ the same (a text without a zone is UTC);
 *   DECIMAL from numbers and from strings that are numbers, digit by digit: one that does not fit exactly is bad; ARRAY from
 *   arrays, ROW from objects by the fields' names, MAP from objects. Of a doubled member the last counts. Lines of white
 *   space alone are no records.
 *
 * Why a window is as safe as a record by itself: a string cannot run over a line end, since stage 1 refuses control characters
 * in strings (the window is then taken line by line), so that each line has the same index in any window; and a record
 * counts only if its object begins and ends within its line.
 * Invariant: the walk reads an index entry only below `end`; a number or literal is scanned only where another entry
 * follows, whose character ends it; the 64 bytes of padding allow for loads of 16.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/assert.h"
#include "data/decimal.h"
#include "data/time_text.h"
#include "data/value_code.h"
#include "format/json_escape.h"
#include "format/json_expect.h"
#include "format/json_int.h"
#include "format/json_number.h"
#include "format/simdjson_shim.h"
#include "format/text_int.h"

#define PADDING 64
#define BLOCK 16
#define DEPTH_MAX 1024
#define RECORD_SIZE_MAX ((size_t)256 << 20)
/* Windows: large enough to hide what one stage 1 run costs, small enough to stay in the caches close by. */
#define WINDOW_MAX ((size_t)32 << 10)
#define WINDOW_MIN ((size_t)1 << 10)
/* A shape is worth it when at least so many lines have it one after the other; else it is given up for some windows. */
#define EXPECT_ROWS_MIN 8
#define EXPECT_PATIENCE_MAX 64
#define ALONE_MAX 4096 /* bytes of a record that came alone, to be tried by the quick reader */

/* A member as it stood at some position of the record before. */
#define SLOTS_MAX 256
#define SLOT_NAME_MAX 63
struct slot {
    uint8_t name[SLOT_NAME_MAX + 1]; /* with its closing quote, zeros behind */
    uint32_t size;                   /* with the quote */
    int32_t column;                  /* -1: not wanted */
};

/* What a value is stored as: first the columns of the schema, then what is in the nested ones. */
struct target {
    enum weir_type_id type;
    bool nullable;
    uint8_t precision;
    uint8_t scale;
    int first; /* ARRAY, MAP, ROW: the targets of its child's columns */
    const struct weir_field *field;
    const char *path; /* for messages: "order.items[].price" */
};

struct weir_decoder {
    struct weir_schema *schema;
    struct weir_json_index *index;
    bool fail_on_missing;
    int column_count;
    int target_count;
    struct target *targets;
    struct weir_arena paths;
    uint32_t *seen; /* target_count; the generation (record, or object of a nested ROW) that last set it */
    uint32_t generation;
    uint32_t nested_generation;
    int32_t *names; /* open addressing: column or -1 */
    uint32_t names_mask;
    int slot_count;
    struct slot slots[SLOTS_MAX];
    struct weir_timestamp_cache timestamps;
    size_t window;    /* bytes to index at once; small after a bad record */
    size_t row_size;  /* measured average, bytes */
    uint8_t *scratch; /* a padded copy, or an unescaped text */
    size_t scratch_size;
    uint8_t *text; /* an unescaped text, while scratch holds the record */
    size_t text_size;
    struct weir_json_schema *schema_of_records; /* NULL: records are not checked */
    struct weir_json_expect *expect;
    bool expecting;      /* lines go to `expect` first */
    int expect_wait;     /* indexed windows, or records that came alone, until a shape is learned (again) */
    int expect_patience; /* the next wait, when that shape does not last */
    int expect_rows;     /* that came alone and had it */
};

/* The index of a window and how far the walk has come. */
struct walk {
    const uint8_t *bytes;
    const uint32_t *at;
    const uint32_t *end;
};

static uint8_t *room(uint8_t **buffer, size_t *buffer_size, size_t size)
{
    if (*buffer_size < size) {
        *buffer_size = size + size / 2 + 64;
        free(*buffer);
        *buffer = weir_alloc(*buffer_size);
    }
    return *buffer;
}

/* --- Sentences */

static weir_err bad_record(struct weir_error *error, const char *what)
{
    return weir_fail_record(error, WEIR_BAD_MALFORMED, "json: the record %s", what);
}

static __attribute__((noinline, cold)) weir_err bad_value(const struct weir_decoder *decoder, int column,
                                                          const char *what, struct weir_error *error)
{
    char type[64];
    const struct target *target = &decoder->targets[column];
    return weir_fail_record(error, WEIR_BAD_VALUE, "json: column '%.200s' (%s) %s", target->path,
                            weir_type_print(&target->field->type, type), what);
}

static __attribute__((noinline, cold)) weir_err wrong_kind(const struct weir_decoder *decoder, int column,
                                                           uint8_t first, struct weir_error *error)
{
    const char *what = first == '"'                                     ? "is a string that it cannot take"
                       : first == '{'                                   ? "is an object"
                       : first == '['                                   ? "is an array"
                       : first == 't' || first == 'f'                   ? "is a boolean, or not JSON"
                       : first == '-' || (first >= '0' && first <= '9') ? "is a number that it cannot take"
                                                                        : "is not JSON";
    return bad_value(decoder, column, what, error);
}

static weir_err bad_index(enum weir_json_index_result result, struct weir_error *error)
{
    switch (result) {
    case WEIR_JSON_INDEX_EMPTY:
        return bad_record(error, "is empty");
    case WEIR_JSON_INDEX_UTF8:
        return bad_record(error, "is not valid UTF-8");
    case WEIR_JSON_INDEX_STRING:
        return bad_record(error, "has a string that is not closed");
    case WEIR_JSON_INDEX_CONTROL:
        return bad_record(error, "has a control character in a string, or a string that is not closed");
    default:
        return bad_record(error, "is not JSON");
    }
}

/* --- Scalars. `v` is the first character, `next` the position of the next index entry. */

static inline bool is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Does a scalar end at `p`? Whatever lies between it and `next` is white space, since anything else were indexed. */
static inline bool ends_at(const uint8_t *p, const uint8_t *next)
{
    return p == next || is_space(*p);
}

static inline bool literal_is(const uint8_t *v, const uint8_t *next, const char *text, size_t size)
{
    return memcmp(v, text, size) == 0 && ends_at(v + size, next);
}

/* The content of the string that begins at `v`, escapes as they are. False: no string. */
static inline bool string_bounds(const uint8_t *v, const uint8_t *next, const uint8_t **content, size_t *size)
{
    const uint8_t *close = next - 1;
    while (close > v && is_space(*close))
        close--;
    if (*v != '"' || close == v || *close != '"')
        return false;
    *content = v + 1;
    *size = (size_t)(close - v - 1);
    return true;
}

/* Copies in blocks (both sides have room to overrun) until a backslash; returns how much, size: all of it. */
static inline size_t copy_plain(uint8_t *to, const uint8_t *from, size_t size)
{
#ifdef __SSE2__
    const __m128i backslash = _mm_set1_epi8('\\');
    for (size_t i = 0; i < size; i += BLOCK) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(from + i));
        _mm_storeu_si128((__m128i *)(void *)(to + i), block);
        unsigned found = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(block, backslash));
        if (found != 0) {
            size_t at = i + (size_t)__builtin_ctz(found);
            return at < size ? at : size;
        }
    }
    return size;
#else
    const uint8_t *found = size > 0 ? memchr(from, '\\', size) : NULL;
    size_t plain = found ? (size_t)(found - from) : size;
    memcpy(to, from, plain);
    return plain;
#endif
}

/* A string's text: in place when it has no escapes, else in decoder->text. */
static bool string_text(struct weir_decoder *decoder, const uint8_t *v, const uint8_t *next, const uint8_t **text,
                        size_t *size)
{
    if (!string_bounds(v, next, text, size))
        return false;
    if (*size == 0 || !memchr(*text, '\\', *size))
        return true;
    uint8_t *to = room(&decoder->text, &decoder->text_size, *size);
    if (!unescape(*text, *size, to, size, true))
        return false;
    *text = to;
    return true;
}

static bool special_double(struct weir_decoder *decoder, const uint8_t *v, const uint8_t *next, double *value)
{
    const uint8_t *text;
    size_t size;
    if (!string_text(decoder, v, next, &text, &size))
        return false;
    if (size == 3 && memcmp(text, "NaN", 3) == 0)
        *value = NAN;
    else if (size == 8 && memcmp(text, "Infinity", 8) == 0)
        *value = INFINITY;
    else if (size == 9 && memcmp(text, "-Infinity", 9) == 0)
        *value = -INFINITY;
    else
        return false;
    return true;
}

/* --- Storing a value. All return WEIR_OK or DATA. */

static weir_err store_bytes(struct weir_decoder *decoder, struct weir_column *to, int column, int row, const uint8_t *v,
                            const uint8_t *next, struct weir_error *error)
{
    const uint8_t *text;
    size_t size;
    if (!string_text(decoder, v, next, &text, &size))
        return wrong_kind(decoder, column, *v, error);
    uint8_t *bytes = weir_column_reserve_bytes(to, row, size / 4 * 3);
    if (!weir_base64_decode(text, size, bytes, &size))
        return bad_value(decoder, column, "is not base64", error);
    to->offsets[row + 1] = to->offsets[row] + (int32_t)size;
    return WEIR_OK;
}

static weir_err store_string(struct weir_decoder *decoder, struct weir_column *to, int column, int row,
                             const uint8_t *v, const uint8_t *next, struct weir_error *error)
{
    const uint8_t *content;
    size_t size;
    if (!string_bounds(v, next, &content, &size))
        return wrong_kind(decoder, column, *v, error);
    size_t used = (size_t)to->offsets[row];
    uint8_t *bytes = to->bytes + used;
    if (used + size + BLOCK <= to->bytes_buffer->capacity) /* the usual case, without a call */
        to->offsets[row + 1] = (int32_t)(used + size);
    else
        bytes = weir_column_reserve_bytes(to, row, size);
    size_t plain = copy_plain(bytes, content, size);
    if (plain == size)
        return WEIR_OK;
    if (!unescape(content + plain, size - plain, bytes + plain, &size, true))
        return bad_value(decoder, column, "has an escape that is not JSON, or half a surrogate pair", error);
    to->offsets[row + 1] = to->offsets[row] + (int32_t)(plain + size);
    return WEIR_OK;
}

static weir_err store_int(struct weir_decoder *decoder, struct weir_column *to, int column, int row, const uint8_t *v,
                          const uint8_t *next, struct weir_error *error)
{
    static const int64_t limits[9] = {[1] = INT8_MAX, [2] = INT16_MAX, [4] = INT32_MAX, [8] = INT64_MAX};
    struct weir_json_number number;
    int64_t value;
    int width = weir_type_width(to->type);
    if (!weir_json_take_number(v, &number) || !ends_at(number.end, next))
        return wrong_kind(decoder, column, *v, error);
    if (!weir_json_number_to_int(&number, limits[width], &value))
        return bad_value(decoder, column, "is a number that is not whole or out of range", error);
    weir_column_set_int(to, row, width, value);
    return WEIR_OK;
}

static inline weir_err store_double(struct weir_decoder *decoder, struct weir_column *to, int column, int row,
                                    const uint8_t *v, const uint8_t *next, struct weir_error *error)
{
    struct weir_json_number number;
    double special;
    if (weir_json_take_number(v, &number) && ends_at(number.end, next)) {
        bool fits = to->type == WEIR_TYPE_DOUBLE ? weir_json_number_to_double(v, &number, &to->f64[row])
                                                 : weir_json_number_to_float(v, &number, &to->f32[row]);
        return fits ? WEIR_OK : bad_value(decoder, column, "is a number that is out of range", error);
    }
    if (!special_double(decoder, v, next, &special))
        return wrong_kind(decoder, column, *v, error);
    if (to->type == WEIR_TYPE_DOUBLE)
        to->f64[row] = special;
    else
        to->f32[row] = (float)special;
    return WEIR_OK;
}

static weir_err store_timestamp(struct weir_decoder *decoder, struct weir_column *to, int column, int row,
                                const uint8_t *v, const uint8_t *next, struct weir_error *error)
{
    const uint8_t *text;
    size_t size;
    int64_t ms;
    struct weir_json_number number;
    if (*v == '"') {
        /* As it stands first: with an escape in it, it is no timestamp, and comes here once more without. */
        bool taken = string_bounds(v, next, &text, &size) &&
                     weir_timestamp_parse_cached(&decoder->timestamps, (const char *)text, size, &ms);
        if (!taken && (!string_text(decoder, v, next, &text, &size) ||
                       !weir_timestamp_parse_cached(&decoder->timestamps, (const char *)text, size, &ms)))
            return bad_value(decoder, column, "is a string that is not a timestamp (2013-01-01T06:00:00Z)", error);
    } else {
        if (!weir_json_take_number(v, &number) || !ends_at(number.end, next))
            return wrong_kind(decoder, column, *v, error);
        if (!weir_json_number_to_int(&number, INT64_MAX, &ms) || ms < WEIR_TIMESTAMP_MIN_MS ||
            ms > WEIR_TIMESTAMP_MAX_MS)
            return bad_value(decoder, column, "is a number that is not whole milliseconds of the years 1 to 9999",
                             error);
    }
    if (decoder->targets[column].precision < 3)
        ms = weir_ms_cut(ms, decoder->targets[column].precision);
    to->i64[row] = ms;
    return WEIR_OK;
}

static weir_err store_date_or_time(struct weir_decoder *decoder, struct weir_column *to, int column, int row,
                                   const uint8_t *v, const uint8_t *next, struct weir_error *error)
{
    const uint8_t *text;
    size_t size;
    bool date = to->type == WEIR_TYPE_DATE;
    if (!string_text(decoder, v, next, &text, &size))
        return wrong_kind(decoder, column, *v, error);
    if (date ? !weir_date_parse((const char *)text, size, &to->i32[row])
             : !weir_time_parse((const char *)text, size, &to->i32[row]))
        return bad_value(decoder, column, date ? "is not a date (2013-01-01)" : "is not a time (06:00:00)", error);
    if (!date)
        to->i32[row] = (int32_t)weir_ms_cut(to->i32[row], decoder->targets[column].precision);
    return WEIR_OK;
}

/* From a number as it is written, or a string that is one. */
static weir_err store_decimal(struct weir_decoder *decoder, struct weir_column *to, int column, int row,
                              const uint8_t *v, const uint8_t *next, struct weir_error *error)
{
    const struct target *target = &decoder->targets[column];
    struct weir_json_number number;
    const uint8_t *text = v;
    size_t size;
    weir_int128 value;
    if (*v == '"') {
        if (!string_text(decoder, v, next, &text, &size))
            return wrong_kind(decoder, column, *v, error);
    } else {
        if (!weir_json_take_number(v, &number) || !ends_at(number.end, next))
            return wrong_kind(decoder, column, *v, error);
        size = (size_t)(number.end - v);
    }
    switch (weir_decimal_parse((const char *)text, size, target->precision, target->scale, &value)) {
    case WEIR_DECIMAL_EXACT:
        to->decimals[row] = weir_decimal_make(value);
        return WEIR_OK;
    case WEIR_DECIMAL_NO_NUMBER:
        return bad_value(decoder, column, "is a string that is not a number", error);
    case WEIR_DECIMAL_ROUNDED:
        return bad_value(decoder, column, "is a number with more digits behind its point, which would be lost", error);
    default:
        return bad_value(decoder, column, "is a number with more digits", error);
    }
}

static weir_err store_null(struct weir_decoder *decoder, struct weir_batch *batch, struct weir_column *to, int column,
                           int row, const uint8_t *v, const uint8_t *next, struct weir_error *error)
{
    if (!literal_is(v, next, "null", 4))
        return bad_value(decoder, column, "is not JSON", error);
    if (!decoder->targets[column].nullable)
        return bad_value(decoder, column, "is null", error);
    weir_column_set_null(to, row, batch->row_capacity);
    return WEIR_OK;
}

static inline weir_err store_scalar(struct weir_decoder *decoder, struct weir_column *to, int column, int row,
                                    const uint8_t *v, const uint8_t *next, struct weir_error *error)
{
    switch (decoder->targets[column].type) {
    case WEIR_TYPE_BOOLEAN:
        if (literal_is(v, next, "true", 4))
            weir_bit_set(to->bits, row);
        else if (literal_is(v, next, "false", 5))
            weir_bit_clear(to->bits, row);
        else
            return wrong_kind(decoder, column, *v, error);
        return WEIR_OK;
    case WEIR_TYPE_FLOAT:
    case WEIR_TYPE_DOUBLE:
        return store_double(decoder, to, column, row, v, next, error);
    case WEIR_TYPE_STRING:
        return store_string(decoder, to, column, row, v, next, error);
    case WEIR_TYPE_BYTES:
        return store_bytes(decoder, to, column, row, v, next, error);
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        return store_timestamp(decoder, to, column, row, v, next, error);
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
        return store_date_or_time(decoder, to, column, row, v, next, error);
    case WEIR_TYPE_DECIMAL:
        return store_decimal(decoder, to, column, row, v, next, error);
    default:
        return store_int(decoder, to, column, row, v, next, error);
    }
}

/* --- Members that nobody reads: their grammar is checked all the same */

static bool scalar_valid(struct weir_decoder *decoder, const uint8_t *v, const uint8_t *next)
{
    struct weir_json_number number;
    const uint8_t *content;
    size_t size;
    switch (*v) {
    case '"':
        if (!string_bounds(v, next, &content, &size))
            return false;
        return size == 0 || !memchr(content, '\\', size) ||
               unescape(content, size, room(&decoder->text, &decoder->text_size, size), &size, false);
    case 't':
        return literal_is(v, next, "true", 4);
    case 'f':
        return literal_is(v, next, "false", 5);
    case 'n':
        return literal_is(v, next, "null", 4);
    default:
        return weir_json_take_number(v, &number) && ends_at(number.end, next);
    }
}

/* Walks over the value at walk->at. False: it is not JSON, or its end is not in the window. */
static bool skip_value(struct weir_decoder *decoder, struct walk *walk)
{
    uint64_t objects[DEPTH_MAX / 64]; /* bit: the level is an object, not an array */
    const uint8_t *bytes = walk->bytes;
    const uint32_t *at = walk->at, *end = walk->end;
    int depth = 0;
    for (;;) {
        /* A value begins at *at; what follows it is needed too. */
        if (end - at < 2)
            return false;
        uint8_t c = bytes[*at];
        if (c == '{' || c == '[') {
            if (depth == DEPTH_MAX)
                return false;
            uint64_t bit = (uint64_t)1 << (depth & 63);
            objects[depth >> 6] = c == '{' ? objects[depth >> 6] | bit : objects[depth >> 6] & ~bit;
            depth++;
            at++;
            if (bytes[*at] != (c == '{' ? '}' : ']')) {
                if (c == '{')
                    goto member;
                continue;
            }
            at++; /* empty */
            depth--;
        } else {
            if (!scalar_valid(decoder, bytes + at[0], bytes + at[1]))
                return false;
            at++;
        }
        /* A value has ended. */
        for (;;) {
            if (depth == 0) {
                walk->at = at;
                return true;
            }
            if (at == end)
                return false;
            bool object = objects[(depth - 1) >> 6] >> ((depth - 1) & 63) & 1;
            c = bytes[*at++];
            if (c == (object ? '}' : ']')) {
                depth--;
                continue;
            }
            if (c != ',')
                return false;
            if (object)
                goto member;
            break;
        }
        continue;
    member:
        if (end - at < 2 || bytes[at[0]] != '"' || bytes[at[1]] != ':' ||
            !scalar_valid(decoder, bytes + at[0], bytes + at[1]))
            return false;
        at += 2;
    }
}

/* --- Nested values: one walk with the index, down to the type's depth */

static weir_err store_value(struct weir_decoder *decoder, struct weir_batch *batch, struct weir_column *to, int column,
                            int row, struct walk *walk, struct weir_error *error);

static weir_err cut_off(struct weir_error *error)
{
    return bad_record(error, "is not JSON: it is cut off, or a member has no name or no value");
}

/* ',' goes on, `close` ends. */
static weir_err after_element(struct walk *walk, uint8_t close, bool *more, struct weir_error *error)
{
    if (walk->at == walk->end)
        return cut_off(error);
    uint8_t c = walk->bytes[*walk->at++];
    *more = c == ',';
    if (c != ',' && c != close)
        return bad_record(error, close == ']' ? "is not JSON: a comma or the closing bracket is missing"
                                              : "is not JSON: a comma or the closing brace is missing");
    return WEIR_OK;
}

/* Behind the opening bracket: is there nothing? */
static bool take_empty(struct walk *walk, uint8_t close)
{
    if (walk->at == walk->end || walk->bytes[*walk->at] != close)
        return false;
    walk->at++;
    return true;
}

/* walk->at is behind the opening '['. */
static weir_err store_array(struct weir_decoder *decoder, struct weir_column *to, int column, int row,
                            struct walk *walk, struct weir_error *error)
{
    struct weir_batch *child = to->child;
    bool more = !take_empty(walk, ']');
    weir_err err = WEIR_OK;
    weir_column_list_begin(to, row);
    while (more) {
        int at = weir_column_element(to);
        if ((err = store_value(decoder, child, &child->columns[0], decoder->targets[column].first, at, walk, error)) ||
            (err = after_element(walk, ']', &more, error)))
            return err;
        weir_column_element_done(to);
    }
    weir_column_list_end(to, row);
    return WEIR_OK;
}

/* The member name and colon at walk->at, which moves to the value. */
static weir_err take_member(struct walk *walk, const uint8_t **name, const uint8_t **name_next,
                            struct weir_error *error)
{
    const uint32_t *at = walk->at;
    if (walk->end - at < 4 || walk->bytes[at[0]] != '"' || walk->bytes[at[1]] != ':')
        return cut_off(error);
    *name = walk->bytes + at[0];
    *name_next = walk->bytes + at[1];
    walk->at = at + 2;
    return WEIR_OK;
}

static weir_err store_map(struct weir_decoder *decoder, struct weir_column *to, int column, int row, struct walk *walk,
                          struct weir_error *error)
{
    struct weir_batch *child = to->child;
    int key = decoder->targets[column].first;
    bool more = !take_empty(walk, '}');
    weir_err err = WEIR_OK;
    weir_column_list_begin(to, row);
    while (more) {
        const uint8_t *name, *name_next;
        int at = weir_column_element(to);
        if ((err = take_member(walk, &name, &name_next, error)) ||
            (err = store_string(decoder, &child->columns[0], key, at, name, name_next, error)) ||
            (err = store_value(decoder, child, &child->columns[1], key + 1, at, walk, error)) ||
            (err = after_element(walk, '}', &more, error)))
            return err;
        weir_column_element_done(to);
    }
    weir_column_list_end(to, row);
    weir_map_unique(to, row);
    return WEIR_OK;
}

/* -1: none has this name; -2: it is not JSON. */
static int row_field(struct weir_decoder *decoder, const struct weir_schema *schema, const uint8_t *name,
                     const uint8_t *name_next)
{
    size_t size;
    if (!string_bounds(name, name_next, &name, &size))
        return -2;
    if (size > 0 && memchr(name, '\\', size)) {
        uint8_t *to = room(&decoder->text, &decoder->text_size, size);
        if (!unescape(name, size, to, &size, false))
            return -2;
        name = to;
    }
    return weir_schema_find(schema, (const char *)name, size);
}

static weir_err store_row(struct weir_decoder *decoder, struct weir_column *to, int column, int row, struct walk *walk,
                          struct weir_error *error)
{
    struct weir_batch *child = to->child;
    int first = decoder->targets[column].first, count = child->schema->field_count;
    bool more = !take_empty(walk, '}');
    weir_err err = WEIR_OK;
    if (++decoder->nested_generation ==
        0) { /* after 2^32 objects; those that are begun are forgotten at worst, as missing */
        memset(decoder->seen + decoder->column_count, 0,
               (size_t)(decoder->target_count - decoder->column_count) * sizeof *decoder->seen);
        decoder->nested_generation = 1;
    }
    uint32_t generation = decoder->nested_generation;
    weir_column_row_begin(to, row);
    while (more) {
        const uint8_t *name, *name_next;
        if ((err = take_member(walk, &name, &name_next, error)))
            return err;
        int field = row_field(decoder, child->schema, name, name_next);
        if (field < 0) {
            if (field == -2 || !skip_value(decoder, walk))
                return bad_record(error, "is not JSON: a member that is not read is cut off, malformed or too deep");
        } else {
            struct weir_column *into = &child->columns[field];
            if (decoder->seen[first + field] == generation && into->validity)
                weir_bit_set(into->validity, row); /* a doubled member: the NULL before does not count */
            decoder->seen[first + field] = generation;
            if ((err = store_value(decoder, child, into, first + field, row, walk, error)))
                return err;
        }
        if ((err = after_element(walk, '}', &more, error)))
            return err;
    }
    for (int field = 0; field < count; field++) {
        if (decoder->seen[first + field] == generation)
            continue;
        if (!decoder->targets[first + field].nullable || decoder->fail_on_missing)
            return bad_value(decoder, first + field, "is missing", error);
        weir_column_set_null(&child->columns[field], row, child->row_capacity);
    }
    weir_column_row_end(to, row);
    return WEIR_OK;
}

/* The value at walk->at, which moves behind it, into row `row` of `to`, a column of `batch`. */
static weir_err store_value(struct weir_decoder *decoder, struct weir_batch *batch, struct weir_column *to, int column,
                            int row, struct walk *walk, struct weir_error *error)
{
    if (walk->end - walk->at < 2)
        return cut_off(error);
    const uint8_t *v = walk->bytes + walk->at[0], *next = walk->bytes + walk->at[1];
    enum weir_type_id type = decoder->targets[column].type;
    walk->at++;
    if (*v == 'n')
        return store_null(decoder, batch, to, column, row, v, next, error);
    if (!weir_type_is_nested(type))
        return store_scalar(decoder, to, column, row, v, next, error);
    if (*v != (type == WEIR_TYPE_ARRAY ? '[' : '{'))
        return wrong_kind(decoder, column, *v, error);
    return type == WEIR_TYPE_ARRAY ? store_array(decoder, to, column, row, walk, error)
           : type == WEIR_TYPE_MAP ? store_map(decoder, to, column, row, walk, error)
                                   : store_row(decoder, to, column, row, walk, error);
}

/* The value of one of the record's own columns at walk->at. */
static inline weir_err store(struct weir_decoder *decoder, struct weir_batch *batch, int column, struct walk *walk,
                             struct weir_error *error)
{
    struct weir_column *to = &batch->columns[column];
    int row = batch->row_count;
    const uint8_t *v = walk->bytes + walk->at[0], *next = walk->bytes + walk->at[1];
    if (__builtin_expect(decoder->seen[column] == decoder->generation, 0) && to->validity)
        weir_bit_set(to->validity, row); /* a doubled member: the NULL before does not count */
    decoder->seen[column] = decoder->generation;
    if (__builtin_expect(weir_type_is_nested(decoder->targets[column].type), 0)) {
        weir_err err = store_value(decoder, batch, to, column, row, walk, error);
        return !err && walk->at == walk->end ? cut_off(error) : err;
    }
    walk->at++;
    if (*v == 'n')
        return store_null(decoder, batch, to, column, row, v, next, error);
    return store_scalar(decoder, to, column, row, v, next, error);
}

/* --- Names */

static uint32_t name_hash(const uint8_t *name, size_t size)
{
    uint32_t hash = 2166136261u; /* FNV-1a: names are short, and this is the slow path */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ name[i]) * 16777619u;
    return hash;
}

static int find_name(const struct weir_decoder *decoder, const uint8_t *name, size_t size)
{
    for (uint32_t i = name_hash(name, size);; i++) {
        int column = decoder->names[i & decoder->names_mask];
        if (column < 0)
            return -1;
        const char *field = decoder->schema->fields[column].name;
        if (strlen(field) == size && memcmp(field, name, size) == 0)
            return column;
    }
}

/* Is this the name that stood here in the record before? `text` begins behind the opening quote. */
static inline bool slot_matches(const struct slot *slot, const uint8_t *text)
{
#ifdef __SSE2__
    if (slot->size <= BLOCK) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)text);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)slot->name);
        unsigned equal = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b));
        return (~equal & ((1u << slot->size) - 1)) == 0;
    }
#endif
    return memcmp(slot->name, text, slot->size) == 0;
}

/* The column of the member name at `v`: -1 not wanted, -2 not JSON. Remembers it for the records that follow. */
static __attribute__((noinline)) int learn_name(struct weir_decoder *decoder, int position, const uint8_t *v,
                                                const uint8_t *next)
{
    const uint8_t *name;
    size_t size;
    if (!string_bounds(v, next, &name, &size))
        return -2;
    if (size > 0 && memchr(name, '\\', size)) {
        uint8_t *to = room(&decoder->text, &decoder->text_size, size);
        return unescape(name, size, to, &size, false) ? find_name(decoder, to, size) : -2;
    }
    int column = find_name(decoder, name, size);
    if (position < SLOTS_MAX && size < SLOT_NAME_MAX && position <= decoder->slot_count) {
        struct slot *slot = &decoder->slots[position];
        memset(slot->name, 0, sizeof slot->name);
        memcpy(slot->name, name, size);
        slot->name[size] = '"';
        slot->size = (uint32_t)size + 1;
        slot->column = column;
        if (position == decoder->slot_count)
            decoder->slot_count++;
    }
    return column;
}

/* --- Records */

/* Columns that the record did not name. */
static __attribute__((noinline)) weir_err fill_missing(struct weir_decoder *decoder, struct weir_batch *batch,
                                                       struct weir_error *error)
{
    for (int column = 0; column < decoder->column_count; column++) {
        if (decoder->seen[column] == decoder->generation)
            continue;
        if (!decoder->targets[column].nullable || decoder->fail_on_missing)
            return bad_value(decoder, column, "is missing", error);
        weir_column_set_null(&batch->columns[column], batch->row_count, batch->row_capacity);
    }
    return WEIR_OK;
}

/* The object at walk->at into row batch->row_count, without raising it. walk->at ends behind its '}'. */
static weir_err take_object(struct weir_decoder *decoder, struct walk *walk, struct weir_batch *batch,
                            struct weir_error *error)
{
    const uint8_t *bytes = walk->bytes;
    const uint32_t *end = walk->end;
    if (end - walk->at < 2 || bytes[*walk->at] != '{')
        return bad_record(error, "is not a JSON object");
    if (++decoder->generation == 0) { /* after 2^32 records */
        memset(decoder->seen, 0, (size_t)decoder->column_count * sizeof *decoder->seen);
        decoder->generation = 1;
    }
    walk->at++;
    int found = 0;
    if (bytes[*walk->at] == '}') {
        walk->at++;
        return decoder->column_count > 0 ? fill_missing(decoder, batch, error) : WEIR_OK;
    }
    for (int position = 0;; position++) {
        const uint32_t *at = walk->at;
        if (end - at < 4 || bytes[at[0]] != '"' || bytes[at[1]] != ':')
            return bad_record(error, "is not JSON: it is cut off, or a member has no name or no value");
        int column;
        if (position < decoder->slot_count && slot_matches(&decoder->slots[position], bytes + at[0] + 1))
            column = decoder->slots[position].column;
        else
            column = learn_name(decoder, position, bytes + at[0], bytes + at[1]);
        if (column >= 0) {
            found += decoder->seen[column] != decoder->generation;
            walk->at = at + 2;
            weir_err err = store(decoder, batch, column, walk, error);
            if (err)
                return err;
        } else {
            walk->at = at + 2;
            if (column == -2 || !skip_value(decoder, walk))
                return bad_record(error, "is not JSON: a member that is not read is cut off, malformed or too deep");
            if (walk->at == end)
                return bad_record(error, "is not JSON: it is cut off");
        }
        uint8_t c = bytes[*walk->at++];
        if (c == '}')
            break;
        if (c != ',')
            return bad_record(error, "is not JSON: a comma or the closing brace is missing");
    }
    return found == decoder->column_count ? WEIR_OK : fill_missing(decoder, batch, error);
}

/* It did not last, or could not be learned. */
static void stop_expecting(struct weir_decoder *decoder)
{
    decoder->expecting = false;
    decoder->expect_rows = 0;
    decoder->expect_wait = decoder->expect_patience;
    if (decoder->expect_patience < EXPECT_PATIENCE_MAX)
        decoder->expect_patience *= 2;
}

/* The record as the line that the quick reader wants. False: it is none. */
static bool line_of(const uint8_t *bytes, size_t size, uint8_t *line)
{
    if (size > ALONE_MAX || memchr(bytes, '\n', size))
        return false;
    memcpy(line, bytes, size);
    line[size] = '\n';
    memset(line + size + 1, 0, PADDING);
    return true;
}

/* A record that has the expected shape. False: it has another, or there is none. */
static bool take_alone(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, struct weir_batch *batch)
{
    uint8_t line[ALONE_MAX + 1 + PADDING];
    if (!decoder->expecting || !line_of(bytes, size, line))
        return false;
    if (weir_json_expect_take(decoder->expect, line, size + 1, batch) > 0) {
        decoder->expect_rows++;
        return true;
    }
    if (decoder->expect_rows >= EXPECT_ROWS_MIN) { /* this one is an exception */
        decoder->expect_patience = 1;
        decoder->expect_rows = 0;
    } else {
        stop_expecting(decoder);
    }
    return false;
}

/* After the full reader took the record. */
static void learn_alone(struct weir_decoder *decoder, const uint8_t *bytes, size_t size)
{
    uint8_t line[ALONE_MAX + 1 + PADDING];
    if (decoder->schema_of_records || decoder->expecting || --decoder->expect_wait > 0 || !line_of(bytes, size, line))
        return;
    decoder->expecting = weir_json_expect_learn(decoder->expect, line);
    if (!decoder->expecting)
        stop_expecting(decoder);
}

weir_err weir_json_decode(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool padded,
                          struct weir_batch *batch, struct weir_error *error)
{
    if (size > RECORD_SIZE_MAX)
        return bad_record(error, "is longer than 256 MiB");
    if (take_alone(decoder, bytes, size, batch))
        return WEIR_OK;
    if (!padded) {
        uint8_t *copy = room(&decoder->scratch, &decoder->scratch_size, size + PADDING);
        if (size > 0)
            memcpy(copy, bytes, size);
        memset(copy + size, 0, PADDING);
        bytes = copy;
    }
    struct walk walk = {.bytes = bytes};
    size_t count;
    enum weir_json_index_result result = weir_json_index_run(decoder->index, bytes, size, &walk.at, &count);
    if (result != WEIR_JSON_INDEX_OK)
        return bad_index(result, error);
    walk.end = walk.at + count;
    weir_err err = take_object(decoder, &walk, batch, error);
    if (!err && walk.at != walk.end)
        err = bad_record(error, "is not JSON: something follows the object");
    if (!err && decoder->schema_of_records)
        err = weir_json_schema_check(decoder->schema_of_records, bytes, size, error);
    if (err) {
        weir_batch_undo_row(batch);
    } else {
        batch->row_count++;
        learn_alone(decoder, bytes, size);
    }
    return err;
}

/* --- Lines */

/* Where the window that begins at `from` ends: behind a line end, or at `size` when it is the last. 0: no whole line
 * is there. `wanted` 0: one line. */
static size_t window_end(const uint8_t *bytes, size_t size, size_t from, size_t wanted, bool last)
{
    size_t left = size - from;
    if (wanted >= left) {
        if (last)
            return size;
        wanted = left;
    }
    const uint8_t *found = wanted > 0 ? memrchr(bytes + from, '\n', wanted) : NULL;
    if (!found && wanted < left)
        found = memchr(bytes + from + wanted, '\n', left - wanted);
    if (found)
        return (size_t)(found - bytes) + 1;
    return last ? size : 0;
}

struct window {
    const uint8_t *bytes;
    size_t size;
    size_t line; /* where the walk is: the first line not yet taken; after a bad one: its begin */
    size_t line_end;
};

/* Takes lines of an indexed window until it ends or the batch is full. DATA: the line at window->line is bad. */
static weir_err take_lines(struct weir_decoder *decoder, struct window *window, struct walk *walk,
                           struct weir_batch *batch, struct weir_error *error)
{
    while (walk->at < walk->end) {
        const uint8_t *start = window->bytes + window->line;
        const uint8_t *newline = memchr(start, '\n', window->size - window->line);
        window->line_end = newline ? (size_t)(newline - window->bytes) : window->size;
        if (*walk->at >= window->line_end) { /* white space alone */
            window->line = window->line_end + 1;
            continue;
        }
        if (batch->row_count == batch->row_capacity)
            return WEIR_OK;
        weir_err err = take_object(decoder, walk, batch, error);
        if (!err && walk->at[-1] > window->line_end)
            err = bad_record(error, "is not JSON: its object does not end in its line");
        if (!err && walk->at < walk->end && *walk->at < window->line_end)
            err = bad_record(error, "is not JSON: something follows the object");
        if (err) {
            weir_batch_undo_row(batch);
            return err;
        }
        batch->row_count++;
        window->line = window->line_end + 1;
    }
    window->line = window->size;
    return WEIR_OK;
}

/* Bytes to index for the rows that still fit. */
static size_t window_wanted(const struct weir_decoder *decoder, const struct weir_batch *batch)
{
    size_t wanted = (size_t)(batch->row_capacity - batch->row_count) * decoder->row_size;
    return wanted < decoder->window ? wanted : decoder->window;
}

/* Lines of the expected shape, from *done on. False: the line at *done has another, or none is whole. */
static bool take_expected(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, size_t *done,
                          struct weir_batch *batch)
{
    size_t end = window_end(bytes, size, *done, WINDOW_MAX, false);
    if (end == 0)
        return false;
    int rows_before = batch->row_count;
    *done += weir_json_expect_take(decoder->expect, bytes + *done, end - *done, batch);
    if (*done == end || batch->row_count == batch->row_capacity)
        return true;
    if (batch->row_count - rows_before >= EXPECT_ROWS_MIN)
        decoder->expect_patience = 1;
    else
        stop_expecting(decoder);
    return false;
}

/* After a window that begins with `bytes` was taken by its index. */
static void learn_expected(struct weir_decoder *decoder, const uint8_t *bytes, const struct window *window)
{
    if (decoder->expecting || --decoder->expect_wait > 0 || window->line == 0 || bytes[window->line - 1] != '\n')
        return;
    decoder->expecting = weir_json_expect_learn(decoder->expect, bytes);
    if (!decoder->expecting)
        stop_expecting(decoder);
}

weir_err weir_json_decode_lines(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool last,
                                struct weir_batch *batch, size_t *used, size_t *bad_at, size_t *bad_size,
                                struct weir_error *error)
{
    size_t done = 0, careful_until = 0; /* up to there line by line: one of them spoils the index */
    weir_err err = WEIR_OK;
    while (done < size && batch->row_count < batch->row_capacity) {
        if (decoder->expecting && take_expected(decoder, bytes, size, &done, batch)) {
            if (weir_batch_bytes(batch) > WEIR_BATCH_BYTES_SOFT_MAX)
                break;
            continue;
        }
        if (batch->row_count == batch->row_capacity)
            break;
        /* While a shape is expected, only the line that has another is indexed. */
        bool one = decoder->expecting || done < careful_until;
        size_t end = window_end(bytes, size, done, one ? 0 : window_wanted(decoder, batch), last);
        if (end == 0)
            break;
        struct window window = {.bytes = bytes + done, .size = end - done, .line_end = end - done};
        struct walk walk = {.bytes = window.bytes};
        size_t count = 0;
        int rows_before = batch->row_count;
        enum weir_json_index_result result = WEIR_JSON_INDEX_OK;
        if (window.size > RECORD_SIZE_MAX)
            err = bad_record(error, "is longer than 256 MiB");
        else
            result = weir_json_index_run(decoder->index, window.bytes, window.size, &walk.at, &count);
        if (result == WEIR_JSON_INDEX_EMPTY) {
            done = end;
            continue;
        }
        if (result != WEIR_JSON_INDEX_OK) {
            const uint8_t *newline = memchr(window.bytes, '\n', window.size);
            if (newline && newline + 1 < window.bytes + window.size) {
                careful_until = end;
                continue;
            }
            window.line_end = newline ? (size_t)(newline - window.bytes) : window.size;
            err = bad_index(result, error);
        } else if (!err) {
            walk.end = walk.at + count;
            err = take_lines(decoder, &window, &walk, batch, error);
        }
        if (err) {
            *bad_at = done + window.line;
            *bad_size = window.line_end - window.line;
            done = window.line_end < window.size ? done + window.line_end + 1 : end;
            decoder->window = WINDOW_MIN; /* what was indexed behind the bad line is indexed again */
            break;
        }
        int rows = batch->row_count - rows_before;
        if (rows > 0)
            decoder->row_size = (decoder->row_size * 3 + window.line / (size_t)rows + 3) / 4;
        if (window.line == window.size && decoder->window < WINDOW_MAX && done >= careful_until)
            decoder->window *= 2;
        done += window.line;
        learn_expected(decoder, window.bytes, &window);
        if (weir_batch_bytes(batch) > WEIR_BATCH_BYTES_SOFT_MAX)
            break;
    }
    *used = done;
    return err;
}

/* --- Making one */

static int target_total(const struct weir_schema *schema)
{
    int total = schema->field_count;
    for (int i = 0; i < schema->field_count; i++) {
        if (schema->fields[i].type.fields)
            total += target_total(schema->fields[i].type.fields);
    }
    return total;
}

/* The targets of a schema's fields at `first`; what is in them goes to *next and on. */
static void add_targets(struct weir_decoder *decoder, const struct weir_schema *schema, const char *path,
                        enum weir_type_id parent, int first, int *next)
{
    for (int i = 0; i < schema->field_count; i++) {
        const struct weir_field *field = &schema->fields[i];
        struct target *target = &decoder->targets[first + i];
        const char *name = parent == WEIR_TYPE_ROW     ? weir_arena_format(&decoder->paths, "%s.%s", path, field->name)
                           : parent == WEIR_TYPE_NONE  ? field->name
                           : parent == WEIR_TYPE_ARRAY ? weir_arena_format(&decoder->paths, "%s[]", path)
                           : i == 0                    ? weir_arena_format(&decoder->paths, "%s's key", path)
                                                       : weir_arena_format(&decoder->paths, "%s{}", path);
        *target = (struct target){.type = field->type.id,
                                  .nullable = field->type.nullable,
                                  .precision = field->type.precision,
                                  .scale = field->type.scale,
                                  .field = field,
                                  .path = name};
        if (!field->type.fields)
            continue;
        target->first = *next;
        *next += field->type.fields->field_count;
        add_targets(decoder, field->type.fields, name, field->type.id, target->first, next);
    }
}

weir_err weir_json_decoder_new(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                               struct weir_decoder **decoder, struct weir_error *error)
{
    int count = schema->field_count, next = count;
    for (int i = 0; i < count; i++) {
        weir_err err = weir_json_check_type(schema->fields[i].name, &schema->fields[i].type, error);
        if (err)
            return err;
    }
    struct weir_json_schema *of_records = NULL;
    if (weir_json_schema_option(options, option_count, &of_records, error))
        return WEIR_ERR_INVALID;
    struct weir_decoder *created = weir_zalloc(sizeof *created);
    created->schema_of_records = of_records;
    created->schema = weir_schema_ref(schema);
    created->index = weir_json_index_new();
    created->fail_on_missing =
        weir_options_get_int(options, option_count, weir_json_options, "json.fail-on-missing-field") != 0;
    created->column_count = count;
    created->target_count = target_total(schema);
    created->targets = weir_zalloc(((size_t)created->target_count + 1) * sizeof *created->targets);
    created->seen = weir_zalloc(((size_t)created->target_count + 1) * sizeof *created->seen);
    weir_arena_init(&created->paths);
    add_targets(created, schema, "", WEIR_TYPE_NONE, 0, &next);
    uint32_t names = 4;
    while (names < 2 * (uint32_t)count)
        names *= 2;
    created->names_mask = names - 1;
    created->names = weir_alloc(names * sizeof *created->names);
    memset(created->names, 0xff, names * sizeof *created->names);
    for (int i = 0; i < count; i++) {
        const struct weir_field *field = &schema->fields[i];
        uint32_t at = name_hash((const uint8_t *)field->name, strlen(field->name));
        while (created->names[at & created->names_mask] >= 0)
            at++;
        created->names[at & created->names_mask] = i;
    }
    created->window = WINDOW_MAX;
    created->row_size = 128;
    created->expect = weir_json_expect_new(schema, &created->timestamps);
    created->expect_wait = created->expect_patience = 1;
    *decoder = created;
    return WEIR_OK;
}

bool weir_json_is_checked(const struct weir_decoder *decoder)
{
    return decoder->schema_of_records != NULL;
}

void weir_json_decoder_free(struct weir_decoder *decoder)
{
    if (!decoder)
        return;
    weir_json_index_free(decoder->index);
    weir_json_expect_free(decoder->expect);
    weir_json_schema_free(decoder->schema_of_records);
    weir_schema_unref(decoder->schema);
    free(decoder->targets);
    weir_arena_fini(&decoder->paths);
    free(decoder->seen);
    free(decoder->names);
    free(decoder->scratch);
    free(decoder->text);
    free(decoder);
}
