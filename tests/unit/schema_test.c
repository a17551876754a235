/* Types and schemas: text forms, comparison, lookup, and text that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "data/schema.h"

static void types_print_as_parsed(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"BOOLEAN", "BOOLEAN"},
        {" tinyint ", "TINYINT"},
        {"smallint not null", "SMALLINT NOT NULL"},
        {"INTEGER", "INT"},
        {"INT NULL", "INT"},
        {"BIGINT NOT  NULL", "BIGINT NOT NULL"},
        {"FLOAT", "FLOAT"},
        {"DOUBLE PRECISION NOT NULL", "DOUBLE NOT NULL"},
        {"STRING", "STRING"},
        {"VARCHAR", "STRING"},
        {"VARCHAR ( 20 )", "VARCHAR(20)"},
        {"VARCHAR(2147483647)", "STRING"},
        {"CHAR", "VARCHAR(1)"},
        {"CHAR(3)", "VARCHAR(3)"},
        {"BYTES", "BYTES"},
        {"VARBINARY(7)", "VARBINARY(7)"},
        {"BINARY(7)", "VARBINARY(7)"},
        {"DATE", "DATE"},
        {"TIME", "TIME(0)"},
        {"TIME(3) WITHOUT TIME ZONE", "TIME(3)"},
        {"TIMESTAMP", "TIMESTAMP(3)"},
        {"TIMESTAMP(0) NOT NULL", "TIMESTAMP(0) NOT NULL"},
        {"timestamp(3) without time zone", "TIMESTAMP(3)"},
        {"TIMESTAMP_LTZ", "TIMESTAMP_LTZ(3)"},
        {"timestamp_ltz(0) not null", "TIMESTAMP_LTZ(0) NOT NULL"},
        {"TIMESTAMP(1) WITH LOCAL TIME ZONE NOT NULL", "TIMESTAMP_LTZ(1) NOT NULL"},
        {"DECIMAL", "DECIMAL(10, 0)"},
        {"dec(5)", "DECIMAL(5, 0)"},
        {"NUMERIC ( 38 , 38 ) NOT NULL", "DECIMAL(38, 38) NOT NULL"},
        {"ARRAY<INT>", "ARRAY<INT>"},
        {"array < bigint not null > not null", "ARRAY<BIGINT NOT NULL> NOT NULL"},
        {"INT NOT NULL ARRAY ARRAY NOT NULL", "ARRAY<ARRAY<INT NOT NULL>> NOT NULL"},
        {"MAP<STRING,DECIMAL(10,2)>", "MAP<STRING, DECIMAL(10, 2)>"},
        {"ROW<a INT, `b c` ARRAY<STRING> 'it''s > it'>", "ROW<`a` INT, `b c` ARRAY<STRING>>"},
        {"ROW(a INT NOT NULL, b ROW(c DATE))", "ROW<`a` INT NOT NULL, `b` ROW<`c` DATE>>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_type type, again;
        struct weir_error error = {0};
        char text[64], text2[64];
        if (weir_type_parse(cases[i][0], &type, &error))
            fail_msg("'%s': %s", cases[i][0], error.message);
        assert_string_equal(weir_type_print(&type, text), cases[i][1]);
        assert_int_equal(weir_type_parse(text, &again, NULL), 0);
        assert_string_equal(weir_type_print(&again, text2), text);
        assert_true(weir_type_equal(&type, &again));
    }
}

static void bad_types_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        weir_err err;
    } cases[] = {
        {"", WEIR_ERR_INVALID},
        {"INTT", WEIR_ERR_INVALID},
        {"INT(3)", WEIR_ERR_INVALID},
        {"INT NOT", WEIR_ERR_INVALID},
        {"INT NOT NULL NULL", WEIR_ERR_INVALID},
        {"VARCHAR(", WEIR_ERR_INVALID},
        {"VARCHAR()", WEIR_ERR_INVALID},
        {"VARCHAR(0)", WEIR_ERR_INVALID},
        {"VARCHAR(-1)", WEIR_ERR_INVALID},
        {"VARCHAR(99999999999999999999)", WEIR_ERR_INVALID},
        {"TIMESTAMP(x)", WEIR_ERR_INVALID},
        {"TIMESTAMP(10)", WEIR_ERR_INVALID},
        {"TIMESTAMP(6)", WEIR_ERR_UNSUPPORTED},
        {"TIMESTAMP(3) WITH TIME ZONE", WEIR_ERR_UNSUPPORTED},
        {"TIMESTAMP_LTZ(6)", WEIR_ERR_UNSUPPORTED},
        {"TIMESTAMP(3) WITH LOCAL TIME", WEIR_ERR_INVALID},
        {"DECIMAL(39, 2)", WEIR_ERR_INVALID},
        {"DECIMAL(0)", WEIR_ERR_INVALID},
        {"DECIMAL(3, 4)", WEIR_ERR_INVALID},
        {"DECIMAL(3,", WEIR_ERR_INVALID},
        {"DECIMAL(3, -1)", WEIR_ERR_INVALID},
        {"DECIMAL(99999999999999999999)", WEIR_ERR_INVALID},
        {"MULTISET<INT>", WEIR_ERR_UNSUPPORTED},
        {"ARRAY", WEIR_ERR_INVALID},
        {"ARRAY<>", WEIR_ERR_INVALID},
        {"ARRAY<INT", WEIR_ERR_INVALID},
        {"ARRAY<INT>>", WEIR_ERR_INVALID},
        {"MAP<INT>", WEIR_ERR_INVALID},
        {"MAP<INT, STRING", WEIR_ERR_INVALID},
        {"ROW<a INT, a STRING>", WEIR_ERR_INVALID},
        {"ROW<INT>", WEIR_ERR_INVALID},
        {"ROW<a INT 'no end>", WEIR_ERR_INVALID},
        {"ROW<a INT)", WEIR_ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_type type = {.id = WEIR_TYPE_DATE};
        struct weir_error error = {0};
        if (weir_type_parse(cases[i].text, &type, &error) != cases[i].err)
            fail_msg("'%s' gives %d: %s", cases[i].text, error.code, error.message);
        assert_non_null(strstr(error.message, cases[i].text));
        assert_int_equal(type.id, WEIR_TYPE_DATE); /* untouched */
    }
}

