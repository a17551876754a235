/* weir.h: the SDK. A job is one C file that builds a graph of streams.
 *
 *     #include <weir/weir.h>
 *     WEIR_JOB(hello)
 *     {
 *         struct weir_stream *numbers = weir_source(job, "datagen", "rows", weir_arg(job, "rows", "10"), NULL);
 *         weir_sink(weir_filter(numbers, "id > 3"), "print", NULL);
 *     }
 *
 *     cc -shared -fPIC hello.c -o hello.so $(pkg-config --cflags --libs weir) && weir run --local hello.so
 *
 * Building never needs error checks: every call returns a stream, the first error of an operator sticks to it with its name and the
 * source line, and the build reports all of them at the end. Streams belong to the job; there is nothing to free.
 * Text arguments are copied. Expressions, option names, types and functions are the same text as in SQL.
 * The builder is called on one thread, inside the WEIR_JOB function only.
 *
 * Functions (map, flat_map, process) are called on one worker thread per subtask, several subtasks at the same time: a static variable is shared by
 * those of one process. What they get is valid for the call, what they emit is copied. They may not block. One that
 * crashes ends its executor process; the job restarts by its strategy.
 *
 * ABI
 * - A job built against ABI M.n runs on a runtime M.m with m >= n; a newer one, or another major, is refused with a sentence before
 *   any of its code runs. WEIR_ABI_MINOR rises when a function or a struct member is added at an end, WEIR_ABI_MAJOR when something
 *   that is here changes its meaning or place.
 * - Structs that jobs fill (weir_map_spec) begin with their own size, as the job was compiled; what an older job does not have
 *   reads as zero. Structs that the runtime fills (weir_ctx) begin with theirs: a member is there when the size says so.
 * - Of the builder a job needs libweir's symbols; of the runtime nothing: functions reach it through pointers in what they are given.
 * - Functions and row types are known to the cluster by their offset in the shared object: they must be defined in it, not in
 *   a library that it links.
 */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <weir/decimal.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_ABI_MAJOR 1
#define WEIR_ABI_MINOR 2

/* --- Values in row structs */

struct weir_str { /* STRING, BYTES: pointer and size; not 0-terminated */
    const char *data;
    size_t size;
};
typedef int64_t weir_ts; /* TIMESTAMP(3): ms since 1970-01-01 */

static inline struct weir_str weir_str(const char *s)
{
    struct weir_str str = {s, strlen(s)};
    return str;
}
static inline bool weir_str_equal(struct weir_str a, struct weir_str b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* --- Row structs bound to a schema
 *
 *     struct reading { struct weir_str device_id; double temperature; weir_ts timestamp; };
 *     WEIR_ROW(reading,
 *         WEIR_FIELD(device_id,   "STRING NOT NULL"),
 *         WEIR_FIELD(temperature, "DOUBLE NOT NULL"),
 *         WEIR_FIELD(timestamp,   "TIMESTAMP(3) NOT NULL"));
 *
 * Up to 64 fields. C types: bool BOOLEAN; int8_t TINYINT; int16_t SMALLINT; int32_t INT, DATE (days), TIME (ms of the day); int64_t
 * BIGINT; weir_ts TIMESTAMP, TIMESTAMP_LTZ; float FLOAT; double DOUBLE; struct weir_decimal DECIMAL (weir/decimal.h); struct
 * weir_str STRING, VARCHAR, CHAR, BYTES, VARBINARY, BINARY. One that does not fit does not compile.
 *
 * A row with fields that may be NULL begins with WEIR_NULLS(row) and is bound with WEIR_ROW_NULLS instead:
 *
 *     struct visit { WEIR_NULLS(visit); int64_t id; struct weir_str page; };
 *     WEIR_ROW_NULLS(visit, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(page, "STRING"));
 *     if (!weir_is_null(v, page)) ...          weir_set_null(v, page, true);
 *
 * The bit of field i (in the order of the list) is bit i of weir_nulls[0]; a NULL field's value reads as zero.
 */
#define WEIR_NULLS(row) \
    union { \
        uint64_t weir_nulls[1]; \
        const struct weir_index_##row *weir_index; /* never read: gives weir_is_null() its bit */ \
    }
#define WEIR_NULL_BIT_(row, field) ((uint64_t)1 << (sizeof((row)->weir_index->field) - 1))
#define weir_is_null(row, field) (((row)->weir_nulls[0] & WEIR_NULL_BIT_(row, field)) != 0)
#define weir_set_null(row, field, null) \
    ((row)->weir_nulls[0] = (null) ? (row)->weir_nulls[0] | WEIR_NULL_BIT_(row, field) \
                                   : (row)->weir_nulls[0] & ~WEIR_NULL_BIT_(row, field))

enum weir_c_kind { WEIR_C_BOOL = 1, WEIR_C_INT, WEIR_C_FLOAT, WEIR_C_STR, WEIR_C_DECIMAL };

struct weir_row_field {
    const char *name;
    const char *type; /* SQL, "DOUBLE NOT NULL" */
    uint32_t offset;
    uint16_t size;
    uint16_t c_kind; /* enum weir_c_kind */
};
#define WEIR_ROW_FIELDS_MAX 64
#define WEIR_ROW_SIZE_MAX 65536
struct weir_row_type {
    const char *name;
    uint32_t size; /* of the struct */
    uint32_t field_count;
    const struct weir_row_field *fields;
    int32_t nulls_offset; /* -1: the struct has no weir_nulls; then every field must be NOT NULL */
    int32_t reserved;
};

#define WEIR_FIELD(field, type) (field, #field, type)
#define WEIR_ROW(row, ...) WEIR_ROW_(row, -1, __VA_ARGS__)
#define WEIR_ROW_NULLS(row, ...) WEIR_ROW_(row, offsetof(struct row, weir_nulls), __VA_ARGS__)
#define WEIR_ROW_OF(row) (&weir_row_##row)

/* clang-format off */
/* Machinery of WEIR_ROW: every field is a (name, "name", "TYPE") triple, unpacked once per table. */
#define WEIR_ROW_(row, nulls, ...)                                                                 \
    enum { WEIR_EACH_(WEIR_ROW_ENUM_, row, __VA_ARGS__) weir_field_count_##row };                  \
    struct weir_index_##row {                                                                      \
        WEIR_EACH_(WEIR_ROW_INDEX_, row, __VA_ARGS__)                                              \
    };                                                                                             \
    WEIR_EACH_(WEIR_ROW_CHECK_, row, __VA_ARGS__)                                                  \
    static const struct weir_row_field weir_fields_##row[] = {                                     \
        WEIR_EACH_(WEIR_ROW_ENTRY_, row, __VA_ARGS__)};                                            \
    __attribute__((unused)) static const struct weir_row_type weir_row_##row = {                   \
        #row, sizeof(struct row), weir_field_count_##row, weir_fields_##row, nulls, 0}
