/* taskmanager/connectors/filesystem/objects.c: the marker that says up to which checkpoint output on S3 is published, beside others who publish and
 * on a store that loses requests and answers. The rest of it is in connectors_test.c, and against a real server in tests/s3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "connectors/connectors_int.h"
#include "tests/unit/s3_fake.h"

/* --- A store with one marker, and somebody else who writes it. */

#define REMOVED -1

static struct {
    int marker;  /* 0: there is none */
    int version; /* of it: its tag */
    int others
        [4]; /* what others make it say right before a write gets there, one after the other; REMOVED; 0: nobody comes in between */
    int refused, broken; /* the first writes: so many are said to have a wrong condition, or do not get there */
    int lost;            /* the answers of so many, that got there */
    int gets, puts, parts;
    int paused_ms;
} s3;

int nanosleep(const struct timespec *pause, struct timespec *left)
{
    (void)left;
    s3.paused_ms += (int)(pause->tv_sec * 1000 + pause->tv_nsec / 1000000);
    return 0;
}

static const char *header(const struct weir_http_exchange *request, const char *name)
{
    for (int i = 0; i < request->header_count; i++)
        if (strncmp(request->headers[i], name, strlen(name)) == 0 && request->headers[i][strlen(name)] == ':')
            return request->headers[i] + strlen(name) + 2;
    return NULL;
}

static const char *etag(void)
{
    static char text[40];
    snprintf(text, sizeof text, "ETag: \"v%d\"\r\n", s3.version);
    return text;
}

static struct fake_answer say(int status, const char *headers, const char *body)
{
    return (struct fake_answer){status, headers, body, strlen(body)};
}

static bool condition_holds(const struct weir_http_exchange *request)
{
    char tag[40];
    const char *match = header(request, "if-match"), *none = header(request, "if-none-match");
    snprintf(tag, sizeof tag, "\"v%d\"", s3.version);
    return match ? s3.marker && strcmp(match, tag) == 0 : !none || s3.marker == 0;
}

static struct fake_answer take_marker(const struct weir_http_exchange *request)
{
    int other = s3.puts < 4 ? s3.others[s3.puts] : 0;
    s3.puts++;
    if (s3.broken > 0 && s3.broken--)
        return say(0, NULL, "");
    if (other) {
        s3.marker = other == REMOVED ? 0 : other;
        s3.version++;
    }
    if ((s3.refused > 0 && s3.refused--) || !condition_holds(request))
        return say(412, NULL, "<Error><Code>PreconditionFailed</Code></Error>");
    s3.marker = atoi(request->body);
    s3.version++;
    return s3.lost > 0 && s3.lost-- ? say(0, NULL, "") : say(200, etag(), "");
}

static struct fake_answer fake_answer(const struct weir_http_exchange *request)
{
    static char body[16];
    if (!strstr(request->url, "/_weir/")) {
        s3.parts++;
        return say(200, etag(), "");
    }
    if (strcmp(request->method, "PUT") == 0)
        return take_marker(request);
    s3.gets++;
    snprintf(body, sizeof body, "%d\n", s3.marker);
    return s3.marker ? say(200, etag(), body) : say(404, NULL, "<Error><Code>NoSuchKey</Code></Error>");
}

static weir_err read_a_line(struct weir_message_commit *commit, int64_t segment,
                            const struct weir_message_out **messages, int64_t *count, struct weir_error *error)
{
    static const struct weir_message_out line = {.value = (const uint8_t *)"line\n", .value_size = 5};
    (void)commit, (void)segment, (void)error;
    *messages = &line;
    *count = 1;
    return WEIR_OK;
}

static struct weir_error error;

