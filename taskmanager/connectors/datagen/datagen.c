/* datagen: rows from a seed, as fast as can be or at a rate.
 *
 * Row g of the source (0, 1, 2, ...) is made by subtask g % parallelism, and each value is a function of (seed, column, g):
 * the same rows come at any parallelism, and any of them could be made alone. Generation is one loop a column.
 * With another parallelism the rows that were not made are dealt out anew: where the old readers were not equally far, a `hole` says which rows
 * below the farthest were made.
 * At a rate, row g is due g / rows-per-second after the start; what is due is given in one batch, so late calls
 * catch up (the load is open-loop).
 *
 * Per column, fields.<name>.kind:
 *   random    uniform in [min, max]; STRING and BYTES: prefix + number when min or max is given, else `length` hex digits
 *   sequence  start + g; with `end` it begins anew after end
 *   time      start + g * step ms, less a random delay of up to `jitter` ms (TIMESTAMP, BIGINT)
 *   now       the wall clock (TIMESTAMP, BIGINT)
 * and fields.<name>.null-rate, from 0 to 1.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "connectors/connectors_int.h"
#include "data/time_text.h"

enum kind { RANDOM, SEQUENCE, TIME, NOW };

struct field {
    enum kind kind;
    enum weir_type_id type;
    uint64_t key;     /* of the column's random numbers */
    int64_t min, max; /* random integers; sequence: start, end */
    double f64_min, f64_max;
    double step_ms;
    int64_t start_ms, jitter_ms;
    bool numbered; /* STRING: prefix + number */
    int length;
    char *prefix;
    size_t prefix_size;
    double null_rate;
};

/* Of an earlier parallelism: row g was made if it is less than next[g % stride]. */
struct hole {
    int64_t stride, end; /* no row from `end` on was made */
    int64_t *next;
};
#define SKIPPED_MAX 65536 /* rows that one call passes by */

struct weir_reader {
    struct weir_schema *schema;
    struct field *fields;
    int64_t row_count;  /* of all subtasks; -1: no end */
    int64_t next;       /* row number g of the next row */
    int64_t stride;     /* parallelism */
    int64_t rate;       /* rows a second of all subtasks; 0: no limit */
    int64_t start_ms;   /* of the rate; processing time */
    int batch_rows_max; /* fewer where strings are long */
    struct hole *holes; /* that end behind `next` */
    int hole_count;
};

static const struct weir_option source_options[] = {
    {"rows", WEIR_OPTION_INT, "", NULL, "How many rows, over all subtasks; without it there is no end"},
    {"rows-per-second", WEIR_OPTION_INT, "0", NULL, "Rate over all subtasks; 0: as fast as can be"},
    {"seed", WEIR_OPTION_INT, "0", NULL, "The same seed gives the same rows"},
    {"fields.", WEIR_OPTION_STRING, "", NULL,
     "fields.<column>.kind (random, sequence, time, now), .min, .max, .start, .end, .length, .prefix, .step, .jitter, "
     ".null-rate"},
    {0},
};

/* --- Random numbers: wyrand over a counter; every g gives an independent value. */

static inline uint64_t mix(uint64_t key, uint64_t g)
{
    uint64_t x = key + g * 0xa0761d6478bd642fu;
    unsigned __int128 product = (unsigned __int128)x * (x ^ 0xe7037ed1a0b428dbu);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}
/* Uniform in [0, range), range 0: all 64 bits. */
static inline uint64_t bounded(uint64_t random, uint64_t range)
{
    return range ? (uint64_t)((unsigned __int128)random * range >> 64) : random;
}

