/* JSON Schema: every keyword with what it takes and what it refuses, references, schemas that are refused, bounds; as an option of the JSON format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "data/batch.h"
#include "format/format.h"
#include "format/json_schema.h"

static struct weir_error error;

static struct weir_json_schema *schema_of(const char *text)
{
    struct weir_json_document document = {"", text};
    struct weir_json_schema *schema;
    if (weir_json_schema_new(&document, 1, &schema, &error))
        fail_msg("%s: %s", text, error.message);
    return schema;
}

static weir_err check(const struct weir_json_schema *schema, const char *record)
{
    error.message[0] = 0;
    return weir_json_schema_check(schema, (const uint8_t *)record, strlen(record), &error);
}

/* A schema, what it takes, what it refuses: separated by line ends. */
static const struct {
    const char *schema, *good, *bad;
} cases[] = {
    {"{}", "1\nnull\n{\"a\":[]}", ""},
    {"true", "1", ""},
    {"false", "", "1\nnull"},
    {"{\"type\":\"integer\"}", "1\n1.0\n-5e2\n18446744073709551616", "1.5\n\"1\"\nnull\ntrue"},
    {"{\"type\":[\"number\",\"null\"]}", "1.5\n1\nnull", "\"x\"\n[]\n{}"},
    {"{\"type\":\"boolean\"}", "true\nfalse", "0\n\"true\""},
    {"{\"enum\":[1,\"a\",{\"b\":[1,2]},null]}", "1\n1.0\n\"a\"\n{\"b\":[1.0,2]}\nnull",
     "2\n\"b\"\n{\"b\":[2,1]}\nfalse\n0"},
    {"{\"const\":{\"a\":0,\"b\":false}}", "{\"b\":false,\"a\":0.0}", "{\"a\":0,\"b\":0}\n{\"a\":0}\n[]"},
    {"{\"minimum\":1.1,\"maximum\":3}", "1.1\n3\n\"x\"", "1\n3.0001"},
    {"{\"exclusiveMinimum\":1,\"exclusiveMaximum\":3}", "2", "1\n3"},
    {"{\"minimum\":1,\"exclusiveMinimum\":true}", "1.5", "1"}, /* draft-04 */
    {"{\"minimum\":9007199254740993}", "9007199254740993", "9007199254740992"},
    {"{\"multipleOf\":0.01}", "4.02\n0\n19.99\n1", "4.025\n0.001"},
    {"{\"multipleOf\":2}", "10\n7.0e1", "7\n7.5"},
    {"{\"minLength\":2,\"maxLength\":3}", "\"ab\"\n\"\xc3\xa4\xc3\xb6\xc3\xbc\"\n\"\\ud83d\\ude00x\"\n5",
     "\"a\"\n\"abcd\"\n\"\\ud83d\\ude00\""},
    {"{\"pattern\":\"^\\\\d{3}-[\\\\w.]+?$\"}", "\"123-a.b\"\n5", "\"12-a\"\n\"x123-a\"\n\"123-\""},
    {"{\"pattern\":\"^[^\\\\]x\\\\-]{2}$\"}", "\"ab\"\n\"\xc3\xa4\xc3\xb6\"", "\"a]\"\n\"x-\"\n\"abc\""},
    {"{\"pattern\":\"^(?:a|b\\\\u00e4)+(\\\\.|\\\\/)\\\\x41$\"}", "\"ab\xc3\xa4.A\"\n\"a/A\"", "\".A\"\n\"aXA\""},
    {"{\"pattern\":\"a{2}b{1,}c{0,2}\"}", "\"aab\"\n\"xaabbbcccy\"", "\"ab\"\n\"aacc\""},
    {"{\"properties\":{\"a\":{\"type\":\"string\"},\"b\":false}}", "{\"a\":\"x\",\"c\":1}\n{}\n[]",
     "{\"a\":1}\n{\"b\":1}"},
    {"{\"properties\":{\"a\":{}},\"patternProperties\":{\"^x\":{\"type\":\"integer\"}},\"additionalProperties\":false}",
     "{\"a\":1,\"x1\":2}\n{}", "{\"b\":1}\n{\"x\":\"1\"}"},
    {"{\"additionalProperties\":{\"type\":\"integer\"},\"propertyNames\":{\"maxLength\":2}}", "{\"a\":1}",
     "{\"a\":\"1\"}\n{\"abc\":1}"},
    {"{\"required\":[\"a\",\"b\"],\"minProperties\":3,\"maxProperties\":4}", "{\"a\":1,\"b\":2,\"c\":3}\n[]",
     "{\"a\":1,\"c\":2,\"d\":3}\n{\"a\":1,\"b\":2}\n{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5}"},
    {"{\"dependentRequired\":{\"a\":[\"b\"]},\"dependentSchemas\":{\"c\":{\"required\":[\"d\"]}}}",
     "{\"b\":1}\n{\"a\":1,\"b\":1}\n{\"c\":1,\"d\":1}", "{\"a\":1}\n{\"c\":1}"},
    {"{\"dependencies\":{\"a\":[\"b\"],\"c\":{\"required\":[\"d\"]}}}", "{\"a\":1,\"b\":1}", "{\"a\":1}\n{\"c\":1}"},
    {"{\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[1]\n[1,2]\n{}", "[]\n[1,2,3]\n[\"1\"]"},
    {"{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":false}", "[]\n[1]\n[1,\"a\"]",
     "[\"a\"]\n[1,\"a\",2]"},
    {"{\"items\":[{\"type\":\"integer\"}],\"additionalItems\":{\"type\":\"null\"}}", "[1,null]\n[]", "[1,2]\n[null]"},
    {"{\"contains\":{\"const\":5},\"maxContains\":2}", "[1,5]\n[5,5]\n3", "[1]\n[]\n[5,5,5]"},
    {"{\"contains\":{\"const\":5},\"minContains\":0}", "[]", ""},
    {"{\"uniqueItems\":true}", "[1,2,\"1\",[1],{\"a\":1}]\n[true,1,false,0]",
     "[1,1.0]\n[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]\n[[0],[-0.0]]"},
    {"{\"allOf\":[{\"minimum\":1},{\"maximum\":3}]}", "2", "0\n4"},
    {"{\"anyOf\":[{\"type\":\"string\"},{\"minimum\":5}]}", "\"a\"\n7", "3"},
    {"{\"oneOf\":[{\"minimum\":5},{\"multipleOf\":2}]}", "7\n2", "8\n3"},
    {"{\"not\":{\"type\":\"string\"}}", "1", "\"a\""},
    {"{\"if\":{\"minimum\":5},\"then\":{\"multipleOf\":2},\"else\":{\"multipleOf\":3}}", "6\n3\n\"a\"", "7\n4"},
    {"{\"$ref\":\"#/definitions/a~1b\",\"definitions\":{\"a/b\":{\"type\":\"integer\"}}}", "1", "\"a\""},
    {"{\"$ref\":\"#/$defs/a%25b\",\"minimum\":2,\"$defs\":{\"a%b\":{\"type\":\"integer\"}}}", "2", "1\n2.5"},
    {"{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"$ref\":\"#/definitions/a\",\"minimum\":2,\"definitions\":{\"a\":{\"type\":\"integer\"}}}",
     "1", "2.5"},
    {"{\"$ref\":\"#it\",\"$defs\":{\"x\":{\"$anchor\":\"it\",\"type\":\"null\"}}}", "null", "1"},
    {"{\"$id\":\"http://x/y\",\"properties\":{\"a\":{\"$ref\":\"http://x/y#/$defs/n\"}},\"$defs\":{\"n\":{\"type\":\"null\"}}}",
     "{\"a\":null}", "{\"a\":1}"},
    {"{\"properties\":{\"next\":{\"$ref\":\"#\"},\"v\":{\"type\":\"integer\"}},\"additionalProperties\":false}",
     "{\"next\":{\"next\":{\"v\":1}}}", "{\"next\":{\"next\":{\"w\":1}}}"},
    {"{\"type\":\"string\",\"format\":\"date\",\"title\":\"a note\",\"x-own\":5}", "\"no date\"", "5"},
};

