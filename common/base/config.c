/* Loading the cluster's configuration: -D, environment, file, defaults; see config.h for the rules, config_table.c for the keys.
 *
 * A loaded configuration is immutable: values[i] belongs to weir_config_table[i]. Loading happens before threads start. */
#include "base/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/config_int.h"
#include "base/log.h"

#define FILE_SIZE_MAX ((size_t)1 << 20)

struct value {
    char *text;   /* NULL: the default */
    char *origin; /* NULL: "default" */
};
struct weir_config {
    char **notes; /* about older spellings */
    int note_count;
    int count;
    struct value values[];
};

extern char **environ;

static int option_count(void)
{
    int n = 0;
    while (weir_config_table[n].name)
        n++;
    return n;
}

static int find_index(const char *key)
{
    int low = 0, high = option_count() - 1;
    while (low <= high) {
        int middle = (low + high) / 2;
        int order = strcmp(key, weir_config_table[middle].name);
        if (order == 0)
            return middle;
        if (order < 0)
            high = middle - 1;
        else
            low = middle + 1;
    }
    return -1;
}

static struct weir_config *config_new(void)
{
    int count = option_count();
    struct weir_config *config = weir_zalloc(sizeof *config + (size_t)count * sizeof config->values[0]);
    config->count = count;
    return config;
}

void weir_config_free(struct weir_config *config)
{
    if (!config)
        return;
    for (int i = 0; i < config->count; i++) {
        free(config->values[i].text);
        free(config->values[i].origin);
    }
    for (int i = 0; i < config->note_count; i++)
        free(config->notes[i]);
    free(config->notes);
    free(config);
}

static void add_note(struct weir_config *config, const char *what, const char *old_name, const char *name)
{
    config->notes = weir_realloc(config->notes, ((size_t)config->note_count + 1) * sizeof *config->notes);
    config->notes[config->note_count++] =
        weir_format("%s: configuration key '%s' is an older spelling of '%s'", what, old_name, name);
}

int weir_config_note_count(const struct weir_config *config)
{
    return config->note_count;
}

const char *weir_config_note(const struct weir_config *config, int index)
{
    weir_assert(index >= 0 && index < config->note_count);
    return config->notes[index];
}

void weir_config_log_notes(const struct weir_config *config)
{
    for (int i = 0; i < config->note_count; i++)
        weir_log(WARN, "%s", config->notes[i]);
}

static weir_err unknown_key(const char *what, const char *key, struct weir_error *error)
{
    const char *nearest = weir_option_nearest(key, weir_config_table, NULL, NULL);
    if (nearest)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: unknown configuration key '%s'; did you mean '%s'?", what, key,
                         nearest);
    return weir_fail(error, WEIR_ERR_INVALID, "%s: unknown configuration key '%s'; docs/configuration.md lists all",
                     what, key);
}

static weir_err check_range(const char *what, const struct weir_option *option, const char *text,
                            struct weir_error *error)
{
    for (const struct weir_config_range *r = weir_config_ranges; r->name; r++) {
        if (strcmp(r->name, option->name) != 0)
            continue;
        int64_t value = weir_option_to_int(option, text);
        if (value < r->min || value > r->max) {
            const char *unit = option->type == WEIR_OPTION_DURATION ? " ms"
                               : option->type == WEIR_OPTION_SIZE   ? " bytes"
                                                                    : "";
            if (r->max == INT64_MAX)
                return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' must be at least %lld%s, not %s", what,
                                 option->name, (long long)r->min, unit, text);
            return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' must be between %lld and %lld%s, not %s", what,
                             option->name, (long long)r->min, (long long)r->max, unit, text);
        }
    }
    return WEIR_OK;
}

/* What the table's types cannot say. */
static weir_err check_special(const char *what, const struct weir_option *option, const char *text,
                              struct weir_error *error)
{
    if (!strcmp(option->name, "taskmanager.data.port")) {
        int first, last;
        if (!weir_config_parse_ports(text, &first, &last))
            return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' must be a port or a range like 50100-50200, not '%s'",
                             what, option->name, text);
    }
    if (!strcmp(option->name, "taskmanager.executor.memory")) {
        int64_t bytes;
        if (strcmp(text, "auto") != 0 && (!weir_parse_size(text, &bytes) || bytes < 0))
            return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' must be auto, 0 or a size like 512 mb, not '%s'", what,
                             option->name, text);
    }
    if (!strcmp(option->name, "taskmanager.executor.silence-timeout")) {
        int64_t ms = weir_option_to_int(option, text);
        if (ms != 0 && ms < 5000)
            return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' must be 0 (never) or at least 5 s, not %s", what,
                             option->name, text);
    }
    return WEIR_OK;
}

