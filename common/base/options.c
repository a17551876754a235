/* Option tables: checking and converting text values. Pure; any thread.
 *
 * Durations and sizes are written as Flink users write them ("10 s", "500 ms", "1 d"; "64 mb", "1g", "1024"). A bare number is
 * milliseconds or bytes. All units of one kind are in one table, so that messages can list them. */
#include "base/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"

struct unit {
    const char *name;
    double factor; /* to ms or bytes; all are exact in a double */
};
static const struct unit duration_units[] = {
    {"ms", 1},       {"milli", 1},     {"millis", 1},   {"millisecond", 1}, {"milliseconds", 1}, {"s", 1e3},
    {"sec", 1e3},    {"secs", 1e3},    {"second", 1e3}, {"seconds", 1e3},   {"m", 6e4},          {"min", 6e4},
    {"minute", 6e4}, {"minutes", 6e4}, {"h", 3.6e6},    {"hour", 3.6e6},    {"hours", 3.6e6},    {"d", 8.64e7},
    {"day", 8.64e7}, {"days", 8.64e7}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"b", 1},
    {"byte", 1},
    {"bytes", 1},
    {"k", 1024.0},
    {"kb", 1024.0},
    {"kib", 1024.0},
    {"kibibytes", 1024.0},
    {"m", 1048576.0},
    {"mb", 1048576.0},
    {"mib", 1048576.0},
    {"mebibytes", 1048576.0},
    {"g", 1073741824.0},
    {"gb", 1073741824.0},
    {"gib", 1073741824.0},
    {"gibibytes", 1073741824.0},
    {"t", 1099511627776.0},
    {"tb", 1099511627776.0},
    {"tib", 1099511627776.0},
    {"tebibytes", 1099511627776.0},
    {NULL, 0},
};

#define MAGNITUDE_MAX 9007199254740992.0 /* 2^53: exact in a double */

static const char *skip_blanks(const char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    return s;
}

static bool parse_with_unit(const char *text, const struct unit *units, int64_t *out)
{
    text = skip_blanks(text);
    if (*text < '0' || *text > '9')
        return false;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return false;
    char *end = NULL;
    double number = strtod(text, &end);
    const char *unit = skip_blanks(end);
    size_t size = strlen(unit);
    while (size && (unit[size - 1] == ' ' || unit[size - 1] == '\t'))
        size--;
    double factor = size ? 0 : 1;
    for (const struct unit *u = units; size && u->name; u++)
        if (strlen(u->name) == size && !strncasecmp(u->name, unit, size))
            factor = u->factor;
    double value = number * factor;
    if (factor == 0 || !(value <= MAGNITUDE_MAX) || value != floor(value))
        return false;
    *out = (int64_t)value;
    return true;
}

bool weir_parse_duration_ms(const char *text, int64_t *out)
{
    return parse_with_unit(text, duration_units, out);
}

bool weir_parse_size(const char *text, int64_t *out)
{
    return parse_with_unit(text, size_units, out);
}

static bool parse_int(const char *text, int64_t *out)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *skip_blanks(end) || errno)
        return false;
    *out = value;
    return true;
}

static bool parse_double(const char *text, double *out)
{
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *skip_blanks(end) || !isfinite(value))
        return false;
    *out = value;
    return true;
}

static bool parse_bool(const char *text, int64_t *out)
{
    if (!strcasecmp(text, "true") || !strcasecmp(text, "false")) {
        *out = !strcasecmp(text, "true");
        return true;
    }
    return false;
}

static bool same_choice(const char *choice, const char *value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (choice[i] != value[i] &&
            tolower((unsigned char)choice[i]) != (value[i] == '_' ? '-' : tolower((unsigned char)value[i])))
            return false;
    return true;
}

const char *weir_option_choice(const char *choices, const char *value, size_t *size)
{
    *size = strlen(value);
    for (const char *c = choices;; c++) {
        size_t n = strcspn(c, "|");
        if (n == *size && same_choice(c, value, n))
            return c;
        c += n;
        if (!*c)
            return NULL;
    }
}

weir_err weir_option_check_value(const char *what, const struct weir_option *option, const char *value,
                                 struct weir_error *error)
{
    int64_t n;
    double d;
    size_t size;
    switch (option->type) {
    case WEIR_OPTION_STRING:
    case WEIR_OPTION_FILE:
        return WEIR_OK;
    case WEIR_OPTION_INT:
        if (parse_int(value, &n))
            return WEIR_OK;
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' is not a whole number: '%s'", what, option->name, value);
    case WEIR_OPTION_DOUBLE:
        if (parse_double(value, &d))
            return WEIR_OK;
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' is not a number: '%s'", what, option->name, value);
    case WEIR_OPTION_BOOL:
        if (parse_bool(value, &n))
            return WEIR_OK;
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' must be true or false, not '%s'", what, option->name,
                         value);
    case WEIR_OPTION_DURATION:
        if (parse_with_unit(value, duration_units, &n))
            return WEIR_OK;
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "%s: '%s' is not a duration in whole milliseconds: '%s' (write it like '500 ms', '10 s', '5 min', '1 h', '1 d')",
            what, option->name, value);
    case WEIR_OPTION_SIZE:
        if (parse_with_unit(value, size_units, &n))
            return WEIR_OK;
        return weir_fail(error, WEIR_ERR_INVALID,
                         "%s: '%s' is not a size: '%s' (write it like '1024', '64 kb', '64 mb', '1 gb')", what,
                         option->name, value);
    case WEIR_OPTION_ENUM:
        if (weir_option_choice(option->choices, value, &size))
            return WEIR_OK;
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' must be one of %s, not '%s'", what, option->name,
                         option->choices, value);
    }
    return WEIR_OK;
}

