/* See json_expect.h: JSON lines of an expected shape.
 *
 * In the flow it stands before the full reader of json_decode.c, on the source's task thread. What it accepts is a subset:
 * each byte of a record is either equal to a byte of a valid record's shape, or part of a value whose grammar is checked here.
 *
 * Invariants: what is read ends with '\n' (end[-1]), and neither a shape nor a value holds one, so that no scan passes it: each
 * text and each value begins before it. Loads go at most 48 bytes beyond where they begin, which the 64 bytes of
 * padding allow. A row that is given up half-way leaves nothing (weir_batch_undo_row()).
 */
#include "format/json_expect.h"

#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/mem.h"
#include "format/json_number.h"
#include "format/simdjson_shim.h"

#define BLOCK 16
#define MEMBERS_MAX 128
#define TEXT_MAX 96 /* between two values: a name and its punctuation */

enum kind { KIND_SKIP, KIND_BOOLEAN, KIND_INT, KIND_FLOAT, KIND_DOUBLE, KIND_STRING, KIND_TIMESTAMP };

/* The text before a value. */
struct text {
    uint8_t bytes[TEXT_MAX];
    uint32_t size;
    uint32_t mask; /* bit i: byte i is compared, of the first BLOCK */
};

struct member {
    struct text before;
    enum kind kind;
    int32_t column; /* -1: nobody reads it */
    bool nullable;
    uint8_t precision; /* of a timestamp */
};

struct weir_json_expect {
    const struct weir_schema *schema;
    struct weir_timestamp_cache *timestamps;
    int member_count; /* 0: no shape */
    struct text tail; /* behind the last value, to the closing brace */
    struct member members[MEMBERS_MAX];
};

struct weir_json_expect *weir_json_expect_new(const struct weir_schema *schema, struct weir_timestamp_cache *timestamps)
{
    struct weir_json_expect *expect = weir_zalloc(sizeof *expect);
    expect->schema = schema;
    expect->timestamps = timestamps;
    return expect;
}

void weir_json_expect_free(struct weir_json_expect *expect)
{
    free(expect);
}

/* --- Bytes */

static inline uint64_t load_64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline bool word_is(const uint8_t *p, const char text[4])
{
    return memcmp(p, text, 4) == 0; /* one compare */
}

static inline bool text_matches(const struct text *text, const uint8_t *p, const uint8_t *end)
{
#ifdef __SSE2__
    __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)text->bytes);
    if (((unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) & text->mask) != text->mask)
        return false;
    if (text->size <= BLOCK)
        return true;
    if (text->size <= 2 * BLOCK) {
        size_t at = text->size - BLOCK; /* the last ones; some are compared twice */
        a = _mm_loadu_si128((const __m128i *)(const void *)(p + at));
        b = _mm_loadu_si128((const __m128i *)(const void *)(text->bytes + at));
        return _mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) == 0xffff;
    }
#endif
    return (size_t)(end - p) >= text->size && memcmp(p, text->bytes, text->size) == 0;
}

/* --- Strings. `p` is behind the opening quote. */

/* The closing quote. NULL: an escape, a control character, no end, or not UTF-8. */
static inline const uint8_t *string_close(const uint8_t *p)
{
    const uint8_t *close = p;
    unsigned high = 0;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    for (;; close += BLOCK) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)close);
        __m128i other =
            _mm_or_si128(_mm_cmpeq_epi8(block, backslash), _mm_cmpeq_epi8(_mm_min_epu8(block, control), block));
        unsigned others = (unsigned)_mm_movemask_epi8(other);
        unsigned stops = others | (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(block, quote));
        unsigned signs = (unsigned)_mm_movemask_epi8(block);
        if (stops == 0) {
            high |= signs;
            continue;
        }
        unsigned first = stops & (0u - stops);
        if (others & first)
            return NULL;
        high |= signs & (first - 1);
        close += __builtin_ctz(stops);
        break;
    }
#else
    for (;; close++) {
        if (*close < 0x20 || *close == '\\')
            return NULL;
        if (*close == '"')
            break;
        high |= *close & 0x80;
    }
#endif
    return __builtin_expect(high == 0, 1) || weir_utf8_valid(p, (size_t)(close - p)) ? close : NULL;
}

