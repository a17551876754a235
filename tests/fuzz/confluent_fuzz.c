/* Records in Confluent's framing, and what a schema registry answers about them. Input: u8 what (0 avro, 1 protobuf, 2 json; + 4: a row is written by the
 * subject's newest schema, instead of a record read), u8 how many answers, each: u8 (status; + 16 * type of schema; + 128: the body as it is), u16 size, the
 * body; then the record. A body that is not as it is: a schema's text, then pairs of a reference's name and subject, each up to a zero byte. When there
 * are no more answers nobody answers.
 * Checked: every call ends, an error says something; a record is read the same when its schema is known already; what fails leaves no row, no bytes.
 */
#include <jansson.h>
#include <time.h>

#include "base/clock.h"
#include "format/format.h"
#include "fuzz/fuzz.h"
#include "http/http_client.h"
#include "unit/data_random.h"

#define ASKED_MAX 100

static const char *const names[] = {"avro-confluent", "protobuf-confluent", "json-confluent"};
static const char columns_text[] =
    "id BIGINT, name STRING, d DECIMAL(10, 2), t TIMESTAMP(3), b BOOLEAN, tags ARRAY<STRING>, m MAP<STRING, BIGINT>, r ROW<x INT, y STRING>";

static const char written_text[] = "id BIGINT NOT NULL, name STRING, r ROW<x INT NOT NULL, y STRING NOT NULL> NOT NULL";

static struct weir_schema *columns, *written;
static struct fuzz_input answers;
static int answers_left, asked;
static int64_t now_ms; /* 0: not inside an input */

/* The linker puts these in the place of the real ones (mk/fuzz.mk). Each look at the clock takes a while, so that waiting ends at once. */
int64_t __real_weir_clock_mono_ms(void);
int64_t __wrap_weir_clock_mono_ms(void);
int64_t __wrap_weir_clock_mono_ms(void)
{
    return now_ms == 0 ? __real_weir_clock_mono_ms() : (now_ms += 500);
}

int nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time, (void)left;
    return 0;
}

/* {"schema": TEXT, "schemaType": .., "id": 1, "references": [..]} */
static char *schema_answer(unsigned kind, struct fuzz_input body)
{
    static const char *const kinds[] = {NULL, "AVRO", "PROTOBUF", "JSON"};
    struct fuzz_input text = fuzz_until(&body, 0);
    json_t *answer = json_object(), *references = json_array();
    if (kinds[kind % 4])
        json_object_set_new(answer, "schemaType", json_string(kinds[kind % 4]));
    json_object_set_new(answer, "schema", json_stringn_nocheck(text.left ? (const char *)text.at : "", text.left));
    json_object_set_new(answer, "id", json_integer(1));
    while (body.left > 0) {
        struct fuzz_input name = fuzz_until(&body, 0), subject = fuzz_until(&body, 0);
        json_array_append_new(
            references,
            json_pack("{s:o, s:o, s:i}", "name",
                      json_stringn_nocheck(name.left ? (const char *)name.at : "", name.left), "subject",
                      json_stringn_nocheck(subject.left ? (const char *)subject.at : "", subject.left), "version", 1));
    }
    json_object_set_new(answer, "references", references);
    char *out = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    return out;
}

weir_err __wrap_weir_http_call(const struct weir_http_request *request, struct weir_http_response *response,
                               struct weir_error *error);
weir_err __wrap_weir_http_call(const struct weir_http_request *request, struct weir_http_response *response,
                               struct weir_error *error)
{
    static const int statuses[] = {200, 200, 200, 204, 301, 400, 401, 404, 409, 422, 429, 500};
    fuzz_check(request->url && request->method && ++asked < 100 * ASKED_MAX);
    if (answers_left == 0 || asked > ASKED_MAX)
        return weir_fail(error, WEIR_ERR_IO, "cannot reach the registry");
    answers_left--;
    uint8_t how = (uint8_t)fuzz_number(&answers, 1);
    struct fuzz_input body = fuzz_take(&answers, (size_t)fuzz_number(&answers, 2));
    char *made = how & 128 ? NULL : schema_answer(how >> 4 & 7, body);
    response->status = statuses[(how & 15) % 12];
    weir_buf_init(&response->body, request->response_size_max);
    fuzz_check(made ? weir_buf_puts(&response->body, made)
                    : weir_buf_append(&response->body, body.left ? (const char *)body.at : "", body.left));
    free(made);
    return WEIR_OK;
}

