/* common/registry against a small registry of the test's own: what is asked, cached, tried again; how each refusal reads. A real one: tests/e2e/registry_test.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "http/http_server.h"
#include "registry/framing.h"
#include "registry/registry.h"

static struct weir_http_server *server;
static atomic_int asked, failures_left; /* questions in all; how many are answered 503 before one is answered right */
static struct weir_error error;

static const struct weir_option table[] = {
    WEIR_REGISTRY_OPTIONS("f"),
    WEIR_REGISTRY_SUBJECT_OPTIONS("f"),
    {NULL, 0, NULL, NULL, NULL},
};

static void fails(struct weir_http_server_response *response, int status, int code, const char *message)
{
    weir_http_json(response, status, json_pack("{s:i, s:s}", "error_code", code, "message", message));
}

/* 1: Confluent's form; 2: Apicurio's, with references; 3: references in a circle; 4: no schema; 5: a proxy's page; others: unknown. */
static void by_id(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    asked++;
    if (failures_left > 0) {
        failures_left--;
        fails(response, 503, 50301, "starting");
        return;
    }
    int id = atoi(request->params[0]);
    if (id == 1 || id >= 1000)
        weir_http_json(response, 200, json_pack("{s:s}", "schema", "\"string\""));
    else if (id == 2)
        weir_http_json(response, 200,
                       json_pack("{s:s, s:s, s:[{s:s, s:s, s:i}, {s:s, s:s, s:i}]}", "schema", "message", "schemaType",
                                 "PROTOBUF", "references", "name", "b.proto", "subject", "b é", "version", 3, "name",
                                 "c.proto", "subject", "c", "version", 1));
    else if (id == 3)
        weir_http_json(response, 200,
                       json_pack("{s:s, s:[{s:s, s:s, s:i}]}", "schema", "x", "references", "name", "round", "subject",
                                 "round", "version", 1));
    else if (id == 4)
        weir_http_json(response, 200, json_pack("{s:i}", "id", 4));
    else if (id == 5)
        weir_http_fail(response, 404, "Unable to load requested file");
    else
        fails(response, 404, 40403, "Schema 99 not found");
}

static void by_version(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    asked++;
    const char *subject = request->params[0], *version = request->params[1];
    if (strcmp(subject, "b é") == 0) /* refers to c, too */
        weir_http_json(response, 200,
                       json_pack("{s:s, s:i, s:i, s:s, s:[{s:s, s:s, s:i}]}", "subject", subject, "id", 20, "version",
                                 atoi(version), "schema", "message b", "references", "name", "c.proto", "subject", "c",
                                 "version", 1));
    else if (strcmp(subject, "c") == 0)
        weir_http_json(response, 200, json_pack("{s:i, s:s}", "id", 21, "schema", "message c"));
    else if (strcmp(subject, "round") == 0)
        weir_http_json(response, 200,
                       json_pack("{s:s, s:[{s:s, s:s, s:i}]}", "schema", "x", "references", "name", "round", "subject",
                                 "round", "version", atoi(version) + 1));
    else
        fails(response, 404, 40401, "Subject 'nobody' not found.");
}

static void registers(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    asked++;
    json_t *body = weir_http_body_object(request, response);
    if (!body)
        return;
    const char *type = json_string_value(json_object_get(body, "schemaType"));
    if (strcmp(request->params[0], "taken") == 0)
        fails(response, 409, 409, "READER_FIELD_MISSING_DEFAULT_VALUE");
    else if (strcmp(request->params[0], "wrong") == 0)
        fails(response, 422, 42201, "Invalid schema");
    else
        weir_http_json(response, 200, json_pack("{s:i}", "id", type ? 50 + (int)strlen(type) : 50));
    json_decref(body);
}

static void looks(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    (void)request;
    fails(response, 404, 40403, "Schema not found");
}

static const struct weir_http_route routes[] = {
    {"GET", "/schemas/ids/:id", by_id, 0},
    {"GET", "/subjects/:subject/versions/:version", by_version, 0},
    {"POST", "/subjects/:subject/versions", registers, 0},
    {"POST", "/subjects/:subject", looks, 0},
    {NULL, NULL, NULL, 0},
};

