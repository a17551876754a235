/* The data port's protocol: what an executor's I/O thread does with messages of peers and of strangers, in any order. Its receiving half
 * is compiled in here, and what it sends is counted instead.
 *
 * Input: steps of 8 bytes: who sends (4 connections), the frame's type, which channel (3 exist, one task's is deployed late), sequence
 * number, attempt, and what is wrong with it; then the payload's size and its bytes for a batch.
 * Checked: what comes out of a channel is what was sent for it by its own peer, in order and without a gap, and within its credit.
 */
#include <zmq.h>

#include "data/batch_wire.h"
#include "exchange/io_int.h"
#include "fuzz/fuzz.h"

static int fuzz_send(void *socket, const void *bytes, size_t size, int flags);
static int fuzz_recv(zmq_msg_t *message, void *socket, int flags);
#define weir_zmq_send fuzz_send
#define weir_zmq_msg_recv fuzz_recv
#include "taskmanager/exchange/io_receive.c"

#define CHANNELS 3
#define JOB 77
#define RECEIVER "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"

enum { BAD_CHECKSUM = 1, OTHER_JOB = 2, JOINED = 4, CUT = 8, OTHER_RECEIVER = 16, CONSUME = 32 };

struct rig {
    struct weir_io io;
    struct weir_waker waker;
    struct weir_inbox *inbox;
    struct weir_channel *chans[CHANNELS];
    struct weir_io_port ports[CHANNELS];
    struct weir_io_peer_conn peers[2];
    int64_t last[CHANNELS]; /* the last watermark that came out: the frame's sequence number */
    uint64_t taken[CHANNELS];
    uint64_t answers;
    struct weir_schema *schema;
};
static struct rig *rig;

static int fuzz_send(void *socket, const void *bytes, size_t size, int flags)
{
    (void)socket, (void)bytes, (void)flags;
    rig->answers++;
    return (int)size;
}

static int fuzz_recv(zmq_msg_t *message, void *socket, int flags)
{
    (void)message, (void)socket, (void)flags;
    return -1;
}

static void deploy(int i)
{
    struct weir_io_port *port = &rig->ports[i];
    struct weir_channel *chan = rig->chans[i] = weir_channel_new(weir_channel_id(i, 0, 0), 2, false, true);
    weir_channel_set_consumer(chan, rig->inbox);
    weir_channel_open(chan);
    chan->granter = &rig->inbox->list;
    *port = (struct weir_io_port){.chan = chan,
                                  .schema = rig->schema,
                                  .producer_attempt = 1,
                                  .consumer_attempt = 1,
                                  .peer = &rig->peers[i & 1],
                                  .next = rig->io.ports};
    port->link.key = chan->id;
    rig->io.ports = port;
    weir_io_table_add(&rig->io.ins, &port->link);
    weir_io_in_added(&rig->io, port);
}

static void start(void)
{
    rig = weir_zalloc(sizeof *rig);
    fuzz_check(!weir_waker_init(&rig->waker, NULL));
    rig->inbox = weir_inbox_new(&rig->waker);
    snprintf(rig->io.id, sizeof rig->io.id, "%s", RECEIVER);
    rig->io.job = JOB;
    for (int i = 0; i < 2; i++)
        memset(rig->peers[i].id, 'a' + i, 32);
    fuzz_check(!weir_schema_parse("a BIGINT NOT NULL, s STRING", &rig->schema, NULL));
    for (int i = 0; i < CHANNELS - 1; i++)
        deploy(i);
}

static void stop(void)
{
    for (int i = 0; i < CHANNELS; i++) {
        if (!rig->chans[i])
            continue;
        weir_io_port_done(&rig->io, &rig->ports[i]);
        weir_channel_unref(rig->chans[i]);
    }
    weir_io_receive_fini(&rig->io);
    free(rig->io.ins.buckets);
    free(rig->io.opens.buckets);
    weir_inbox_unref(rig->inbox);
    weir_waker_fini(&rig->waker);
    weir_schema_unref(rig->schema);
    free(rig);
}

static void consume(void)
{
    for (int i = 0; i < CHANNELS; i++) {
        struct weir_item item;
        while (rig->chans[i] && weir_channel_pop(rig->chans[i], &item)) {
            rig->taken[i]++;
            if (item.kind == WEIR_ITEM_BATCH) {
                fuzz_check(item.batch->row_count > 0);
                weir_batch_unref(item.batch);
            } else if (item.kind == WEIR_ITEM_WATERMARK) {
                fuzz_check(item.watermark_ms ==
                           (int64_t)rig->taken[i]); /* its sequence number: nothing lost, nothing twice */
                rig->last[i] = item.watermark_ms;
            }
            weir_channel_done(rig->chans[i], item.kind == WEIR_ITEM_BATCH);
        }
    }
}

static size_t batch_bytes(struct fuzz_input *in, size_t size, uint8_t *out)
{
    struct weir_batch *batch = weir_batch_new(rig->schema, 1);
    struct fuzz_input text = fuzz_take(in, size);
    batch->columns[0].i64[0] = (int64_t)size;
    weir_column_set_bytes(&batch->columns[1], 0, text.at ? text.at : (const uint8_t *)"", text.left);
    batch->row_count = 1;
    size_t used = weir_batch_wire_encode(batch, out);
    if (size % 7 == 6 && text.left > 0)
        out[text.at[0] % used] ^= 0x10;
    weir_batch_unref(batch);
    return used;
}