static inline const uint8_t *take_string(const uint8_t *p, struct weir_column *to, int row)
{
    if (*p++ != '"')
        return NULL;
    const uint8_t *close = string_close(p);
    if (!close)
        return NULL;
    size_t size = (size_t)(close - p), used = (size_t)to->offsets[row];
    if (size <= BLOCK && used + 2 * BLOCK <= to->bytes_buffer->capacity) { /* the usual case, in one piece */
        memcpy(to->bytes + used, p, BLOCK);
        to->offsets[row + 1] = (int32_t)(used + size);
    } else if (size > 0) {
        memcpy(weir_column_reserve_bytes(to, row, size), p, size);
    } else {
        to->offsets[row + 1] = to->offsets[row];
    }
    return close + 1;
}

/* --- Numbers */

/* One with at most 8 digits and no exponent, without a branch on how many. False: another, or none. */
static inline __attribute__((always_inline)) bool take_short_number(const uint8_t *v, struct weir_json_number *number)
{
#if defined(__SSE2__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    bool negative = *v == '-';
    const uint8_t *p = v + negative;
    __m128i digits = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), _mm_set1_epi8('0'));
    __m128i is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);
    unsigned others = ~(unsigned)_mm_movemask_epi8(is_digit) & 0x3ff; /* bit i: p[i] is no digit */
    if (others == 0)
        return false;
    unsigned whole = (unsigned)__builtin_ctz(others), size = whole, point = 0;
    if (p[whole] == '.') {
        others &= others - 1;
        if (others == 0)
            return false;
        point = 1;
        size = (unsigned)__builtin_ctz(others);
    }
    unsigned count = size - point, fraction = count - whole;
    if (whole == 0 || count > 8 || fraction + 1 == point || (*p == '0' && whole > 1) || (p[size] | 0x20) == 'e')
        return false;
    uint64_t before = whole == 8 ? ~(uint64_t)0 : ((uint64_t)1 << (whole * 8)) - 1;
    uint64_t word = (load_64(p) & before) | (load_64(p + point) & ~before);
    word = (word & 0x0f0f0f0f0f0f0f0f) << (8 * (8 - count));
    word = word * 10 + (word >> 8); /* pairs, then fours, then all eight */
    word =
        ((word & 0x000000ff000000ff) * 0x000f424000000064 + (word >> 16 & 0x000000ff000000ff) * 0x0000271000000001) >>
        32;
    number->mantissa = (uint32_t)word;
    number->exponent = -(int32_t)fraction;
    number->digits = (int32_t)count;
    number->negative = negative;
    number->whole = !point;
    number->end = p + size;
    return true;
#else
    (void)v, (void)number;
    return false;
#endif
}

static __attribute__((noinline)) bool take_long_number(const uint8_t *v, struct weir_json_number *number)
{
    return weir_json_take_number(v, number);
}

static inline __attribute__((always_inline)) const uint8_t *take_any_number(const uint8_t *v,
                                                                            struct weir_json_number *number)
{
    return take_short_number(v, number) || take_long_number(v, number) ? number->end : NULL;
}

static inline const uint8_t *take_float(const uint8_t *p, const struct member *member, struct weir_column *to, int row)
{
    struct weir_json_number number;
    const uint8_t *after = take_any_number(p, &number);
    if (!after)
        return NULL;
    bool fits = member->kind == KIND_DOUBLE ? weir_json_number_to_double(p, &number, &to->f64[row])
                                            : weir_json_number_to_float(p, &number, &to->f32[row]);
    return fits ? after : NULL;
}

static const uint8_t *take_int(const uint8_t *p, struct weir_column *to, int row)
{
    static const int64_t limits[9] = {[1] = INT8_MAX, [2] = INT16_MAX, [4] = INT32_MAX, [8] = INT64_MAX};
    struct weir_json_number number;
    int64_t value;
    int width = weir_type_width(to->type);
    const uint8_t *after = take_any_number(p, &number);
    if (!after || !weir_json_number_to_int(&number, limits[width], &value))
        return NULL;
    weir_column_set_int(to, row, width, value);
    return after;
}

/* --- Timestamps */

#define HOUR_SIZE 14 /* "2013-01-01T06:" */