static bool authorize(void *arg, const struct weir_http_route *route, const struct weir_http_server_request *request,
                      const char *authorization, const char *client, struct weir_http_server_response *response)
{
    (void)arg, (void)route, (void)client;
    if (strcmp(request->path, "/schemas/ids/6") != 0)
        return true;
    /* anna:geheim */
    if (authorization &&
        (strcmp(authorization, "Basic YW5uYTpnZWhlaW0=") == 0 || strcmp(authorization, "Bearer t0ken") == 0))
        weir_http_json(response, 200, json_pack("{s:s}", "schema", "\"int\""));
    else
        fails(response, 401, 40101, "Unauthorized");
    return false;
}

static int start(void **state)
{
    (void)state;
    struct weir_http_server_options options = {.routes = routes, .authorize = authorize};
    return weir_http_server_start(&options, &server, &error);
}

static int stop(void **state)
{
    (void)state;
    weir_http_server_stop(server);
    return 0;
}

/* Opens with url = `url` ("%d": the server's port) and, when not NULL, one more option. */
static struct weir_registry *open_at(const char *url, const char *key, const char *value)
{
    char text[256];
    const char *port = strstr(url, "%d");
    snprintf(text, sizeof text, "%.*s", (int)(port ? port - url : (long)strlen(url)), url);
    if (port)
        snprintf(text + (port - url), sizeof text - (size_t)(port - url), "%d%s", weir_http_server_port(server),
                 port + 2);
    struct weir_key_value options[] = {{"f.url", text}, {"f.timeout", "2 s"}, {key, value}};
    struct weir_registry *registry = NULL;
    if (weir_registry_open("f", options, key ? 3 : 2, table, &registry, &error))
        fail_msg("%s", error.message);
    return registry;
}

static struct weir_registry *open_plain(void)
{
    return open_at("http://127.0.0.1:%d/", NULL, NULL);
}

static void expect_error(weir_err err, enum weir_err_code code, const char *part)
{
    if (err != (int)code || !strstr(error.message, part))
        fail_msg("%d (%d expected): %s; without '%s'", err, code, error.message, part);
}

static void test_fetch_is_cached(void **state)
{
    (void)state;
    struct weir_registry *registry = open_plain();
    struct weir_registry_schema *schema;
    asked = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(weir_registry_fetch(registry, 1, &schema, &error), 0);
        assert_int_equal(schema->kind, WEIR_SCHEMA_AVRO);
        assert_string_equal(schema->text, "\"string\"");
        assert_int_equal(schema->reference_count, 0);
    }
    assert_int_equal(asked, 1);
    weir_registry_close(registry);
}

static int programs;
static void program_free(void *program)
{
    (void)program;
    programs--;
}

static void test_cache_has_a_bound(void **state)
{
    (void)state;
    struct weir_registry *registry = open_plain();
    struct weir_registry_schema *schema;
    for (int i = 0; i < WEIR_REGISTRY_SCHEMAS_MAX + 5; i++) {
        assert_int_equal(weir_registry_fetch(registry, 5000 - i, &schema, &error), 0);
        assert_null(schema->program);
        schema->program = &programs;
        schema->program_free = program_free;
        programs++;
        assert_int_equal(weir_registry_fetch(registry, 5000, &schema, &error), 0); /* in use: it stays */
    }
    assert_int_equal(programs, WEIR_REGISTRY_SCHEMAS_MAX);
    asked = 0;
    assert_int_equal(weir_registry_fetch(registry, 5000, &schema, &error), 0);
    assert_int_equal(asked, 0);
    assert_int_equal(weir_registry_fetch(registry, 4999, &schema, &error), 0); /* the oldest went */
    assert_int_equal(asked, 1);
    weir_registry_close(registry);
    assert_int_equal(programs, 0);
}