static void each(size_t i, const char *records, bool good)
{
    struct weir_json_schema *schema = schema_of(cases[i].schema);
    char *copy = strdup(records), *rest = copy;
    for (char *record = strtok_r(copy, "\n", &rest); record; record = strtok_r(NULL, "\n", &rest)) {
        weir_err err = check(schema, record);
        if (good ? err != 0 : err != WEIR_ERR_DATA || !error.message[0])
            fail_msg("%s: %s: %s", cases[i].schema, record, err ? error.message : "taken");
    }
    free(copy);
    weir_json_schema_free(schema);
}

static void keywords(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        each(i, cases[i].good, true);
        each(i, cases[i].bad, false);
    }
}

static void violations_say_where(void **state)
{
    (void)state;
    struct weir_json_schema *schema = schema_of(
        "{\"properties\":{\"items\":{\"items\":{\"required\":[\"id\"],\"properties\":{\"price\":{\"minimum\":10},"
        "\"kind\":{\"anyOf\":[{\"const\":1},{\"const\":2}]}}}}}}");
    assert_int_equal(check(schema, "{\"items\":[{\"id\":1},{\"id\":2,\"price\":5}]}"), WEIR_ERR_DATA);
    assert_string_equal(error.message,
                        "json: the record breaks its schema at /items/1/price: 'minimum': 5 is less than 10");
    assert_int_equal(check(schema, "{\"items\":[{\"price\":50}]}"), WEIR_ERR_DATA);
    assert_string_equal(error.message, "json: the record breaks its schema at /items/0: 'required': 'id' is missing");
    assert_int_equal(check(schema, "{\"items\":[{\"id\":1,\"kind\":3}]}"), WEIR_ERR_DATA);
    assert_string_equal(error.message,
                        "json: the record breaks its schema at /items/0/kind: 'anyOf': it is none of them");
    assert_int_equal(check(schema, "{\"items\":"), WEIR_ERR_DATA);
    weir_json_schema_free(schema);
}

