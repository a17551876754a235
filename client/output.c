/* What the commands print: errors, JSON, colours, tables, times and sizes for people. */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "client_int.h"

/* --- Errors */

static const char *const exit_names[] = {"DONE", "FAILED", "USAGE", "UNREACHABLE", "NOT_FOUND"};

int weir_client_fail(struct weir_client *client, int exit_code, const char *hint, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    char *message = weir_alloc((size_t)(size < 0 ? 0 : size) + 1);
    *message = 0;
    vsnprintf(message, (size_t)(size < 0 ? 0 : size) + 1, format, again);
    va_end(arguments);
    va_end(again);
    if (client->completing) {
        /* nobody reads it */
    } else if (client->json && !client->said) {
        json_t *error = json_pack("{s:{s:s, s:i, s:o}}", "error", "code", exit_names[exit_code], "exit-code", exit_code,
                                  "message", weir_client_string(message));
        if (hint)
            json_object_set_new(json_object_get(error, "error"), "hint", weir_client_string(hint));
        char *line = json_dumps(error, JSON_COMPACT | JSON_PRESERVE_ORDER);
        fprintf(stderr, "%s\n", line);
        free(line);
        json_decref(error);
    } else if (!client->json) {
        const char *on = weir_client_color(client, 2, WEIR_COLOR_BAD),
                   *off = weir_client_color(client, 2, WEIR_COLOR_NONE);
        char *clean = weir_client_clean(message);
        fprintf(stderr, "%sweir:%s %s\n", on, off, clean);
        if (hint)
            fprintf(stderr, "%sweir:%s %s\n", on, off, hint);
        free(clean);
    }
    client->said = true;
    free(message);
    return exit_code;
}

const char *weir_client_nearest(char out[160], const char *given, const char *const *names, int count)
{
    const char *nearest = weir_nearest(given, names, count);
    out[0] = 0;
    if (nearest)
        snprintf(out, 160, "; do you mean '%.100s'?", nearest);
    return out;
}

const char *weir_client_nearest_choice(char out[160], const char *given, const char *choices)
{
    const char *names[16];
    int count = 0;
    char *copy = weir_strdup(choices), *save = NULL;
    for (char *name = strtok_r(copy, "|", &save); name && count < 16; name = strtok_r(NULL, "|", &save))
        names[count++] = name;
    weir_client_nearest(out, given, names, count);
    free(copy);
    return out;
}