static void test_references(void **state)
{
    (void)state;
    struct weir_registry *registry = open_plain();
    struct weir_registry_schema *schema;
    assert_int_equal(weir_registry_fetch(registry, 2, &schema, &error), 0);
    assert_int_equal(schema->kind, WEIR_SCHEMA_PROTOBUF);
    assert_int_equal(schema->reference_count, 2); /* c is referred to twice */
    assert_string_equal(schema->references[0].name, "c.proto");
    assert_string_equal(schema->references[0].text, "message c");
    assert_string_equal(schema->references[1].name, "b.proto");
    assert_int_equal(schema->references[1].version, 3);
    expect_error(weir_registry_fetch(registry, 3, &schema, &error), WEIR_ERR_PROTOCOL, "in a circle");
    weir_registry_close(registry);
}

static void test_unknown_id(void **state)
{
    (void)state;
    struct weir_registry *registry = open_plain();
    struct weir_registry_schema *schema;
    asked = 0;
    for (int i = 0; i < 3; i++)
        expect_error(weir_registry_fetch(registry, 99, &schema, &error), WEIR_ERR_DATA,
                     "f: the schema registry does not know schema id 99");
    assert_int_equal(asked, 1);
    expect_error(weir_registry_fetch(registry, -2, &schema, &error), WEIR_ERR_DATA, "schema id -2");
    assert_int_equal(asked, 1);
    weir_registry_close(registry);
}

static void test_what_is_no_registry(void **state)
{
    (void)state;
    struct weir_registry *registry = open_plain();
    struct weir_registry_schema *schema;
    expect_error(weir_registry_fetch(registry, 4, &schema, &error), WEIR_ERR_PROTOCOL,
                 "lacks what belongs to a schema");
    expect_error(weir_registry_fetch(registry, 5, &schema, &error), WEIR_ERR_PROTOCOL, "/apis/ccompat/v7");
    weir_registry_close(registry);
}

static void test_tried_again(void **state)
{
    (void)state;
    struct weir_registry *registry = open_at("http://127.0.0.1:1,http://127.0.0.1:%d", NULL, NULL);
    struct weir_registry_schema *schema;
    failures_left = 2;
    assert_int_equal(weir_registry_fetch(registry, 1, &schema, &error), 0);
    assert_int_equal(failures_left, 0);
    weir_registry_close(registry);
    registry = open_at("http://127.0.0.1:1", "f.basic-auth.user-info", "anna:geheim");
    expect_error(weir_registry_fetch(registry, 1, &schema, &error), WEIR_ERR_IO,
                 "127.0.0.1:1 is not reachable: Connection refused (asked ");
    weir_registry_close(registry);
    registry = open_plain();
    failures_left = 1000;
    expect_error(weir_registry_fetch(registry, 1, &schema, &error), WEIR_ERR_IO,
                 "has trouble: HTTP 503, starting (asked ");
    failures_left = 0;
    weir_registry_close(registry);
}

static void test_credentials(void **state)
{
    (void)state;
    struct weir_registry_schema *schema;
    struct weir_registry *registry = open_plain();
    expect_error(weir_registry_fetch(registry, 6, &schema, &error), WEIR_ERR_INVALID,
                 "refuses us (HTTP 401, Unauthorized)");
    weir_registry_close(registry);
    static const char *const good[][2] = {{"f.basic-auth.user-info", "anna:geheim"}, {"f.bearer-auth.token", "t0ken"}};
    static const char *const bad[][2] = {{"f.basic-auth.user-info", "anna:wrong"}, {"f.bearer-auth.token", "other"}};
    for (int i = 0; i < 2; i++) {
        registry = open_at("http://127.0.0.1:%d", good[i][0], good[i][1]);
        assert_int_equal(weir_registry_fetch(registry, 6, &schema, &error), 0);
        weir_registry_close(registry);
        registry = open_at("http://127.0.0.1:%d", bad[i][0], bad[i][1]);
        expect_error(weir_registry_fetch(registry, 6, &schema, &error), WEIR_ERR_INVALID, bad[i][0] + 2);
        assert_null(strstr(error.message, bad[i][1]));
        weir_registry_close(registry);
    }
}

