/* JSON in Confluent's framing, against a small registry of the test's own: records are checked by the schema whose id they have; what is registered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "data/batch.h"
#include "format/format.h"
#include "http/http_server.h"

static struct weir_http_server *server;
static const struct weir_format *format;
static struct weir_error error;
static char url[64], registered[1024];
static int asked;

/* 1: a schema with a reference; 2: Avro; 3: a keyword that is not supported. */
static void by_id(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    static const char *const texts[] = {
        "", "{\"properties\":{\"id\":{\"$ref\":\"common.json#/$defs/id\"}},\"required\":[\"id\"]}", "\"string\"",
        "{\"unevaluatedProperties\":false}"};
    int id = atoi(request->params[0]);
    asked++;
    if (id == 1)
        weir_http_json(response, 200,
                       json_pack("{s:s, s:s, s:[{s:s, s:s, s:i}]}", "schema", texts[1], "schemaType", "JSON",
                                 "references", "name", "common.json", "subject", "common", "version", 1));
    else if (id < 4)
        weir_http_json(response, 200,
                       json_pack("{s:s, s:s}", "schema", texts[id], "schemaType", id == 2 ? "AVRO" : "JSON"));
    else
        weir_http_json(response, 404, json_pack("{s:i, s:s}", "error_code", 40403, "message", "Schema not found"));
}

static void by_version(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    (void)request;
    weir_http_json(
        response, 200,
        json_pack("{s:i, s:s, s:s}", "id", 9, "schemaType", "JSON", "schema", "{\"$defs\":{\"id\":{\"minimum\":0}}}"));
}

static void registers(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    json_t *body = weir_http_body_object(request, response);
    if (!body)
        return;
    snprintf(registered, sizeof registered, "%s", json_string_value(json_object_get(body, "schema")));
    weir_http_json(response, 200, json_pack("{s:i}", "id", 7));
    json_decref(body);
}

static const struct weir_http_route routes[] = {
    {"GET", "/schemas/ids/:id", by_id, 0},
    {"GET", "/subjects/:subject/versions/:version", by_version, 0},
    {"POST", "/subjects/:subject/versions", registers, 0},
    {NULL, NULL, NULL, 0},
};

static bool authorize(void *arg, const struct weir_http_route *route, const struct weir_http_server_request *request,
                      const char *authorization, const char *client, struct weir_http_server_response *response)
{
    (void)arg, (void)route, (void)request, (void)authorization, (void)client, (void)response;
    return true;
}

static int start(void **state)
{
    (void)state;
    struct weir_http_server_options options = {.routes = routes, .authorize = authorize};
    if (weir_http_server_start(&options, &server, &error))
        return 1;
    snprintf(url, sizeof url, "http://127.0.0.1:%d", weir_http_server_port(server));
    return weir_format_find("json-confluent", &format, &error);
}

static int stop(void **state)
{
    (void)state;
    weir_http_server_stop(server);
    return 0;
}

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    assert_int_equal(weir_schema_parse(text, &schema, &error), 0);
    return schema;
}

static void expect(struct weir_decoder *decoder, struct weir_schema *columns, int id, const char *text,
                   const char *expected)
{
    struct weir_buf out, in;
    weir_buf_init(&out, 1 << 16);
    weir_buf_init(&in, 1 << 16);
    assert_true(weir_buf_append(&in, (uint8_t[]){0, 0, 0, 0, (uint8_t)id}, 5) && weir_buf_puts(&in, text));
    struct weir_batch *batch = weir_batch_new(columns, 1);
    if (format->decode(decoder, in.data, in.size, false, batch, &error))
        assert_true(weir_buf_puts(&out, error.message));
    else
        assert_true(weir_batch_print_row(batch, 0, &out));
    if (!strstr((char *)out.data, expected))
        fail_msg("%s; without %s", (char *)out.data, expected);
    weir_buf_fini(&out);
    weir_buf_fini(&in);
    weir_batch_unref(batch);
}

