/* Protobuf and Avro records to columns beside JSON of the same rows, one record at a time as a message source gives them, two columns of ten.
 *
 * usage: protobuf_bench [rows, default 200000]
 * Prints rows per second, best of five alternating runs each, and the ratio; and each with all ten columns and written. The columns of all are
 * compared first. Judged by run.py.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format/format.h"
#include "unit/data_random.h"

#define RUNS 5
#define ALL \
    "device_id STRING, seq BIGINT, temperature DOUBLE, humidity DOUBLE, ok BOOLEAN, site STRING, fan INT, `at` TIMESTAMP(3), note " \
    "STRING, level STRING"
#define TWO "device_id STRING, temperature DOUBLE"
static const char source[] =
    "syntax = 'proto3'; enum Level { LOW = 0; MIDDLE = 1; HIGH = 2; } message Reading { string device_id = 1; int64 seq = 2; double "
    "temperature = 3; double humidity = 4; bool ok = 5; string site = 6; int32 fan = 7; int64 at = 8; string note = 9; Level level = "
    "10; }";
/* What Flink derives from ALL. */
static const char avro_source[] =
    "{\"type\":\"record\",\"name\":\"record\",\"fields\":[{\"name\":\"device_id\",\"type\":[\"null\",\"string\"]},"
    "{\"name\":\"seq\",\"type\":[\"null\",\"long\"]},{\"name\":\"temperature\",\"type\":[\"null\",\"double\"]},"
    "{\"name\":\"humidity\",\"type\":[\"null\",\"double\"]},{\"name\":\"ok\",\"type\":[\"null\",\"boolean\"]},"
    "{\"name\":\"site\",\"type\":[\"null\",\"string\"]},{\"name\":\"fan\",\"type\":[\"null\",\"int\"]},"
    "{\"name\":\"at\",\"type\":[\"null\",{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}]},"
    "{\"name\":\"note\",\"type\":[\"null\",\"string\"]},{\"name\":\"level\",\"type\":[\"null\",\"string\"]}]}";
static const struct weir_key_value protobuf_options[] = {{"protobuf.schema", source}};
static const struct weir_key_value avro_options[] = {{"avro.schema", avro_source}};

struct records {
    uint8_t *bytes; /* 64 bytes of padding behind */
    size_t *ends;
    int count;
};

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time); /* others may work on this machine, too */
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "protobuf_bench: %s\n", what);
    exit(1);
}

static const struct weir_format *format_of(const char *name)
{
    const struct weir_format *format;
    if (weir_format_find(name, &format, NULL))
        die("no such format");
    return format;
}

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    if (weir_schema_parse(text, &schema, NULL))
        die("a wrong schema");
    return schema;
}

static const struct weir_key_value *options_of(const struct weir_format *format)
{
    return strcmp(format->name, "avro") == 0 ? avro_options : protobuf_options;
}

static int option_count(const struct weir_format *format)
{
    return strcmp(format->name, "json") != 0;
}

static void fill(struct weir_batch *batch, struct random *random, int row)
{
    char text[64];
    static const char *const levels[] = {"LOW", "MIDDLE", "HIGH"};
    weir_column_set_bytes(&batch->columns[0], row, text,
                          (size_t)sprintf(text, "gpu-%05d", random_below(random, 10000)));
    batch->columns[1].i64[row] = random_below(random, 1 << 30);
    batch->columns[2].f64[row] = 40 + random_below(random, 5000) / 100.0;
    batch->columns[3].f64[row] = random_below(random, 1000) / 10.0;
    weir_bit_put(batch->columns[4].bits, row, random_below(random, 20) != 0);
    weir_column_set_bytes(&batch->columns[5], row, text, (size_t)sprintf(text, "site-%03d", random_below(random, 500)));
    batch->columns[6].i32[row] = random_below(random, 5000);
    batch->columns[7].i64[row] = 1357020000000 + random_below(random, 1000000);
    weir_column_set_bytes(&batch->columns[8], row, "nothing to say of it", 20);
    const char *level = levels[random_below(random, 3)];
    weir_column_set_bytes(&batch->columns[9], row, level, strlen(level));
}