/* The key that an older spelling stands for; else the key itself. */
static const char *today(const char *key)
{
    for (const struct weir_config_alias *a = weir_config_aliases; a->old_name; a++)
        if (!strcmp(a->old_name, key))
            return a->name;
    return key;
}

static weir_err set_value(struct weir_config *config, const char *what, const char *origin, const char *key,
                          const char *text, struct weir_error *error)
{
    if (today(key) != key)
        add_note(config, what, key, today(key));
    key = today(key);
    int index = find_index(key);
    if (index < 0)
        return unknown_key(what, key, error);
    const struct weir_option *option = &weir_config_table[index];
    if (!*text && option->type != WEIR_OPTION_STRING)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' has no value", what, key);
    weir_err err = weir_option_check_value(what, option, text, error);
    if (!err)
        err = check_range(what, option, text, error);
    if (!err)
        err = check_special(what, option, text, error);
    if (err)
        return err;
    struct value *value = &config->values[index];
    free(value->text);
    free(value->origin);
    /* As the table writes it, whoever compares. */
    size_t size;
    const char *choice = option->type == WEIR_OPTION_ENUM   ? weir_option_choice(option->choices, text, &size)
                         : option->type == WEIR_OPTION_BOOL ? weir_option_choice("true|false", text, &size)
                                                            : NULL;
    value->text = choice ? weir_strndup(choice, size) : weir_strdup(text);
    value->origin = weir_strdup(origin);
    return WEIR_OK;
}

/* --- File */

static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    size_t size = strlen(s);
    while (size && (s[size - 1] == ' ' || s[size - 1] == '\t' || s[size - 1] == '\r'))
        s[--size] = 0;
    return s;
}

/* The value part of a line, without quotes or the comment behind it. NULL: an unclosed quote. */
static char *clean_value(char *s)
{
    s = trim(s);
    if (*s == '"' || *s == '\'') {
        char quote = *s++;
        char *end = strchr(s, quote);
        if (!end)
            return NULL;
        char *rest = trim(end + 1);
        if (*rest && *rest != '#')
            return NULL;
        *end = 0;
        return s;
    }
    for (char *c = s; *c; c++)
        if (*c == '#' && (c == s || c[-1] == ' ' || c[-1] == '\t')) {
            *c = 0;
            break;
        }
    return trim(s);
}

static weir_err load_line(struct weir_config *config, const char *path, int line, char *text, struct weir_error *error)
{
    char where[512];
    snprintf(where, sizeof where, "%.480s:%d", path, line);
    bool indented = *text == ' ' || *text == '\t';
    text = trim(text);
    if (!*text || *text == '#' || !strcmp(text, "---"))
        return WEIR_OK;
    if (indented)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "%s: nested keys are not read; write the whole key in one line, like 'rest.port: 8081'",
                         where);
    char *colon = strchr(text, ':');
    if (!colon || colon == text || (colon[1] && colon[1] != ' ' && colon[1] != '\t'))
        return weir_fail(error, WEIR_ERR_INVALID, "%s: expected 'key: value', found '%.100s'", where, text);
    *colon = 0;
    char *key = trim(text);
    char *value = clean_value(colon + 1);
    if (!value)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s': the quotes do not match", where, key);
    int index = find_index(today(key));
    if (index >= 0 && config->values[index].origin)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%s' is given twice, before at %s", where, key,
                         config->values[index].origin);
    return set_value(config, where, where, key, value, error);
}