static void test_options(void **state)
{
    (void)state;
    static const struct {
        struct weir_key_value options[3];
        const char *says;
    } cases[] = {
        {{{"f.url", "ftp://x"}}, "it takes http://HOST:PORT"},
        {{{"f.url", "http://a, ,http://b"}}, "it takes http://HOST:PORT"},
        {{{"f.url", "http://anna:geheim@a"}}, "f.basic-auth.user-info"},
        {{{"f.url", "http://a"}, {"f.basic-auth.user-info", "anna"}}, "USER:PASSWORD"},
        {{{"f.url", "http://a"}, {"f.basic-auth.user-info", "a:b"}, {"f.bearer-auth.token", "c"}}, "which one?"},
        {{{"f.url", "http://a"}, {"f.timeout", "0 s"}}, "from 1 ms"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int count = 0;
        while (count < 3 && cases[i].options[count].key)
            count++;
        struct weir_registry *registry;
        expect_error(weir_registry_open("f", cases[i].options, count, table, &registry, &error), WEIR_ERR_INVALID,
                     cases[i].says);
        assert_null(strstr(error.message, "geheim"));
    }
    char *subject;
    struct weir_key_value options[] = {{"topic", "t"}, {"f.subject", "own"}};
    assert_int_equal(weir_registry_subject("f", options, 1, table, &subject, &error), 0);
    assert_string_equal(subject, "t-value");
    free(subject);
    assert_int_equal(weir_registry_subject("f", options, 2, table, &subject, &error), 0);
    assert_string_equal(subject, "own");
    free(subject);
    options[0].value = "t;u";
    expect_error(weir_registry_subject("f", options, 1, table, &subject, &error), WEIR_ERR_INVALID,
                 "'f.subject' is missing");
}

static void test_register(void **state)
{
    (void)state;
    struct weir_registry *registry = open_plain();
    struct weir_registry_schema schema = {.text = "\"int\""};
    int32_t id = 0;
    assert_int_equal(weir_registry_register(registry, "a", &schema, false, &id, &error), 0);
    assert_int_equal(id, 50); /* no schemaType */
    schema.kind = WEIR_SCHEMA_PROTOBUF;
    assert_int_equal(weir_registry_register(registry, "a", &schema, false, &id, &error), 0);
    assert_int_equal(id, 58);
    expect_error(weir_registry_register(registry, "taken", &schema, false, &id, &error), WEIR_ERR_INVALID,
                 "incompatible with those before it: READER_FIELD");
    expect_error(weir_registry_register(registry, "wrong", &schema, false, &id, &error), WEIR_ERR_INVALID,
                 "HTTP 422): Invalid schema");
    expect_error(weir_registry_register(registry, "a", &schema, true, &id, &error), WEIR_ERR_NOT_FOUND,
                 "auto-register");
    struct weir_registry_schema *latest;
    assert_int_equal(weir_registry_latest(registry, "c", &latest, &error), 0);
    assert_int_equal(latest->id, 21);
    expect_error(weir_registry_latest(registry, "nobody", &latest, &error), WEIR_ERR_NOT_FOUND,
                 "Subject 'nobody' not found");
    weir_registry_close(registry);
}

static void test_framing(void **state)
{
    (void)state;
    struct weir_buf out;
    weir_buf_init(&out, 100);
    assert_true(weir_framing_put(&out, 0x01020304));
    assert_memory_equal(out.data, "\0\1\2\3\4", 5);
    assert_true(weir_buf_puts(&out, "x"));
    const uint8_t *bytes = out.data;
    size_t size = out.size;
    int32_t id;
    assert_int_equal(weir_framing_take("f", &bytes, &size, &id, &error), 0);
    assert_int_equal(id, 0x01020304);
    assert_int_equal(size, 1);
    assert_int_equal(*bytes, 'x');
    bytes = out.data, size = 4;
    expect_error(weir_framing_take("f", &bytes, &size, &id, &error), WEIR_ERR_DATA, "the record has 4 bytes");
    bytes = out.data + 1, size = 5;
    expect_error(weir_framing_take("f", &bytes, &size, &id, &error), WEIR_ERR_DATA, "begins with byte 0x01");
    weir_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetch_is_cached),
        cmocka_unit_test(test_cache_has_a_bound),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_unknown_id),
        cmocka_unit_test(test_what_is_no_registry),
        cmocka_unit_test(test_tried_again),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_register),
        cmocka_unit_test(test_framing),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