/* "MM:SS.mmmZ" and the closing quote -> ms of the hour; -1: another form. */
static inline int64_t minute_second_ms(const uint8_t *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    /* Each byte becomes its digit, a separator 0; what is added lifts a byte that is too large for its place to 16 or more. */
    uint64_t x = load_64(p) ^ 0x30302e30303a3030;
    unsigned last = (unsigned)p[8] - '0';
    if ((((x + 0x06060f060a0f060a) | x) & 0xf0f0f0f0f0f0f0f0) != 0 || last > 9 || p[9] != 'Z' || p[10] != '"')
        return -1;
    unsigned minute = (unsigned)(x & 15) * 10 + (unsigned)(x >> 8 & 15);
    unsigned second = (unsigned)(x >> 24 & 15) * 10 + (unsigned)(x >> 32 & 15);
    return minute * 60000 + second * 1000 + (unsigned)(x >> 48 & 15) * 100 + (unsigned)(x >> 56) * 10 + last;
#else
    (void)p;
    return -1;
#endif
}

static inline const uint8_t *take_timestamp_text(struct weir_timestamp_cache *cache, const uint8_t *p, int64_t *ms)
{
    int64_t in_hour = minute_second_ms(p + HOUR_SIZE);
    if (in_hour >= 0 && cache->set && memcmp(p, cache->prefix, HOUR_SIZE) == 0) {
        *ms = cache->base_ms + in_hour;
        return p + HOUR_SIZE + 11;
    }
    const uint8_t *close = string_close(p);
    if (!close || !weir_timestamp_parse_cached(cache, (const char *)p, (size_t)(close - p), ms))
        return NULL;
    return close + 1;
}

static inline const uint8_t *take_timestamp(struct weir_timestamp_cache *cache, const uint8_t *p,
                                            const struct member *member, struct weir_column *to, int row)
{
    int64_t ms;
    if (*p == '"') {
        p = take_timestamp_text(cache, p + 1, &ms);
    } else {
        struct weir_json_number number;
        p = take_any_number(p, &number);
        if (p && (!weir_json_number_to_int(&number, INT64_MAX, &ms) || ms < WEIR_TIMESTAMP_MIN_MS ||
                  ms > WEIR_TIMESTAMP_MAX_MS))
            return NULL;
    }
    if (!p)
        return NULL;
    to->i64[row] = member->precision < 3 ? weir_ms_cut(ms, member->precision) : ms;
    return p;
}

/* --- Records */

static inline const uint8_t *take_boolean(const uint8_t *p, struct weir_column *to, int row)
{
    if (word_is(p, "true")) {
        weir_bit_set(to->bits, row);
        return p + 4;
    }
    if (!word_is(p, "fals") || p[4] != 'e')
        return NULL;
    weir_bit_clear(to->bits, row);
    return p + 5;
}

/* A value that is not an object and not an array. */
static __attribute__((noinline)) const uint8_t *skip_scalar(const uint8_t *p)
{
    struct weir_json_number number;
    switch (*p) {
    case '"':
        p = string_close(p + 1);
        return p ? p + 1 : NULL;
    case 't':
        return word_is(p, "true") ? p + 4 : NULL;
    case 'f':
        return word_is(p, "fals") && p[4] == 'e' ? p + 5 : NULL;
    case 'n':
        return word_is(p, "null") ? p + 4 : NULL;
    default:
        return take_any_number(p, &number);
    }
}

static __attribute__((noinline)) const uint8_t *take_null(const struct member *member, const uint8_t *p,
                                                          struct weir_batch *batch)
{
    if (!member->nullable || !word_is(p, "null"))
        return NULL;
    weir_column_set_null(&batch->columns[member->column], batch->row_count, batch->row_capacity);
    return p + 4;
}

/* The record at `p` into row batch->row_count, without raising it; returns what is behind its line end. NULL: another shape. */
static inline const uint8_t *take_record(const struct weir_json_expect *expect, const uint8_t *p, const uint8_t *end,
                                         struct weir_batch *batch)
{
    const int row = batch->row_count;
    struct weir_column *const columns = batch->columns;
    const struct member *member = expect->members, *members_end = member + expect->member_count;
    for (; member < members_end; member++) {
        if (!text_matches(&member->before, p, end))
            return NULL;
        p += member->before.size;
        if (*p == 'n' && member->kind != KIND_SKIP) {
            p = take_null(member, p, batch);
        } else {
            switch (member->kind) {
            case KIND_BOOLEAN:
                p = take_boolean(p, &columns[member->column], row);
                break;
            case KIND_INT:
                p = take_int(p, &columns[member->column], row);
                break;
            case KIND_FLOAT:
            case KIND_DOUBLE:
                p = take_float(p, member, &columns[member->column], row);
                break;
            case KIND_STRING:
                p = take_string(p, &columns[member->column], row);
                break;
            case KIND_TIMESTAMP:
                p = take_timestamp(expect->timestamps, p, member, &columns[member->column], row);
                break;
            default:
                p = skip_scalar(p);
            }
        }
        if (!p)
            return NULL;
    }
    if (!text_matches(&expect->tail, p, end))
        return NULL;
    p += expect->tail.size;
    p += *p == '\r';
    return *p == '\n' ? p + 1 : NULL;
}