static weir_err load_file(struct weir_config *config, const char *path, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    FILE *file = fopen(path, "re");
    if (!file)
        return weir_fail_errno(error, errno == ENOENT ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO,
                               "cannot open the configuration '%s'", path);
    char *text = weir_alloc(FILE_SIZE_MAX + 1);
    size_t size = fread(text, 1, FILE_SIZE_MAX + 1, file);
    if (ferror(file)) {
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot read the configuration '%s'", path);
    } else if (size > FILE_SIZE_MAX) {
        err = weir_fail(error, WEIR_ERR_INVALID, "the configuration '%s' is larger than 1 MiB", path);
    } else {
        text[size] = 0;
        if (strlen(text) != size)
            err = weir_fail(error, WEIR_ERR_INVALID, "the configuration '%s' is not text: it has a NUL byte", path);
        int line = 1;
        for (char *at = text, *next; !err && at; at = next, line++) {
            next = strchr(at, '\n');
            if (next)
                *next++ = 0;
            err = load_line(config, path, line, at, error);
        }
    }
    free(text);
    fclose(file);
    return err;
}

static weir_err find_and_load_file(struct weir_config *config, const char *file, const char *home,
                                   struct weir_error *error)
{
    if (file)
        return load_file(config, file, error);
    const char *named = getenv("WEIR_CONF");
    if (named && *named)
        return load_file(config, named, error);
    if (home && *home) {
        char *path = weir_format("%s/conf/weir.yaml", home);
        bool there = access(path, F_OK) == 0;
        weir_err err = there ? load_file(config, path, error) : WEIR_OK;
        free(path);
        if (there)
            return err;
    }
    if (access("/etc/weir/weir.yaml", F_OK) == 0)
        return load_file(config, "/etc/weir/weir.yaml", error);
    return WEIR_OK;
}

/* --- Environment */