static uint64_t column_key(uint64_t seed, uint64_t column)
{
    uint64_t z = seed + (column + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* --- Options of a field */

struct given {
    const struct weir_key_value *options;
    int count;
    const char *column;
    weir_err err;
    struct weir_error *error;
};

static const char *field_text(struct given *given, const char *name)
{
    char key[WEIR_NAME_SIZE_MAX + 64];
    snprintf(key, sizeof key, "fields.%s.%s", given->column, name);
    for (int i = 0; i < given->count; i++)
        if (strcmp(given->options[i].key, key) == 0)
            return given->options[i].value;
    return NULL;
}

static int64_t wrong(struct given *given, const char *name, const char *text, const char *what)
{
    if (!given->err)
        given->err = weir_fail(given->error, WEIR_ERR_INVALID, "option 'fields.%s.%s': '%s' is not %s", given->column,
                               name, text, what);
    return 0;
}

static int64_t field_int(struct given *given, const char *name, int64_t fallback)
{
    const char *text = field_text(given, name);
    if (!text)
        return fallback;
    char *end;
    int64_t value = strtoll(text, &end, 10);
    return *text && !*end ? value : wrong(given, name, text, "a whole number");
}

static double field_double(struct given *given, const char *name, double fallback)
{
    const char *text = field_text(given, name);
    if (!text)
        return fallback;
    char *end;
    double value = strtod(text, &end);
    return *text && !*end && isfinite(value) ? value : (double)wrong(given, name, text, "a number");
}

/* A number of ms (fractions allowed) or a duration with its unit. */
static double field_ms(struct given *given, const char *name, double fallback)
{
    const char *text = field_text(given, name);
    if (!text)
        return fallback;
    char *end;
    double value = strtod(text, &end);
    int64_t ms;
    if (*text && !*end && isfinite(value) && value >= 0)
        return value;
    return weir_duration_parse(text, &ms) ? (double)ms : (double)wrong(given, name, text, "a duration");
}

static int64_t field_time(struct given *given, const char *name, int64_t fallback)
{
    const char *text = field_text(given, name);
    int64_t ms;
    if (!text)
        return fallback;
    char *end;
    ms = strtoll(text, &end, 10);
    if (*text && !*end)
        return ms;
    return weir_timestamp_parse(text, strlen(text), &ms) ? ms : wrong(given, name, text, "a timestamp");
}

static bool is_timestamp(enum weir_type_id type)
{
    return type == WEIR_TYPE_TIMESTAMP || type == WEIR_TYPE_TIMESTAMP_LTZ;
}

static bool is_integer(enum weir_type_id type)
{
    return (type >= WEIR_TYPE_INT8 && type <= WEIR_TYPE_INT64) || type == WEIR_TYPE_DATE || type == WEIR_TYPE_TIME ||
           is_timestamp(type);
}

static void integer_limits(enum weir_type_id type, int64_t *min, int64_t *max)
{
    *min = INT64_MIN, *max = INT64_MAX;
    switch (type) {
    case WEIR_TYPE_INT8:
        *min = INT8_MIN, *max = INT8_MAX;
        break;
    case WEIR_TYPE_INT16:
        *min = INT16_MIN, *max = INT16_MAX;
        break;
    case WEIR_TYPE_INT32:
        *min = INT32_MIN, *max = INT32_MAX;
        break;
    case WEIR_TYPE_DATE:
        *min = 0, *max = 2932896;
        break; /* to 9999-12-31 */
    case WEIR_TYPE_TIME:
        *min = 0, *max = 86399999;
        break;
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        *min = 0, *max = 253402300799999;
        break;
    default:
        break;
    }
}

static enum kind parse_kind(struct given *given, enum weir_type_id type)
{
    static const char *const names[] = {"random", "sequence", "time", "now"};
    const char *text = field_text(given, "kind");
    if (!text)
        return is_timestamp(type) ? TIME : RANDOM;
    for (int k = 0; k < 4; k++)
        if (strcmp(text, names[k]) == 0) {
            bool fits =
                k == RANDOM || (k == SEQUENCE && is_integer(type)) || is_timestamp(type) || type == WEIR_TYPE_INT64;
            if (!fits)
                wrong(given, "kind", text, "a kind that this column's type can have");
            return (enum kind)k;
        }
    wrong(given, "kind", text, "one of random, sequence, time, now");
    return RANDOM;
}

static void parse_integer(struct given *given, struct field *field)
{
    int64_t least, most;
    integer_limits(field->type, &least, &most);
    bool sequence = field->kind == SEQUENCE;
    const char *low = sequence ? "start" : "min", *high = sequence ? "end" : "max";
    field->min = field_int(given, low, sequence ? 0 : least);
    field->max = field_int(given, high, most);
    if (field->min < least || field->max > most || field->min > field->max)
        wrong(given, field_text(given, high) ? high : low,
              field_text(given, high) ? field_text(given, high) : field_text(given, low),
              "in the column's range, with the lower end first");
}

static void parse_string(struct given *given, struct field *field)
{
    const char *prefix = field_text(given, "prefix");
    field->numbered = prefix || field_text(given, "min") || field_text(given, "max");
    field->prefix = weir_strdup(prefix ? prefix : "");
    field->prefix_size = strlen(field->prefix);
    int64_t length = field_int(given, "length", 16);
    if (length < 0 || length > 65536)
        wrong(given, "length", field_text(given, "length"), "from 0 to 65536");
    field->length = (int)length;
    field->min = field_int(given, "min", 0);
    field->max = field_int(given, "max", INT64_MAX);
    if (field->min > field->max)
        wrong(given, "min", field_text(given, "min"), "at most max");
}

static void parse_field(struct given *given, struct field *field, enum weir_type_id type)
{
    field->type = type;
    field->kind = parse_kind(given, type);
    field->null_rate = field_double(given, "null-rate", 0);
    if (field->null_rate < 0 || field->null_rate > 1)
        wrong(given, "null-rate", field_text(given, "null-rate"), "from 0 to 1");
    if (field->kind == TIME) {
        field->start_ms = field_time(given, "start", 0);
        field->step_ms = field_ms(given, "step", 1);
        field->jitter_ms = (int64_t)field_ms(given, "jitter", 0);
    } else if (is_integer(type)) {
        parse_integer(given, field);
    } else if (type == WEIR_TYPE_DOUBLE || type == WEIR_TYPE_FLOAT) {
        field->f64_min = field_double(given, "min", 0);
        field->f64_max = field_double(given, "max", 1);
        if (field->f64_min > field->f64_max)
            wrong(given, "min", field_text(given, "min"), "at most max");
    } else if (type == WEIR_TYPE_STRING || type == WEIR_TYPE_BYTES) {
        parse_string(given, field);
    }
}

/* "fields.<column>.<what>": both parts must be known. */
static weir_err check_keys(const struct weir_key_value *options, int option_count, const struct weir_schema *schema,
                           struct weir_error *error)
{
    static const char *const parts[] = {"kind",   "min",    "max",  "start",  "end",
                                        "length", "prefix", "step", "jitter", "null-rate"};
    const int part_count = (int)(sizeof parts / sizeof *parts);
    for (int i = 0; i < option_count; i++) {
        const char *key = options[i].key;
        if (strncmp(key, "fields.", 7) != 0)
            continue;
        const char *dot = strrchr(key + 7, '.');
        if (!dot || weir_schema_find(schema, key + 7, (size_t)(dot - key - 7)) < 0)
            return weir_fail(error, WEIR_ERR_INVALID, "option '%s' names no column of the schema", key);
        bool known = false;
        for (int p = 0; p < part_count; p++)
            known |= strcmp(dot + 1, parts[p]) == 0;
        const char *near = known ? NULL : weir_nearest(dot + 1, parts, part_count);
        if (!known)
            return weir_fail(error, WEIR_ERR_INVALID, "unknown option '%s'%s%s%s", key, near ? "; did you mean '" : "",
                             near ? near : "", near ? "'?" : "");
    }
    return 0;
}

static void free_fields(struct field *fields, int count)
{
    for (int c = 0; c < count; c++)
        free(fields[c].prefix);
    free(fields);
}

static weir_err parse_fields(const struct weir_key_value *options, int option_count, const struct weir_schema *schema,
                             struct field **out, struct weir_error *error)
{
    weir_err err = check_keys(options, option_count, schema, error);
    if (err)
        return err;
    int64_t seed = weir_options_get_int(options, option_count, source_options, "seed");
    struct field *fields = weir_zalloc((size_t)schema->field_count * sizeof *fields);
    struct given given = {.options = options, .count = option_count, .error = error};
    for (int c = 0; c < schema->field_count; c++) {
        given.column = schema->fields[c].name;
        parse_field(&given, &fields[c], schema->fields[c].type.id);
        if (fields[c].null_rate > 0 && !schema->fields[c].type.nullable)
            wrong(&given, "null-rate", field_text(&given, "null-rate"), "possible: the column is NOT NULL");
        fields[c].key = column_key((uint64_t)seed, (uint64_t)c);
    }
    if (given.err) {
        free_fields(fields, schema->field_count);
        return given.err;
    }
    *out = fields;
    return 0;
}

static weir_err source_schema(const struct weir_key_value *options, int option_count, struct weir_schema *declared,
                              struct weir_schema **schema, struct weir_error *error)
{
    struct field *fields = NULL;
    if (!declared)
        return weir_fail(error, WEIR_ERR_INVALID, "connector 'datagen' needs a schema: declare its columns");
    if (weir_options_get_int(options, option_count, source_options, "rows") < 0 ||
        weir_options_get_int(options, option_count, source_options, "rows-per-second") < 0)
        return weir_fail(error, WEIR_ERR_INVALID, "connector 'datagen': rows and rows-per-second cannot be negative");
    for (int c = 0; c < declared->field_count; c++) {
        char type[64];
        if (declared->fields[c].type.id >= WEIR_TYPE_DECIMAL)
            return weir_fail(error, WEIR_ERR_UNSUPPORTED,
                             "connector 'datagen' makes no values of column '%s', %s: make simple columns, and of them "
                             "that one with weir_select()",
                             declared->fields[c].name, weir_type_print(&declared->fields[c].type, type));
    }
    weir_err err = parse_fields(options, option_count, declared, &fields, error);
    if (err)
        return weir_wrap(error, "connector 'datagen'");
    free_fields(fields, declared->field_count);
    *schema = weir_schema_ref(declared);
    return 0;
}

static weir_err reader_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_reader **out, struct weir_error *error)
{
    struct field *fields = NULL;
    weir_err err = parse_fields(options, option_count, ctx->schema, &fields, error);
    if (err)
        return err;
    const struct weir_schema *schema = ctx->schema;
    struct weir_reader *reader = weir_zalloc(sizeof *reader);
    reader->schema = weir_schema_ref(ctx->schema);
    reader->fields = fields;
    const char *rows = weir_options_get(options, option_count, source_options, "rows");
    reader->row_count = rows ? weir_options_get_int(options, option_count, source_options, "rows") : -1;
    reader->rate = weir_options_get_int(options, option_count, source_options, "rows-per-second");
    reader->next = ctx->subtask;
    reader->stride = ctx->parallelism;
    reader->start_ms = ctx->now_ms(ctx);
    size_t row_size = 1;
    for (int c = 0; c < schema->field_count; c++)
        row_size += 8 + (size_t)fields[c].length + fields[c].prefix_size;
    size_t rows_max = WEIR_BATCH_BYTES_SOFT_MAX / row_size;
    reader->batch_rows_max = rows_max < 1                         ? 1
                             : rows_max < WEIR_BATCH_ROWS_DEFAULT ? (int)rows_max
                                                                  : WEIR_BATCH_ROWS_DEFAULT;
    *out = reader;
    return 0;
}

/* --- Columns. `first`: row number of row 0; `stride` between rows. */

#define FILL_INTEGERS(ctype, array) \
    do { \
        ctype *restrict v = (array); \
        for (int r = 0; r < count; r++, g += stride) \
            v[r] = (ctype)(field->min + (int64_t)bounded(mix(field->key, g), range)); \
    } while (0)

static void fill_random_integers(const struct field *field, struct weir_column *column, uint64_t g, uint64_t stride,
                                 int count)
{
    uint64_t range = (uint64_t)field->max - (uint64_t)field->min + 1;
    switch (weir_type_width(field->type)) {
    case 1:
        FILL_INTEGERS(int8_t, column->i8);
        break;
    case 2:
        FILL_INTEGERS(int16_t, column->i16);
        break;
    case 4:
        FILL_INTEGERS(int32_t, column->i32);
        break;
    case 8:
        if (range && range <= UINT32_MAX) {
            /* One multiplication less: the upper half of the random number is enough. */
            int64_t *restrict v = column->i64;
            uint64_t key = field->key;
            int64_t min = field->min;
            for (int r = 0; r < count; r++, g += stride)
                v[r] = min + (int64_t)((mix(key, g) >> 32) * range >> 32);
        } else {
            int64_t *restrict v = column->i64;
            for (int r = 0; r < count; r++, g += stride)
                v[r] = (int64_t)((uint64_t)field->min + bounded(mix(field->key, g), range));
        }
        break;
    default:
        weir_assert(false);
    }
}

static void fill_sequence(const struct field *field, struct weir_column *column, uint64_t g, uint64_t stride, int count)
{
    uint64_t range = (uint64_t)field->max - (uint64_t)field->min + 1;
    for (int r = 0; r < count; r++, g += stride) {
        int64_t value = (int64_t)((uint64_t)field->min + (range ? g % range : g));
        switch (weir_type_width(field->type)) {
        case 1:
            column->i8[r] = (int8_t)value;
            break;
        case 2:
            column->i16[r] = (int16_t)value;
            break;
        case 4:
            column->i32[r] = (int32_t)value;
            break;
        default:
            column->i64[r] = value;
        }
    }
}

static void fill_times(const struct field *field, int64_t *restrict v, uint64_t g, uint64_t stride, int count)
{
    /* A step of whole ms is counted in integers: exact for ever. */
    bool whole = field->step_ms == (double)(int64_t)field->step_ms;
    int64_t step = (int64_t)field->step_ms;
    if (whole)
        for (int r = 0; r < count; r++)
            v[r] = field->start_ms + (int64_t)(g + (uint64_t)r * stride) * step;
    else
        for (int r = 0; r < count; r++)
            v[r] = field->start_ms + (int64_t)((double)(int64_t)(g + (uint64_t)r * stride) * field->step_ms);
    if (field->jitter_ms > 0)
        for (int r = 0; r < count; r++)
            v[r] -= (int64_t)bounded(mix(field->key, g + (uint64_t)r * stride), (uint64_t)field->jitter_ms + 1);
}

static void fill_doubles(const struct field *field, struct weir_column *column, uint64_t g, uint64_t stride, int count)
{
    double min = field->f64_min, width = field->f64_max - field->f64_min;
    for (int r = 0; r < count; r++, g += stride) {
        double value = min + width * ((double)(mix(field->key, g) >> 11) * 0x1p-53);
        if (field->type == WEIR_TYPE_FLOAT)
            column->f32[r] = (float)value;
        else
            column->f64[r] = value;
    }
}

static bool is_null(const struct field *field, uint64_t g)
{
    return (double)(mix(~field->key, g) >> 11) * 0x1p-53 < field->null_rate;
}

static void fill_strings(const struct field *field, struct weir_column *column, uint64_t g, uint64_t stride, int count,
                         int row_capacity)
{
    uint64_t range = (uint64_t)field->max - (uint64_t)field->min + 1;
    for (int r = 0; r < count; r++, g += stride) {
        if (field->null_rate > 0 && is_null(field, g)) {
            weir_column_set_null(column, r, row_capacity);
            continue;
        }
        uint64_t random = mix(field->key, g);
        if (field->numbered) {
            char digits[24];
            int64_t number = (int64_t)((uint64_t)field->min + bounded(random, range));
            uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
            int at = (int)sizeof digits;
            do
                digits[--at] = (char)('0' + rest % 10);
            while (rest /= 10);
            if (number < 0)
                digits[--at] = '-';
            size_t size = sizeof digits - (size_t)at;
            uint8_t *to = weir_column_reserve_bytes(column, r, field->prefix_size + size);
            memcpy(to, field->prefix, field->prefix_size);
            memcpy(to + field->prefix_size, digits + at, size);
        } else {
            uint8_t *to = weir_column_reserve_bytes(column, r, (size_t)field->length);
            for (int i = 0; i < field->length; i++, random >>= 4) {
                if (i && i % 16 == 0)
                    random = mix(field->key + (uint64_t)i, g);
                to[i] = (uint8_t) "0123456789abcdef"[random & 15];
            }
        }
    }
}

static void fill_booleans(const struct field *field, struct weir_column *column, uint64_t g, uint64_t stride, int count)
{
    for (int r = 0; r < count; r++, g += stride)
        weir_bit_put(column->bits, r, mix(field->key, g) >> 63);
}

static void fill_nulls(const struct field *field, struct weir_column *column, uint64_t g, uint64_t stride, int count,
                       int row_capacity)
{
    for (int r = 0; r < count; r++, g += stride)
        if (is_null(field, g))
            weir_column_set_null(column, r, row_capacity);
}

static void fill(const struct field *field, struct weir_batch *batch, int c, uint64_t g, uint64_t stride, int count,
                 int64_t now_ms)
{
    struct weir_column *column = &batch->columns[c];
    if (field->kind == TIME) {
        fill_times(field, column->i64, g, stride, count);
    } else if (field->kind == NOW) {
        for (int r = 0; r < count; r++)
            column->i64[r] = now_ms;
    } else if (field->kind == SEQUENCE) {
        fill_sequence(field, column, g, stride, count);
    } else if (is_integer(field->type)) {
        fill_random_integers(field, column, g, stride, count);
    } else if (field->type == WEIR_TYPE_DOUBLE || field->type == WEIR_TYPE_FLOAT) {
        fill_doubles(field, column, g, stride, count);
    } else if (field->type == WEIR_TYPE_BOOLEAN) {
        fill_booleans(field, column, g, stride, count);
    } else {
        fill_strings(field, column, g, stride, count, batch->row_capacity);
    }
    /* A NULL zeroes its slot; variable-width rows must be set in order, so fill_strings() sets its own. */
    if (field->null_rate > 0 && !weir_type_is_variable(field->type))
        fill_nulls(field, column, g, stride, count, batch->row_capacity);
}

/* Row g is due at start_ms + g * 1000 / rate. */
static int64_t rows_due(const struct weir_reader *reader, int64_t now_ms)
{
    int64_t elapsed = now_ms - reader->start_ms;
    return elapsed < 0 ? 0 : (int64_t)((__int128)elapsed * reader->rate / 1000) + 1; /* rows 0..due-1 */
}

static bool was_made(const struct weir_reader *reader, int64_t row)
{
    for (int i = 0; i < reader->hole_count; i++)
        if (row < reader->holes[i].next[row % reader->holes[i].stride])
            return true;
    return false;
}

/* To the next row that was not made; false: not in one call. */
static bool pass_holes(struct weir_reader *reader, int64_t end)
{
    for (int skipped = 0; reader->hole_count > 0 && reader->next < end && was_made(reader, reader->next); skipped++) {
        if (skipped == SKIPPED_MAX)
            return false;
        reader->next += reader->stride;
    }
    int kept = 0;
    for (int i = 0; i < reader->hole_count; i++)
        if (reader->holes[i].end > reader->next)
            reader->holes[kept++] = reader->holes[i];
        else
            free(reader->holes[i].next);
    reader->hole_count = kept;
    return true;
}

/* How many of the next `count` rows come before one that was made. */
static int run_of_rows(const struct weir_reader *reader, int count)
{
    int run = reader->hole_count ? 1 : count;
    while (run < count && !was_made(reader, reader->next + (int64_t)run * reader->stride))
        run++;
    return run;
}

static enum weir_read read_batch(struct weir_reader *reader, struct weir_connector_ctx *ctx, struct weir_batch **out,
                                 int64_t *wait_until_ms, struct weir_error *error)
{
    (void)error;
    int64_t end = reader->row_count < 0 ? INT64_MAX : reader->row_count;
    bool skipped = pass_holes(reader, end);
    if (reader->next >= end)
        return WEIR_READ_END;
    int64_t now_ms = ctx->now_ms(ctx), limit = end;
    if (!skipped) {
        *wait_until_ms = now_ms;
        return WEIR_READ_EMPTY;
    }
    if (reader->rate > 0) {
        int64_t due = rows_due(reader, now_ms);
        if (reader->next >= due) {
            *wait_until_ms =
                reader->start_ms + (int64_t)(((__int128)reader->next * 1000 + reader->rate - 1) / reader->rate);
            return WEIR_READ_EMPTY;
        }
        limit = due < end ? due : end;
    }
    int64_t left = (limit - reader->next - 1) / reader->stride + 1;
    int count = left < WEIR_BATCH_ROWS_DEFAULT ? (int)left : WEIR_BATCH_ROWS_DEFAULT;
    if (count > reader->batch_rows_max)
        count = reader->batch_rows_max;
    count = run_of_rows(reader, count);
    struct weir_batch *batch = weir_batch_new(reader->schema, count);
    for (int c = 0; c < reader->schema->field_count; c++)
        fill(&reader->fields[c], batch, c, (uint64_t)reader->next, (uint64_t)reader->stride, count, now_ms);
    batch->row_count = count;
    reader->next += (int64_t)count * reader->stride;
    *out = batch;
    return WEIR_READ_DATA;
}

/* "<next row> <parallelism>", and for each hole ";<stride> <next of each>". At a rate the next row is due at once, and the others after it. */
static weir_err reader_snapshot(struct weir_reader *reader, const struct weir_read_bytes *bytes,
                                struct weir_buf *position, struct weir_error *error)
{
    (void)bytes, (void)error;
    bool ok = weir_buf_printf(position, "%" PRId64 " %" PRId64, reader->next, reader->stride);
    for (int i = 0; i < reader->hole_count; i++) {
        ok &= weir_buf_printf(position, ";%" PRId64, reader->holes[i].stride);
        for (int64_t s = 0; s < reader->holes[i].stride; s++)
            ok &= weir_buf_printf(position, " %" PRId64, reader->holes[i].next[s]);
    }
    weir_assert(ok);
    return WEIR_OK;
}

static struct hole *add_hole(struct weir_reader *reader, int64_t stride)
{
    reader->holes = weir_realloc(reader->holes, (size_t)(reader->hole_count + 1) * sizeof *reader->holes);
    struct hole *hole = &reader->holes[reader->hole_count++];
    *hole = (struct hole){.stride = stride, .next = weir_zalloc((size_t)stride * sizeof *hole->next)};
    return hole;
}

static void set_hole(struct hole *hole, int64_t s, int64_t next)
{
    hole->next[s] = next;
    if (next > hole->end)
        hole->end = next;
}

static bool get_number(const char **at, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    long long value = strtoll(*at, &end, 10);
    if (end == *at || value < min || value > max)
        return false;
    *at = end;
    *out = value;
    return true;
}

static bool parse_position(struct weir_reader *reader, const char *at, int64_t *next, int64_t *stride)
{
    if (!get_number(&at, 0, INT64_MAX / 2, next) || !get_number(&at, 1, 32768, stride))
        return false;
    while (*at == ';') {
        int64_t count, value;
        at++;
        if (!get_number(&at, 1, 32768, &count))
            return false;
        struct hole *hole = add_hole(reader, count);
        for (int64_t s = 0; s < count; s++) {
            if (!get_number(&at, 0, INT64_MAX / 2, &value))
                return false;
            set_hole(hole, s, value);
        }
    }
    return *at == 0;
}

static void go_on_from(struct weir_reader *reader, int64_t next)
{
    reader->next = next;
    if (reader->rate > 0)
        reader->start_ms -= (int64_t)((__int128)next * 1000 / reader->rate);
}

static weir_err reader_restore(struct weir_reader *reader, const char *position, struct weir_error *error)
{
    int64_t next, stride;
    if (!parse_position(reader, position, &next, &stride) || stride != reader->stride)
        return weir_fail(error, WEIR_ERR_DATA, "'%.100s' is no position of datagen with a parallelism of %" PRId64,
                         position, reader->stride);
    go_on_from(reader, next);
    return WEIR_OK;
}

static void drop_holes(struct weir_reader *reader)
{
    for (int i = 0; i < reader->hole_count; i++)
        free(reader->holes[i].next);
    reader->hole_count = 0;
}

/* Whoever had come least far knows of all holes that are left. */
static weir_err reader_rescale(struct weir_reader *reader, const char *const *positions, int count,
                               struct weir_error *error)
{
    int64_t *next = weir_zalloc((size_t)(count + 1) * sizeof *next), stride;
    int least = 0;
    weir_err err = WEIR_OK;
    for (int i = 0; i < count && !err; i++) {
        drop_holes(reader);
        if (!parse_position(reader, positions[i], &next[i], &stride) || stride != count || next[i] % count != i)
            err = weir_fail(error, WEIR_ERR_DATA, "'%.100s' is no position of datagen with a parallelism of %d",
                            positions[i], count);
        if (next[i] < next[least])
            least = i;
    }
    drop_holes(reader);
    if (!err && !parse_position(reader, positions[least], &next[least], &stride))
        err = WEIR_ERR_DATA;
    struct hole *hole = err ? NULL : add_hole(reader, count);
    for (int i = 0; i < count && !err; i++)
        set_hole(hole, i, next[i]);
    int64_t first = next[least] + ((reader->next - next[least]) % reader->stride + reader->stride) % reader->stride;
    if (!err)
        go_on_from(reader, first); /* reader->next was this reader's number until now */
    free(next);
    return err;
}

static void reader_close(struct weir_reader *reader)
{
    drop_holes(reader);
    free(reader->holes);
    free_fields(reader->fields, reader->schema->field_count);
    weir_schema_unref(reader->schema);
    free(reader);
}

static const struct weir_connector_rows rows_interface = {.source_schema = source_schema, .read_batch = read_batch};

const struct weir_connector weir_connector_datagen = {
    .size = sizeof(struct weir_connector),
    .name = "datagen",
    .help = "Makes rows from a seed",
    .source_options = source_options,
    .reader_open = reader_open,
    .reader_close = reader_close,
    .rows = &rows_interface,
    .reader_snapshot = reader_snapshot,
    .reader_restore = reader_restore,
    .reader_rescale = reader_rescale,
};
