/* docs/functions.md: the functions with a sentence and an example each, whose value is computed here. A function that is not in this
 * table is an error of the generator, and of the test that compares its text with the file.
 */
#include <stdio.h>
#include <stdlib.h>

#include "expr/expr.h"

struct doc {
    const char *name, *help, *example;
};

static const struct doc docs[] = {
    {"ABS", "The absolute value", "ABS(-7)"},
    {"ACOS", "Arc cosine, in radians", "ACOS(1)"},
    {"ARRAY_CONTAINS", "Is the value one of the ARRAY's elements?", "ARRAY_CONTAINS(ARRAY[1, 2], 2)"},
    {"ASCII", "The code point of the first character", "ASCII('A')"},
    {"ASIN", "Arc sine, in radians", "ASIN(0)"},
    {"ATAN", "Arc tangent, in radians", "ATAN(1)"},
    {"ATAN2", "Arc tangent of y / x by the signs of both", "ATAN2(1, 1)"},
    {"BIN", "A whole number in binary", "BIN(10)"},
    {"BTRIM", "Without spaces, or the given characters, at both ends", "BTRIM('xxaxx', 'x')"},
    {"CARDINALITY", "Number of elements of an ARRAY, of entries of a MAP", "CARDINALITY(ARRAY[1, 2])"},
    {"CASE", "The value of the first WHEN that is true, else that of ELSE, else NULL",
     "CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END"},
    {"CAST", "The value as another type; a value that cannot be one fails the record", "CAST('12' AS INT)"},
    {"CEIL", "The next whole number up; CEIL(time TO unit) rounds a time up", "CEIL(1.2)"},
    {"CHARACTER_LENGTH", "Number of characters", "CHARACTER_LENGTH('weir')"},
    {"CHAR_LENGTH", "Number of characters", "CHAR_LENGTH('weir')"},
    {"CHR", "The character of a code; the code's remainder by 256 is taken", "CHR(97)"},
    {"COALESCE", "The first argument that is not NULL", "COALESCE(NULL, 2, 3)"},
    {"CONCAT", "The arguments in a row; NULL when one is NULL", "CONCAT('a', 'b', 'c')"},
    {"CONCAT_WS", "The arguments after the first with that between them; NULLs are left out",
     "CONCAT_WS('-', 'a', NULL, 'c')"},
    {"COS", "Cosine of radians", "COS(0)"},
    {"COSH", "Hyperbolic cosine", "COSH(0)"},
    {"COT", "Cotangent of radians", "COT(1)"},
    {"DATE_FORMAT", "A time as text by a pattern of letters",
     "DATE_FORMAT(TIMESTAMP '2013-01-02 03:04:05', 'yyyy/MM/dd HH:mm')"},
    {"DAYOFMONTH", "Day of the month, from 1", "DAYOFMONTH(DATE '2013-01-02')"},
    {"DAYOFWEEK", "Day of the week, Sunday is 1", "DAYOFWEEK(DATE '2013-01-02')"},
    {"DAYOFYEAR", "Day of the year, from 1", "DAYOFYEAR(DATE '2013-02-01')"},
    {"DECODE", "Bytes of a character set (UTF-8, UTF-16, UTF-16BE, UTF-16LE, US-ASCII, ISO-8859-1) as text",
     "DECODE(ENCODE('weir', 'UTF-8'), 'UTF-8')"},
    {"DEGREES", "Radians as degrees", "DEGREES(PI())"},
    {"E", "Euler's number", "E()"},
    {"ELEMENT", "The only element of an ARRAY; NULL of an empty one; of more it fails the record",
     "ELEMENT(ARRAY['weir'])"},
    {"ELT", "The argument with that number, from 1; NULL outside", "ELT(2, 'a', 'b')"},
    {"ENCODE", "Text as bytes of a character set", "HEX(DECODE(ENCODE('A', 'UTF-16BE'), 'ISO-8859-1'))"},
    {"ENDSWITH", "Does the first end in the second?", "ENDSWITH('weir', 'ir')"},
    {"EXP", "e to the power of", "EXP(0)"},
    {"EXTRACT", "A part of a time: YEAR, QUARTER, MONTH, WEEK, DAY, DOY, DOW, HOUR, MINUTE, SECOND ...",
     "EXTRACT(YEAR FROM DATE '2013-01-02')"},
    {"FLOOR", "The next whole number down; FLOOR(time TO unit) rounds a time down",
     "FLOOR(TIMESTAMP '2013-01-02 03:04:05' TO HOUR)"},
    {"FROM_BASE64", "Decodes base64", "FROM_BASE64('d2Vpcg==')"},
    {"FROM_UNIXTIME", "Seconds since 1970 as text, by a pattern, in UTC", "FROM_UNIXTIME(0)"},
    {"GREATEST", "The largest; NULL when one is NULL", "GREATEST(1, 3, 2)"},
    {"HEX", "A whole number or a text's bytes in hexadecimal", "HEX('weir')"},
    {"HOUR", "Hour, 0 to 23", "HOUR(TIMESTAMP '2013-01-02 03:04:05')"},
    {"IF", "IF(condition, then, else)", "IF(1 > 2, 'a', 'b')"},
    {"IFNULL", "The second when the first is NULL", "IFNULL(NULL, 2)"},
    {"INITCAP", "Each word with a capital first", "INITCAP('a weir')"},
    {"INSTR", "Where the second begins in the first, from 1; 0: nowhere", "INSTR('weir', 'ir')"},
    {"IS_ALPHA", "Letters only?", "IS_ALPHA('weir')"},
    {"IS_DECIMAL", "Can it be read as a number?", "IS_DECIMAL('1.5')"},
    {"IS_DIGIT", "Digits only?", "IS_DIGIT('12')"},
    {"LEAST", "The smallest; NULL when one is NULL", "LEAST(1, 3, 2)"},
    {"LEFT", "The first n characters", "LEFT('weir', 2)"},
    {"LENGTH", "Number of characters", "LENGTH('weir')"},
    {"LN", "Natural logarithm", "LN(1)"},
    {"LOCATE", "Where the first begins in the second, from 1, at or after a position", "LOCATE('r', 'weir')"},
    {"LOG", "Natural logarithm, or LOG(base, x)", "LOG(2, 8)"},
    {"LOG10", "Logarithm to base 10", "LOG10(1000)"},
    {"LOG2", "Logarithm to base 2", "LOG2(8)"},
    {"LOWER", "In small letters", "LOWER('Weir')"},
    {"LPAD", "Filled at the left, or cut, to n characters", "LPAD('7', 3, '0')"},
    {"LTRIM", "Without spaces, or the given characters, at the left", "LTRIM('  weir')"},
    {"MD5", "MD5 digest in hexadecimal", "MD5('weir')"},
    {"MINUTE", "Minute, 0 to 59", "MINUTE(TIMESTAMP '2013-01-02 03:04:05')"},
    {"MOD", "The remainder, with the sign of the first", "MOD(-7, 3)"},
    {"MONTH", "Month, 1 to 12", "MONTH(DATE '2013-01-02')"},
    {"NULLIF", "NULL when both are equal, else the first", "NULLIF(1, 2)"},
    {"OCTET_LENGTH", "Number of bytes in UTF-8", "OCTET_LENGTH('é')"},
    {"OVERLAY", "The second written over the first, from a position, in place of n characters",
     "OVERLAY('weir' PLACING 'xx' FROM 2)"},
    {"PI", "The number", "PI()"},
    {"POSITION", "Where the first begins in the second, from 1; 0: nowhere", "POSITION('ir' IN 'weir')"},
    {"POWER", "The first to the power of the second", "POWER(2, 10)"},
    {"QUARTER", "Quarter, 1 to 4", "QUARTER(DATE '2013-05-02')"},
    {"RADIANS", "Degrees as radians", "RADIANS(180)"},
    {"REPEAT", "n times in a row", "REPEAT('ab', 3)"},
    {"REPLACE", "Every occurrence of the second replaced by the third", "REPLACE('weir', 'e', 'E')"},
    {"REVERSE", "Backwards", "REVERSE('weir')"},
    {"RIGHT", "The last n characters", "RIGHT('weir', 2)"},
    {"ROUND", "Rounded to n digits behind the point, half away from zero", "ROUND(2.5)"},
    {"RPAD", "Filled at the right, or cut, to n characters", "RPAD('7', 3, '0')"},
    {"RTRIM", "Without spaces, or the given characters, at the right", "RTRIM('weir  ')"},
    {"SECOND", "Second, 0 to 59", "SECOND(TIMESTAMP '2013-01-02 03:04:05')"},
    {"SHA1", "SHA-1 digest in hexadecimal", "SHA1('weir')"},
    {"SHA2", "SHA-2 digest of 224, 256, 384 or 512 bits in hexadecimal", "SHA2('weir', 224)"},
    {"SHA224", "SHA-224 digest in hexadecimal", "SHA224('weir')"},
    {"SHA256", "SHA-256 digest in hexadecimal", "SHA256('weir')"},
    {"SHA384", "SHA-384 digest in hexadecimal", "SHA384('weir')"},
    {"SHA512", "SHA-512 digest in hexadecimal", "SHA512('weir')"},
    {"SIGN", "-1, 0 or 1", "SIGN(-7)"},
    {"SIN", "Sine of radians", "SIN(0)"},
    {"SINH", "Hyperbolic sine", "SINH(0)"},
    {"SPLIT_INDEX", "The part with that number, from 0, of a text cut at a separator", "SPLIT_INDEX('a,b,c', ',', 1)"},
    {"SQRT", "Square root", "SQRT(9)"},
    {"STARTSWITH", "Does the first begin with the second?", "STARTSWITH('weir', 'we')"},
    {"SUBSTR", "From a position, from 1, for n characters; a negative position counts from the end",
     "SUBSTR('weir', 2, 2)"},
    {"SUBSTRING", "The same", "SUBSTRING('weir' FROM 2 FOR 2)"},
    {"TAN", "Tangent of radians", "TAN(0)"},
    {"TANH", "Hyperbolic tangent", "TANH(0)"},
    {"TIMESTAMPADD", "A time and n units", "TIMESTAMPADD(DAY, 1, TIMESTAMP '2013-01-02 03:04:05')"},
    {"TIMESTAMPDIFF", "Whole units from the first to the second",
     "TIMESTAMPDIFF(DAY, DATE '2013-01-02', DATE '2013-02-02')"},
    {"TO_BASE64", "Encodes in base64", "TO_BASE64('weir')"},
    {"TO_DATE", "Text as DATE, by a pattern; NULL when it is none", "TO_DATE('2013-01-02')"},
    {"TO_TIMESTAMP", "Text as TIMESTAMP(3), by a pattern; NULL when it is none",
     "TO_TIMESTAMP('02.01.2013 03:04', 'dd.MM.yyyy HH:mm')"},
    {"TO_TIMESTAMP_LTZ",
     "Seconds (0) or milliseconds (3) since 1970, or text by a pattern and in a zone, as TIMESTAMP_LTZ(3)",
     "TO_TIMESTAMP_LTZ(1, 0)"},
    {"TRANSLATE", "Characters of the second replaced by those of the third", "TRANSLATE('weir', 'er', 'ax')"},
    {"TRIM", "Without spaces, or the given characters, at BOTH, LEADING or TRAILING end",
     "TRIM(BOTH 'x' FROM 'xxaxx')"},
    {"TRUNCATE", "Cut to n digits behind the point", "TRUNCATE(2.75)"},
    {"TRY_CAST", "As CAST, but NULL where that fails", "TRY_CAST('twelve' AS INT)"},
    {"UNHEX", "Hexadecimal as bytes", "DECODE(UNHEX('77656972'), 'UTF-8')"},
    {"UNIX_TIMESTAMP", "Text as seconds since 1970, by a pattern, in UTC", "UNIX_TIMESTAMP('1970-01-02 00:00:00')"},
    {"UPPER", "In capital letters", "UPPER('weir')"},
    {"WEEK", "Week of the year, ISO 8601", "WEEK(DATE '2013-01-02')"},
    {"YEAR", "Year", "YEAR(DATE '2013-01-02')"},
};
#define DOC_COUNT (sizeof docs / sizeof *docs)