static void documents(void **state)
{
    (void)state;
    struct weir_json_schema *schema;
    struct weir_json_document both[] = {
        {"common.json",
         "{\"$defs\":{\"id\":{\"type\":\"integer\",\"allOf\":[{\"$ref\":\"#/$defs/small\"}]},\"small\":{\"maximum\":9}}}"},
        {"", "{\"properties\":{\"id\":{\"$ref\":\"common.json#/$defs/id\"}}}"}};
    assert_int_equal(weir_json_schema_new(both, 2, &schema, &error), 0);
    assert_int_equal(check(schema, "{\"id\":5}"), 0);
    assert_int_equal(check(schema, "{\"id\":50}"), WEIR_ERR_DATA);
    weir_json_schema_free(schema);
}

static void schemas_that_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"{", "is no JSON"},
        {"5", "is an object, or true or false"},
        {"{\"type\":\"text\"}", "'type' names no type"},
        {"{\"minimum\":\"5\"}", "'minimum' is no number"},
        {"{\"multipleOf\":0}", "'multipleOf' is no number above 0"},
        {"{\"minLength\":-1}", "'minLength' is no whole number"},
        {"{\"required\":[5]}", "'required' is no array of names"},
        {"{\"properties\":[]}", "'properties' is no object"},
        {"{\"allOf\":{}}", "'allOf' is no array of schemas"},
        {"{\"$ref\":\"#/definitions/x\"}", "\"#/definitions/x\" names nothing"},
        {"{\"$ref\":\"http://elsewhere/\"}", "names nothing"},
        {"{\"unevaluatedProperties\":false}", "'unevaluatedProperties' is not supported"},
        {"{\"pattern\":\"(?=a)\"}", "look-around"},
        {"{\"pattern\":\"(a)\\\\1\"}", "back references"},
        {"{\"pattern\":\"(a\"}", "cannot be used as a pattern"},
        {"{\"pattern\":\"((a{1000}){1000})\"}", "its counts are too large"},
        {"{\"properties\":{\"a\":{\"items\":{\"type\":5}}}}", "'type'"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct weir_json_document document = {"", wrong[i][0]};
        struct weir_json_schema *schema = NULL;
        weir_err err = weir_json_schema_new(&document, 1, &schema, &error);
        if (err != WEIR_ERR_INVALID || !strstr(error.message, wrong[i][1]))
            fail_msg("%s: %s", wrong[i][0], err ? error.message : "taken");
    }
}

