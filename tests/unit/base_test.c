/* common/base: options, configuration, hashes, logs, metrics, fault points. */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/meter.h"
#include "base/metrics.h"
#include "base/meter.h"
#include "base/options.h"
#include "base/secret.h"

static char directory[64];

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    char *text = calloc(1, 1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

/* --- Options */

static const struct weir_option table[] = {
    {"path", WEIR_OPTION_STRING, NULL, NULL, "where"},
    {"rows", WEIR_OPTION_INT, "10", NULL, ""},
    {"rate", WEIR_OPTION_DOUBLE, "0.5", NULL, ""},
    {"on", WEIR_OPTION_BOOL, "true", NULL, ""},
    {"wait", WEIR_OPTION_DURATION, "10 s", NULL, ""},
    {"size", WEIR_OPTION_SIZE, "", NULL, ""},
    {"on-error", WEIR_OPTION_ENUM, "fail", "fail|skip|dead-letter", ""},
    {NULL, WEIR_OPTION_STRING, NULL, NULL, NULL},
};

static void check_fails(const char *key, const char *value, const char *part)
{
    struct weir_key_value given[] = {{"path", "x"}, {key, value}};
    struct weir_error error;
    assert_int_equal(weir_options_check("connector 'x'", given, 2, table, NULL, NULL, &error), WEIR_ERR_INVALID);
    if (!strstr(error.message, part))
        fail_msg("'%s' lacks '%s'", error.message, part);
    assert_non_null(strstr(error.message, "connector 'x'"));
}

static void options_are_checked(void **state)
{
    (void)state;
    struct weir_error error;
    check_fails("row", "1", "did you mean 'rows'");
    check_fails("zzzzzz", "1", "unknown option 'zzzzzz'");
    check_fails("rows", "1x", "whole number");
    check_fails("rows", "", "whole number");
    check_fails("rows", "99999999999999999999", "whole number");
    check_fails("rate", "nan", "not a number");
    check_fails("rate", "1,5", "not a number");
    check_fails("on", "yes", "true or false");
    check_fails("wait", "10 parsecs", "duration");
    check_fails("wait", "-1 s", "duration");
    check_fails("wait", "0.0001 s", "duration");
    check_fails("wait", "0x10", "duration");
    check_fails("size", "12 apples", "size");
    check_fails("size", "99999999 tb", "size");
    check_fails("on-error", "ski", "fail|skip|dead-letter");
    check_fails("path", "y", "given twice");
    assert_int_equal(weir_options_check("x", NULL, 0, table, NULL, NULL, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "'path' is missing"));
    static const struct weir_option more[] = {{"extra", WEIR_OPTION_INT, "1", NULL, ""}, {NULL, 0, NULL, NULL, NULL}};
    struct weir_key_value ok[] = {{"path", ""}, {"extra", "3"}, {"on-error", "SKIP"}, {"wait", "1 MIN"}};
    assert_int_equal(weir_options_check("x", ok, 4, table, more, NULL, &error), WEIR_OK);
}

static void options_are_converted(void **state)
{
    (void)state;
    struct weir_key_value given[] = {{"rows", " -7 "}, {"on", "FALSE"}, {"wait", "1.5s"}, {"size", "64 mb"}};
    assert_int_equal(weir_options_get_int(given, 4, table, "rows"), -7);
    assert_int_equal(weir_options_get_int(given, 0, table, "rows"), 10);
    assert_int_equal(weir_options_get_int(given, 4, table, "on"), 0);
    assert_int_equal(weir_options_get_int(given, 0, table, "on"), 1);
    assert_int_equal(weir_options_get_int(given, 4, table, "wait"), 1500);
    assert_int_equal(weir_options_get_int(given, 4, table, "size"), 64 << 20);
    assert_int_equal(weir_options_get_int(given, 0, table, "size"), 0);
    assert_true(weir_options_get_double(given, 0, table, "rate") == 0.5);
    struct weir_key_value huge[] = {{"rate", "1e300"}}, low[] = {{"rate", "-1e300"}};
    assert_true(weir_options_get_int(huge, 1, table, "rate") == INT64_MAX);
    assert_true(weir_options_get_int(low, 1, table, "rate") == INT64_MIN);
    assert_string_equal(weir_options_get(given, 0, table, "on-error"), "fail");
    assert_null(weir_options_get(given, 0, table, "path"));
    int64_t n;
    assert_true(weir_parse_duration_ms("1 d", &n) && n == 86400000);
    assert_true(weir_parse_duration_ms("250", &n) && n == 250);
    assert_true(weir_parse_duration_ms("2 hours ", &n) && n == 7200000);
    assert_false(weir_parse_duration_ms("", &n));
    assert_true(weir_parse_size("1g", &n) && n == 1 << 30);
    assert_true(weir_parse_size("1.5 kb", &n) && n == 1536);
    assert_false(weir_parse_size("0.3 b", &n));
}

static void nearest_name(void **state)
{
    (void)state;
    const char *names[] = {"count", "amount", "avg", "session"};
    assert_string_equal(weir_nearest("coutn", (const char *const[]){"cout", "x"}, 2), "cout");
    assert_string_equal(weir_nearest("sesion", names, 4), "session");
    assert_string_equal(weir_nearest("avgg", names, 4), "avg");
    assert_null(weir_nearest("qqq", names, 4));
    assert_null(weir_nearest("x", names, 0));
    char big[300];
    memset(big, 'a', 299);
    big[299] = 0;
    assert_null(weir_nearest(big, names, 4));
}

/* --- Configuration */

static struct weir_config *load(const char *text, struct weir_error *error)
{
    char path[128];
    snprintf(path, sizeof path, "%s/weir.yaml", directory);
    write_file(path, text);
    struct weir_config *config = NULL;
    if (weir_config_load(path, NULL, NULL, 0, &config, error))
        return NULL;
    return config;
}

static void load_fails(const char *text, const char *part, const char *part2)
{
    struct weir_error error = {0};
    struct weir_config *config = load(text, &error);
    if (config)
        fail_msg("accepted: %s", text);
    if (!strstr(error.message, part) || !strstr(error.message, part2))
        fail_msg("'%s' lacks '%s' or '%s'", error.message, part, part2);
}

static void table_is_sound(void **state)
{
    (void)state;
    struct weir_config *config = NULL;
    struct weir_error error;
    assert_int_equal(weir_config_load("/dev/null", NULL, NULL, 0, &config, &error), 0);
    for (int i = 0; weir_config_table[i].name; i++) {
        const struct weir_option *o = &weir_config_table[i];
        if (i && strcmp(weir_config_table[i - 1].name, o->name) >= 0)
            fail_msg("%s is not in order", o->name);
        assert_non_null(o->help);
        assert_non_null(o->fallback);
        if (*o->fallback) /* defaults pass their own checks */
            assert_int_equal(weir_option_check_value("default", o, o->fallback, &error), 0);
        struct weir_key_value same = {o->name, o->fallback};
        struct weir_config *copy = NULL;
        if (*o->fallback) {
            if (weir_config_overlay(config, &same, 1, &copy, &error))
                fail_msg("%s", error.message);
            weir_config_free(copy);
        }
        assert_string_equal(weir_config_origin(config, o->name), "default");
    }
    weir_config_free(config);
}

static void config_file(void **state)
{
    (void)state;
    struct weir_error error;
    struct weir_config *config = load("# head\n\n---\nrest.port: 9001   # behind\nlog.file: \"/a #b\"\r\n"
                                      "heartbeat.interval: 1 s\ntaskmanager.host: 'h'\nstate.backend: hashmap\n",
                                      &error);
    if (!config)
        fail_msg("%s", error.message);
    assert_int_equal(weir_config_int(config, "rest.port"), 9001);
    assert_string_equal(weir_config_string(config, "log.file"), "/a #b");
    assert_int_equal(weir_config_int(config, "heartbeat.interval"), 1000);
    assert_string_equal(weir_config_string(config, "taskmanager.host"), "h");
    assert_non_null(strstr(weir_config_origin(config, "rest.port"), "weir.yaml:4"));
    assert_null(weir_config_string(config, "web.upload.dir"));
    assert_true(weir_config_double(config, "restart-strategy.exponential-delay.backoff-multiplier") == 1.5);
    weir_config_free(config);

    load_fails("a: 1\n", ":1: unknown configuration key 'a'", "");
    load_fails("\nrest.prot: 1\n", ":2: ", "did you mean 'rest.port'");
    load_fails("rest.port: x\n", ":1: ", "whole number");
    load_fails("rest.port: 70000\n", ":1: ", "between 0 and 65535");
    load_fails("rest.port 8081\n", ":1: ", "expected 'key: value'");
    load_fails("rest:\n  port: 8081\n", ":1: ", "");
    load_fails("  rest.port: 8081\n", ":1: ", "nested");
    load_fails("rest.port: 1\nrest.port: 2\n", ":2: ", "given twice, before at");
    load_fails("rest.port:\n", ":1: ", "no value");
    load_fails("log.file: \"x\n", ":1: ", "quotes");
    load_fails("taskmanager.data.port: 5-3\n", ":1: ", "range");
    load_fails("taskmanager.executor.memory: much\n", ":1: ", "auto, 0 or a size");
    load_fails("heartbeat.interval: 30 s\n", "heartbeat.timeout", "three times");
    load_fails("log.level: loud\n", ":1:", "debug|info|warn|error");
    struct weir_config *none = NULL;
    assert_int_equal(weir_config_load("/nonexistent/x.yaml", NULL, NULL, 0, &none, &error), WEIR_ERR_NOT_FOUND);
}

/* Kubernetes sets such variables in every pod of a namespace with services called weir and weir-jobmanager-rpc. */
static void service_links_are_not_configuration(void **state)
{
    (void)state;
    static const char *const links[][2] = {
        {"WEIR_REST_PORT", "tcp://10.96.0.7:8081"},
        {"WEIR_JOBMANAGER_RPC_PORT", "tcp://10.96.0.8:6123"},
        {"WEIR_JOBMANAGER_RPC_SERVICE_HOST", "10.96.0.8"},
        {"WEIR_JOBMANAGER_RPC_SERVICE_PORT", "6123"},
        {"WEIR_REST_SERVICE_PORT_REST", "8081"},
        {"WEIR_JOBMANAGER_RPC_PORT_6123_TCP", "tcp://10.96.0.8:6123"},
        {"WEIR_JOBMANAGER_RPC_PORT_6123_TCP_PORT", "6123"},
        {"WEIR_JOBMANAGER_RPC_PORT_6123_UDP_ADDR", "10.96.0.8"},
    };
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        setenv(links[i][0], links[i][1], 1);
    struct weir_error error;
    struct weir_config *config = NULL;
    assert_int_equal(weir_config_load(NULL, NULL, NULL, 0, &config, &error), 0);
    assert_int_equal(weir_config_int(config, "rest.port"), 8081);
    assert_string_equal(weir_config_origin(config, "rest.port"), "default");
    assert_string_equal(weir_config_origin(config, "jobmanager.rpc.port"), "default");
    weir_config_free(config);
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        unsetenv(links[i][0]);
}

static void config_precedence(void **state)
{
    (void)state;
    struct weir_error error;
    struct weir_config *config = NULL, *job = NULL;
    char conf[128];
    snprintf(conf, sizeof conf, "%s/conf", directory);
    mkdir(conf, 0700);
    snprintf(conf, sizeof conf, "%s/conf/weir.yaml", directory);
    write_file(conf, "rest.port: 1001\nparallelism.default: 3\nlog.level: warn\n");
    setenv("WEIR_REST_PORT", "1002", 1);
    setenv("WEIR_PARALLELISM_DEFAULT", "4", 1);
    setenv("WEIR_REST", "127.0.0.1:1", 1);     /* not a key */
    setenv("WEIR_TEST_LOG_FORMAT", "json", 1); /* nor this, as near as it is to WEIR_LOG_FORMAT */
    struct weir_key_value overrides[] = {{"rest.port", "1003"}};
    assert_int_equal(weir_config_load(NULL, directory, overrides, 1, &config, &error), 0);
    assert_int_equal(weir_config_int(config, "rest.port"), 1003);
    assert_string_equal(weir_config_origin(config, "rest.port"), "-D");
    assert_int_equal(weir_config_int(config, "parallelism.default"), 4);
    assert_string_equal(weir_config_origin(config, "parallelism.default"), "environment");
    assert_string_equal(weir_config_string(config, "log.level"), "warn");
    struct weir_key_value mine[] = {{"parallelism.default", "8"}};
    assert_int_equal(weir_config_overlay(config, mine, 1, &job, &error), 0);
    assert_int_equal(weir_config_int(job, "parallelism.default"), 8);
    assert_int_equal(weir_config_int(job, "rest.port"), 1003);
    assert_int_equal(weir_config_int(config, "parallelism.default"), 4);
    struct weir_key_value wrong[] = {{"paralelism.default", "8"}};
    struct weir_config *out = NULL;
    assert_int_equal(weir_config_overlay(config, wrong, 1, &out, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "parallelism.default"));
    weir_config_free(job);
    weir_config_free(config);
    setenv("WEIR_REST_PROT", "1", 1);
    assert_int_equal(weir_config_load(NULL, directory, NULL, 0, &config, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "WEIR_REST_PORT"));
    unsetenv("WEIR_REST_PROT");
    unsetenv("WEIR_REST_PORT");
    unsetenv("WEIR_REST");
    unsetenv("WEIR_TEST_LOG_FORMAT");
    unsetenv("WEIR_PARALLELISM_DEFAULT");
    setenv("WEIR_CONF", "/nonexistent/a", 1);
    assert_int_equal(weir_config_load(NULL, directory, NULL, 0, &config, &error), WEIR_ERR_NOT_FOUND);
    unsetenv("WEIR_CONF");
}

static void a_meter_shows_the_last_minute(void **state)
{
    (void)state;
    struct weir_meter meter = {.look_count = 0};
    assert_int_equal(weir_meter_look(&meter, 1000, 30), 500); /* 30 in 60 s, whatever the time that it took */
    for (int second = 2; second <= 60; second++)
        assert_int_equal(weir_meter_look(&meter, second * 1000, 30), 500);
    assert_int_equal(weir_meter_look(&meter, 61000, 30), 0);   /* the first look is 60 s old */
    assert_int_equal(weir_meter_look(&meter, 62000, 90), 983); /* 60 in 61 s: looks are 5 s apart */
    for (int second = 63; second <= 300; second++)             /* 2 a second */
        (void)weir_meter_look(&meter, second * 1000, 90 + 2 * (uint64_t)(second - 62));
    int64_t rate = weir_meter_look(&meter, 301000, 90 + 2 * (301 - 62));
    assert_true(rate == 2000);
    assert_int_equal(weir_meter_look(&meter, 421000, 90 + 2 * (301 - 62) + 240),
                     2000); /* looks that are rare: since the last one */
    assert_int_equal(weir_meter_look(&meter, 1000000, 90 + 2 * (301 - 62) + 240), 0);
}

static void config_bind(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool ok;
    } cases[] = {{"127.0.0.1", true}, {"127.9.9.9", true},    {"localhost", true},
                 {"::1", true},       {"0.0.0.0", false},     {"::", false},
                 {"10.0.0.1", false}, {"example.org", false}, {"127.0.0.1.example.org", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct weir_key_value o[] = {{"rest.bind-address", cases[i].host}, {"security.insecure", "true"}};
        struct weir_config *config = NULL;
        struct weir_error error;
        assert_int_equal(weir_config_load("/dev/null", NULL, o, 1, &config, &error), 0);
        assert_int_equal(weir_config_check_bind(config, "rest.bind-address", &error),
                         cases[i].ok ? 0 : WEIR_ERR_INVALID);
        weir_config_free(config);
        assert_int_equal(weir_config_load("/dev/null", NULL, o, 2, &config, &error), 0);
        weir_log_level_min = WEIR_LOG_ERROR;
        assert_int_equal(weir_config_check_bind(config, "rest.bind-address", &error), 0);
        weir_log_level_min = WEIR_LOG_INFO;
        weir_config_free(config);
    }
}

/* Keys and a token make a bind beyond loopback possible; each of the three alone does not. */
static void config_bind_with_credentials(void **state)
{
    (void)state;
    static const char *const roles[2][4] = {{"rest.bind-address", "security.curve.jobmanager-key-file",
                                             "security.curve.taskmanager-public-keys-file", "security.rest.token-file"},
                                            {"taskmanager.bind-host", "security.curve.taskmanager-key-file",
                                             "security.curve.jobmanager-public-key-file", "security.rest.token-file"}};
    for (int role = 0; role < 2; role++)
        for (int missing = 0; missing < 4; missing++) {
            struct weir_key_value o[4] = {{roles[role][0], "10.0.0.1"}};
            int count = 1;
            for (int i = 1; i < 4; i++)
                if (i != missing)
                    o[count++] = (struct weir_key_value){roles[role][i], "/some/file"};
            struct weir_config *config = NULL;
            struct weir_error error;
            assert_int_equal(weir_config_load("/dev/null", NULL, o, count, &config, &error), 0);
            const char *key = role == 0 ? "rest.bind-address" : "taskmanager.bind-host";
            assert_int_equal(weir_config_check_bind(config, key, &error), missing ? WEIR_ERR_INVALID : 0);
            if (missing)
                assert_non_null(strstr(error.message, roles[role][missing]));
            weir_config_free(config);
        }
}

static void secret_files(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-secret-XXXXXX", *text = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct weir_error error;
    assert_int_equal(weir_secret_write(path, "hidden", 0600, false, &error), WEIR_ERR_EXISTS);
    assert_int_equal(weir_secret_write(path, "hidden", 0640, true, &error), 0);
    assert_int_equal(weir_secret_read("a.key", path, &text, &error), 0); /* a group may: Kubernetes mounts Secrets so */
    assert_string_equal(text, "hidden");
    weir_secret_free(text);
    for (int mode = 0601; mode <= 0604; mode += 1 + (mode == 0602)) { /* any bit for others */
        assert_int_equal(chmod(path, (mode_t)mode), 0);
        assert_int_equal(weir_secret_read("a.key", path, &text, &error), WEIR_ERR_INVALID);
        assert_non_null(strstr(error.message, "chmod 600 /tmp/weir-secret-"));
        assert_null(strstr(error.message, "hidden"));
    }
    unlink(path);
    assert_int_equal(weir_secret_read("a.key", path, &text, &error), WEIR_ERR_NOT_FOUND);
    assert_int_equal(weir_secret_read("a.key", "/tmp", &text, &error), WEIR_ERR_INVALID);
    uint8_t bytes[3];
    char hex[7];
    assert_true(weir_hex_decode("00fFa1", 3, bytes));
    weir_hex_encode(bytes, 3, hex);
    assert_string_equal(hex, "00ffa1");
    assert_false(weir_hex_decode("00f", 2, bytes));
    assert_false(weir_hex_decode("0g", 1, bytes));
}

static void config_markdown(void **state)
{
    (void)state;
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    weir_config_print_markdown(&out);
    for (int i = 0; weir_config_table[i].name; i++) {
        char row[128];
        snprintf(row, sizeof row, "\n| `%s` | ", weir_config_table[i].name);
        assert_non_null(strstr((char *)out.data, row));
    }
    assert_non_null(strstr((char *)out.data, "text\\|json"));
    char *page = read_file("docs/configuration.md"); /* tests run in the repository's root */
    if (!page || strcmp(page, (char *)out.data) != 0)
        fail_msg("docs/configuration.md is stale: weir-jobmanager --print-configuration > docs/configuration.md");
    free(page);
    weir_buf_fini(&out);
}

/* --- Hashes */

static void hashes(void **state)
{
    (void)state;
    char hex[65];
    weir_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    weir_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    char path[128], again[65];
    snprintf(path, sizeof path, "%s/sha", directory);
    char *big = malloc(200001);
    memset(big, 'q', 200000);
    big[200000] = 0;
    write_file(path, big);
    struct weir_error error;
    assert_int_equal(weir_sha256_file_hex(path, hex, &error), 0);
    weir_sha256_hex(big, 200000, again);
    assert_string_equal(hex, again);
    free(big);
    assert_int_equal(weir_sha256_file_hex("/nonexistent", hex, &error), WEIR_ERR_NOT_FOUND);
    assert_int_equal(weir_sha256_file_hex("/", hex, &error), WEIR_ERR_IO);
    assert_int_equal(weir_crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(weir_crc32c_portable(0, "123456789", 9), 0xE3069283u);
    static uint8_t bytes[60000]; /* long ones are taken in lanes */
    unsigned seed = 7;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(seed = seed * 1103515245 + 12345) >> 3;
    for (size_t size = 0; size < sizeof bytes - 9; size += size < 2000 ? 1 : 127) {
        uint32_t whole = weir_crc32c(0, bytes + size % 9, size);
        assert_int_equal(whole, weir_crc32c_portable(0, bytes + size % 9, size));
        uint32_t half = weir_crc32c(0, bytes + size % 9, size / 3);
        assert_int_equal(whole, weir_crc32c(half, bytes + size % 9 + size / 3, size - size / 3));
    }
    assert_true(weir_xxh3("", 0) == 0x2D06800538D394C2ull);
}

/* --- Logs */

static void log_text_and_json(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/log", directory);
    struct weir_log_options options = {
        .path = path, .level = WEIR_LOG_INFO, .size_max = 1 << 20, .files_max = 3, .process = "taskmanager"};
    struct weir_error error;
    assert_int_equal(weir_log_init(&options, &error), 0);
    weir_log(DEBUG, "unseen");
    weir_log(INFO, "two\nlines %d", 7);
    weir_log_scope("j1", "map (1/2)", 3);
    weir_log(WARN, "scoped");
    options.json = true;
    assert_int_equal(weir_log_init(&options, &error), 0);
    char *long_text = malloc(20001);
    for (int i = 0; i < 20000; i += 2)
        memcpy(long_text + i, "\xC3\xA4", 2);
    long_text[20000] = 0;
    weir_log(ERROR, "quote \" slash \\ tab \t end");
    weir_log(ERROR, "x%s", long_text);
    weir_log_scope(NULL, NULL, -1);
    weir_log(ERROR, "plain");
    free(long_text);
    weir_log_fini();
    char *text = read_file(path);
    assert_null(strstr(text, "unseen"));
    assert_non_null(strstr(text, "INFO  taskmanager two lines 7 (base_test.c:"));
    assert_non_null(strstr(text, "WARN  taskmanager [job=j1 task=map (1/2) attempt=3] scoped"));
    int json_lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        assert_true(strlen(line) < 8192);
        if (line[0] != '{')
            continue;
        json_error_t e;
        json_t *object = json_loads(line, 0, &e);
        if (!object)
            fail_msg("%s in %.200s", e.text, line);
        json_lines++;
        if (json_lines == 1) {
            assert_string_equal(json_string_value(json_object_get(object, "message")), "quote \" slash \\ tab \t end");
            assert_string_equal(json_string_value(json_object_get(object, "job")), "j1");
            assert_int_equal(json_integer_value(json_object_get(object, "attempt")), 3);
        }
        if (json_lines == 3)
            assert_null(json_object_get(object, "job"));
        json_decref(object);
    }
    assert_int_equal(json_lines, 3);
    free(text);
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 500; i++)
        weir_log(INFO, "thread %d line %d ......................................................", *(int *)arg, i);
    return NULL;
}