static const char head[] =
    "# Functions\n\n"
    "Generated by `weir-taskmanager --print-functions`; do not edit.\n\n"
    "What may be called in an expression: `weir_filter()`, `weir_select()`, a watermark, an aggregate's argument. Semantics are Flink "
    "SQL's; a NULL\nargument gives NULL where nothing else is said. Besides them there are `+ - * / %`, `||`, comparisons, `AND OR NOT`, "
    "`IS [NOT] NULL`,\n`IS [NOT] TRUE`, `[NOT] BETWEEN`, `[NOT] IN (...)`, `[NOT] LIKE ... [ESCAPE ...]` and "
    "`INTERVAL '1' DAY`;\nof nested types `ARRAY[1, 2]`, `MAP['k', 1]`, `ROW(1, 'x')`, the element `a[1]` (from 1), the value `m['k']`, "
    "the field `r.name`. What an ARRAY, a MAP\nor a row does not have is NULL.\n\n"
    "| function | what it gives | example | its value | its type |\n|---|---|---|---|---|\n";

static const char types[] =
    "\n## Types\n\n"
    "The types are those of [sdk.md](sdk.md#rows). A number without a point is an INT or BIGINT, `1.50` a DECIMAL(3, 2), `1e3` a DOUBLE. "
    "Operands get their\ncommon type: TINYINT < SMALLINT < INT < BIGINT < DECIMAL < FLOAT < DOUBLE, and with a DECIMAL FLOAT is DOUBLE.\n\n"
    "| DECIMAL(p1, s1) and DECIMAL(p2, s2) | scale | precision |\n|---|---|---|\n"
    "| `+` `-` | max(s1, s2) | max(p1 - s1, p2 - s2) + scale + 1 |\n"
    "| `*` | s1 + s2 | p1 + p2 + 1 |\n"
    "| `/` | max(6, s1 + p2 + 1) | p1 - s1 + s2 + scale |\n"
    "| `%` | max(s1, s2) | min(p1 - s1, p2 - s2) + scale |\n\n"
    "A precision over 38 becomes 38, and the scale shrinks by as much, not below 6. Results are rounded half up; one that has more digits "
    "than that is NULL.\nWhole numbers count as DECIMAL(3, 0), (5, 0), (10, 0) and (19, 0).\n\n"
    "ARRAY, MAP and ROW are equal when all that is in them is; they have no order. A MAP cannot be a key.\n\n"
    "CAST and TRY_CAST, besides any type to itself:\n\n"
    "| from | to |\n|---|---|\n"
    "| any type | STRING: numbers as Java prints them, `TRUE`, `2026-01-31 12:00:00.123`, `[1, NULL]`, `{k=1}`, `(1, x)` |\n"
    "| STRING | any type but ARRAY, MAP and ROW; spaces around it do not count |\n"
    "| BOOLEAN, whole and floating numbers, DECIMAL | each other; DECIMAL not to BOOLEAN. Too many digits are NULL as a DECIMAL, and wrap as a whole number |\n"
    "| BYTES | STRING, as UTF-8 |\n"
    "| DATE, TIME, TIMESTAMP, TIMESTAMP_LTZ | TIMESTAMP and TIMESTAMP_LTZ; those two to each and to DATE and TIME |\n"
    "| ARRAY, MAP, ROW | the same with other types in it, where those can be cast; of a ROW by position |\n\n"
    "TIMESTAMP_LTZ is a moment. As text, date or TIMESTAMP it is what clocks show in the zone `table.local-time-zone`, and text without a zone "
    "is of that zone.\n";