static void bounds(void **state)
{
    (void)state;
    struct weir_json_schema *endless = schema_of("{\"allOf\":[{\"$ref\":\"#\"}]}");
    assert_int_equal(check(endless, "1"), WEIR_ERR_DATA);
    assert_non_null(strstr(error.message, "refers to itself without end"));
    weir_json_schema_free(endless);
    /* Two branches at each level, both of which go on: 2^n ways. */
    struct weir_json_schema *many = schema_of(
        "{\"anyOf\":[{\"items\":{\"$ref\":\"#\"},\"maxItems\":1},{\"items\":{\"$ref\":\"#\"},\"minItems\":1}],\"not\":{\"const\":0}}");
    char deep[200] = "";
    for (int i = 0; i < 60; i++)
        deep[i] = '[', deep[61 + i] = ']';
    deep[60] = '0';
    assert_int_equal(check(many, deep), WEIR_ERR_DATA);
    assert_non_null(strstr(error.message, "too many steps"));
    weir_json_schema_free(many);
}

static void as_an_option(void **state)
{
    (void)state;
    const struct weir_format *json;
    struct weir_decoder *decoder;
    struct weir_schema *columns;
    struct weir_key_value option = {"json.schema", "{\"properties\":{\"a\":{\"minimum\":0}},\"required\":[\"b\"]}"};
    assert_int_equal(weir_format_find("json", &json, &error), 0);
    assert_int_equal(weir_schema_parse("a INT, s STRING", &columns, &error), 0);
    assert_int_equal(json->decoder_new(columns, &option, 1, &decoder, &error), 0);
    static const char text[] =
        "{\"a\":1,\"b\":0}\n\n  \n{\"a\":-1,\"b\":0}\r\n{\"a\":\"x\",\"b\":0}\n{\"a\":2,\"b\":0,\"s\":\"y\"}\n{\"a\":3}";
    uint8_t bytes[sizeof text + 64] = {0};
    memcpy(bytes, text, sizeof text - 1);
    struct weir_batch *batch = weir_batch_new(columns, 8);
    static const char *const bad[] = {"{\"a\":-1,\"b\":0}\r", "{\"a\":\"x\",\"b\":0}", "{\"a\":3}"};
    int found = 0;
    for (size_t at = 0, used, bad_at, bad_size; at < sizeof text - 1; at += used) {
        if (!json->decode_lines(decoder, bytes + at, sizeof text - 1 - at, true, batch, &used, &bad_at, &bad_size,
                                &error))
            continue;
        assert_true(found < 3 && bad_size == strlen(bad[found]));
        assert_memory_equal(bytes + at + bad_at, bad[found++], bad_size);
    }
    assert_int_equal(found, 3);
    assert_non_null(strstr(error.message, "'required': 'b' is missing"));
    assert_int_equal(batch->row_count, 2);
    assert_int_equal(batch->columns[0].i32[0], 1);
    assert_int_equal(batch->columns[0].i32[1], 2);
    assert_true(weir_column_is_null(&batch->columns[1], 0) && !weir_column_is_null(&batch->columns[1], 1));
    weir_batch_unref(batch);
    json->decoder_free(decoder);
    option.value = "{\"type\":5}";
    assert_int_equal(json->decoder_new(columns, &option, 1, &decoder, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "'json.schema': "));
    weir_schema_unref(columns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keywords),  cmocka_unit_test(violations_say_where),
        cmocka_unit_test(documents), cmocka_unit_test(schemas_that_are_refused),
        cmocka_unit_test(bounds),    cmocka_unit_test(as_an_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