static void nested_types_are_bounded_and_one(void **state)
{
    (void)state;
    struct weir_type a, b, deep = {.id = WEIR_TYPE_INT32, .nullable = true}, outer;
    struct weir_error error = {0};
    assert_int_equal(weir_type_parse("ROW<a INT, b ARRAY<STRING>>", &a, NULL), 0);
    assert_int_equal(weir_type_parse("row<a INT, b STRING ARRAY> NOT NULL", &b, NULL), 0);
    assert_ptr_equal(a.fields, b.fields);
    assert_true(weir_type_equal(&a, &b) && !weir_type_same(&a, &b));
    assert_int_equal(weir_type_parse("ROW<a INT, b ARRAY<STRING NOT NULL>>", &b, NULL), 0);
    assert_true(a.fields != b.fields && weir_type_equal(&a, &b));
    assert_int_equal(weir_type_parse("ROW<a INT, c ARRAY<STRING>>", &b, NULL), 0);
    assert_false(weir_type_equal(&a, &b));
    assert_true(weir_type_has(&a, WEIR_TYPE_STRING) && !weir_type_has(&a, WEIR_TYPE_MAP));
    for (int depth = 1; depth < WEIR_TYPE_DEPTH_MAX; depth++) {
        assert_int_equal(weir_type_array(&deep, &outer, &error), 0);
        deep = outer;
    }
    assert_int_equal(weir_type_array(&deep, &outer, &error), WEIR_ERR_INVALID);
    char text[64], many[4096] = "";
    assert_string_equal(weir_type_print(&deep, text) + 60, "...");
    for (int i = 0; i < 300; i++)
        strcat(many, "ARRAY<");
    assert_int_equal(weir_type_parse(many, &outer, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "16 levels"));
}