#define WEIR_UNPACK_(...) __VA_ARGS__
#define WEIR_CALL_(m, ...) m(__VA_ARGS__)
#define WEIR_ROW_ENUM_(row, triple) WEIR_CALL_(WEIR_ROW_ENUM2_, row, WEIR_UNPACK_ triple)
#define WEIR_ROW_ENUM2_(row, field, text, type) weir_field_##row##_##field,
#define WEIR_ROW_INDEX_(row, triple) WEIR_CALL_(WEIR_ROW_INDEX2_, row, WEIR_UNPACK_ triple)
#define WEIR_ROW_INDEX2_(row, field, text, type) char field[1 + weir_field_##row##_##field];
#define WEIR_ROW_CHECK_(row, triple) WEIR_CALL_(WEIR_ROW_CHECK2_, row, WEIR_UNPACK_ triple)
#define WEIR_ROW_CHECK2_(row, field, text, type)                                                   \
    enum { weir_fits_##row##_##field = WEIR_TYPE_FITS_(((struct row *)0)->field, type) };          \
    _Static_assert(weir_fits_##row##_##field,                                                      \
                   "struct " #row ": the C type of '" text "' does not fit its SQL type " type);
#define WEIR_ROW_ENTRY_(row, triple) WEIR_CALL_(WEIR_ROW_ENTRY2_, row, WEIR_UNPACK_ triple)
#define WEIR_ROW_ENTRY2_(row, field, text, type)                                                   \
    {text, type, offsetof(struct row, field), sizeof(((struct row *)0)->field),                    \
     WEIR_C_KIND_(((struct row *)0)->field)},

/* An error of _Generic here: the field's C type has no SQL type (see the list above). */
#define WEIR_C_KIND_(field)                                                                        \
    _Generic((field), _Bool: WEIR_C_BOOL, signed char: WEIR_C_INT, short: WEIR_C_INT,              \
             int: WEIR_C_INT, long: WEIR_C_INT, long long: WEIR_C_INT, float: WEIR_C_FLOAT,        \
             double: WEIR_C_FLOAT, struct weir_str: WEIR_C_STR, struct weir_decimal: WEIR_C_DECIMAL)

/* Does the C type fit the SQL text? gcc and clang fold strncmp of literals in a _Static_assert; upper and lower case are known here,
 * anything else (" Double") is left to the build of the graph, which checks it all again. */
#define WEIR_SQL_(type, upper, lower)                                                              \
    (__builtin_strncmp(type, upper, sizeof(upper) - 1) == 0 ||                                     \
     __builtin_strncmp(type, lower, sizeof(lower) - 1) == 0)
#define WEIR_SQL_TIMESTAMP_(type) WEIR_SQL_(type, "TIMESTAMP", "timestamp")
#define WEIR_SQL_TIME_(type) (WEIR_SQL_(type, "TIME", "time") && !WEIR_SQL_TIMESTAMP_(type))
#define WEIR_SQL_INT_(type) WEIR_SQL_(type, "INT", "int")
#define WEIR_SQL_TEXT_(type)                                                                       \
    (WEIR_SQL_(type, "STRING", "string") || WEIR_SQL_(type, "VARCHAR", "varchar") ||               \
     WEIR_SQL_(type, "CHAR", "char") || WEIR_SQL_(type, "BYTES", "bytes") ||                       \
     WEIR_SQL_(type, "VARBINARY", "varbinary") || WEIR_SQL_(type, "BINARY", "binary"))
#define WEIR_SQL_DECIMAL_(type)                                                                    \
    (WEIR_SQL_(type, "DEC", "dec") || WEIR_SQL_(type, "NUMERIC", "numeric"))
#define WEIR_SQL_KNOWN_(type)                                                                      \
    (WEIR_SQL_DECIMAL_(type) || WEIR_SQL_(type, "BOOLEAN", "boolean") || WEIR_SQL_(type, "TINYINT", "tinyint") ||             \
     WEIR_SQL_(type, "SMALLINT", "smallint") || WEIR_SQL_INT_(type) ||                             \
     WEIR_SQL_(type, "BIGINT", "bigint") || WEIR_SQL_(type, "FLOAT", "float") ||                   \
     WEIR_SQL_(type, "DOUBLE", "double") || WEIR_SQL_(type, "DATE", "date") ||                     \
     WEIR_SQL_(type, "TIME", "time") || WEIR_SQL_TEXT_(type))
#define WEIR_TYPE_FITS_(field, type)                                                               \
    (!WEIR_SQL_KNOWN_(type) || WEIR_SQL_(type, "BOOLEAN", "boolean") == WEIR_IS_(field, _Bool)) && \
        (!WEIR_SQL_KNOWN_(type) || WEIR_SQL_(type, "FLOAT", "float") == WEIR_IS_(field, float)) && \
        (!WEIR_SQL_KNOWN_(type) ||                                                                 \
         WEIR_SQL_(type, "DOUBLE", "double") == WEIR_IS_(field, double)) &&                        \
        (!WEIR_SQL_KNOWN_(type) ||                                                                 \
         WEIR_SQL_TEXT_(type) == WEIR_IS_(field, struct weir_str)) &&                              \
        (!WEIR_SQL_KNOWN_(type) ||                                                                 \
         WEIR_SQL_DECIMAL_(type) == WEIR_IS_(field, struct weir_decimal)) &&                       \
        (!WEIR_SQL_(type, "TINYINT", "tinyint") || sizeof(field) == 1) &&                          \
        (!WEIR_SQL_(type, "SMALLINT", "smallint") || sizeof(field) == 2) &&                        \
        (!(WEIR_SQL_INT_(type) || WEIR_SQL_TIME_(type) || WEIR_SQL_(type, "DATE", "date")) ||      \
         sizeof(field) == 4) &&                                                                    \
        (!(WEIR_SQL_(type, "BIGINT", "bigint") || WEIR_SQL_TIMESTAMP_(type)) || sizeof(field) == 8)
#define WEIR_IS_(field, c_type) _Generic((field), c_type: 1, default: 0)

/* FOR_EACH: m(r, item) for each of up to 64 items. */
#define WEIR_EACH_(m, r, ...) \
    WEIR_EACH_PICK_(__VA_ARGS__, \
                    WEIR_EACH_64_, WEIR_EACH_63_, WEIR_EACH_62_, WEIR_EACH_61_, WEIR_EACH_60_, \
                    WEIR_EACH_59_, WEIR_EACH_58_, WEIR_EACH_57_, WEIR_EACH_56_, \
                    WEIR_EACH_55_, WEIR_EACH_54_, WEIR_EACH_53_, WEIR_EACH_52_, \
                    WEIR_EACH_51_, WEIR_EACH_50_, WEIR_EACH_49_, WEIR_EACH_48_, \
                    WEIR_EACH_47_, WEIR_EACH_46_, WEIR_EACH_45_, WEIR_EACH_44_, \
                    WEIR_EACH_43_, WEIR_EACH_42_, WEIR_EACH_41_, WEIR_EACH_40_, \
                    WEIR_EACH_39_, WEIR_EACH_38_, WEIR_EACH_37_, WEIR_EACH_36_, \
                    WEIR_EACH_35_, WEIR_EACH_34_, WEIR_EACH_33_, WEIR_EACH_32_, \
                    WEIR_EACH_31_, WEIR_EACH_30_, WEIR_EACH_29_, WEIR_EACH_28_, \
                    WEIR_EACH_27_, WEIR_EACH_26_, WEIR_EACH_25_, WEIR_EACH_24_, \
                    WEIR_EACH_23_, WEIR_EACH_22_, WEIR_EACH_21_, WEIR_EACH_20_, \
                    WEIR_EACH_19_, WEIR_EACH_18_, WEIR_EACH_17_, WEIR_EACH_16_, \
                    WEIR_EACH_15_, WEIR_EACH_14_, WEIR_EACH_13_, WEIR_EACH_12_, \
                    WEIR_EACH_11_, WEIR_EACH_10_, WEIR_EACH_9_, WEIR_EACH_8_, WEIR_EACH_7_, \
                    WEIR_EACH_6_, WEIR_EACH_5_, WEIR_EACH_4_, WEIR_EACH_3_, WEIR_EACH_2_, \
                    WEIR_EACH_1_, 0)(m, r, __VA_ARGS__)
#define WEIR_EACH_PICK_( \
                        a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, \
                        a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, \
                        a29, a30, a31, a32, a33, a34, a35, a36, a37, a38, a39, a40, a41, \
                        a42, a43, a44, a45, a46, a47, a48, a49, a50, a51, a52, a53, a54, \
                        a55, a56, a57, a58, a59, a60, a61, a62, a63, a64, m, ...) m
#define WEIR_EACH_1_(m, r, p) m(r, p)
#define WEIR_EACH_2_(m, r, p, ...) m(r, p) WEIR_EACH_1_(m, r, __VA_ARGS__)
#define WEIR_EACH_3_(m, r, p, ...) m(r, p) WEIR_EACH_2_(m, r, __VA_ARGS__)
#define WEIR_EACH_4_(m, r, p, ...) m(r, p) WEIR_EACH_3_(m, r, __VA_ARGS__)
#define WEIR_EACH_5_(m, r, p, ...) m(r, p) WEIR_EACH_4_(m, r, __VA_ARGS__)
#define WEIR_EACH_6_(m, r, p, ...) m(r, p) WEIR_EACH_5_(m, r, __VA_ARGS__)
#define WEIR_EACH_7_(m, r, p, ...) m(r, p) WEIR_EACH_6_(m, r, __VA_ARGS__)
#define WEIR_EACH_8_(m, r, p, ...) m(r, p) WEIR_EACH_7_(m, r, __VA_ARGS__)
#define WEIR_EACH_9_(m, r, p, ...) m(r, p) WEIR_EACH_8_(m, r, __VA_ARGS__)
#define WEIR_EACH_10_(m, r, p, ...) m(r, p) WEIR_EACH_9_(m, r, __VA_ARGS__)
#define WEIR_EACH_11_(m, r, p, ...) m(r, p) WEIR_EACH_10_(m, r, __VA_ARGS__)
#define WEIR_EACH_12_(m, r, p, ...) m(r, p) WEIR_EACH_11_(m, r, __VA_ARGS__)
#define WEIR_EACH_13_(m, r, p, ...) m(r, p) WEIR_EACH_12_(m, r, __VA_ARGS__)
#define WEIR_EACH_14_(m, r, p, ...) m(r, p) WEIR_EACH_13_(m, r, __VA_ARGS__)
#define WEIR_EACH_15_(m, r, p, ...) m(r, p) WEIR_EACH_14_(m, r, __VA_ARGS__)
#define WEIR_EACH_16_(m, r, p, ...) m(r, p) WEIR_EACH_15_(m, r, __VA_ARGS__)
#define WEIR_EACH_17_(m, r, p, ...) m(r, p) WEIR_EACH_16_(m, r, __VA_ARGS__)
#define WEIR_EACH_18_(m, r, p, ...) m(r, p) WEIR_EACH_17_(m, r, __VA_ARGS__)
#define WEIR_EACH_19_(m, r, p, ...) m(r, p) WEIR_EACH_18_(m, r, __VA_ARGS__)
#define WEIR_EACH_20_(m, r, p, ...) m(r, p) WEIR_EACH_19_(m, r, __VA_ARGS__)
#define WEIR_EACH_21_(m, r, p, ...) m(r, p) WEIR_EACH_20_(m, r, __VA_ARGS__)
#define WEIR_EACH_22_(m, r, p, ...) m(r, p) WEIR_EACH_21_(m, r, __VA_ARGS__)
#define WEIR_EACH_23_(m, r, p, ...) m(r, p) WEIR_EACH_22_(m, r, __VA_ARGS__)
#define WEIR_EACH_24_(m, r, p, ...) m(r, p) WEIR_EACH_23_(m, r, __VA_ARGS__)
#define WEIR_EACH_25_(m, r, p, ...) m(r, p) WEIR_EACH_24_(m, r, __VA_ARGS__)
#define WEIR_EACH_26_(m, r, p, ...) m(r, p) WEIR_EACH_25_(m, r, __VA_ARGS__)
#define WEIR_EACH_27_(m, r, p, ...) m(r, p) WEIR_EACH_26_(m, r, __VA_ARGS__)
#define WEIR_EACH_28_(m, r, p, ...) m(r, p) WEIR_EACH_27_(m, r, __VA_ARGS__)
#define WEIR_EACH_29_(m, r, p, ...) m(r, p) WEIR_EACH_28_(m, r, __VA_ARGS__)
#define WEIR_EACH_30_(m, r, p, ...) m(r, p) WEIR_EACH_29_(m, r, __VA_ARGS__)
#define WEIR_EACH_31_(m, r, p, ...) m(r, p) WEIR_EACH_30_(m, r, __VA_ARGS__)
#define WEIR_EACH_32_(m, r, p, ...) m(r, p) WEIR_EACH_31_(m, r, __VA_ARGS__)
#define WEIR_EACH_33_(m, r, p, ...) m(r, p) WEIR_EACH_32_(m, r, __VA_ARGS__)
#define WEIR_EACH_34_(m, r, p, ...) m(r, p) WEIR_EACH_33_(m, r, __VA_ARGS__)
#define WEIR_EACH_35_(m, r, p, ...) m(r, p) WEIR_EACH_34_(m, r, __VA_ARGS__)
#define WEIR_EACH_36_(m, r, p, ...) m(r, p) WEIR_EACH_35_(m, r, __VA_ARGS__)
#define WEIR_EACH_37_(m, r, p, ...) m(r, p) WEIR_EACH_36_(m, r, __VA_ARGS__)
#define WEIR_EACH_38_(m, r, p, ...) m(r, p) WEIR_EACH_37_(m, r, __VA_ARGS__)
#define WEIR_EACH_39_(m, r, p, ...) m(r, p) WEIR_EACH_38_(m, r, __VA_ARGS__)
#define WEIR_EACH_40_(m, r, p, ...) m(r, p) WEIR_EACH_39_(m, r, __VA_ARGS__)
#define WEIR_EACH_41_(m, r, p, ...) m(r, p) WEIR_EACH_40_(m, r, __VA_ARGS__)
#define WEIR_EACH_42_(m, r, p, ...) m(r, p) WEIR_EACH_41_(m, r, __VA_ARGS__)
#define WEIR_EACH_43_(m, r, p, ...) m(r, p) WEIR_EACH_42_(m, r, __VA_ARGS__)
#define WEIR_EACH_44_(m, r, p, ...) m(r, p) WEIR_EACH_43_(m, r, __VA_ARGS__)
#define WEIR_EACH_45_(m, r, p, ...) m(r, p) WEIR_EACH_44_(m, r, __VA_ARGS__)
#define WEIR_EACH_46_(m, r, p, ...) m(r, p) WEIR_EACH_45_(m, r, __VA_ARGS__)
#define WEIR_EACH_47_(m, r, p, ...) m(r, p) WEIR_EACH_46_(m, r, __VA_ARGS__)
#define WEIR_EACH_48_(m, r, p, ...) m(r, p) WEIR_EACH_47_(m, r, __VA_ARGS__)
#define WEIR_EACH_49_(m, r, p, ...) m(r, p) WEIR_EACH_48_(m, r, __VA_ARGS__)
#define WEIR_EACH_50_(m, r, p, ...) m(r, p) WEIR_EACH_49_(m, r, __VA_ARGS__)
#define WEIR_EACH_51_(m, r, p, ...) m(r, p) WEIR_EACH_50_(m, r, __VA_ARGS__)
#define WEIR_EACH_52_(m, r, p, ...) m(r, p) WEIR_EACH_51_(m, r, __VA_ARGS__)
#define WEIR_EACH_53_(m, r, p, ...) m(r, p) WEIR_EACH_52_(m, r, __VA_ARGS__)
#define WEIR_EACH_54_(m, r, p, ...) m(r, p) WEIR_EACH_53_(m, r, __VA_ARGS__)
#define WEIR_EACH_55_(m, r, p, ...) m(r, p) WEIR_EACH_54_(m, r, __VA_ARGS__)
#define WEIR_EACH_56_(m, r, p, ...) m(r, p) WEIR_EACH_55_(m, r, __VA_ARGS__)
#define WEIR_EACH_57_(m, r, p, ...) m(r, p) WEIR_EACH_56_(m, r, __VA_ARGS__)
#define WEIR_EACH_58_(m, r, p, ...) m(r, p) WEIR_EACH_57_(m, r, __VA_ARGS__)
#define WEIR_EACH_59_(m, r, p, ...) m(r, p) WEIR_EACH_58_(m, r, __VA_ARGS__)
#define WEIR_EACH_60_(m, r, p, ...) m(r, p) WEIR_EACH_59_(m, r, __VA_ARGS__)
#define WEIR_EACH_61_(m, r, p, ...) m(r, p) WEIR_EACH_60_(m, r, __VA_ARGS__)
#define WEIR_EACH_62_(m, r, p, ...) m(r, p) WEIR_EACH_61_(m, r, __VA_ARGS__)
#define WEIR_EACH_63_(m, r, p, ...) m(r, p) WEIR_EACH_62_(m, r, __VA_ARGS__)
#define WEIR_EACH_64_(m, r, p, ...) m(r, p) WEIR_EACH_63_(m, r, __VA_ARGS__)

/* clang-format on */

/* --- A job */

struct weir_job;    /* opaque: given to the WEIR_JOB function */
struct weir_stream; /* opaque: rows that flow from an operator; any number of operators may take them */

#define WEIR_JOB_MAGIC 0x72696577u /* "weir" */
struct weir_job_descriptor {
    uint32_t magic;
    uint16_t abi_major;
    uint16_t abi_minor;
    const char *name;
    void (*build)(struct weir_job *job);
};
/* The one symbol that a job's shared object exports. */
extern __attribute__((visibility("default"))) const struct weir_job_descriptor weir_job_descriptor;

/* Defines the job's function; `job` is its parameter. One in each shared object. */
#define WEIR_JOB(name) \
    static void weir_build_##name(struct weir_job *job); \
    __attribute__((used)) const struct weir_job_descriptor weir_job_descriptor = { \
        WEIR_JOB_MAGIC, WEIR_ABI_MAJOR, WEIR_ABI_MINOR, #name, weir_build_##name}; \
    static void weir_build_##name(__attribute__((unused)) struct weir_job *job)

/* Name of the job (default: that of WEIR_JOB); `weir run --name` wins. */
void weir_job_name(struct weir_job *job, const char *name);
/* Parallelism of operators that have none of their own; `weir run -p` wins. */
#define weir_job_parallelism(job, parallelism) weir_job_parallelism_at(__FILE__, __LINE__, job, parallelism)

/* The job's arguments: `weir run job.so --input FILE --verbose --window='10 s'`. The text belongs to the job. A default of NULL makes the
 * argument required. An argument that the job never asks for is an error that names the nearest one; `--help` lists those
 * asked for. A number that cannot be read is an error; the default is returned then. */
#define weir_arg(job, name, fallback) weir_arg_at(__FILE__, __LINE__, job, name, fallback)
#define weir_arg_int(job, name, fallback) weir_arg_int_at(__FILE__, __LINE__, job, name, fallback)
#define weir_arg_double(job, name, fallback) weir_arg_double_at(__FILE__, __LINE__, job, name, fallback)
/* "10 s", "1 d": ms. */
#define weir_arg_duration(job, name, fallback) weir_arg_duration_at(__FILE__, __LINE__, job, name, fallback)
/* Given alone, or as true/false. */
#define weir_arg_bool(job, name, fallback) weir_arg_bool_at(__FILE__, __LINE__, job, name, fallback)

/* printf into memory of the job, for options and expressions: weir_text(job, "mean > %g", threshold). */
const char *weir_text(struct weir_job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- Sources and sinks */

/* Connector, then option name and value pairs (const char *), then NULL. */
#define weir_source(job, ...) weir_source_at(__FILE__, __LINE__, job, __VA_ARGS__)
/* Columns of a source's rows, from a row struct ... */
#define weir_schema(stream, row_type) weir_schema_at(__FILE__, __LINE__, stream, row_type)
/* ... or as the column list of a CREATE TABLE: "id BIGINT NOT NULL, name STRING". */
#define weir_columns(stream, text) weir_columns_at(__FILE__, __LINE__, stream, text)
/* Ends the stream in a connector; options as weir_source(). Returns a stream for weir_name(), weir_uid(), weir_parallelism() only. */
#define weir_sink(stream, ...) weir_sink_at(__FILE__, __LINE__, stream, __VA_ARGS__)

/* Event time: "timestamp - INTERVAL '2' SECOND" bounds how far rows may be out of order. */
#define weir_watermark(stream, expression) weir_watermark_at(__FILE__, __LINE__, stream, expression)
/* A split (or stream) without rows for this long holds nobody's watermark back. */
#define weir_idleness(stream, timeout) weir_idleness_at(__FILE__, __LINE__, stream, timeout)
/* Records that could not be read: the second output of a source, which then has "on-error" = "dead-letter". */
#define weir_bad(stream) weir_bad_at(__FILE__, __LINE__, stream)

/* --- Transformations */

/* Rows for which the BOOLEAN expression is true. */
#define weir_filter(stream, condition) weir_filter_at(__FILE__, __LINE__, stream, condition)
/* A select list: "device_id, temperature * 1.8 + 32 AS fahrenheit, *". */
#define weir_select(stream, columns) weir_select_at(__FILE__, __LINE__, stream, columns)

/* Partitioning towards the operators that follow. */
#define weir_key_by(stream, columns) weir_key_by_at(__FILE__, __LINE__, stream, columns) /* "a, b" */
#define weir_rebalance(stream) weir_rebalance_at(__FILE__, __LINE__, stream)             /* round robin */
#define weir_broadcast(stream) weir_broadcast_at(__FILE__, __LINE__, stream) /* every row to every subtask */
/* Streams of the same columns, in any interleaving: weir_union(a, b, c). */
#define weir_union(...) \
    weir_union_at(__FILE__, __LINE__, (struct weir_stream *[]){__VA_ARGS__}, \
                  sizeof((struct weir_stream *[]){__VA_ARGS__}) / sizeof(struct weir_stream *))

/* --- Functions */

/* What a function may ask of the runtime. */
struct weir_ctx {
    uint32_t size;   /* of this struct */
    int32_t subtask; /* 0-based */
    int32_t parallelism;
    int32_t attempt;   /* 1: the first */
    weir_ts watermark; /* of the operator, INT64_MIN: none yet */
    /* Makes the task fail with this text; returns -1. */
    int (*fail_task)(struct weir_ctx *ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));
    /* `size` bytes that live until this call's results have been copied; NULL: more than 16 MiB in one call. */
    char *(*scratch)(struct weir_ctx *ctx, size_t size);
    /* The job's argument `--name VALUE`, as weir_arg() reads it; `fallback` when it was not given. */
    const char *(*argument)(struct weir_ctx *ctx, const char *name, const char *fallback);
    /* State and timers (weir/process.h), in functions of weir_process(); else NULL. Since ABI 1.1. */
    const struct weir_process_calls *process;
};
/* `return WEIR_FAIL(ctx, "no price for %d", id);` */
#define WEIR_FAIL(ctx, ...) ((ctx)->fail_task((ctx), __VA_ARGS__))

/* Where a function puts its rows: structs of the type that .out names. */
#ifndef WEIR_OUT_IS_THE_RUNTIMES
#define weir_out weir_out_rows /* jobs write either */
#endif
struct weir_out_rows {
    int (*emit)(struct weir_out_rows *out, const void *row);
};
/* Copies *row, strings included. Non-zero: the task is failing; return it. */
static inline int weir_emit(struct weir_out_rows *out, const void *row)
{
    return out->emit(out, row);
}

typedef int weir_map_fn(struct weir_ctx *ctx, const void *in, void *out);
typedef int weir_flat_map_fn(struct weir_ctx *ctx, const void *in, struct weir_out_rows *out);

/* One row in, one row out (map), or any number (flat_map). 0: go on; else the task fails. *out is all zero bytes when a map is called.
 * The input struct's fields are matched with the stream's columns by name; it may have fewer than the stream. */
struct weir_map_spec {
    uint32_t size; /* set by the macro */
    const char *name;
    const struct weir_row_type *in;
    const struct weir_row_type *out;
    const void *function;
};
/*     static int warm(struct weir_ctx *ctx, const struct reading *in, struct alert *out) { ... return 0; }
 *     weir_map(readings, WEIR_MAP(reading, alert, warm), .name = "warm")
 * WEIR_MAP and WEIR_FLAT_MAP check the function's type and set .in, .out and .function. */
#define WEIR_MAP(row_in, row_out, fn) \
    .in = WEIR_ROW_OF(row_in), .out = WEIR_ROW_OF(row_out), \
    .function = WEIR_CHECKED_(fn, int (*)(struct weir_ctx *, const struct row_in *, struct row_out *))
#define WEIR_FLAT_MAP(row_in, row_out, fn) \
    .in = WEIR_ROW_OF(row_in), .out = WEIR_ROW_OF(row_out), \
    .function = WEIR_CHECKED_(fn, int (*)(struct weir_ctx *, const struct row_in *, struct weir_out_rows *))
#define WEIR_CHECKED_(fn, fn_type) (__extension__(const void *) _Generic(&*(fn), fn_type : &*(fn)))
#define weir_map(stream, ...) \
    weir_map_at(__FILE__, __LINE__, stream, &(struct weir_map_spec){.size = sizeof(struct weir_map_spec), __VA_ARGS__})
#define weir_flat_map(stream, ...) \
    weir_flat_map_at(__FILE__, __LINE__, stream, \
                     &(struct weir_map_spec){.size = sizeof(struct weir_map_spec), __VA_ARGS__})

/* --- Windows: weir_aggregate(weir_window(weir_key_by(s, "id"), weir_tumbling("10 s")), "id, window_end, COUNT(*) AS n") */

struct weir_window_spec {
    const char *type; /* "tumbling", "sliding", "session" */
    const char *time; /* "event", "processing" */
    const char *size; /* durations: "10 s", "1 d" */
    const char *slide;
    const char *gap;
    const char *offset;
    const char *reserved[2];
};
static inline struct weir_window_spec weir_tumbling(const char *size)
{
    struct weir_window_spec spec = {"tumbling", "event", size, NULL, NULL, NULL, {NULL, NULL}};
    return spec;
}
static inline struct weir_window_spec weir_sliding(const char *size, const char *slide)
{
    struct weir_window_spec spec = {"sliding", "event", size, slide, NULL, NULL, {NULL, NULL}};
    return spec;
}
static inline struct weir_window_spec weir_session(const char *gap)
{
    struct weir_window_spec spec = {"session", "event", NULL, NULL, gap, NULL, {NULL, NULL}};
    return spec;
}
/* Windows that begin at `offset` past a multiple of their size (or slide): days of another time zone. */
static inline struct weir_window_spec weir_offset(struct weir_window_spec spec, const char *offset)
{
    spec.offset = offset;
    return spec;
}
/* By the wall clock instead of event time. */
static inline struct weir_window_spec weir_processing_time(struct weir_window_spec spec)
{
    spec.time = "processing";
    return spec;
}

/* The stream must be keyed; what is returned takes weir_lateness() and weir_aggregate() only. */
#define weir_window(stream, spec) weir_window_at(__FILE__, __LINE__, stream, spec)
/* Rows this much behind the watermark still count: their window is given out again. */
#define weir_lateness(windowed, lateness) weir_lateness_at(__FILE__, __LINE__, windowed, lateness)
/* Key columns, window_start, window_end and COUNT, SUM, MIN, MAX, AVG, FIRST, LAST with FILTER (WHERE ...). */
#define weir_aggregate(windowed, columns) weir_aggregate_at(__FILE__, __LINE__, windowed, columns)
/* Of an aggregated stream: the rows that came too late, as they came. */
#define weir_late(stream) weir_late_at(__FILE__, __LINE__, stream)

/* --- Settings of the operator that made the stream. Each returns the stream. */
#define weir_name(stream, name) weir_name_at(__FILE__, __LINE__, stream, name)
/* State is matched by it across versions of the job; unique in the job. */
#define weir_uid(stream, uid) weir_uid_at(__FILE__, __LINE__, stream, uid)
#define weir_parallelism(stream, parallelism) weir_parallelism_at(__FILE__, __LINE__, stream, parallelism)
/* false: the operator is never fused with the one before it. */
#define weir_chaining(stream, chaining) weir_chaining_at(__FILE__, __LINE__, stream, chaining)

/* --- What the macros call */
#define WEIR_AT_ const char *file, int line
#define WEIR_STREAM_ struct weir_stream *
void weir_job_parallelism_at(WEIR_AT_, struct weir_job *job, int parallelism);
const char *weir_arg_at(WEIR_AT_, struct weir_job *job, const char *name, const char *fallback);
int64_t weir_arg_int_at(WEIR_AT_, struct weir_job *job, const char *name, int64_t fallback);
int64_t weir_arg_duration_at(WEIR_AT_, struct weir_job *job, const char *name, const char *fallback);
double weir_arg_double_at(WEIR_AT_, struct weir_job *job, const char *name, double fallback);
bool weir_arg_bool_at(WEIR_AT_, struct weir_job *job, const char *name, bool fallback);
WEIR_STREAM_ weir_source_at(WEIR_AT_, struct weir_job *job, const char *connector, ...) __attribute__((sentinel));
WEIR_STREAM_ weir_schema_at(WEIR_AT_, struct weir_stream *stream, const struct weir_row_type *row_type);
WEIR_STREAM_ weir_columns_at(WEIR_AT_, struct weir_stream *stream, const char *text);
WEIR_STREAM_ weir_sink_at(WEIR_AT_, struct weir_stream *stream, const char *connector, ...) __attribute__((sentinel));
WEIR_STREAM_ weir_watermark_at(WEIR_AT_, struct weir_stream *stream, const char *expression);
WEIR_STREAM_ weir_idleness_at(WEIR_AT_, struct weir_stream *stream, const char *timeout);
WEIR_STREAM_ weir_bad_at(WEIR_AT_, struct weir_stream *stream);
WEIR_STREAM_ weir_filter_at(WEIR_AT_, struct weir_stream *stream, const char *condition);
WEIR_STREAM_ weir_select_at(WEIR_AT_, struct weir_stream *stream, const char *columns);
WEIR_STREAM_ weir_key_by_at(WEIR_AT_, struct weir_stream *stream, const char *columns);
WEIR_STREAM_ weir_rebalance_at(WEIR_AT_, struct weir_stream *stream);
WEIR_STREAM_ weir_broadcast_at(WEIR_AT_, struct weir_stream *stream);
WEIR_STREAM_ weir_union_at(WEIR_AT_, struct weir_stream *const *streams, size_t count);
WEIR_STREAM_ weir_map_at(WEIR_AT_, struct weir_stream *stream, const struct weir_map_spec *spec);
WEIR_STREAM_ weir_flat_map_at(WEIR_AT_, struct weir_stream *stream, const struct weir_map_spec *spec);
WEIR_STREAM_ weir_window_at(WEIR_AT_, struct weir_stream *stream, struct weir_window_spec spec);
WEIR_STREAM_ weir_lateness_at(WEIR_AT_, struct weir_stream *windowed, const char *lateness);
WEIR_STREAM_ weir_aggregate_at(WEIR_AT_, struct weir_stream *windowed, const char *columns);
WEIR_STREAM_ weir_late_at(WEIR_AT_, struct weir_stream *stream);
WEIR_STREAM_ weir_name_at(WEIR_AT_, struct weir_stream *stream, const char *name);
WEIR_STREAM_ weir_uid_at(WEIR_AT_, struct weir_stream *stream, const char *uid);
WEIR_STREAM_ weir_parallelism_at(WEIR_AT_, struct weir_stream *stream, int parallelism);
WEIR_STREAM_ weir_chaining_at(WEIR_AT_, struct weir_stream *stream, bool chaining);
#undef WEIR_AT_
#undef WEIR_STREAM_

#ifdef __cplusplus
}
#endif

#include <weir/process.h>

#endif