/* `count` rows in this format; seconds of writing. */
static double write_all(const struct weir_format *format, int count, struct records *records)
{
    struct weir_schema *all = schema_of(ALL);
    struct weir_encoder *encoder;
    struct weir_error error;
    struct weir_buf out;
    struct random random = {2024};
    double seconds = 0;
    weir_buf_init(&out, (size_t)1 << 30);
    if (format->encoder_new(all, options_of(format), option_count(format), &encoder, &error))
        die(error.message);
    *records = (struct records){.ends = weir_alloc((size_t)count * sizeof *records->ends), .count = count};
    for (int done = 0; done < count;) {
        struct weir_batch *batch = weir_batch_new(all, WEIR_BATCH_ROWS_DEFAULT);
        for (int row = 0; row < batch->row_capacity && done + row < count; row++)
            fill(batch, &random, batch->row_count++);
        double start = now_s();
        for (int row = 0; row < batch->row_count; row++) {
            if (format->encode(encoder, batch, row, &out, &error))
                die(error.message);
            records->ends[done++] = out.size;
        }
        seconds += now_s() - start;
        weir_batch_unref(batch);
    }
    records->bytes = weir_zalloc(out.size + 64);
    memcpy(records->bytes, out.data, out.size);
    weir_buf_fini(&out);
    format->encoder_free(encoder);
    weir_schema_unref(all);
    return seconds;
}

/* Seconds; *sum of what was read, so that nothing can be left out. */
static double read_all(const struct weir_format *format, struct weir_schema *schema, const struct records *records,
                       double *sum)
{
    struct weir_decoder *decoder;
    struct weir_error error;
    int temperature = weir_schema_find(schema, "temperature", 11);
    double start = now_s();
    *sum = 0;
    if (format->decoder_new(schema, options_of(format), option_count(format), &decoder, &error))
        die(error.message);
    size_t at = 0;
    for (int done = 0; done < records->count;) {
        struct weir_batch *batch = weir_batch_new(schema, WEIR_BATCH_ROWS_DEFAULT);
        for (; batch->row_count < batch->row_capacity && done < records->count; at = records->ends[done++])
            if (format->decode(decoder, records->bytes + at, records->ends[done] - at, true, batch, &error))
                die(error.message);
        for (int row = 0; row < batch->row_count; row++)
            *sum += batch->columns[temperature].f64[row] + batch->columns[0].offsets[row + 1] -
                    batch->columns[0].offsets[row];
        weir_batch_unref(batch);
    }
    format->decoder_free(decoder);
    return now_s() - start;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"protobuf", "avro"};
    int count = argc > 1 ? atoi(argv[1]) : 200000;
    const struct weir_format *json = format_of("json");
    struct weir_schema *two = schema_of(TWO), *all = schema_of(ALL);
    struct records text;
    if (count < 1)
        die("usage: protobuf_bench [rows]");
    write_all(json, count, &text);
    for (int i = 0; i < 2; i++) {
        const struct weir_format *format = format_of(names[i]);
        struct records wire;
        double seconds[3] = {1e9, 1e9, 1e9}, sums[3];
        double writing = write_all(format, count, &wire);
        for (int run = 0; run < RUNS; run++) {
            seconds[0] = fmin(seconds[0], read_all(json, two, &text, &sums[0]));
            seconds[1] = fmin(seconds[1], read_all(format, two, &wire, &sums[1]));
            seconds[2] = fmin(seconds[2], read_all(format, all, &wire, &sums[2]));
        }
        if (sums[0] != sums[1] || sums[1] != sums[2])
            die("the formats differ");
        printf("%s-two-columns-of-json %.2f\n", names[i], seconds[0] / seconds[1]);
        printf("# two of ten columns: json %.2f M rows/s (%.0f B), %s %.2f (%.0f B); all ten %.2f; written %.2f\n",
               count / seconds[0] / 1e6, (double)text.ends[count - 1] / count, names[i], count / seconds[1] / 1e6,
               (double)wire.ends[count - 1] / count, count / seconds[2] / 1e6, count / writing / 1e6);
    }
    return 0;
}