static void read_record(const struct weir_format *format, const struct weir_key_value *options,
                        struct fuzz_input record)
{
    struct weir_decoder *decoder = NULL;
    struct weir_error error = {.message = ""};
    struct weir_batch *batch = weir_batch_new(columns, 2);
    fuzz_check(!format->decoder_new(columns, options, 1, &decoder, &error));
    uint8_t *bytes = weir_alloc(record.left + 1); /* no longer than it is */
    if (record.left)
        memcpy(bytes, record.at, record.left);
    weir_err err = format->decode(decoder, bytes, record.left, false, batch, &error);
    fuzz_check((!err || error.message[0]) && batch->row_count == !err);
    if (!err || err == WEIR_ERR_DATA) {
        int before = asked;
        fuzz_check(format->decode(decoder, bytes, record.left, false, batch, &error) == err);
        fuzz_check(before == asked && batch->row_count == 2 * !err);
    }
    if (!err)
        fuzz_check(same_row(batch, 0, batch, 1));
    free(bytes);
    weir_batch_unref(batch);
    format->decoder_free(decoder);
}

static void write_row(const struct weir_format *format, const struct weir_key_value *options, struct fuzz_input record)
{
    struct weir_encoder *encoder = NULL;
    struct weir_error error = {.message = ""};
    struct weir_buf out;
    struct random random = {record.left ? record.at[0] : 0};
    struct weir_batch *batch = random_batch(&random, written, 1, 3);
    weir_buf_init(&out, 1 << 20);
    fuzz_check(!format->encoder_new(written, options, 3, &encoder, &error));
    for (int i = 0; i < 2; i++) {
        size_t before = out.size;
        weir_err err = format->encode(encoder, batch, 0, &out, &error);
        fuzz_check(!err || (error.message[0] && out.size == before));
        fuzz_check(err || out.size > before);
    }
    format->encoder_free(encoder);
    weir_batch_unref(batch);
    weir_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weir_error error;
    if (!columns)
        fuzz_check(!weir_schema_parse(columns_text, &columns, &error) &&
                   !weir_schema_parse(written_text, &written, &error));
    answers = (struct fuzz_input){data, size};
    unsigned what = (unsigned)fuzz_number(&answers, 1);
    const struct weir_format *format;
    fuzz_check(!weir_format_find(names[(what & 3) % 3], &format, &error));
    char url[40], subject[40], latest[64];
    snprintf(url, sizeof url, "%s.url", format->name);
    snprintf(subject, sizeof subject, "%s.subject", format->name);
    snprintf(latest, sizeof latest, "%s.use-latest-version", format->name);
    struct weir_key_value options[] = {{url, "http://a:1"}, {subject, "s"}, {latest, "true"}};
    answers_left = (int)fuzz_number(&answers, 1) % 8;
    asked = 0;
    struct fuzz_input record = answers; /* it is behind the answers */
    for (int i = 0; i < answers_left; i++) {
        (void)fuzz_number(&record, 1);
        (void)fuzz_take(&record, (size_t)fuzz_number(&record, 2));
    }
    now_ms = 1;
    (what & 4 ? write_row : read_record)(format, options, record);
    now_ms = 0;
    return 0;
}

/* --- Seeds */

static struct weir_buf seed;

static void begin(uint8_t what, uint8_t count)
{
    weir_buf_clear(&seed);
    fuzz_check(weir_buf_append(&seed, &what, 1) && weir_buf_append(&seed, &count, 1));
}

