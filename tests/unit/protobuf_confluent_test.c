/* Protobuf in Confluent's framing, against a small registry of the test's own: which message a record is, schemas that change, what is registered. */
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
static char url[64];
static char registered[4096]; /* the schema that was registered last */
static int asked;

/* By id: 1, two messages and one in one; 2, the first one changed; 3, with an import; 4, of another kind; 5, no source; 9: the newest of "s". */
static const char *const texts[] = {
    [1] =
        "syntax = 'proto3'; package p; message A { int64 id = 1; string name = 2; map<string, int32> m = 3; message In { int64 id = 1; } }"
        " message B { optional int64 id = 4; }",
    [2] = "syntax = 'proto3'; package p; message A { reserved 2; int32 id = 7; double temperature = 8; }",
    [3] = "syntax = 'proto3'; import 'common.proto'; message A { lib.Name name = 1; }",
    [4] = "{\"type\": \"string\"}",
    [5] = "hello",
};

static void by_id(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    int id = atoi(request->params[0]);
    asked++;
    if (id == 3)
        weir_http_json(response, 200,
                       json_pack("{s:s, s:s, s:[{s:s, s:s, s:i}]}", "schema", texts[3], "schemaType", "PROTOBUF",
                                 "references", "name", "common.proto", "subject", "common", "version", 1));
    else if (id >= 1 && id <= 5)
        weir_http_json(response, 200,
                       json_pack("{s:s, s:s}", "schema", texts[id], "schemaType", id == 4 ? "JSON" : "PROTOBUF"));
    else
        weir_http_json(response, 404, json_pack("{s:i, s:s}", "error_code", 40403, "message", "Schema not found"));
}