void weir_client_note(const struct weir_client *client, const char *format, ...)
{
    va_list arguments;
    if (client->json)
        return;
    fputs("weir: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* --- JSON */

static void print_json(const json_t *value, size_t flags)
{
    char *text = json_dumps(value, flags | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
    printf("%s\n", text ? text : "null");
    free(text);
}

void weir_client_print_json(const json_t *value)
{
    print_json(value, JSON_INDENT(2));
}

void weir_client_print_json_line(const json_t *value)
{
    print_json(value, 0);
}

const char *weir_json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

int64_t weir_json_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : (int64_t)json_number_value(value);
}

json_t *weir_client_string(const char *text)
{
    json_t *json = json_string(text);
    if (json)
        return json;
    char *copy = weir_strdup(text);
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    json = json_string(copy);
    free(copy);
    return json;
}

/* --- Terminal */

const char *weir_client_color(const struct weir_client *client, int fd, enum weir_color color)
{
    static const char *const sequences[] = {
        [WEIR_COLOR_NONE] = "\033[0m",   [WEIR_COLOR_GOOD] = "\033[32m", [WEIR_COLOR_WARN] = "\033[33m",
        [WEIR_COLOR_BAD] = "\033[1;31m", [WEIR_COLOR_DIM] = "\033[2m",   [WEIR_COLOR_HEAD] = "\033[1m",
    };
    return client->color[fd] ? sequences[color] : "";
}

enum weir_color weir_client_state_color(const char *state)
{
    static const struct {
        const char *state;
        enum weir_color color;
    } rows[] = {
        {"RUNNING", WEIR_COLOR_GOOD},   {"FINISHED", WEIR_COLOR_GOOD},   {"FAILED", WEIR_COLOR_BAD},
        {"FAILING", WEIR_COLOR_BAD},    {"CANCELED", WEIR_COLOR_WARN},   {"CANCELLING", WEIR_COLOR_WARN},
        {"CANCELING", WEIR_COLOR_WARN}, {"RESTARTING", WEIR_COLOR_WARN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].state, state) == 0)
            return rows[i].color;
    return WEIR_COLOR_NONE;
}

int weir_client_width(int fd)
{
    struct winsize size;
    if (!isatty(fd))
        return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

char *weir_client_clean(const char *text)
{
    char *copy = weir_strdup(text);
    for (char *c = copy; *c; c++)
        if (((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f)
            *c = '?';
    return copy;
}

/* Characters, not bytes; wide ones count as one. */
static int text_width(const char *text)
{
    int width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* --- Tables */

void weir_table_init(struct weir_table *table, const char *const *titles)
{
    memset(table, 0, sizeof *table);
    while (titles[table->column_count] && table->column_count < WEIR_TABLE_COLUMNS_MAX) {
        table->titles[table->column_count] = titles[table->column_count];
        table->column_count++;
    }
}

void weir_table_add(struct weir_table *table, enum weir_color color, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (table->cell_count == table->cell_capacity) {
        table->cell_capacity = table->cell_capacity ? 2 * table->cell_capacity : 64;
        table->cells = weir_realloc(table->cells, (size_t)table->cell_capacity * sizeof *table->cells);
    }
    char *clean = weir_client_clean(text);
    for (char *c = clean; *c; c++)
        *c = *c == '\n' || *c == '\t' ? ' ' : *c;
    table->cells[table->cell_count++] = (struct weir_table_cell){clean, color};
}

#define CUT_WIDTH_MIN 8 /* in a terminal so narrow that less is left the line wraps */

/* Cuts to `width` characters; what is cut is marked. */
static void cut(char *text, int width)
{
    int at = 0;
    if (width < 1 || text_width(text) <= width)
        return;
    for (char *c = text; *c; c++)
        if (((unsigned char)*c & 0xc0) != 0x80 && ++at == width) {
            c[0] = '>'; /* one byte, so that it is not longer than what it replaces */
            c[1] = 0;
            return;
        }
}

static void print_row(struct weir_client *client, const struct weir_table *table, const int *widths, int row)
{
    const struct weir_table_cell *cells = row < 0 ? NULL : &table->cells[row * table->column_count];
    int last = table->column_count - 1, left = weir_client_width(1);
    bool bounded = left > 0;
    while (cells && last > 0 && !*cells[last].text) /* no blanks at the end */
        last--;
    for (int c = 0; c <= last; c++) {
        bool right = table->titles[c][0] == '>';
        enum weir_color color = cells ? cells[c].color : WEIR_COLOR_HEAD;
        const char *on = color != WEIR_COLOR_NONE ? weir_client_color(client, 1, color) : "";
        char *text = weir_strdup(cells ? cells[c].text : table->titles[c] + right);
        if (c == table->column_count - 1 && bounded && left >= CUT_WIDTH_MIN)
            cut(text, left);
        int pad = widths[c] - text_width(text);
        pad = pad > 0 ? pad : 0;
        printf("%s%*s%s%s%s%*s", c ? "  " : "", right ? pad : 0, "", on, text,
               *on ? weir_client_color(client, 1, WEIR_COLOR_NONE) : "", right || c == last ? 0 : pad, "");
        left -= widths[c] + 2;
        free(text);
    }
    putchar('\n');
}

void weir_table_print(struct weir_client *client, struct weir_table *table)
{
    int widths[WEIR_TABLE_COLUMNS_MAX] = {0};
    for (int c = 0; c < table->column_count; c++)
        widths[c] = text_width(table->titles[c]) - (table->titles[c][0] == '>');
    for (int i = 0; i < table->cell_count; i++) {
        int width = text_width(table->cells[i].text), column = i % table->column_count;
        if (width > widths[column])
            widths[column] = width;
    }
    for (int row = -1; row < table->cell_count / table->column_count; row++)
        print_row(client, table, widths, row);
    for (int i = 0; i < table->cell_count; i++)
        free(table->cells[i].text);
    free(table->cells);
}

/* --- Numbers for people */

const char *weir_text_time(char out[WEIR_TEXT_SIZE], int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    if (ms < 0 || !gmtime_r(&seconds, &parts) || strftime(out, WEIR_TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &parts) == 0)
        snprintf(out, WEIR_TEXT_SIZE, "-");
    return out;
}

const char *weir_text_duration(char out[WEIR_TEXT_SIZE], int64_t ms)
{
    long long s = ms / 1000;
    if (ms < 0)
        snprintf(out, WEIR_TEXT_SIZE, "-");
    else if (ms < 1000)
        snprintf(out, WEIR_TEXT_SIZE, "%d ms", (int)ms);
    else if (s < 60)
        snprintf(out, WEIR_TEXT_SIZE, "%lld.%lld s", s, ms % 1000 / 100LL);
    else if (s < 3600)
        snprintf(out, WEIR_TEXT_SIZE, "%lld min %02lld s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, WEIR_TEXT_SIZE, "%lld h %02lld min", s / 3600, s / 60 % 60);
    else
        snprintf(out, WEIR_TEXT_SIZE, "%lld d %02lld h", s / 86400, s / 3600 % 24);
    return out;
}

/* 12345 -> "12.3 k": three digits and a letter. */
static void scaled(char out[WEIR_TEXT_SIZE], double value, double base, const char *const *units, const char *end)
{
    int unit = 0;
    while (value >= 999.5 && units[unit + 1]) {
        value /= base;
        unit++;
    }
    int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(out, WEIR_TEXT_SIZE, "%.*f%s%s%s", decimals, value, units[unit][0] || end[0] == 'B' ? " " : "",
             units[unit], end);
}

const char *weir_text_bytes(char out[WEIR_TEXT_SIZE], int64_t bytes)
{
    static const char *const units[] = {"", "K", "M", "G", "T", "P", NULL};
    scaled(out, (double)bytes, 1024, units, "B");
    return out;
}

const char *weir_text_rate(char out[WEIR_TEXT_SIZE], double per_s)
{
    static const char *const units[] = {"", "k", "M", "G", NULL};
    scaled(out, per_s, 1000, units, "/s");
    return out;
}

const char *weir_text_count(char out[WEIR_TEXT_SIZE], int64_t count)
{
    char digits[WEIR_TEXT_SIZE / 2];
    int size = snprintf(digits, sizeof digits, "%lld", (long long)count), at = 0;
    for (int i = 0; i < size; i++) {
        out[at++] = digits[i];
        if ((size - i - 1) % 3 == 0 && i < size - 1 && isdigit((unsigned char)digits[i]))
            out[at++] = ',';
    }
    out[at] = 0;
    return out;
}