static void log_rotates(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/rot", directory);
    struct weir_log_options options = {.path = path, .level = WEIR_LOG_INFO, .size_max = 20000, .files_max = 3};
    assert_int_equal(weir_log_init(&options, NULL), 0);
    pthread_t threads[4];
    int ids[4];
    for (int i = 0; i < 4; i++) {
        ids[i] = i;
        pthread_create(&threads[i], NULL, log_many, &ids[i]);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    weir_log_fini();
    for (int i = 0; i < 4; i++) {
        char name[160];
        snprintf(name, sizeof name, i ? "%s.%d" : "%s", path, i);
        char *text = read_file(name);
        if (i == 3) {
            assert_null(text);
            continue;
        }
        assert_non_null(text);
        assert_true(strlen(text) <= 20000);
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
            assert_int_equal(line[4], '-');
            assert_int_equal(line[strlen(line) - 1], ')');
        }
        free(text);
    }
    struct weir_error error;
    options.path = "/nonexistent/dir/log";
    assert_int_equal(weir_log_init(&options, &error), WEIR_ERR_IO);
    enum weir_log_level level;
    assert_int_equal(weir_log_level_parse("Warn", &level, &error), 0);
    assert_int_equal(level, WEIR_LOG_WARN);
    assert_int_equal(weir_log_level_parse("loud", &level, &error), WEIR_ERR_INVALID);
}

