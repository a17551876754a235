/* The data plane's bytes: frames (common/net/frame.h) and the batches in them (common/data/batch_wire.h).
 *
 * Input: a byte that says what the rest is. Low 2 bits: the schema. Bit 2: the bytes lie off their alignment.
 * Bits 3 and 4: a message as it is / frames (type, u16 length, payload) that are sealed here, so that their checksums are right /
 * one batch without a frame.
 * What a batch decoded to is worked on as operators do, and encodes to what decodes to the same.
 */
#include "data/batch_wire.h"
#include "data/row_key.h"
#include "fuzz/fuzz.h"
#include "net/frame.h"
#include "unit/data_random.h"

static const char *const schema_texts[4] = {ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA, ALL_TYPES_SCHEMA_NOT_NULL,
                                            "s STRING", "a BIGINT NOT NULL, y BYTES" MAP_TYPES_SCHEMA};
static struct weir_schema *schemas[4];

static void work_on(const struct weir_batch *batch)
{
    struct weir_schema *schema = batch->schema;
    struct weir_buf text;
    weir_buf_init(&text, (size_t)1 << 30);
    uint64_t *hashes = weir_alloc(((size_t)batch->row_count + 1) * sizeof *hashes);
    uint32_t *offsets = weir_alloc(((size_t)batch->row_count + 1) * sizeof *offsets);
    struct weir_key_spec spec = {.column_count = schema->field_count};
    for (int i = 0; i < schema->field_count; i++)
        spec.columns[i] = i;
    weir_key_hash(batch, &spec, hashes);
    weir_key_encode(batch, &spec, &text, offsets);
    weir_buf_clear(&text);
    for (int row = 0; row < batch->row_count; row += 1 + row / 8)
        fuzz_check(weir_batch_print_row(batch, row, &text));
    if (batch->row_count > 1) {
        struct weir_batch *half = weir_batch_slice(batch, batch->row_count / 2, batch->row_count / 2);
        fuzz_check(same_row(batch, batch->row_count / 2, half, 0));
        weir_batch_unref(half);
    }
    free(hashes);
    free(offsets);
    weir_buf_fini(&text);
}

static void encode_again(const struct weir_batch *batch)
{
    size_t size = weir_batch_wire_size(batch);
    uint8_t *bytes = weir_alloc(size);
    fuzz_check(weir_batch_wire_encode(batch, bytes) == size);
    struct weir_batch *again = NULL;
    fuzz_check(!weir_batch_wire_decode(batch->schema, NULL, bytes, size, &again, NULL));
    fuzz_check(again->row_count == batch->row_count);
    for (int row = 0; row < batch->row_count; row++)
        fuzz_check(same_row(batch, row, again, row));
    weir_batch_unref(again);
    free(bytes);
}

static void decode_batch(struct weir_schema *schema, struct weir_buffer *owner, const uint8_t *bytes, size_t size)
{
    struct weir_error error;
    struct weir_batch *batch = NULL;
    if (weir_batch_wire_decode(schema, owner, bytes, size, &batch, &error))
        return;
    work_on(batch);
    encode_again(batch);
    weir_batch_unref(batch);
}

static void decode_message(struct weir_schema *schema, struct weir_buffer *owner, const uint8_t *bytes, size_t size)
{
    struct weir_error error;
    struct weir_frame frame;
    for (size_t at = 0, used; at < size; at += used) {
        if (weir_frame_decode(bytes + at, size - at, &frame, &used, &error))
            return;
        fuzz_check(used >= WEIR_FRAME_HEADER_SIZE && used <= size - at);
        fuzz_check(frame.payload + frame.length <= bytes + size);
        if (frame.type == WEIR_FRAME_BATCH)
            decode_batch(schema, owner, frame.payload, frame.length);
    }
}

static size_t seal(struct fuzz_input in, uint8_t *out, size_t room)
{
    size_t size = 0;
    while (in.left > 0) {
        uint8_t type = (uint8_t)fuzz_number(&in, 1);
        struct fuzz_input payload = fuzz_take(&in, (size_t)fuzz_number(&in, 2));
        struct weir_frame frame = {.type = (enum weir_frame_type)type, .length = (uint32_t)payload.left, .seq = size};
        if (size + weir_frame_size(payload.left) > room)
            break;
        if (payload.left > 0)
            memcpy(out + size + WEIR_FRAME_HEADER_SIZE, payload.at, payload.left);
        size += weir_frame_seal(&frame, out + size);
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t how = (uint8_t)fuzz_number(&in, 1);
    for (int i = 0; !schemas[3] && i < 4; i++)
        fuzz_check(!weir_schema_parse(schema_texts[i], &schemas[i], NULL));
    struct weir_schema *schema = schemas[how & 3];
    size_t offset = how & 4 ? 1 : 0, room = in.left * 17 + 64;
    struct weir_buffer *owner = weir_buffer_new(room + offset);
    uint8_t *bytes = owner->bytes + offset;
    if (in.left > 0)
        memcpy(bytes, in.at, in.left);
    if ((how >> 3 & 3) == 0)
        decode_message(schema, owner, bytes, in.left);
    else if ((how >> 3 & 3) == 1)
        decode_message(schema, owner, bytes, seal(in, bytes, room));
    else
        decode_batch(schema, owner, bytes, in.left);
    weir_buffer_unref(owner);
    return 0;
}

void fuzz_seeds(fuzz_put *put)
{
    struct random random = {7};
    static uint8_t bytes[1 << 20], frames[1 << 20];
    for (int i = 0; i < 4; i++) {
        struct weir_schema *schema;
        char name[64];
        fuzz_check(!weir_schema_parse(schema_texts[i], &schema, NULL));
        for (int rows = 0; rows <= 9; rows = rows * 2 + 1 + (rows == 3)) {
            struct weir_batch *batch = random_batch(&random, schema, rows, 3);
            bytes[0] = (uint8_t)(i | 16);
            size_t size = weir_batch_wire_encode(batch, bytes + 1);
            snprintf(name, sizeof name, "batch-%d-%d", i, rows);
            put(name, bytes, size + 1);
            frames[0] = (uint8_t)i;
            struct weir_frame frame = {
                .type = WEIR_FRAME_BATCH, .job = 1, .channel = 2, .seq = 3, .attempt = 1, .length = (uint32_t)size};
            memcpy(frames + 1 + WEIR_FRAME_HEADER_SIZE, bytes + 1, size);
            snprintf(name, sizeof name, "frame-%d-%d", i, rows);
            put(name, frames, 1 + weir_frame_seal(&frame, frames + 1));
            frames[0] = (uint8_t)(i | 8 | (rows & 1) << 2);
            frames[1] = WEIR_FRAME_BATCH;
            frames[2] = (uint8_t)size;
            frames[3] = (uint8_t)(size >> 8);
            memcpy(frames + 4, bytes + 1, size);
            snprintf(name, sizeof name, "sealed-%d-%d", i, rows);
            if (size < 65536)
                put(name, frames, size + 4);
            weir_batch_unref(batch);
        }
        weir_schema_unref(schema);
    }
    static const uint8_t others[] = {8, 2, 8, 0, 1,  2, 3, 4, 5, 6, 7, 8, 4, 0,
                                     0, 5, 0, 0, 18, 4, 0, 1, 0, 0, 0, 6, 0, 0};
    put("sealed-others", others, sizeof others);
}