static void by_version(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    if (strcmp(request->params[0], "common") == 0)
        weir_http_json(response, 200,
                       json_pack("{s:i, s:s, s:s}", "id", 30, "schemaType", "PROTOBUF", "schema",
                                 "syntax = 'proto3'; package lib; message Name { string first = 1; }"));
    else
        weir_http_json(response, 200,
                       json_pack("{s:i, s:s, s:s}", "id", 9, "schemaType", "PROTOBUF", "schema", texts[1]));
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
    return weir_format_find("protobuf-confluent", &format, &error);
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
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

static void expect(struct weir_decoder *decoder, struct weir_schema *columns, const char *wire, size_t size,
                   const char *expected)
{
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    struct weir_batch *batch = weir_batch_new(columns, 1);
    weir_err err = format->decode(decoder, (const uint8_t *)wire, size, false, batch, &error);
    if (err)
        assert_true(weir_buf_printf(&out, "%s %s", weir_err_name(err), error.message));
    else
        assert_true(weir_batch_print_row(batch, 0, &out));
    if (!strstr((char *)out.data, expected))
        fail_msg("%s; without %s", (char *)out.data, expected);
    weir_buf_fini(&out);
    weir_batch_unref(batch);
}
#define WIRE(bytes) bytes, sizeof(bytes) - 1

static void reading(void **state)
{
    (void)state;
    struct weir_key_value options[] = {{"protobuf-confluent.url", url}};
    struct weir_schema *columns = schema_of("id BIGINT, name STRING");
    struct weir_decoder *decoder;
    assert_int_equal(format->decoder_new(columns, options, 1, &decoder, &error), 0);
    asked = 0;
    expect(decoder, columns, WIRE("\0\0\0\0\1\0\x08\x05\x12\x01x"), "{\"id\": 5, \"name\": \"x\"}");
    expect(decoder, columns, WIRE("\0\0\0\0\1\2\0\x08\x06"), "{\"id\": 6, \"name\": \"\"}"); /* [0], written out */
    expect(decoder, columns, WIRE("\0\0\0\0\1\2\2\x20\x07"), "{\"id\": 7, \"name\": null}"); /* B */
    expect(decoder, columns, WIRE("\0\0\0\0\1\4\0\0\x08\x08"),
           "{\"id\": 8, \"name\": null}"); /* A.In: the map's entry is no message */
    expect(decoder, columns, WIRE("\0\0\0\0\2\0\x38\x09"), "{\"id\": 9, \"name\": null}"); /* the schema has changed */
    assert_int_equal(asked, 2);
    expect(decoder, columns, WIRE("\0\0\0\0\1\2\4"),
           "DATA protobuf-confluent: the record's indexes name a message that is not in its schema, id 1");
    expect(decoder, columns, WIRE("\0\0\0\0\1\4\0"), "DATA protobuf-confluent: the indexes");
    expect(decoder, columns, WIRE("\0\0\0\0\1\1"), "DATA protobuf-confluent: the indexes");
    expect(decoder, columns, WIRE("\0\0\0\0\1\xfe\xff\xff\xff\x0f"), "DATA protobuf-confluent: the indexes");
    expect(decoder, columns, WIRE("\0\0\0\0\1"), "DATA protobuf-confluent: the indexes");
    expect(decoder, columns, WIRE("\0\0\0"), "DATA protobuf-confluent: the record has 3 bytes");
    expect(decoder, columns, WIRE("\1\0\0\0\1\0"), "instead of zero");
    expect(decoder, columns, WIRE("\0\0\0\0\1\0\x08"), "DATA protobuf-confluent: the record is malformed at byte 1");
    expect(
        decoder, columns, WIRE("\0\0\0\0\3\0"),
        "DATA protobuf-confluent: a record of schema id 3 cannot be read: protobuf-confluent: column 'name' (STRING)");
    expect(decoder, columns, WIRE("\0\0\0\0\4\0"), "schema id 4 cannot be read: it is no Protobuf schema");
    expect(decoder, columns, WIRE("\0\0\0\0\5\0"), "schema id 5 cannot be read: the schema, line 1: a statement");
    expect(decoder, columns, WIRE("\0\0\0\0\x63\0"), "DATA ");
    format->decoder_free(decoder);
    weir_schema_unref(columns);
    columns = schema_of("name ROW<first STRING>");
    assert_int_equal(format->decoder_new(columns, options, 1, &decoder, &error), 0);
    expect(decoder, columns, WIRE("\0\0\0\0\3\0\x0a\x03\x0a\x01x"), "{\"name\": {\"first\": \"x\"}}");
    format->decoder_free(decoder);
    weir_schema_unref(columns);
}

/* One row, as bytes. */
static weir_err written(const struct weir_key_value *options, int count, const char *columns_text,
                        const char *json_text, struct weir_buf *out)
{
    const struct weir_format *json;
    struct weir_decoder *reader;
    struct weir_encoder *encoder = NULL;
    struct weir_schema *columns = schema_of(columns_text);
    struct weir_batch *batch = weir_batch_new(columns, 1);
    weir_buf_init(out, 1 << 16);
    registered[0] = 0;
    assert_int_equal(weir_format_find("json", &json, NULL), 0);
    assert_int_equal(json->decoder_new(columns, NULL, 0, &reader, NULL), 0);
    if (json->decode(reader, (const uint8_t *)json_text, strlen(json_text), false, batch, &error))
        fail_msg("%s", error.message);
    json->decoder_free(reader);
    weir_err err = format->encoder_new(columns, options, count, &encoder, &error);
    if (!err)
        err = format->encode(encoder, batch, 0, out, &error);
    if (encoder)
        format->encoder_free(encoder);
    weir_batch_unref(batch);
    weir_schema_unref(columns);
    return err;
}

static void writing(void **state)
{
    (void)state;
    struct weir_buf out;
    struct weir_key_value options[] = {{"protobuf-confluent.url", url},
                                       {"protobuf-confluent.subject", "s"},
                                       {"protobuf-confluent.schema", texts[1]},
                                       {"protobuf-confluent.message-name", "In"},
                                       {"protobuf-confluent.use-latest-version", "true"}};
    assert_int_equal(written(options, 4, "id BIGINT", "{\"id\":5}", &out), 0);
    assert_int_equal(out.size, 10);
    assert_memory_equal(out.data, "\0\0\0\0\7\4\0\0\x08\5", 10);
    assert_string_equal(registered, texts[1]);
    weir_buf_fini(&out);
    assert_int_equal(written(options, 5, "id BIGINT", "{\"id\":5}", &out), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "which one?"));
    assert_int_equal(
        written(
            options, 2,
            "id BIGINT NOT NULL, a ARRAY<ROW<d DECIMAL(5, 2), t TIMESTAMP(3)>>, m MAP<STRING NOT NULL, INT>, s STRING",
            "{\"id\":5,\"a\":[{\"d\":1.5,\"t\":1000}],\"m\":{\"k\":1},\"s\":null}", &out),
        0);
    assert_string_equal(
        registered,
        "syntax = \"proto3\";\nimport \"google/protobuf/timestamp.proto\";\nmessage Row {\nint64 id = 1;\n"
        "message Row2 {\noptional string d = 1;\noptional google.protobuf.Timestamp t = 2;\n}\nrepeated Row2 a = 2;\n"
        "map<string, int32> m = 3;\noptional string s = 4;\n}\n");
    assert_int_equal(out.size, 6 + 2 + 2 + 10 + 2 + 5);
    weir_buf_fini(&out);
    options[2] = options[4];
    options[3] = (struct weir_key_value){"protobuf-confluent.message-name", "B"};
    assert_int_equal(written(options, 4, "id BIGINT", "{\"id\":0}", &out), 0);
    assert_memory_equal(out.data, "\0\0\0\0\x09\2\2\x20\0", out.size);
    assert_string_equal(registered, "");
    weir_buf_fini(&out);
    assert_int_equal(written(options, 4, "ident BIGINT", "{\"ident\":0}", &out), WEIR_ERR_INVALID);
    assert_non_null(strstr(
        error.message,
        "the newest schema of subject 's': protobuf-confluent: column 'ident' (BIGINT): the message 'p.B' has no field"));
    static const char *const underivable[][2] = {{"a ARRAY<ARRAY<INT>>", "put it into a ROW"},
                                                 {"`a b` INT", "can be no field's name"},
                                                 {"m MAP<DOUBLE NOT NULL, INT>", "whose key Protobuf cannot have"}};
    for (int i = 0; i < 3; i++) {
        struct weir_schema *columns = schema_of(underivable[i][0]);
        struct weir_encoder *encoder;
        assert_int_equal(format->encoder_new(columns, options, 2, &encoder, &error), WEIR_ERR_INVALID);
        assert_non_null(strstr(error.message, underivable[i][1]));
        weir_schema_unref(columns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reading), cmocka_unit_test(writing)};
    return cmocka_run_group_tests(tests, start, stop);
}