/* --- Metrics */

static void count_visit(void *arg, const char *const *labels, const char *name, enum weir_metric_kind kind,
                        const struct weir_metric *metric)
{
    (void)kind;
    if (labels[0] && !strcmp(labels[1], "b\"x") && !strcmp(name, "numRecordsIn"))
        *(int64_t *)arg += weir_metric_get(metric);
}

static void metrics_print(void **state)
{
    (void)state;
    struct weir_metrics *metrics = weir_metrics_new();
    struct weir_metric_scope *a = weir_metric_scope_new(metrics, (const char *[]){"job_id", "a", NULL});
    struct weir_metric_scope *b = weir_metric_scope_new(metrics, (const char *[]){"job_id", "b\"x", NULL});
    struct weir_metric_scope *none = weir_metric_scope_new(metrics, (const char *[]){0});
    struct weir_metric *in_a = weir_metric_new(a, WEIR_COUNTER, "numRecordsIn", "Rows in.");
    struct weir_metric *in_b = weir_metric_new(b, WEIR_COUNTER, "numRecordsIn", "Rows in.");
    assert_ptr_equal(in_a, weir_metric_new(a, WEIR_COUNTER, "numRecordsIn", NULL));
    weir_metric_add(in_a, 5);
    weir_metric_add(in_b, 6);
    weir_metric_add(in_b, 1);
    weir_metric_set(weir_metric_new(none, WEIR_GAUGE, "Status.JVM.CPU.Load", NULL), -3);
    struct weir_metric *h = weir_metric_new(none, WEIR_HISTOGRAM, "batchLatencyNanos", NULL);
    for (uint64_t v = 1; v <= 1000; v++)
        weir_histogram_record(h, v);
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    weir_metrics_print(metrics, &out);
    const char *text = (char *)out.data;
    const char *type =
        strstr(text, "# TYPE weir_num_records_in_total counter\nweir_num_records_in_total{job_id=\"a\"} 5\n"
                     "weir_num_records_in_total{job_id=\"b\\\"x\"} 7\n");
    assert_non_null(type);
    assert_null(strstr(type + 1, "# TYPE weir_num_records_in_total"));
    assert_non_null(strstr(text, "# HELP weir_num_records_in_total Rows in."));
    assert_non_null(strstr(text, "\nweir_status_jvm_cpu_load -3\n"));
    assert_non_null(strstr(text, "weir_batch_latency_nanos_bucket{le=\"1\"} 1\n"));
    assert_non_null(strstr(text, "weir_batch_latency_nanos_bucket{le=\"511\"} 511\n"));
    assert_non_null(strstr(text, "weir_batch_latency_nanos_bucket{le=\"+Inf\"} 1000\n"));
    assert_non_null(strstr(text, "weir_batch_latency_nanos_sum 500500\n"));
    assert_non_null(strstr(text, "weir_batch_latency_nanos_count 1000\n"));
    int64_t seen = 0;
    weir_metrics_each(metrics, count_visit, &seen);
    assert_int_equal(seen, 7);
    weir_metric_scope_free(b);
    weir_buf_clear(&out);
    weir_metrics_print(metrics, &out);
    assert_null(strstr((char *)out.data, "b\\\"x"));
    for (size_t max = 1; max < out.size; max += 37) { /* a full buffer ends at a whole line */
        struct weir_buf small;
        weir_buf_init(&small, max);
        weir_metrics_print(metrics, &small);
        assert_true(small.size <= max);
        assert_true(small.size == 0 || small.data[small.size - 1] == '\n');
        weir_buf_fini(&small);
    }
    weir_buf_fini(&out);
    weir_metrics_free(metrics);
}

