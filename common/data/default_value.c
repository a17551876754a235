#include "data/default_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/decimal.h"
#include "data/time_text.h"

#define TYPE_TEXT_MAX 200
#define VALUE_MAX ((size_t)64 << 10)

static const char *find_default(const char *text)
{
    for (const char *at = text; *at; at++)
        if (*at == ' ' && strncasecmp(at, " DEFAULT ", 9) == 0)
            return at;
    return NULL;
}

/* 'it''s' -> it's; false: it is not quoted so. */
static bool unquote(const char *text, struct weir_buf *out)
{
    size_t size = strlen(text);
    if (size < 2 || text[0] != '\'' || text[size - 1] != '\'')
        return false;
    for (size_t i = 1; i + 1 < size; i++) {
        if (text[i] == '\'' && (text[++i] != '\'' || i + 1 == size))
            return false;
        if (!weir_buf_append(out, &text[i], 1))
            return false;
    }
    return true;
}

static bool put_int(const char *text, int width, struct weir_buf *out)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    int64_t high = width == 8 ? INT64_MAX : ((int64_t)1 << (8 * width - 1)) - 1, value = number;
    if (end == text || *end || errno || value > high || value < -high - 1)
        return false;
    return weir_buf_append(out, &value, (size_t)width); /* little-endian */
}

static bool put_float(const char *text, bool wide, struct weir_buf *out)
{
    char *end;
    double value = strtod(text, &end);
    float narrow = (float)value;
    if (end == text || *end)
        return false;
    return wide ? weir_buf_append(out, &value, sizeof value) : weir_buf_append(out, &narrow, sizeof narrow);
}

static bool put_time(const char *text, enum weir_type_id id, struct weir_buf *out)
{
    struct weir_buf plain;
    int64_t ms = 0;
    int32_t days = 0;
    weir_buf_init(&plain, VALUE_MAX);
    bool ok = unquote(text, &plain);
    const char *at = plain.data ? (const char *)plain.data : "";
    if (ok && (id == WEIR_TYPE_TIMESTAMP || id == WEIR_TYPE_TIMESTAMP_LTZ))
        ok = weir_timestamp_parse(at, plain.size, &ms) && weir_buf_append(out, &ms, sizeof ms);
    else if (ok && id == WEIR_TYPE_DATE)
        ok = weir_date_parse(at, plain.size, &days) && weir_buf_append(out, &days, sizeof days);
    else
        ok = ok && weir_time_parse(at, plain.size, &days) && weir_buf_append(out, &days, sizeof days);
    weir_buf_fini(&plain);
    return ok;
}

static bool put_decimal(const char *text, const struct weir_type *type, struct weir_buf *out)
{
    weir_int128 value;
    if (weir_decimal_parse(text, strlen(text), type->precision, type->scale, &value) != WEIR_DECIMAL_EXACT)
        return false;
    struct weir_decimal decimal = weir_decimal_make(value);
    return weir_buf_append(out, &decimal, sizeof decimal);
}

static bool put_value(const char *text, const struct weir_type *type, struct weir_buf *out)
{
    uint8_t yes = strcasecmp(text, "TRUE") == 0;
    switch (type->id) {
    case WEIR_TYPE_BOOLEAN:
        return (yes || strcasecmp(text, "FALSE") == 0) && weir_buf_append(out, &yes, 1);
    case WEIR_TYPE_FLOAT:
    case WEIR_TYPE_DOUBLE:
        return put_float(text, type->id == WEIR_TYPE_DOUBLE, out);
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        return unquote(text, out);
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        return put_time(text, type->id, out);
    case WEIR_TYPE_DECIMAL:
        return put_decimal(text, type, out);
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_MAP:
    case WEIR_TYPE_ROW:
        return false;
    default:
        return put_int(text, weir_type_width(type->id), out);
    }
}

weir_err weir_default_parse(const char *text, struct weir_type *type, struct weir_buf *value, bool *given,
                            struct weir_error *error)
{
    const char *at = find_default(text);
    char plain[TYPE_TEXT_MAX];
    weir_buf_clear(value);
    *given = at != NULL;
    if (!at)
        return weir_type_parse(text, type, error);
    if ((size_t)(at - text) >= sizeof plain)
        return weir_fail(error, WEIR_ERR_INVALID, "'%.40s...' is no type", text);
    memcpy(plain, text, (size_t)(at - text));
    plain[at - text] = 0;
    weir_err err = weir_type_parse(plain, type, error);
    if (err)
        return err;
    at += strlen(" DEFAULT ");
    while (*at == ' ')
        at++;
    if (!put_value(at, type, value))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "%.100s: the default is no value of that type (text and times are "
                         "quoted: 'none')",
                         text);
    return WEIR_OK;
}