static const char tail[] =
    "\n## Aggregates\n\n"
    "In `weir_aggregate()`, each with `FILTER (WHERE condition)` where wanted, also inside an expression (`SUM(a) / COUNT(*)`). NULLs are "
    "not counted; over\nno value the result is NULL, but that of COUNT is 0.\n\n"
    "| aggregate | what it gives |\n|---|---|\n"
    "| `COUNT(*)`, `COUNT(x)` | rows; rows where x is not NULL |\n"
    "| `SUM(x)`, `AVG(x)` | sum and mean in x's type: the mean of whole numbers is a whole number; of DECIMAL(p, s) they are "
    "DECIMAL(38, s) and\nDECIMAL(38, max(s, 6)), NULL when the sum has more digits |\n"
    "| `MIN(x)`, `MAX(x)` | the smallest, the largest |\n"
    "| `FIRST_VALUE(x)`, `LAST_VALUE(x)` (`FIRST`, `LAST`) | the first and the last that came |\n"
    "| `window_start`, `window_end` | the window's bounds, TIMESTAMP(3); the end is exclusive |\n";

static const struct doc *find(const char *name)
{
    for (size_t i = 0; i < DOC_COUNT; i++)
        if (strcmp(docs[i].name, name) == 0)
            return &docs[i];
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The example's type and value, as a row of one column is printed. */
static weir_err evaluate(const char *example, char type[64], struct weir_buf *value, struct weir_error *error)
{
    struct weir_type one = {.id = WEIR_TYPE_INT32};
    struct weir_field field = {"one", one};
    struct weir_schema *schema = weir_schema_new(&field, 1);
    struct weir_batch *batch = weir_batch_new(schema, 1), *result = NULL;
    batch->columns[0].i32[0] = 1;
    batch->row_count = 1;
    struct weir_expr_error wrong = {.column = 0};
    struct weir_select *select = NULL;
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    char text[300];
    snprintf(text, sizeof text, "%.250s AS v", example);
    weir_err err = weir_select_compile(text, schema, &select, &wrong);
    if (err)
        err = weir_fail(error, WEIR_ERR_INVALID, "%.200s: %.700s", example, wrong.error.message);
    else if (!(err = weir_select_eval(select, batch, scratch, &result, NULL, error))) {
        weir_type_print(&select->schema->fields[0].type, type);
        if (!weir_batch_print_row(result, 0, value))
            err = weir_fail(error, WEIR_ERR_FULL, "%.200s: its value is too long", example);
    }
    weir_batch_unref(result);
    weir_batch_unref(batch);
    weir_expr_scratch_free(scratch);
    weir_select_free(select);
    weir_schema_unref(schema);
    return err;
}

/* {"v": 7} -> 7 */
static const char *plain(struct weir_buf *value)
{
    static const char before[] = "{\"v\": ";
    char *text = (char *)value->data;
    if (value->size < sizeof before || strncmp(text, before, sizeof before - 1) != 0)
        return text;
    text[value->size - 1] = 0;
    return text + sizeof before - 1;
}

weir_err weir_expr_document(struct weir_buf *out, struct weir_error *error)
{
    int count = 0;
    const char *const *names = weir_expr_function_names(&count);
    const char **sorted = weir_alloc((size_t)count * sizeof *sorted);
    memcpy(sorted, names, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_name);
    bool ok = weir_buf_puts(out, head);
    weir_err err = 0;
    struct weir_buf value;
    weir_buf_init(&value, 4096);
    for (int i = 0; i < count && !err; i++) {
        const struct doc *doc = find(sorted[i]);
        char type[64];
        weir_buf_clear(&value);
        if (!doc)
            err = weir_fail(error, WEIR_ERR_NOT_FOUND, "common/expr/document.c says nothing of the function %s",
                            sorted[i]);
        else if (!(err = evaluate(doc->example, type, &value, error)))
            ok = ok && weir_buf_printf(out, "| `%s` | %s | `%s` | `%s` | %s |\n", doc->name, doc->help, doc->example,
                                       plain(&value), type);
    }
    ok = ok && weir_buf_puts(out, types) && weir_buf_puts(out, tail);
    weir_buf_fini(&value);
    free(sorted);
    return err ? err : ok ? 0 : weir_fail(error, WEIR_ERR_FULL, "the document does not fit");
}