static void histogram_bounds(void **state)
{
    (void)state;
    struct weir_metrics *metrics = weir_metrics_new();
    struct weir_metric_scope *scope = weir_metric_scope_new(metrics, (const char *[]){0});
    struct weir_metric *empty = weir_metric_new(scope, WEIR_HISTOGRAM, "e", NULL);
    assert_true(weir_histogram_quantile(empty, 0.5) == 0);
    uint64_t values[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 1023, 1024, UINT64_MAX / 2, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char name[16];
        snprintf(name, sizeof name, "h%zu", i);
        struct weir_metric *h = weir_metric_new(scope, WEIR_HISTOGRAM, name, NULL);
        weir_histogram_record(h, values[i]);
        uint64_t upper = weir_histogram_quantile(h, 1);
        assert_true(upper >= values[i]);
        assert_true(upper - values[i] <= values[i] / 2); /* at most 50 % above */
    }
    struct weir_metric *h = weir_metric_new(scope, WEIR_HISTOGRAM, "many", NULL);
    for (uint64_t v = 0; v < 100000; v++)
        weir_histogram_record(h, v);
    uint64_t median = weir_histogram_quantile(h, 0.5);
    assert_true(median >= 50000 && median <= 75000);
    assert_true(weir_histogram_quantile(h, 0) <= 1);
    weir_metrics_free(metrics);
}

