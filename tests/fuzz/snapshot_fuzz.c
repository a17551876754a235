/* What `weir state` takes apart: metadata, parts, runs. Input: u8 what (0 metadata without its envelope, 1 a run, 2.. a part: reader, splits,
 * watermark, a function's own, overtaken rows), then the bytes. Checksums are made to fit, so that mutations come behind them; a run's are
 * also left as they are (what + 128).
 * Checked: an error says why; metadata that parses can be packed and parsed again; each row is JSON; the same bytes give the same rows. */
#include <jansson.h>

#include "base/proto_memory.h"
#include "client/state_rows.h"
#include "fuzz/run_fit.h"
#include "statefile/metadata.h"

#define ROWS_MAX 20000

/* --- Metadata */

static uint8_t *seal(const uint8_t *data, size_t size)
{
    uint8_t *bytes = weir_alloc(size + WEIR_ENVELOPE_SIZE);
    memcpy(bytes, "WEIRMETA", 8);
    fuzz_put_number(bytes + 8, weir_xxh3(data, size), 8);
    if (size)
        memcpy(bytes + WEIR_ENVELOPE_SIZE, data, size);
    return bytes;
}

/* What is not known here goes along, also what cannot be packed again (field 0). */
static bool has_unknown(const Weir__Snapshot *snapshot)
{
    bool unknown = snapshot->base.n_unknown_fields > 0;
    for (size_t i = 0; i < snapshot->n_parts; i++)
        unknown |= snapshot->parts[i]->base.n_unknown_fields > 0;
    for (size_t i = 0; i < snapshot->n_committables; i++)
        unknown |= snapshot->committables[i]->base.n_unknown_fields > 0;
    return unknown;
}

static void metadata(const uint8_t *data, size_t size)
{
    struct weir_error error = {.code = WEIR_OK};
    Weir__Snapshot *snapshot = NULL, *again = NULL;
    fuzz_check(weir_metadata_parse(data, size, &snapshot, &error) != WEIR_OK || size >= WEIR_ENVELOPE_SIZE);
    if (snapshot)
        weir__snapshot__free_unpacked(snapshot, NULL);
    snapshot = NULL;
    uint8_t *bytes = seal(data, size);
    if (weir_metadata_parse(bytes, size + WEIR_ENVELOPE_SIZE, &snapshot, &error)) {
        fuzz_check(error.message[0] && !snapshot);
    } else if (!has_unknown(snapshot)) {
        size_t packed = weir__snapshot__get_packed_size(snapshot);
        uint8_t *out = weir_alloc(packed + 1);
        weir__snapshot__pack(snapshot, out);
        uint8_t *sealed = seal(out, packed);
        fuzz_check(!weir_metadata_parse(sealed, packed + WEIR_ENVELOPE_SIZE, &again, &error));
        fuzz_check(again->n_parts == snapshot->n_parts && again->checkpoint == snapshot->checkpoint);
        weir__snapshot__free_unpacked(again, NULL);
        free(sealed);
        free(out);
    }
    if (snapshot)
        weir__snapshot__free_unpacked(snapshot, NULL);
    free(bytes);
}

/* --- Rows */

struct seen {
    uint64_t hash;
    int count;
};

static bool see(json_t *take_row, void *arg)
{
    struct seen *seen = arg;
    fuzz_check(take_row);
    char *text = json_dumps(take_row, JSON_COMPACT | JSON_ENCODE_ANY);
    fuzz_check(text);
    seen->hash = seen->hash * 31 + weir_xxh3(text, strlen(text));
    free(text);
    json_decref(take_row);
    return ++seen->count < ROWS_MAX;
}

static void rows(const char *name, const struct weir_saved_part *parts, int count)
{
    struct seen first = {0, 0}, second = {0, 0};
    struct weir_error error = {.code = WEIR_OK};
    weir_err err = weir_saved_rows(name, parts, count, see, &first, &error);
    fuzz_check(!err || error.message[0]);
    fuzz_check(weir_saved_rows(name, parts, count, see, &second, NULL) == err);
    fuzz_check(first.hash == second.hash && first.count == second.count);
}

static void run(const uint8_t *data, size_t size, bool fits)
{
    uint8_t *bytes = weir_alloc(size + 1);
    char text[200];
    if (size)
        memcpy(bytes, data, size);
    if (fits)
        fuzz_fit_run(bytes, size);
    struct weir_saved_part parts[] = {{WEIR_STATE_KEYED, 0, 2, bytes, size}, {WEIR_STATE_KEYED, 1, 2, bytes, size}};
    rows("state", parts, 2);
    struct weir_run *opened = NULL;
    if (weir_saved_is_run(bytes, size) && !weir_run_open(bytes, size, &opened, NULL)) {
        weir_saved_schema_text(weir_run_info(opened)->schema, weir_run_info(opened)->schema_size, text, sizeof text);
        fuzz_check(strlen(text) < sizeof text);
        weir_run_close(opened);
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const char *name;
        enum weir_state_kind kind;
    } kinds[] = {{"reader", WEIR_STATE_SPLIT},    {"splits", WEIR_STATE_UNION}, {"watermark", WEIR_STATE_UNION},
                 {"watermark", WEIR_STATE_KEYED}, {"mine", WEIR_STATE_UNION},   {"rows:a:0:0:in", WEIR_STATE_ROWS}};
    if (size == 0)
        return 0;
    unsigned what = data[0] & 127;
    if (what == 0) {
        metadata(data + 1, size - 1);
    } else if (what == 1) {
        run(data + 1, size - 1, data[0] < 128);
    } else {
        unsigned kind = (what - 2) % (sizeof kinds / sizeof *kinds);
        struct weir_saved_part part = {kinds[kind].kind, 0, 1, data + 1, size - 1};
        rows(kinds[kind].name, &part, 1);
    }
    return 0;
}