static weir_err publish(uint64_t checkpoint)
{
    static const struct weir_key_value settings[] = {
        {"s3.endpoint", "http://fake"}, {"s3.attempts", "1"}, {"s3.access-key", "A"}, {"s3.secret-key", "S"}};
    static const struct weir_key_value options[] = {{"path", "s3://bucket/out"}};
    static const char *const names[] = {"jobs/j/chk-5/1-0-2-log1-4"};
    const struct weir_connector_commit runtime = {names, settings, 4};
    const struct weir_commit_segment segments[] = {{5, 1, checkpoint - 1}};
    struct weir_message_commit commit = {.size = sizeof commit,
                                         .option_count = 1,
                                         .job_id = "0123456789abcdef0123456789abcdef",
                                         .operator_id = "op",
                                         .checkpoint = checkpoint,
                                         .options = options,
                                         .segments = segments,
                                         .segment_count = 1,
                                         .read = read_a_line,
                                         .runtime = (void *)(uintptr_t)&runtime};
    return weir_connector_filesystem.commit_messages(&commit, &error);
}

static int begin(void **state)
{
    (void)state;
    memset(&s3, 0, sizeof s3);
    return 0;
}

/* --- */

static void alone(void **state)
{
    (void)state;
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(publish((uint64_t)i), WEIR_OK);
        assert_int_equal(s3.marker, i);
        assert_int_equal(s3.gets, i); /* read once, written once */
        assert_int_equal(s3.puts, i);
        assert_int_equal(s3.parts, i);
    }
    assert_int_equal(publish(2), WEIR_OK); /* which is done */
    assert_int_equal(s3.parts, 3);
    assert_int_equal(s3.puts, 3);
    assert_int_equal(s3.paused_ms, 0);
}

/* Between what was read and what is written another one gets on: whoever is late does not say that less is published. */
static void another_is_ahead(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        begin(state);
        s3.marker = first ? 0 : 4;
        s3.others[0] = 7;
        assert_int_equal(publish(5), WEIR_OK);
        assert_int_equal(s3.marker, 7);
        assert_int_equal(s3.puts, 1);
    }
}

static void another_is_behind(void **state)
{
    (void)state;
    s3.marker = 1;
    s3.others[0] = 2;
    s3.others[1] = 3;
    assert_int_equal(publish(5), WEIR_OK);
    assert_int_equal(s3.marker, 5);
    assert_int_equal(s3.puts, 3);
    assert_int_equal(s3.paused_ms, 0); /* it has changed: there is nothing to wait for */
}

/* It may have got there: it is looked for, not written again. */
static void answer_is_lost(void **state)
{
    (void)state;
    s3.marker = 4;
    s3.lost = 1;
    assert_int_equal(publish(5), WEIR_OK);
    assert_int_equal(s3.marker, 5);
    assert_int_equal(s3.puts, 1);
    assert_int_equal(s3.gets, 2);
}

static void requests_are_lost(void **state)
{
    (void)state;
    s3.marker = 4;
    s3.broken = 3;
    assert_int_equal(publish(5), WEIR_OK);
    assert_int_equal(s3.marker, 5);
    assert_int_equal(s3.puts, 4);
    assert_true(s3.paused_ms > 0);
}

/* Somebody has removed it: what was read is no more. */
static void it_goes_away(void **state)
{
    (void)state;
    s3.marker = 4;
    s3.others[0] = REMOVED;
    assert_int_equal(publish(5), WEIR_OK);
    assert_int_equal(s3.marker, 5);
}

/* Bounded, and in words; what is there stays. */
static void nothing_helps(void **state)
{
    (void)state;
    s3.marker = 4;
    s3.refused = 1000;
    assert_int_equal(publish(5), WEIR_ERR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "use a store with conditional writes"));
    assert_non_null(strstr(error.message, "checkpoint 4 is published"));
    assert_int_equal(s3.puts, 8);
    assert_int_equal(s3.marker, 4);
    begin(state);
    s3.broken = 1000;
    assert_int_equal(publish(5), WEIR_ERR_IO);
    assert_non_null(strstr(error.message, "8 times in a row"));
    assert_int_equal(s3.puts, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(alone, begin),
        cmocka_unit_test_setup(another_is_ahead, begin),
        cmocka_unit_test_setup(another_is_behind, begin),
        cmocka_unit_test_setup(answer_is_lost, begin),
        cmocka_unit_test_setup(requests_are_lost, begin),
        cmocka_unit_test_setup(it_goes_away, begin),
        cmocka_unit_test_setup(nothing_helps, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