static void schemas_print_as_parsed(void **state)
{
    (void)state;
    struct weir_schema *schema, *again;
    struct weir_error error = {0};
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    const char *text =
        "device_id STRING NOT NULL,temperature\tDOUBLE , `odd ``name, here` VARCHAR(3), _x1 TIMESTAMP(3)";
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    assert_int_equal(schema->field_count, 4);
    assert_true(weir_schema_print(schema, &out));
    assert_string_equal((const char *)out.data, "device_id STRING NOT NULL, temperature DOUBLE, "
                                                "`odd ``name, here` VARCHAR(3), _x1 TIMESTAMP(3)");
    assert_int_equal(weir_schema_parse((const char *)out.data, &again, NULL), 0);
    assert_true(weir_schema_equal(schema, again));
    assert_int_equal(weir_schema_find(schema, "temperature", 11), 1);
    assert_int_equal(weir_schema_find(schema, "odd `name, here", 15), 2);
    assert_int_equal(weir_schema_find(schema, "temperatur", 10), -1);
    assert_int_equal(weir_schema_find(schema, "TEMPERATURE", 11), -1);
    weir_schema_unref(again);
    assert_int_equal(weir_schema_parse("device_id STRING, temperature DOUBLE, `odd ``name, here` VARCHAR(3), "
                                       "_x1 TIMESTAMP(3)",
                                       &again, NULL),
                     0);
    assert_false(weir_schema_equal(schema, again)); /* nullability differs */
    weir_schema_unref(again);
    struct weir_schema *shared = weir_schema_ref(schema);
    weir_schema_unref(schema);
    assert_string_equal(shared->fields[0].name, "device_id");
    weir_schema_unref(shared);
    weir_schema_unref(NULL);
    weir_buf_fini(&out);

    struct weir_buf tiny;
    weir_buf_init(&tiny, 10);
    assert_int_equal(weir_schema_parse("a INT, b INT, c INT", &schema, NULL), 0);
    assert_false(weir_schema_print(schema, &tiny));
    weir_schema_unref(schema);
    weir_buf_fini(&tiny);
}

static void bad_schemas_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "empty"},
        {"  ", "empty"},
        {"a", "has no type"},
        {"a INT,", "expected"},
        {",a INT", "expected"},
        {"a INT b INT", "not a type"},
        {"1a INT", "expected"},
        {"a INT, a STRING", "'a' twice"},
        {"a INTEGR", "column 'a'"},
        {"`a INT", "no closing"},
        {"`` INT", "empty column name"},
        {"a MULTISET<INT>, b INT", "does not have MULTISET"},
        {"a DECIMAL(10, 2, b INT", "is not a type"},
        {"a ROW<b INT, c INT", "'>' is expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_schema *schema = NULL;
        struct weir_error error = {0};
        assert_int_not_equal(weir_schema_parse(cases[i][0], &schema, &error), 0);
        if (!strstr(error.message, cases[i][1]))
            fail_msg("'%s': %s", cases[i][0], error.message);
        assert_null(schema);
    }
    /* Bounds: name length and field count, at and over. */
    char text[32768], *p = text;
    struct weir_schema *schema;
    memset(text, 'x', WEIR_NAME_SIZE_MAX - 1);
    strcpy(text + WEIR_NAME_SIZE_MAX - 1, " INT");
    assert_int_equal(weir_schema_parse(text, &schema, NULL), 0);
    weir_schema_unref(schema);
    memset(text, 'x', WEIR_NAME_SIZE_MAX);
    strcpy(text + WEIR_NAME_SIZE_MAX, " INT");
    assert_int_equal(weir_schema_parse(text, &schema, NULL), WEIR_ERR_INVALID);
    for (int i = 0; i < WEIR_FIELDS_MAX; i++)
        p += sprintf(p, "%sc%d INT", i ? ", " : "", i);
    assert_int_equal(weir_schema_parse(text, &schema, NULL), 0);
    assert_int_equal(schema->field_count, WEIR_FIELDS_MAX);
    weir_schema_unref(schema);
    strcpy(p, ", more INT");
    assert_int_equal(weir_schema_parse(text, &schema, NULL), WEIR_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_print_as_parsed),
        cmocka_unit_test(bad_types_are_refused),
        cmocka_unit_test(nested_types_are_bounded_and_one),
        cmocka_unit_test(schemas_print_as_parsed),
        cmocka_unit_test(bad_schemas_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
