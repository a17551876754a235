/* Values as text: durations, sizes, timestamps, dates, times, ports, types, schemas, and values of options. Input: a byte for which,
 * then the text. What is printed reads back the same, and a reader with a memory says what the plain one says.
 */
#include "base/config.h"
#include "base/options.h"
#include "data/schema.h"
#include "data/time_text.h"
#include "format/text_int.h"
#include "fuzz/fuzz.h"

static void timestamps(const char *text, size_t size)
{
    static struct weir_timestamp_cache cache;
    int64_t ms = 0, again = 0;
    char printed[33];
    bool is_one = weir_timestamp_parse(text, size, &ms);
    fuzz_check(weir_timestamp_parse_cached(&cache, text, size, &again) == is_one);
    if (!is_one)
        return;
    fuzz_check(again == ms && ms >= WEIR_TIMESTAMP_MIN_MS && ms <= WEIR_TIMESTAMP_MAX_MS);
    size_t printed_size = weir_timestamp_print_iso(ms, printed);
    fuzz_check(printed_size <= 32 && weir_timestamp_parse(printed, printed_size, &again) && again == ms);
    printed_size = weir_timestamp_print_sql(ms, 3, printed);
    fuzz_check(printed_size <= 32 && weir_timestamp_parse(printed, printed_size, &again) && again == ms);
}

static void dates_and_times(const char *text, size_t size)
{
    int32_t value, again;
    char printed[17];
    if (weir_date_parse(text, size, &value)) {
        size_t printed_size = weir_date_print(value, printed);
        fuzz_check(printed_size <= 16 && weir_date_parse(printed, printed_size, &again) && again == value);
    }
    if (weir_time_parse(text, size, &value)) {
        fuzz_check(value >= 0 && value < 86400000);
        size_t printed_size = weir_time_print(value, 3, printed);
        fuzz_check(printed_size <= 16 && weir_time_parse(printed, printed_size, &again) && again == value);
    }
}

static void amounts(const char *text)
{
    int64_t value, other;
    if (weir_duration_parse(text, &value))
        fuzz_check(value >= 0);
    if (weir_size_parse(text, &value))
        fuzz_check(value >= 0);
    if (weir_parse_duration_ms(text, &other))
        fuzz_check(other >= 0 && other <= (int64_t)1 << 53);
    if (weir_parse_size(text, &other))
        fuzz_check(other >= 0 && other <= (int64_t)1 << 53);
    int first, last;
    if (weir_config_parse_ports(text, &first, &last))
        fuzz_check(first >= 0 && first <= last && last <= 65535);
}

static void types(const char *text)
{
    struct weir_type type, again;
    struct weir_error error;
    char printed[64];
    if (weir_type_parse(text, &type, &error))
        return;
    fuzz_check(!weir_type_parse(weir_type_print(&type, printed), &again, &error));
    fuzz_check(weir_type_equal(&type, &again) && type.nullable == again.nullable && type.length == again.length);
}

static void schemas(const char *text)
{
    struct weir_schema *schema, *again;
    struct weir_error error;
    struct weir_buf printed;
    if (weir_schema_parse(text, &schema, &error))
        return;
    weir_buf_init(&printed, (size_t)1 << 22);
    fuzz_check(weir_schema_print(schema, &printed));
    fuzz_check(!weir_schema_parse((const char *)printed.data, &again, &error));
    fuzz_check(weir_schema_equal(schema, again));
    weir_schema_unref(again);
    weir_schema_unref(schema);
    weir_buf_fini(&printed);
}

static void options(const char *text)
{
    static const struct weir_option table[] = {
        {"int", WEIR_OPTION_INT, "0", NULL, ""},        {"double", WEIR_OPTION_DOUBLE, "0", NULL, ""},
        {"bool", WEIR_OPTION_BOOL, "false", NULL, ""},  {"duration", WEIR_OPTION_DURATION, "0", NULL, ""},
        {"size", WEIR_OPTION_SIZE, "0", NULL, ""},      {"enum", WEIR_OPTION_ENUM, "a", "a|b c|d", ""},
        {"string", WEIR_OPTION_STRING, NULL, NULL, ""}, {"fields.", WEIR_OPTION_STRING, "", NULL, ""},
        {NULL, WEIR_OPTION_STRING, NULL, NULL, NULL},
    };
    struct weir_error error;
    for (const struct weir_option *option = table; option->name; option++)
        if (!weir_option_check_value("it", option, text, &error) && option->type != WEIR_OPTION_STRING &&
            option->type != WEIR_OPTION_ENUM)
            (void)weir_option_to_int(option, text);
    struct weir_key_value given[] = {{"string", "x"}, {text, "1"}};
    (void)weir_options_check("it", given, 2, table, NULL, NULL, &error);
    (void)weir_option_nearest(text, table, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t how = (uint8_t)fuzz_number(&in, 1);
    char *text = fuzz_text(in);
    switch (how % 6) {
    case 0:
        timestamps(text, in.left);
        break;
    case 1:
        dates_and_times(text, in.left);
        break;
    case 2:
        amounts(text);
        break;
    case 3:
        types(text);
        break;
    case 4:
        schemas(text);
        break;
    default:
        options(text);
    }
    free(text);
    return 0;
}