size_t weir_json_expect_take(struct weir_json_expect *expect, const uint8_t *bytes, size_t size,
                             struct weir_batch *batch)
{
    const uint8_t *p = bytes, *end = bytes + size;
    if (expect->member_count == 0)
        return 0;
    while (p < end && batch->row_count < batch->row_capacity) {
        const uint8_t *next = take_record(expect, p, end, batch);
        if (!next) {
            weir_batch_undo_row(batch);
            break;
        }
        batch->row_count++;
        p = next;
    }
    return (size_t)(p - bytes);
}

/* --- Learning */

static const uint8_t *skip_blanks(const uint8_t *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

static bool text_set(struct text *text, const uint8_t *from, const uint8_t *to)
{
    size_t size = (size_t)(to - from);
    if (size > TEXT_MAX)
        return false;
    memset(text, 0, sizeof *text);
    memcpy(text->bytes, from, size);
    text->size = (uint32_t)size;
    text->mask = size >= BLOCK ? 0xffff : (1u << size) - 1;
    return true;
}

/* False: a type that is left to the full reader. */
static bool kind_of(enum weir_type_id type, enum kind *kind)
{
    switch (type) {
    case WEIR_TYPE_BOOLEAN:
        *kind = KIND_BOOLEAN;
        return true;
    case WEIR_TYPE_INT8:
    case WEIR_TYPE_INT16:
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_INT64:
        *kind = KIND_INT;
        return true;
    case WEIR_TYPE_FLOAT:
        *kind = KIND_FLOAT;
        return true;
    case WEIR_TYPE_DOUBLE:
        *kind = KIND_DOUBLE;
        return true;
    case WEIR_TYPE_STRING:
        *kind = KIND_STRING;
        return true;
    case WEIR_TYPE_TIMESTAMP:
        *kind = KIND_TIMESTAMP;
        return true;
    default:
        return false;
    }
}

/* The column of a name, as a member. False: its type is not for here, or it had a member before. */
static bool member_set(const struct weir_json_expect *expect, int count, const uint8_t *name, size_t size,
                       struct member *member)
{
    member->kind = KIND_SKIP;
    member->column = -1;
    for (int column = 0; column < expect->schema->field_count; column++) {
        const struct weir_field *field = &expect->schema->fields[column];
        if (strlen(field->name) != size || memcmp(field->name, name, size) != 0)
            continue;
        for (int i = 0; i < count; i++) {
            if (expect->members[i].column == column)
                return false;
        }
        member->column = column;
        member->nullable = field->type.nullable;
        member->precision = field->type.precision;
        return kind_of(field->type.id, &member->kind);
    }
    return true;
}

/* Members of the valid object at `bytes`; their number, 0 when one is not for here. */
static int learn_members(struct weir_json_expect *expect, const uint8_t *bytes)
{
    const uint8_t *begin = bytes, *p = begin + 1; /* of the text before a value; behind its brace or comma */
    for (int count = 0; count < MEMBERS_MAX;) {
        struct member *member = &expect->members[count];
        p = skip_blanks(p);
        const uint8_t *name = p + 1, *close = *p == '"' ? string_close(name) : NULL;
        if (!close || !member_set(expect, count, name, (size_t)(close - name), member))
            return 0;
        p = skip_blanks(close + 1);
        if (*p != ':')
            return 0;
        p = skip_blanks(p + 1);
        if (!text_set(&member->before, begin, p) || !(p = skip_scalar(p)))
            return 0;
        count++;
        begin = p;
        p = skip_blanks(p);
        if (*p == '}')
            return text_set(&expect->tail, begin, p + 1) ? count : 0;
        if (*p++ != ',')
            return 0;
    }
    return 0;
}

bool weir_json_expect_learn(struct weir_json_expect *expect, const uint8_t *bytes)
{
    expect->member_count = 0;
    int count = *bytes == '{' ? learn_members(expect, bytes) : 0, columns = 0;
    for (int i = 0; i < count; i++)
        columns += expect->members[i].column >= 0;
    if (count == 0 || columns < expect->schema->field_count)
        return false;
    expect->member_count = count;
    return true;
}