/* --- Faults */

static struct weir_fault_state fault_state(const char *name)
{
    struct weir_fault_state point;
    for (int i = 0; weir_fault_get(i, &point); i++)
        if (strcmp(point.name, name) == 0)
            return point;
    fail_msg("no point %s", name);
    return point;
}

static void fault_points(void **state)
{
    (void)state;
    static const char a[] = "executor.object-put-begun", b[] = "executor.report-send";
    struct weir_error error;
    assert_false(weir_fault(a));
    assert_int_equal(weir_fault_arm(a, "error", 1, &error), WEIR_ERR_INVALID);
    assert_int_equal(weir_fault_reset(1, &error), WEIR_ERR_INVALID);
    assert_int_equal(weir_fault_table_id(), 0);
    assert_int_equal(weir_fault_enable(NULL, "executor", &error), 0);
    assert_false(weir_fault(a));
    assert_int_equal(weir_fault_arm("executor.object-put-begun:2", "error", 1, &error), 0);
    assert_string_equal(fault_state(a).action, "error");
    assert_false(weir_fault(a));
    assert_true(weir_fault(a));
    assert_false(weir_fault_here("object-put-begun"));
    assert_int_equal(fault_state(a).passes, 4);
    assert_int_equal(fault_state(a).acted, 1);
    assert_int_equal(fault_state(a).pid, getpid());
    assert_int_equal(weir_fault_arm(a, "error", 1, &error), 0); /* the same arming again */
    assert_false(weir_fault(a));
    assert_int_equal(fault_state(b).passes, 0);
    int64_t before = weir_clock_mono_ms();
    assert_int_equal(weir_fault_arm(b, "delay=20", 2, &error), 0);
    assert_false(weir_fault(b));
    assert_true(weir_clock_mono_ms() - before >= 19);
    assert_false(weir_fault_here("no-such-step"));
    static const char *const bad[][2] = {{"executor.report-send:0", "kill"},   {"executor.report-send:x", "kill"},
                                         {"executor.report-send", "explode"},  {"executor.report-send", "delay="},
                                         {"executor.report-send", "delay=-1"}, {"executor.report-send", "error"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(weir_fault_arm(bad[i][0], bad[i][1], 3, &error), WEIR_ERR_INVALID);
    assert_int_equal(weir_fault_arm("executor.report-sned", "kill", 3, &error), WEIR_ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, "'executor.report-sen"));
    assert_int_equal(weir_fault_arm(a, "kill", 5, &error), 0);
    assert_int_equal(weir_fault_arm(a, "delay=1", 6, &error), 0);
    assert_int_equal(weir_fault_arm(a, "kill", 5, &error), 0); /* said again, late */
    assert_string_equal(fault_state(a).action, "delay=1");
    assert_int_equal(weir_fault_reset(7, &error), 0);
    assert_int_equal(fault_state(a).passes, 0);
    assert_int_equal(weir_fault_arm(b, "kill", 6, &error), 0);
    assert_string_equal(fault_state(b).action, "");
    assert_int_equal(weir_fault_arm(a, "error", 8, &error), 0);
    assert_int_equal(weir_fault_reset(7, &error), 0);
    assert_string_equal(fault_state(a).action, "error");
    weir_fault_disable();
    assert_false(weir_fault(a));
}

/* Two processes count in one file, and what one armed acts in the other. */
static void fault_points_are_shared(void **state)
{
    (void)state;
    static const char point[] = "executor.object-put-done";
    struct weir_error error;
    char path[256];
    snprintf(path, sizeof path, "%s/fault-points", directory);
    assert_int_equal(weir_fault_enable(path, "supervisor", &error), 0);
    assert_int_equal(weir_fault_arm("executor.object-put-done:3", "kill", 9, &error), 0);
    uint64_t id = weir_fault_table_id();
    assert_false(weir_fault(point));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        weir_fault_disable();
        bool ok = weir_fault_enable(path, "executor", &error) == 0 && weir_fault_table_id() == id &&
                  !weir_fault_here("object-put-done");
        if (ok)
            (void)weir_fault(point);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(fault_state(point).passes, 3);
    assert_int_equal(fault_state(point).pid, pid);
    assert_int_equal(fault_state(point).left, 0);
    weir_fault_disable();
    FILE *file = fopen(path, "w"); /* another version's: made anew */
    assert_non_null(file);
    fputs("something else", file);
    fclose(file);
    assert_int_equal(weir_fault_enable(path, "executor", &error), 0);
    assert_int_equal(fault_state(point).passes, 0);
    weir_fault_disable();
    assert_int_not_equal(weir_fault_enable("/no/such/directory/f", "executor", &error), 0);
}

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/weir-base-test-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(options_are_converted),
        cmocka_unit_test(nearest_name),
        cmocka_unit_test(a_meter_shows_the_last_minute),
        cmocka_unit_test(table_is_sound),
        cmocka_unit_test(config_file),
        cmocka_unit_test(service_links_are_not_configuration),
        cmocka_unit_test(config_precedence),
        cmocka_unit_test(config_bind),
        cmocka_unit_test(config_bind_with_credentials),
        cmocka_unit_test(secret_files),
        cmocka_unit_test(config_markdown),
        cmocka_unit_test(hashes),
        cmocka_unit_test(log_text_and_json),
        cmocka_unit_test(log_rotates),
        cmocka_unit_test(metrics_print),
        cmocka_unit_test(histogram_bounds),
        cmocka_unit_test(fault_points),
        cmocka_unit_test(fault_points_are_shared),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