static void reading(void **state)
{
    (void)state;
    struct weir_key_value options[] = {{"json-confluent.url", url}, {"json-confluent.validate", "false"}};
    struct weir_schema *columns = schema_of("id BIGINT, name STRING");
    struct weir_decoder *decoder;
    assert_int_equal(format->decoder_new(columns, options, 1, &decoder, &error), 0);
    asked = 0;
    expect(decoder, columns, 1, "{\"id\":5}", "{\"id\": 5, \"name\": null}");
    expect(decoder, columns, 1, "{\"id\":-5}", "breaks its schema at /id: 'minimum': -5 is less than 0");
    expect(decoder, columns, 1, "{}", "'required': 'id' is missing");
    assert_int_equal(asked, 1);
    expect(decoder, columns, 1, "{\"id\":", "json: ");
    expect(decoder, columns, 2, "{\"id\":5}", "schema id 2 cannot be checked: it is no JSON Schema");
    expect(decoder, columns, 3, "{\"id\":5}", "'unevaluatedProperties' is not supported");
    expect(decoder, columns, 99, "{\"id\":5}", "99");
    assert_int_equal(format->decode(decoder, (const uint8_t *)"{\"id\":5}", 8, false, NULL, &error), WEIR_ERR_DATA);
    format->decoder_free(decoder);
    assert_int_equal(format->decoder_new(columns, options, 2, &decoder, &error), 0);
    asked = 0;
    expect(decoder, columns, 99, "{\"id\":-5}", "{\"id\": -5, \"name\": null}");
    assert_int_equal(asked, 0);
    format->decoder_free(decoder);
    weir_schema_unref(columns);
}

static void writing(void **state)
{
    (void)state;
    struct weir_key_value options[] = {{"json-confluent.url", url},
                                       {"json-confluent.subject", "s"},
                                       {"json-confluent.encode.ignore-null-fields", "true"},
                                       {"json-confluent.use-latest-version", "true"}};
    struct weir_schema *columns = schema_of(
        "id BIGINT NOT NULL, f DOUBLE, a ARRAY<ROW<x STRING NOT NULL>> NOT NULL, m MAP<STRING NOT NULL, INT NOT NULL> NOT NULL");
    struct weir_batch *batch = weir_batch_new(columns, 1);
    batch->columns[0].i64[0] = 5;
    weir_column_set_null(&batch->columns[1], 0, 1);
    for (int i = 2; i < 4; i++) {
        weir_column_list_begin(&batch->columns[i], 0);
        weir_column_list_end(&batch->columns[i], 0);
    }
    batch->row_count = 1;
    for (int latest = 0; latest < 2; latest++) {
        struct weir_encoder *encoder;
        struct weir_buf out;
        weir_buf_init(&out, 1 << 16);
        registered[0] = 0;
        assert_int_equal(format->encoder_new(columns, options, 3 + latest, &encoder, &error), 0);
        assert_int_equal(format->encode(encoder, batch, 0, &out, &error), 0);
        static const char text[] = "{\"id\":5,\"a\":[],\"m\":{}}";
        assert_int_equal(out.size, 5 + sizeof text - 1);
        assert_memory_equal(out.data, latest ? "\0\0\0\0\x09" : "\0\0\0\0\x07", 5);
        assert_memory_equal(out.data + 5, text, sizeof text - 1);
        assert_string_equal(
            registered,
            latest
                ? ""
                : "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\"},\"f\":{\"oneOf\":[{\"type\":\"null\"},{\"type\":[\"number\","
                  "\"string\"]}]},\"a\":{\"type\":\"array\",\"items\":{\"oneOf\":[{\"type\":\"null\"},{\"type\":\"object\",\"properties\":{\"x\":{\"type\":"
                  "\"string\"}},\"required\":[\"x\"]}]}},\"m\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}},\"required\":"
                  "[\"id\",\"a\",\"m\"],\"$schema\":\"http://json-schema.org/draft-07/schema#\"}");
        weir_buf_fini(&out);
        format->encoder_free(encoder);
    }
    weir_batch_unref(batch);
    weir_schema_unref(columns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reading), cmocka_unit_test(writing)};
    return cmocka_run_group_tests(tests, start, stop);
}