static void environment_name(const char *key, char out[160])
{
    size_t n = (size_t)snprintf(out, 160, "WEIR_%s", key);
    weir_assert(n < 160);
    for (char *c = out; *c; c++)
        *c = *c == '.' || *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

/* Variables of the WEIR_ prefix that are not keys: these, and WEIR_TEST_* (of weir's own tests). */
static bool is_other_variable(const char *name, size_t size)
{
    static const char tests[] = "WEIR_TEST_";
    static const char *const others[] = {"WEIR_HOME",       "WEIR_CONF", "WEIR_REST",
                                         "WEIR_REST_TOKEN", "WEIR_DATA", "WEIR_CONFORMANCE"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strlen(others[i]) == size && !memcmp(others[i], name, size))
            return true;
    return strncmp(name, tests, sizeof tests - 1) == 0;
}

/* What Kubernetes and Docker set for a service called weir-...: WEIR_REST_PORT=tcp://10.0.0.1:8081, WEIR_REST_SERVICE_HOST, ... None
 * of them is ours, though the first has the name of a key. */
static bool is_service_link(const char *name, size_t size, const char *value)
{
    char copy[160];
    if (size >= sizeof copy)
        return false;
    snprintf(copy, sizeof copy, "%.*s", (int)size, name);
    bool is_address =
        strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0 || strncmp(value, "sctp://", 7) == 0;
    if (is_address && size > 5 && strcmp(copy + size - 5, "_PORT") == 0)
        return true;
    const char *port = strstr(copy, "_PORT_");
    return strstr(copy, "_SERVICE_HOST") || strstr(copy, "_SERVICE_PORT") ||
           (port && isdigit((unsigned char)port[6]) &&
            (strstr(port, "_TCP") || strstr(port, "_UDP") || strstr(port, "_SCTP")));
}

static weir_err load_environment(struct weir_config *config, struct weir_error *error)
{
    char names[512][160];
    const char *pointers[512];
    int count = option_count();
    weir_assert(count <= 512);
    for (int i = 0; i < count; i++) {
        environment_name(weir_config_table[i].name, names[i]);
        pointers[i] = names[i];
    }
    for (char **e = environ; e && *e; e++) {
        const char *equals = strchr(*e, '=');
        if (strncmp(*e, "WEIR_", 5) != 0 || !equals || is_other_variable(*e, (size_t)(equals - *e)))
            continue;
        size_t size = (size_t)(equals - *e);
        if (is_service_link(*e, size, equals + 1))
            continue;
        int found = -1;
        for (int i = 0; i < count && found < 0; i++)
            if (strlen(names[i]) == size && !memcmp(names[i], *e, size))
                found = i;
        if (found >= 0) {
            char what[200];
            snprintf(what, sizeof what, "environment %s", names[found]);
            weir_err err = set_value(config, what, "environment", weir_config_table[found].name, equals + 1, error);
            if (err)
                return err;
            continue;
        }
        /* Others may have variables of that prefix; one that is nearly a key is a typing error. */
        char name[160];
        snprintf(name, sizeof name, "%.*s", (int)size, *e);
        const char *nearest = weir_nearest(name, pointers, count);
        if (nearest)
            return weir_fail(error, WEIR_ERR_INVALID, "environment: %s is no configuration key; did you mean %s?", name,
                             nearest);
    }
    return WEIR_OK;
}

/* --- Interface */

static weir_err set_overrides(struct weir_config *config, const struct weir_key_value *overrides, int count,
                              struct weir_error *error)
{
    for (int i = 0; i < count; i++) {
        char what[300];
        snprintf(what, sizeof what, "-D %.100s=%.150s", overrides[i].key, overrides[i].value);
        weir_err err = set_value(config, what, "-D", overrides[i].key, overrides[i].value, error);
        if (err)
            return err;
    }
    return WEIR_OK;
}

static weir_err check_together(const struct weir_config *config, struct weir_error *error)
{
    if (weir_config_int(config, "heartbeat.timeout") < 3 * weir_config_int(config, "heartbeat.interval"))
        return weir_fail(
            error, WEIR_ERR_INVALID, "'heartbeat.timeout' (%s) must be at least three times 'heartbeat.interval' (%s)",
            weir_config_string(config, "heartbeat.timeout"), weir_config_string(config, "heartbeat.interval"));
    return WEIR_OK;
}

weir_err weir_config_load(const char *file, const char *home, const struct weir_key_value *overrides,
                          int override_count, struct weir_config **config, struct weir_error *error)
{
    struct weir_config *c = config_new();
    weir_err err = find_and_load_file(c, file, home, error);
    if (!err)
        err = load_environment(c, error);
    if (!err)
        err = set_overrides(c, overrides, override_count, error);
    if (!err)
        err = check_together(c, error);
    if (err) {
        weir_config_free(c);
        return err;
    }
    *config = c;
    return WEIR_OK;
}

weir_err weir_config_overlay(const struct weir_config *config, const struct weir_key_value *overrides, int count,
                             struct weir_config **out, struct weir_error *error)
{
    struct weir_config *c = config_new();
    for (int i = 0; i < c->count; i++)
        if (config->values[i].text) {
            c->values[i].text = weir_strdup(config->values[i].text);
            c->values[i].origin = weir_strdup(config->values[i].origin);
        }
    weir_err err = set_overrides(c, overrides, count, error);
    if (!err)
        err = check_together(c, error);
    if (err) {
        weir_config_free(c);
        return err;
    }
    weir_config_log_notes(c);
    *out = c;
    return WEIR_OK;
}

static const char *text_at(const struct weir_config *config, int index)
{
    const char *text = config->values[index].text;
    if (!text)
        text = weir_config_table[index].fallback;
    return text && *text ? text : NULL;
}

const char *weir_config_string(const struct weir_config *config, const char *key)
{
    int index = find_index(key);
    weir_assert(index >= 0);
    return text_at(config, index);
}

int64_t weir_config_int(const struct weir_config *config, const char *key)
{
    int index = find_index(key);
    weir_assert(index >= 0);
    return weir_option_to_int(&weir_config_table[index], text_at(config, index));
}

double weir_config_double(const struct weir_config *config, const char *key)
{
    int index = find_index(key);
    weir_assert(index >= 0);
    const char *text = text_at(config, index);
    return text ? strtod(text, NULL) : 0;
}

const char *weir_config_origin(const struct weir_config *config, const char *key)
{
    int index = find_index(key);
    weir_assert(index >= 0);
    return config->values[index].origin ? config->values[index].origin : "default";
}

bool weir_config_parse_ports(const char *text, int *first, int *last)
{
    char *end = NULL;
    if (!isdigit((unsigned char)*text))
        return false;
    unsigned long a = strtoul(text, &end, 10), b = a;
    if (*end == '-') {
        const char *second = end + 1;
        if (!isdigit((unsigned char)*second))
            return false;
        b = strtoul(second, &end, 10);
    }
    if (*end || a > 65535 || b > 65535 || b < a || (a == 0 && b != 0))
        return false;
    *first = (int)a;
    *last = (int)b;
    return true;
}

bool weir_config_is_secret(const char *key)
{
    static const char *const parts[] = {"secret", "password", "token", "access-key", "private"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(key, parts[i]))
            return true;
    return false;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (!strcmp(host, "localhost"))
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return false;
}

/* What a daemon that listens for others must have; NULL: it has all. */
static const char *missing_credential(const struct weir_config *config, bool taskmanager)
{
    static const char *const of_jobmanager[] = {"security.curve.jobmanager-key-file",
                                                "security.curve.taskmanager-public-keys-file",
                                                "security.rest.token-file"};
    static const char *const of_taskmanager[] = {
        "security.curve.taskmanager-key-file", "security.curve.jobmanager-public-key-file", "security.rest.token-file"};
    for (int i = 0; i < 3; i++) {
        const char *key = taskmanager ? of_taskmanager[i] : of_jobmanager[i];
        if (!weir_config_string(config, key))
            return key;
    }
    return NULL;
}

weir_err weir_config_check_bind(const struct weir_config *config, const char *key, struct weir_error *error)
{
    bool taskmanager = strcmp(key, "taskmanager.bind-host") == 0;
    const char *host = weir_config_string(config, key);
    if (!host)
        return weir_fail(error, WEIR_ERR_INVALID, "'%s' must not be empty", key);
    if (is_loopback(host))
        return WEIR_OK;
    const char *missing = missing_credential(config, taskmanager);
    if (!missing) {
        if (strcmp(key, "rest.bind-address") == 0 && !weir_config_int(config, "security.ssl.rest.enabled"))
            weir_log(WARN, "REST on %s is not encrypted: who can read along sees tokens (security.ssl.rest.enabled)",
                     host);
        return WEIR_OK;
    }
    if (!weir_config_int(config, "security.insecure"))
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'%s' is %s: listening beyond loopback without credentials would let anyone on the network run code, and "
            "'%s' is not set; weir security init makes keys and a token and says what to set; or bind to 127.0.0.1, or "
            "set 'security.insecure: true' to accept that",
            key, host, missing);
    weir_log(WARN, "listening on %s ('%s') without credentials: 'security.insecure' accepts that", host, key);
    return WEIR_OK;
}

