/* JSON lines to columns against simdjson alone walking the same bytes, and columns to JSON lines.
 *
 * usage: json_bench [readings, default 200000]
 * Prints MB/s, best of five alternating runs of each, for timestamps as numbers and as ISO text. The sums of both are compared, so
 * that neither can leave work out. On one core it says what it says; no figure is asserted here.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/simdjson_walk.h"
#include "data/time_text.h"
#include "format/format.h"
#include "unit/data_random.h"

#define RUNS 5
#define SCHEMA "device_id STRING NOT NULL, temperature DOUBLE, is_abnormal BOOLEAN, `timestamp` TIMESTAMP(3) NOT NULL"

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "json_bench: %s\n", what);
    exit(1);
}

static uint8_t *readings_new(int count, bool text_time, size_t *size)
{
    struct random random = {2024};
    uint8_t *bytes = malloc((size_t)count * 140 + 64), *p = bytes;
    int64_t ms = 1357020000000;
    if (!bytes)
        die("out of memory");
    for (int i = 0; i < count; i++) {
        char time[32] = "";
        ms += random_below(&random, 20);
        size_t time_size = weir_timestamp_print_iso(ms, time);
        p += sprintf((char *)p, "{\"device_id\":\"gpu-%05d\",\"temperature\":%.2f,\"is_abnormal\":%s,\"timestamp\":",
                     random_below(&random, 10000), 40 + random_below(&random, 5000) / 100.0,
                     random_below(&random, 20) ? "false" : "true");
        p += text_time ? sprintf((char *)p, "\"%.*s\"}\n", (int)time_size, time)
                       : sprintf((char *)p, "%" PRId64 "}\n", ms);
    }
    memset(p, 0, 64);
    *size = (size_t)(p - bytes);
    return bytes;
}

/* All bytes through decode_lines in batches of the default size, summing as the walk does when `sums` is given. */
static double decode_all(const struct weir_format *json, struct weir_schema *schema, const uint8_t *bytes, size_t size,
                         struct walk_sums *sums)
{
    struct weir_decoder *decoder;
    struct weir_error error;
    double start = now_s();
    if (json->decoder_new(schema, NULL, 0, &decoder, &error))
        die(error.message);
    for (size_t at = 0, used, bad_at, bad_size; at < size; at += used) {
        struct weir_batch *batch = weir_batch_new(schema, WEIR_BATCH_ROWS_DEFAULT);
        if (json->decode_lines(decoder, bytes + at, size - at, true, batch, &used, &bad_at, &bad_size, &error))
            die(error.message);
        if (sums) {
            sums->records += (size_t)batch->row_count;
            sums->id_bytes += (size_t)batch->columns[0].offsets[batch->row_count];
            sums->abnormal += (size_t)weir_bitmap_count(batch->columns[2].bits, batch->row_count);
            for (int row = 0; row < batch->row_count; row++) {
                sums->temperature += batch->columns[1].f64[row];
                sums->time += batch->columns[3].i64[row];
            }
        }
        weir_batch_unref(batch);
    }
    json->decoder_free(decoder);
    return now_s() - start;
}

static double encode_all(const struct weir_format *json, struct weir_schema *schema, const uint8_t *bytes, size_t size,
                         size_t *written)
{
    struct weir_decoder *decoder;
    struct weir_encoder *encoder;
    struct weir_error error;
    struct weir_buf out;
    double seconds = 0;
    weir_buf_init(&out, 64 << 20);
    *written = 0;
    if (json->decoder_new(schema, NULL, 0, &decoder, &error) || json->encoder_new(schema, NULL, 0, &encoder, &error))
        die(error.message);
    for (size_t at = 0, used, bad_at, bad_size; at < size; at += used) {
        struct weir_batch *batch = weir_batch_new(schema, WEIR_BATCH_ROWS_DEFAULT);
        if (json->decode_lines(decoder, bytes + at, size - at, true, batch, &used, &bad_at, &bad_size, &error))
            die(error.message);
        weir_buf_clear(&out);
        double start = now_s();
        for (int row = 0; row < batch->row_count; row++) {
            if (json->encode(encoder, batch, row, &out, &error))
                die(error.message);
        }
        seconds += now_s() - start;
        *written += out.size;
        weir_batch_unref(batch);
    }
    json->encoder_free(encoder);
    json->decoder_free(decoder);
    weir_buf_fini(&out);
    return seconds;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 200000;
    const struct weir_format *json;
    struct weir_schema *schema, *two;
    if (count < 1 || weir_format_find("json", &json, NULL) || weir_schema_parse(SCHEMA, &schema, NULL) ||
        weir_schema_parse("device_id STRING, temperature DOUBLE", &two, NULL))
        die("usage: json_bench [readings]");
    for (int text_time = 0; text_time < 2; text_time++) {
        size_t size, written = 0;
        uint8_t *bytes = readings_new(count, text_time, &size);
        double many = 1e9, lines = 1e9, ours = 1e9, ours_two = 1e9, encoded = 1e9;
        struct walk_sums walked, decoded = {0};
        decode_all(json, schema, bytes, size, &decoded);
        for (int run = 0; run < RUNS; run++) {
            double start = now_s();
            if (simdjson_walk_many(bytes, size, text_time, &walked))
                die("simdjson failed");
            many = fmin(many, now_s() - start);
            ours = fmin(ours, decode_all(json, schema, bytes, size, NULL));
            start = now_s();
            if (simdjson_walk_lines(bytes, size, text_time, &walked))
                die("simdjson failed");
            lines = fmin(lines, now_s() - start);
            ours_two = fmin(ours_two, decode_all(json, two, bytes, size, NULL));
            encoded = fmin(encoded, encode_all(json, schema, bytes, size, &written));
        }
        if (walked.records != decoded.records || walked.id_bytes != decoded.id_bytes ||
            walked.abnormal != decoded.abnormal || fabs(walked.temperature - decoded.temperature) > 1e-3 ||
            (!text_time && walked.time != decoded.time))
            die("the walk and the decoder differ");
        double mb = (double)size / 1e6, best = fmin(many, lines);
        printf(
            "timestamps as %-8s %.0f B a record: simdjson iterate_many %.0f MB/s, line by line %.0f; decode_lines %.0f "
            "MB/s (%.0f %% of the better, %.1f M records/s), two of four columns %.0f; encode %.0f MB/s\n",
            text_time ? "text," : "numbers,", (double)size / count, mb / many, mb / lines, mb / ours, 100 * best / ours,
            count / ours / 1e6, mb / ours_two, (double)written / 1e6 / encoded);
        free(bytes);
    }
    weir_schema_unref(schema);
    weir_schema_unref(two);
    return 0;
}
