/* scan.fetch-memory: what librdkafka is told, and that it takes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/kafka/kafka_int.h"

#define CURRENT 0x021000ff
#define DEBIAN 0x020002ff

static struct weir_kafka_bounds bounds_of(const char *memory, const char *name, const char *value, int version)
{
    struct weir_key_value options[] = {{"scan.fetch-memory", memory}, {name, value}};
    struct weir_kafka_bounds bounds;
    weir_kafka_bounds_init(&bounds, options, name ? 2 : 1, version);
    return bounds;
}

static void expect(struct weir_kafka_bounds bounds, const char *answer, const char *message, const char *kbytes,
                   const char *count)
{
    assert_string_equal(bounds.answer_bytes, answer);
    assert_string_equal(bounds.message_bytes, message);
    assert_string_equal(bounds.queue_kbytes, kbytes);
    assert_string_equal(bounds.queue_count, count);
}

static void shares(void **state)
{
    (void)state;
    expect(bounds_of("8 mb", NULL, NULL, CURRENT), "209715", "209715", "4096", "16384");
    expect(bounds_of("1 mb", NULL, NULL, CURRENT), "26214", "26214", "512", "2048");
    expect(bounds_of("2 gb", NULL, NULL, CURRENT), "52428800", "1000000", "1048576", "4194304");
    assert_string_equal(bounds_of("8 mb", NULL, NULL, CURRENT).backoff_ms, "5");
}

/* The user's own are given to librdkafka in place of these; the others go with them. */
static void properties_win(void **state)
{
    (void)state;
    expect(bounds_of("8 mb", "properties.message.max.bytes", "5000000", CURRENT), "5000000", "1000000", "4096",
           "16384");
    expect(bounds_of("8 mb", "properties.fetch.max.bytes", "100000", CURRENT), "209715", "100000", "4096", "16384");
    expect(bounds_of("8 mb", "properties.fetch.max.bytes", "500", CURRENT), "209715", "1000", "4096", "16384");
}

/* One that looks at its full queue once a second has a larger one, and is not told what it does not know. */
static void older_library(void **state)
{
    (void)state;
    expect(bounds_of("8 mb", NULL, NULL, DEBIAN), "16777216", "1000000", "16384", "65536");
    expect(bounds_of("64 mb", NULL, NULL, DEBIAN), "16777216", "1000000", "32768", "131072");
    assert_null(bounds_of("8 mb", NULL, NULL, DEBIAN).backoff_ms);
}

static void librdkafka_takes_them(void **state)
{
    (void)state;
    static const char *const sizes[] = {"1 mb", "3 mb", "8 mb", "100 mb", "2 gb"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct weir_kafka_bounds bounds = bounds_of(sizes[i], NULL, NULL, rd_kafka_version());
        const char *list[][2] = {
            {"group.id", "x"},
            {"queued.max.messages.kbytes", bounds.queue_kbytes},
            {"queued.min.messages", bounds.queue_count},
            {"fetch.max.bytes", bounds.answer_bytes},
            {"message.max.bytes", bounds.message_bytes},
            {bounds.backoff_ms ? "fetch.queue.backoff.ms" : "client.id", bounds.backoff_ms ? bounds.backoff_ms : "x"}};
        char why[256] = "";
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        for (size_t n = 0; n < sizeof list / sizeof *list; n++)
            if (rd_kafka_conf_set(conf, list[n][0], list[n][1], why, sizeof why) != RD_KAFKA_CONF_OK)
                fail_msg("%s: %s", sizes[i], why);
        rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
        if (!rk)
            fail_msg("%s: %s", sizes[i], why);
        rd_kafka_destroy(rk);
    }
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const sizes[] = {"0", "1000 kb", "3 gb", "2 gb", "1 mb", "8 mb"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct weir_key_value options[] = {
            {"topic", "t"}, {"properties.bootstrap.servers", "h:1"}, {"scan.fetch-memory", sizes[i]}};
        struct weir_error error = {0};
        weir_err err = weir_connector_kafka.check(options, 3, false, &error);
        assert_int_equal(err, i < 3 ? WEIR_ERR_INVALID : WEIR_OK);
        if (err)
            assert_string_equal(error.message, "'scan.fetch-memory' must be from 1 mb to 2 gb");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares),
        cmocka_unit_test(properties_win),
        cmocka_unit_test(older_library),
        cmocka_unit_test(librdkafka_takes_them),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