static void add(uint8_t how, const char *body, size_t size)
{
    uint8_t head[] = {how, (uint8_t)size, (uint8_t)(size >> 8)};
    fuzz_check(weir_buf_append(&seed, head, 3) && weir_buf_append(&seed, body, size));
}

void fuzz_seeds(fuzz_put *put)
{
    static const char avro[] =
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"id\",\"type\":\"long\"},{\"name\":\"name\",\"type\":[\"null\",\"string\"]},"
        "{\"name\":\"r\",\"type\":\"Other\"}]}\0Other\0other";
    static const char other[] =
        "{\"type\":\"record\",\"name\":\"Other\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"},{\"name\":\"y\",\"type\":\"string\"}]}";
    static const char proto[] =
        "syntax = 'proto3'; import 'other.proto'; message R { int64 id = 1; string name = 2; Other r = 3; repeated string tags = 4;"
        " map<string, int64> m = 5; message In { bool b = 1; } }\0other.proto\0other";
    static const char imported[] = "syntax = 'proto3'; message Other { int32 x = 1; string y = 2; }";
    static const char json[] =
        "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\"},\"r\":{\"$ref\":\"other.json\"}}}\0other.json\0other";
    static const char referred[] =
        "{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"integer\",\"maximum\":9}},\"required\":[\"x\"]}";
    static const char refusal[] = "{\"error_code\":40403,\"message\":\"Schema not found\"}";
#define RECORD(text) fuzz_check(weir_buf_append(&seed, text, sizeof text - 1))
    weir_buf_init(&seed, 1 << 16);
    begin(0, 2);
    add(0, avro, sizeof avro - 1);
    add(16, other, sizeof other - 1);
    RECORD("\0\0\0\0\1\4\2\6abc\2\2y");
    put("avro", seed.data, seed.size);
    begin(1, 2);
    add(32, proto, sizeof proto - 1);
    add(32, imported, sizeof imported - 1);
    RECORD("\0\0\0\0\1\0\x08\5\x12\1a\x1a\2\x08\7\x22\1t\x2a\5\x0a\1k\x10\2");
    put("protobuf", seed.data, seed.size);
    begin(1, 2);
    add(32, proto, sizeof proto - 1);
    add(32, imported, sizeof imported - 1);
    RECORD("\0\0\0\0\1\4\0\0\x08\1");
    put("protobuf-inner", seed.data, seed.size);
    begin(2, 2);
    add(48, json, sizeof json - 1);
    add(48, referred, sizeof referred - 1);
    RECORD("\0\0\0\0\1{\"id\":5,\"r\":{\"x\":7},\"tags\":[\"a\"]}");
    put("json", seed.data, seed.size);
    for (uint8_t format = 0; format < 3; format++) {
        char name[20];
        begin(4 + format, 2);
        add((uint8_t)(16 + 16 * format),
            format == 0   ? avro
            : format == 1 ? proto
                          : json,
            format == 0   ? sizeof avro - 1
            : format == 1 ? sizeof proto - 1
                          : sizeof json - 1);
        add((uint8_t)(16 + 16 * format),
            format == 0   ? other
            : format == 1 ? imported
                          : referred,
            format == 0   ? sizeof other - 1
            : format == 1 ? sizeof imported - 1
                          : sizeof referred - 1);
        snprintf(name, sizeof name, "write-%.6s", names[format]);
        put(name, seed.data, seed.size);
    }
    begin(0, 1);
    add(128 + 7, refusal, sizeof refusal - 1);
    RECORD("\0\0\0\0\1\4");
    put("unknown", seed.data, seed.size);
    begin(2, 2);
    add(128 + 11, "busy", 4);
    add(128, "[]", 2);
    RECORD("\0\0\0\0\1{}");
    put("no-registry", seed.data, seed.size);
    weir_buf_fini(&seed);
}