const struct weir_option *weir_option_find(const struct weir_option *table, const char *name)
{
    for (; table && table->name; table++) {
        size_t size = strlen(table->name);
        /* "fields." stands for every key that begins so. */
        bool prefix = size > 0 && table->name[size - 1] == '.';
        if (prefix ? !strncmp(table->name, name, size) && name[size] : !strcmp(table->name, name))
            return table;
    }
    return NULL;
}

/* Levenshtein, and two neighbours swapped count as one ("inptu"): optimal string alignment. */
static int edit_distance(const char *a, const char *b)
{
    size_t m = strlen(a), n = strlen(b);
    int rows[3][129];
    if (m > 128 || n > 128)
        return 1000;
    for (size_t j = 0; j <= n; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= m; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            int best = above[j] < row[j - 1] ? above[j] + 1 : row[j - 1] + 1;
            int substitute = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = substitute < best ? substitute : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < best)
                best = above2[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[m % 3][n];
}

const char *weir_nearest(const char *name, const char *const *names, int count)
{
    int limit = (int)(strlen(name) / 3);
    int best = (limit < 1 ? 1 : limit) + 1;
    const char *nearest = NULL;
    for (int i = 0; i < count; i++) {
        int distance = edit_distance(name, names[i]);
        if (distance < best) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

const char *weir_option_nearest(const char *name, const struct weir_option *table, const struct weir_option *table2,
                                const struct weir_option *table3)
{
    const struct weir_option *tables[] = {table, table2, table3};
    const char *names[512];
    int count = 0;
    for (int t = 0; t < 3; t++)
        for (const struct weir_option *o = tables[t]; o && o->name && count < 512; o++)
            names[count++] = o->name;
    return weir_nearest(name, names, count);
}

weir_err weir_options_check(const char *what, const struct weir_key_value *given, int given_count,
                            const struct weir_option *table, const struct weir_option *table2,
                            const struct weir_option *table3, struct weir_error *error)
{
    const struct weir_option *tables[] = {table, table2, table3};
    for (int i = 0; i < given_count; i++) {
        const struct weir_option *option = NULL;
        for (int t = 0; t < 3 && !option; t++)
            option = weir_option_find(tables[t], given[i].key);
        if (!option) {
            const char *nearest = weir_option_nearest(given[i].key, table, table2, table3);
            return weir_fail(error, WEIR_ERR_INVALID,
                             nearest ? "%s: unknown option '%s'; did you mean '%s'?" : "%s: unknown option '%s'%s",
                             what, given[i].key, nearest ? nearest : "");
        }
        for (int j = 0; j < i; j++)
            if (!strcmp(given[i].key, given[j].key))
                return weir_fail(error, WEIR_ERR_INVALID, "%s: option '%s' is given twice", what, given[i].key);
        weir_err err = weir_option_check_value(what, option, given[i].value, error);
        if (err)
            return err;
    }
    for (int t = 0; t < 3; t++)
        for (const struct weir_option *o = tables[t]; o && o->name; o++) {
            bool have = o->fallback != NULL;
            for (int i = 0; i < given_count && !have; i++)
                have = !strcmp(given[i].key, o->name);
            if (!have)
                return weir_fail(error, WEIR_ERR_INVALID, "%s: option '%s' is missing (%s)", what, o->name,
                                 o->help ? o->help : "required");
        }
    return WEIR_OK;
}

const char *weir_options_get(const struct weir_key_value *given, int given_count, const struct weir_option *table,
                             const char *name)
{
    for (int i = 0; i < given_count; i++)
        if (!strcmp(given[i].key, name))
            return given[i].value;
    const struct weir_option *option = weir_option_find(table, name);
    return option && option->fallback && *option->fallback ? option->fallback : NULL;
}

int64_t weir_option_to_int(const struct weir_option *option, const char *text)
{
    int64_t value = 0;
    double d = 0;
    bool ok = true;
    if (!text || !*text)
        return 0;
    switch (option->type) {
    case WEIR_OPTION_INT:
        ok = parse_int(text, &value);
        break;
    case WEIR_OPTION_BOOL:
        ok = parse_bool(text, &value);
        break;
    case WEIR_OPTION_DURATION:
        ok = parse_with_unit(text, duration_units, &value);
        break;
    case WEIR_OPTION_SIZE:
        ok = parse_with_unit(text, size_units, &value);
        break;
    case WEIR_OPTION_DOUBLE:
        ok = parse_double(text, &d);
        value = d >= 9.2e18 ? INT64_MAX : d <= -9.2e18 ? INT64_MIN : (int64_t)d; /* beyond it, the cast means nothing */
        break;
    case WEIR_OPTION_STRING:
    case WEIR_OPTION_FILE:
    case WEIR_OPTION_ENUM:
        ok = false;
        break;
    }
    weir_assert(ok);
    return value;
}

int64_t weir_options_get_int(const struct weir_key_value *given, int given_count, const struct weir_option *table,
                             const char *name)
{
    const struct weir_option *option = weir_option_find(table, name);
    weir_assert(option != NULL);
    return weir_option_to_int(option, weir_options_get(given, given_count, table, name));
}

double weir_options_get_double(const struct weir_key_value *given, int given_count, const struct weir_option *table,
                               const char *name)
{
    const struct weir_option *option = weir_option_find(table, name);
    weir_assert(option != NULL);
    const char *text = weir_options_get(given, given_count, table, name);
    double value = 0;
    if (text && *text) {
        bool ok = parse_double(text, &value);
        weir_assert(ok);
    }
    return value;
}