static void print_cell(struct weir_buf *out, const char *text)
{
    bool ok = true;
    for (const char *c = text; ok && *c; c++)
        ok = *c == '|' ? weir_buf_puts(out, "\\|") : weir_buf_append(out, c, 1);
    weir_assert(ok);
}

void weir_config_print_markdown(struct weir_buf *out)
{
    static const char *const types[] = {"string", "integer", "number", "boolean", "duration", "size", "one of"};
    bool ok = weir_buf_puts(
        out,
        "# Configuration\n\n"
        "Generated by `weir-jobmanager --print-configuration`; do not edit.\n\n"
        "A key's value is the first of: `-D key=value`; the environment (`WEIR_` + the key in capitals, `.` and `-` as `_`); the\n"
        "file (`--config`, `$WEIR_CONF`, `$WEIR_HOME/conf/weir.yaml`, `/etc/weir/weir.yaml`: the first that exists); the default.\n"
        "The file has one `key: value` a line, `#` begins a comment. An unknown key or a wrong value is an error that names the\n"
        "line and the nearest key. Durations: `500 ms`, `10 s`, `5 min`, `1 h`, `1 d`; sizes: `64 kb`, `64 mb`, `1 gb`.\n\n"
        "| key | type | default | meaning |\n|---|---|---|---|\n");
    weir_assert(ok);
    for (const struct weir_option *o = weir_config_table; o->name; o++) {
        ok = weir_buf_printf(out, "| `%s` | %s", o->name, types[o->type]);
        weir_assert(ok);
        if (o->type == WEIR_OPTION_ENUM) {
            print_cell(out, " ");
            print_cell(out, o->choices);
        }
        ok =
            o->fallback && *o->fallback ? weir_buf_printf(out, " | `%s` | ", o->fallback) : weir_buf_puts(out, " | | ");
        weir_assert(ok);
        print_cell(out, o->help);
        ok = weir_buf_puts(out, " |\n");
        weir_assert(ok);
    }
    ok = weir_buf_puts(out, "\nOlder spellings, taken with a note in the log:\n\n| spelling | key |\n|---|---|\n");
    weir_assert(ok);
    for (const struct weir_config_alias *a = weir_config_aliases; a->old_name; a++) {
        ok = weir_buf_printf(out, "| `%s` | `%s` |\n", a->old_name, a->name);
        weir_assert(ok);
    }
}