static void deliver(int sender, const uint8_t *bytes, size_t size)
{
    zmq_msg_t message;
    char id[8];
    fuzz_check(zmq_msg_init_size(&message, size) == 0);
    if (size > 0)
        memcpy(zmq_msg_data(&message), bytes, size);
    snprintf(id, sizeof id, "c%d", sender);
    sweep(&rig->io);
    take_message(&rig->io, id, 2, &message);
    zmq_msg_close(&message);
}

/* Appends the step's frame. Returns the size. */
static size_t make_frame(struct fuzz_input *in, const struct fuzz_input *step, uint8_t *out)
{
    static const uint8_t types[] = {1, 2, 4, 5, 6, 16, 17, 18, 19, 3, 99, 2, 1, 16, 18, 2};
    const uint8_t *s = step->at;
    uint8_t *payload = out + WEIR_FRAME_HEADER_SIZE;
    struct weir_frame frame = {.type = (enum weir_frame_type)types[s[1] & 15],
                               .job = JOB,
                               .channel = weir_channel_id(s[2] & 3, 0, s[2] >> 7),
                               .seq = s[3],
                               .attempt = s[4] & 3};
    memset(payload, 0, 80);
    if (s[5] & OTHER_JOB)
        frame.job++;
    switch (frame.type) {
    case WEIR_FRAME_BATCH:
        frame.length = (uint32_t)batch_bytes(in, s[6], payload);
        break;
    case WEIR_FRAME_WATERMARK:
        frame.length = 8;
        weir_put_u64(payload, s[3]);
        break;
    case WEIR_FRAME_HELLO:
    case WEIR_FRAME_HELLO_ACK:
        frame.length = 64;
        memset(payload, 'a' + (s[6] & 3), 32);
        memset(payload + 32, s[5] & OTHER_RECEIVER ? 'x' : 'r', 32);
        break;
    case WEIR_FRAME_OPEN:
        frame.length = 4;
        weir_put_u32(payload, s[6] & 3);
        break;
    case WEIR_FRAME_CREDIT:
        frame.length = 16;
        break;
    default:
        frame.length = 0;
    }
    size_t size = weir_frame_seal(&frame, out);
    if (s[5] & BAD_CHECKSUM)
        out[40] ^= 1;
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(16) uint8_t bytes[65536];
    struct fuzz_input in = {data, size};
    size_t used = 0;
    start();
    for (int steps = 0; in.left >= 8 && steps < 200; steps++) {
        struct fuzz_input step = fuzz_take(&in, 8);
        used += make_frame(&in, &step, bytes + used);
        if (step.at[5] & JOINED && used < 32768)
            continue;
        if (step.at[5] & CUT)
            used -= 1 + step.at[7] % used;
        deliver(step.at[0] & 3, bytes, used);
        used = 0;
        if (step.at[5] & CONSUME)
            consume();
        if (step.at[7] == 7 && !rig->chans[CHANNELS - 1])
            deploy(CHANNELS - 1);
    }
    consume();
    stop();
    return 0;
}

void fuzz_seeds(fuzz_put *put)
{
    /* who, type, channel, seq, attempt, wrong, size, more */
    static const uint8_t usual[] = {
        0, 5, 0, 0, 1, 0,       0, 0,                /* HELLO of a */
        1, 5, 0, 0, 1, 0,       1, 0,                /* HELLO of b */
        0, 7, 0, 0, 1, 0,       1, 0,                /* OPEN */
        1, 7, 1, 0, 1, 0,       1, 0,                /**/
        0, 7, 2, 0, 1, 0,       1, 7,                /* OPEN, then its consumer comes */
        0, 0, 0, 1, 1, 0,       3, 0, 'a', 'b', 'c', /* BATCH */
        0, 1, 0, 2, 1, CONSUME, 0, 0,                /* WATERMARK */
        1, 1, 1, 1, 1, JOINED,  0, 0,                /**/
        1, 1, 1, 2, 1, CONSUME, 0, 0,                /**/
        0, 1, 2, 1, 1, CONSUME, 0, 0,                /**/
        0, 4, 0, 3, 1, 0,       0, 0,                /* END */
        1, 2, 1, 3, 1, 0,       0, 0,                /* IDLE */
        1, 3, 1, 4, 1, CONSUME, 0, 0,                /* ACTIVE */
    };
    put("usual", usual, sizeof usual);
    uint8_t bytes[sizeof usual];
    static const uint8_t wrongs[] = {BAD_CHECKSUM, OTHER_JOB, CUT, OTHER_RECEIVER};
    for (size_t w = 0; w < sizeof wrongs; w++) {
        memcpy(bytes, usual, sizeof usual);
        for (size_t at = 40; at < 80; at += 8)
            bytes[at + 5 + (at >= 48 ? 3 : 0)] |= wrongs[w];
        char name[16];
        snprintf(name, sizeof name, "wrong-%d", wrongs[w]);
        put(name, bytes, sizeof bytes);
    }
    memcpy(bytes, usual, sizeof usual);
    bytes[40 + 3] = 9; /* a gap */
    put("gap", bytes, sizeof bytes);
    memcpy(bytes, usual, sizeof usual);
    bytes[51 + 3] = 1; /* twice */
    put("repeat", bytes, sizeof bytes);
    put("strangers", usual + 40, sizeof usual - 40);
}