/* --- Seeds */

static void put_as(fuzz_put *put, const char *name, uint8_t what, const struct weir_buf *bytes)
{
    uint8_t *all = weir_alloc(bytes->size + 1);
    all[0] = what;
    memcpy(all + 1, bytes->data, bytes->size);
    put(name, all, bytes->size + 1);
    free(all);
}

static void put_run(fuzz_put *put, const char *name, const char *schema, size_t schema_size, const void *value,
                    size_t value_size)
{
    static const uint8_t keys[2][9] = {{1, 0x80, 0, 0, 0, 0, 0, 0, 5}, {1, 0x80, 0, 0, 0, 0, 0, 0, 6}};
    struct weir_records records;
    struct weir_buf out;
    weir_records_init(&records);
    weir_buf_init(&out, 1 << 20);
    for (int i = 0; i < 2; i++) {
        weir_records_begin(&records, i * 70, keys[i], sizeof keys[i], 10000 * (i + 1), WEIR_RECORD_VALUE);
        fuzz_check(weir_buf_append(&records.bytes, value, value_size));
        weir_records_end(&records);
    }
    const struct weir_run_info info = {.uid = "0123456789abcdef0123456789abcdef",
                                       .name = "state",
                                       .checkpoint = 3,
                                       .max_parallelism = 128,
                                       .key_group_count = 128,
                                       .schema = (const uint8_t *)schema,
                                       .schema_size = schema_size};
    weir_records_write((const struct weir_records *const[]){&records}, 1, &info, &out);
    put_as(put, name, 1, &out);
    weir_buf_fini(&out);
    weir_records_fini(&records);
}

static void put_metadata(fuzz_put *put)
{
    Weir__Snapshot snapshot;
    Weir__StatePart part;
    Weir__StatePart *parts[] = {&part};
    weir__snapshot__init(&snapshot);
    weir__state_part__init(&part);
    part.uid = (char *)"0123456789abcdef0123456789abcdef", part.name = (char *)"reader", part.kind = WEIR_STATE_SUBTASK;
    part.parallelism = 1, part.size = 4, part.bytes.data = (uint8_t *)"\1\0\0\0", part.bytes.len = 4;
    part.crc32c = weir_crc32c(0, part.bytes.data, 4);
    snapshot.version = WEIR_METADATA_VERSION, snapshot.checkpoint = 7, snapshot.parts = parts, snapshot.n_parts = 1;
    snapshot.job_name = (char *)"job", snapshot.job_id = (char *)"00112233445566778899aabbccddeeff";
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    fuzz_check(weir_buf_reserve(&out, weir__snapshot__get_packed_size(&snapshot) + 1));
    out.size = weir__snapshot__pack(&snapshot, out.data);
    put_as(put, "metadata", 0, &out);
    weir_buf_fini(&out);
}

#define WITH_SIZE(text) (text), sizeof(text) - 1

void fuzz_seeds(fuzz_put *put)
{
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    put_metadata(put);
    put_run(put, "run-value", WITH_SIZE("VALUE\nBIGINT\n\nn BIGINT, name STRING NOT NULL"),
            "\0\7\0\0\0\0\0\0\0\2\0\0\0ab", 15);
    put_run(put, "run-list-ttl", WITH_SIZE("LIST TTL\nBIGINT\n\nvalue INT NOT NULL"), "\2\1\0\0\0\0\0\0\0\5\0\0\0", 13);
    put_run(put, "run-map", WITH_SIZE("MAP\nBIGINT\nvalue STRING NOT NULL\nvalue INT NOT NULL"),
            "\2\5\0\0\0\1\0\0\0a\4\0\0\0\t\0\0\0", 18);
    put_run(put, "run-timers", WITH_SIZE("TIMERS\nBIGINT\n\n"), "\1\0\0\0\0\0\0\0", 8);
    put_run(put, "run-unknown", WITH_SIZE("?"), "abc", 3);
    weir_put_u8(&out, 1);
    weir_put_u32(&out, 1);
    weir_put_bytes(&out, "/in/a.json", 10);
    weir_put_i64(&out, 0);
    weir_put_i64(&out, -1);
    weir_put_i64(&out, 0);
    weir_put_u8(&out, 1);
    weir_put_i64(&out, 1000);
    weir_put_u8(&out, 0);
    weir_put_bytes(&out, "12 0", 4);
    put_as(put, "reader", 2, &out);
    weir_buf_clear(&out);
    weir_put_u8(&out, 1);
    weir_put_i64(&out, 1000);
    put_as(put, "watermark", 4, &out);
    weir_buf_clear(&out);
    weir_put_u8(&out, 1);
    weir_put_bytes(&out, WITH_SIZE("UNION LIST\n\n\nvalue INT NOT NULL"));
    weir_put_i64(&out, 1);
    weir_put_u32(&out, 9);
    put_as(put, "own", 6, &out);
    weir_buf_clear(&out);
    weir_put_u8(&out, 1);
    weir_put_u8(&out, 2);
    weir_put_bytes(&out, "", 0);
    weir_put_u8(&out, 2);
    weir_put_u32(&out, 0);
    weir_put_i64(&out, 5);
    put_as(put, "overtaken", 7, &out);
    weir_buf_fini(&out);
}
