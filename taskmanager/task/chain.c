#include "task/chain_int.h"

#define REPORT_NS 1000000000

#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "executor/crash.h"
#include "state/snapshot.h"

static struct op_node *node_of(struct weir_op_ctx *ctx)
{
    return (struct op_node *)(void *)((uint8_t *)ctx - offsetof(struct op_node, ctx));
}

/* --- Building */

static struct weir_out *out_of(struct op_node *node, int output)
{
    if (!node->outs[output]) {
        struct weir_out *out = node->outs[output] = weir_zalloc(sizeof *out);
        out->node = node;
        out->watermark_ms = WEIR_WATERMARK_MIN;
        out->taken = weir_zalloc(1);
    }
    return node->outs[output];
}

static void grow_taken(struct weir_out *out)
{
    out->taken = weir_realloc(out->taken, (size_t)(out->child_count + out->writer_count + 1));
    memset(out->taken, 0, (size_t)(out->child_count + out->writer_count + 1));
}

static void set_ctx(struct weir_chain *chain, struct op_node *node, const struct weir_chain_op *op,
                    struct weir_task *task)
{
    node->ctx = op->ctx;
    node->ctx.out = NULL;
    node->ctx.sides[0] = node->ctx.sides[1] = NULL;
    node->ctx.watermark_ms = WEIR_WATERMARK_MIN;
    node->ctx.task = task;
    node->ctx.num_records_bad = &node->records_bad;
    node->ctx.num_late_records_dropped = &node->late_dropped;
    node->ctx.num_records_in = &node->records_in;
    node->ctx.num_records_out = &node->records_out_extra;
    weir_op_numbers_init(&node->numbers);
    node->ctx.numbers = &node->numbers;
    node->chain = chain;
    node->vtable = op->vtable;
    node->timer_ms = INT64_MAX;
    node->wait_fd = -1;
    atomic_init(&node->counters.watermark_in_ms, WEIR_WATERMARK_MIN);
    atomic_init(&node->counters.watermark_out_ms, WEIR_WATERMARK_MIN);
}

struct weir_chain *weir_chain_new(const struct weir_chain_options *options)
{
    weir_assert(options->op_count >= 1);
    struct weir_chain *chain = weir_zalloc(sizeof *chain);
    chain->op_count = options->op_count;
    chain->input_count = options->input_count;
    chain->on_snapshot = options->on_snapshot;
    chain->on_snapshot_arg = options->on_snapshot_arg;
    chain->failed_op = -1;
    chain->nodes = weir_zalloc((size_t)options->op_count * sizeof *chain->nodes);
    for (int i = 0; i < options->op_count; i++) {
        const struct weir_chain_op *op = &options->ops[i];
        struct op_node *node = &chain->nodes[i];
        weir_assert(op->upstream < i && (op->upstream >= 0) == (i > 0));
        node->index = i;
        node->link = op->link;
        set_ctx(chain, node, op, options->task);
        /* The main output is there even when nobody listens: what goes in is counted and dropped. */
        out_of(node, 0);
        if (op->upstream < 0)
            continue;
        weir_assert(op->upstream_output >= 0 && op->upstream_output < OUTPUTS);
        struct weir_out *out = out_of(&chain->nodes[op->upstream], op->upstream_output);
        out->children = weir_realloc(out->children, (size_t)(out->child_count + 1) * sizeof(struct op_node *));
        out->children[out->child_count++] = node;
    }
    for (int i = 0; i < chain->op_count; i++)
        for (int o = 0; o < OUTPUTS; o++)
            if (chain->nodes[i].outs[o]) {
                chain->nodes[i].outs[o]->batches_max =
                    options->batches_max ? options->batches_max : WEIR_OUT_BATCHES_MAX;
                grow_taken(chain->nodes[i].outs[o]);
            }
    weir_assert(chain->input_count > 0 || chain->nodes[0].vtable->produce);
    chain->producing = chain->input_count == 0;
    return chain;
}

void weir_chain_add_writer(struct weir_chain *chain, int op, int output, struct weir_edge_writer *take_writer)
{
    weir_assert(op >= 0 && op < chain->op_count && output >= 0 && output < OUTPUTS);
    struct op_node *node = &chain->nodes[op];
    struct weir_out *out = out_of(node, output);
    if (!out->batches_max)
        out->batches_max = node->outs[0]->batches_max;
    out->writers = weir_realloc(out->writers, (size_t)(out->writer_count + 1) * sizeof(struct weir_edge_writer *));
    out->writers[out->writer_count++] = take_writer;
    chain->hands_out |= weir_edge_writer_is_on_demand(take_writer);
    grow_taken(out);
}

static void fail(struct weir_chain *chain, const struct op_node *node)
{
    if (chain->state == WEIR_CHAIN_FAILED)
        return;
    chain->state = WEIR_CHAIN_FAILED;
    chain->failed_op = node->index;
    chain->error = node->ctx.error;
    if (!chain->error.code)
        (void)weir_fail(&chain->error, WEIR_ERR_USER_CODE, "operator '%s' failed without saying why",
                        node->ctx.plan->name);
}

/* For crash reports: who runs. Operators that call user code say themselves at which row they are. */
static void enter(const struct op_node *node)
{
    weir_crash_scope(node->ctx.plan && node->ctx.plan->name ? node->ctx.plan->name : node->vtable->name);
}

static void leave(void)
{
    weir_crash_scope(NULL);
}

/* Neighbours that can work as one, from the end to the head: see absorb in ops/op.h. */
static void absorb_neighbours(struct weir_chain *chain)
{
    for (int i = chain->op_count - 1; i >= 0; i--) {
        struct op_node *node = &chain->nodes[i];
        struct weir_out *out = node->outs[0];
        if (!node->vtable->absorb || out->child_count != 1 || out->writer_count != 0)
            continue;
        struct op_node *next = out->children[0];
        if (next->vtable->absorb != node->vtable->absorb)
            continue;
        if (node->vtable->absorb(node->state, &node->ctx, next->state, &next->ctx))
            node->absorbed = next;
    }
}

weir_err weir_chain_open(struct weir_chain *chain, struct weir_error *error)
{
    weir_chain_begin(chain, weir_clock_mono_ns(), INT64_MAX);
    for (int i = chain->op_count - 1; i >= 0; i--) {
        struct op_node *node = &chain->nodes[i];
        node->ctx.out = node->outs[0];
        node->ctx.sides[0] = node->outs[1];
        node->ctx.sides[1] = node->outs[2];
        node->state = weir_zalloc(node->vtable->size ? node->vtable->size : 1);
        node->open = true;
        if (!node->vtable->open)
            continue;
        enter(node);
        weir_err err = node->vtable->open(node->state, &node->ctx, error);
        leave();
        if (err) {
            chain->state = WEIR_CHAIN_FAILED;
            chain->failed_op = i;
            chain->error = *error;
            return err;
        }
    }
    absorb_neighbours(chain);
    return WEIR_OK;
}

void weir_chain_close(struct weir_chain *chain, bool finished)
{
    for (int i = 0; i < chain->op_count; i++) {
        struct op_node *node = &chain->nodes[i];
        if (!node->open)
            continue;
        node->open = false;
        if (node->vtable->close) {
            enter(node);
            node->vtable->close(node->state, &node->ctx, finished);
            leave();
        }
        free(node->state);
        node->state = NULL;
    }
}

static void free_out(struct weir_out *out)
{
    if (!out)
        return;
    for (int i = 0; i < out->count; i++) {
        struct weir_item *item = &out->items[(out->first + i) % OUT_ITEMS_MAX];
        if (item->kind == WEIR_ITEM_BATCH)
            weir_batch_unref(item->batch);
    }
    for (int w = 0; w < out->writer_count; w++)
        weir_edge_writer_free(out->writers[w]);
    free(out->children);
    free(out->writers);
    free(out->taken);
    free(out);
}

void weir_chain_free(struct weir_chain *chain)
{
    if (!chain)
        return;
    weir_chain_close(chain, false);
    for (int i = 0; i < chain->op_count; i++) {
        weir_state_memory_free(chain->nodes[i].ctx.memory);
        weir_op_numbers_fini(&chain->nodes[i].numbers);
        if (chain->nodes[i].item.kind == WEIR_ITEM_BATCH)
            weir_batch_unref(chain->nodes[i].item.batch);
        weir_inflight_list_fini(&chain->nodes[i].replay);
        for (int o = 0; o < OUTPUTS; o++)
            free_out(chain->nodes[i].outs[o]);
    }
    for (int i = 0; i < chain->committable_count; i++) {
        free(chain->committables[i].connector);
        free(chain->committables[i].text);
        weir_output_segments_fini(&chain->committables[i].segments);
    }
    weir_snapshot_free(chain->snapshot);
    weir_chain_free_captures(chain);
    free(chain->nodes);
    free(chain);
}

/* --- Outputs, as operators see them */

static void append(struct weir_out *out, struct weir_item item)
{
    weir_assert(out->count < OUT_ITEMS_MAX); /* an operator must ask weir_out_full() */
    out->items[(out->first + out->count) % OUT_ITEMS_MAX] = item;
    out->count++;
    out->node->pushes++;
}

/* The newest item, unless somebody has it already. */
static struct weir_item *tail_of(struct weir_out *out)
{
    if (out->count == 0 || (out->count == 1 && out->partly))
        return NULL;
    return &out->items[(out->first + out->count - 1) % OUT_ITEMS_MAX];
}

static void set_idle(struct weir_out *out, bool idle)
{
    if (out->idle == idle || out->ended)
        return;
    out->idle = idle;
    struct weir_item *tail = tail_of(out);
    if (tail && (tail->kind == WEIR_ITEM_IDLE || tail->kind == WEIR_ITEM_ACTIVE))
        out->count--; /* they cancel out */
    else
        append(out, (struct weir_item){.kind = idle ? WEIR_ITEM_IDLE : WEIR_ITEM_ACTIVE});
}

bool weir_out_full(const struct weir_out *out)
{
    return out && out->batches >= out->batches_max + (out->node->chain->overdue ? WEIR_OUT_OVERDRAFT : 0);
}

void weir_out_push(struct weir_out *out, struct weir_batch *batch)
{
    if (!out) {
        weir_batch_unref(batch);
        return;
    }
    weir_assert(batch->row_count > 0 && !out->ended);
    out->records += (uint64_t)batch->row_count;
    if (out->child_count + out->writer_count == 0) {
        weir_batch_unref(batch);
        out->node->pushes++;
        return;
    }
    if (out->idle)
        set_idle(out, false);
    append(out, (struct weir_item){.kind = WEIR_ITEM_BATCH, .batch = batch});
    out->batches++;
}

void weir_out_watermark(struct weir_out *out, int64_t watermark_ms)
{
    if (!out || watermark_ms <= out->watermark_ms || out->ended)
        return;
    out->watermark_ms = watermark_ms;
    if (out->child_count + out->writer_count == 0)
        return;
    if (out->idle)
        set_idle(out, false);
    struct weir_item *tail = tail_of(out);
    if (tail && tail->kind == WEIR_ITEM_WATERMARK)
        tail->watermark_ms = watermark_ms;
    else
        append(out, (struct weir_item){.kind = WEIR_ITEM_WATERMARK, .watermark_ms = watermark_ms});
}

void weir_out_idle(struct weir_out *out, bool idle)
{
    if (out && out->child_count + out->writer_count > 0)
        set_idle(out, idle);
}

static void end_out(struct weir_out *out)
{
    if (!out || out->ended)
        return;
    weir_out_watermark(out, WEIR_WATERMARK_MAX);
    if (out->child_count + out->writer_count > 0)
        append(out, (struct weir_item){.kind = WEIR_ITEM_END});
    out->ended = true;
}

/* --- The rest of op.h */

bool weir_op_should_yield(struct weir_op_ctx *ctx)
{
    return weir_clock_mono_ns() >= node_of(ctx)->chain->deadline_ns;
}

int64_t weir_op_now_ms(struct weir_op_ctx *ctx)
{
    struct weir_chain *chain = node_of(ctx)->chain;
    if (!chain->now_ms_known) {
        chain->now_ms = weir_clock_wall_ms();
        chain->now_ms_known = true;
    }
    return chain->now_ms;
}

void weir_op_set_timer(struct weir_op_ctx *ctx, int64_t when_ms)
{
    struct op_node *node = node_of(ctx);
    if (when_ms == INT64_MAX || when_ms < node->timer_ms)
        node->timer_ms = when_ms;
}

void weir_op_wait_fd(struct weir_op_ctx *ctx, int fd)
{
    node_of(ctx)->wait_fd = fd;
}

void weir_op_add_committable(struct weir_op_ctx *ctx, const char *connector, const char *committable,
                             const struct weir_output_segments *segments)
{
    struct weir_chain *chain = node_of(ctx)->chain;
    weir_assert(chain->committable_count < COMMITTABLES_MAX);
    struct weir_chain_committable *c = &chain->committables[chain->committable_count++];
    c->connector = weir_strdup(connector);
    c->text = weir_strdup(committable);
    if (segments)
        weir_output_segments_copy(&c->segments, segments);
}

/* --- Moving items from an output to whoever is behind it */

static bool give_child(struct op_node *child, const struct weir_item *item)
{
    if (child->item.kind != WEIR_ITEM_NONE || child->replay.next < child->replay.count)
        return false;
    child->item = *item;
    child->item.input = 0;
    child->waiting = false;
    if (item->kind == WEIR_ITEM_BATCH)
        weir_batch_ref(item->batch);
    return true;
}

static bool give_writer(struct weir_edge_writer *writer, const struct weir_item *item, int64_t now_ns)
{
    if (item->kind == WEIR_ITEM_BATCH)
        weir_batch_ref(item->batch);
    if (weir_edge_writer_take(writer, item, now_ns))
        return true;
    if (item->kind == WEIR_ITEM_BATCH)
        weir_batch_unref(item->batch);
    return false;
}

/* Offers the first item to those who have not taken it; true: somebody did. */
static bool offer_first(struct weir_out *out, bool *all)
{
    struct weir_item *item = &out->items[out->first];
    bool moved = false;
    *all = true;
    for (int i = 0; i < out->child_count + out->writer_count; i++) {
        if (out->taken[i])
            continue;
        bool took = i < out->child_count
                        ? give_child(out->children[i], item)
                        : give_writer(out->writers[i - out->child_count], item, out->node->chain->now_ns);
        out->taken[i] = took;
        moved |= took;
        *all &= took;
    }
    out->partly |= moved;
    return moved;
}

static bool deliver(struct weir_out *out)
{
    bool moved = false;
    for (int w = 0; w < out->writer_count; w++)
        if (weir_edge_writer_busy(out->writers[w]))
            moved |= weir_edge_writer_advance(out->writers[w], out->node->chain->now_ns);
    while (out->count > 0) {
        bool all;
        moved |= offer_first(out, &all);
        if (!all)
            break;
        struct weir_item *item = &out->items[out->first];
        if (item->kind == WEIR_ITEM_BATCH) {
            if (out->writer_count > 0)
                out->edge_records += (uint64_t)item->batch->row_count;
            weir_batch_unref(item->batch);
            out->batches--;
        }
        out->first = (out->first + 1) % OUT_ITEMS_MAX;
        out->count--;
        out->partly = false;
        memset(out->taken, 0, (size_t)(out->child_count + out->writer_count));
    }
    return moved;
}

static bool deliver_all(struct op_node *node)
{
    bool moved = false;
    for (int o = 0; o < OUTPUTS; o++)
        if (node->outs[o])
            moved |= deliver(node->outs[o]);
    return moved;
}

static bool outs_have_room(const struct op_node *node)
{
    for (int o = 0; o < OUTPUTS; o++) {
        const struct weir_out *out = node->outs[o];
        int spare = node->chain->overdue ? WEIR_OUT_OVERDRAFT : 0;
        if (out && (out->batches >= out->batches_max + spare || out->count > OUT_ITEMS_MAX / 2 + spare))
            return false;
    }
    return true;
}

static bool has_room(const struct op_node *node)
{
    if (!outs_have_room(node))
        return false;
    /* It pushes past its absorbed children: nothing that it gave them before may still be on the way. */
    for (; node->absorbed; node = node->absorbed)
        if (node->outs[0]->count > 0 || node->absorbed->item.kind != WEIR_ITEM_NONE || !outs_have_room(node->absorbed))
            return false;
    return true;
}

/* --- Running one operator */

static void finish_watermark(struct op_node *node)
{
    int64_t watermark_ms = node->item.watermark_ms;
    if (node->vtable->makes_watermarks && watermark_ms != WEIR_WATERMARK_MAX)
        return;
    for (int o = 0; o < OUTPUTS; o++)
        weir_out_watermark(node->outs[o], watermark_ms);
}

static void finish_end(struct op_node *node)
{
    node->ended = true;
    node->timer_ms = INT64_MAX;
    node->wait_fd = -1;
    for (int o = 0; o < OUTPUTS; o++)
        end_out(node->outs[o]);
}

/* --- Barriers */

static void pass_barrier(struct op_node *node, const struct weir_barrier *barrier)
{
    for (int o = 0; o < OUTPUTS; o++) {
        struct weir_out *out = node->outs[o];
        if (out && !out->ended && out->child_count + out->writer_count > 0)
            append(out, (struct weir_item){.kind = WEIR_ITEM_BARRIER, .barrier = *barrier});
    }
}

void weir_chain_take_snapshot(struct op_node *node, const struct weir_barrier *barrier)
{
    struct weir_chain *chain = node->chain;
    if (node->index == 0) {
        chain->snapshot = weir_snapshot_new(barrier->checkpoint, barrier->complete, barrier->flags);
        chain->snapshot_missing = chain->op_count;
        chain->complete = barrier->complete;
    }
    weir_assert(chain->snapshot && chain->snapshot->checkpoint == barrier->checkpoint);
    if (barrier->flags & WEIR_BARRIER_STOP) {
        node->halted = true;
        node->timer_ms = INT64_MAX;
        node->wait_fd = -1;
    }
    if (node->vtable->snapshot) {
        int64_t began_ns = weir_clock_mono_ns();
        enter(node);
        weir_err err = node->vtable->snapshot(node->state, &node->ctx, chain->snapshot, &node->ctx.error);
        leave();
        chain->snapshot->sync_ns += weir_clock_mono_ns() - began_ns;
        if (!err)
            err = weir_state_memory_check(node->ctx.memory, &node->ctx.error);
        if (err) {
            fail(chain, node);
            return;
        }
    }
    if (--chain->snapshot_missing > 0)
        return;
    struct weir_snapshot *whole = chain->snapshot;
    chain->snapshot = NULL;
    whole->taken_ns = weir_clock_mono_ns();
    weir_chain_adopt_captures(chain, whole);
    if (chain->on_snapshot)
        chain->on_snapshot(chain->on_snapshot_arg, whole);
    else
        weir_snapshot_free(whole);
}

void weir_chain_complete(struct weir_chain *chain, uint64_t checkpoint)
{
    for (int i = 0; i < chain->op_count && chain->state == WEIR_CHAIN_RUNNING; i++) {
        struct op_node *node = &chain->nodes[i];
        if (!node->vtable->complete)
            continue;
        enter(node);
        weir_err err = node->vtable->complete(node->state, &node->ctx, checkpoint, &node->ctx.error);
        leave();
        if (err)
            fail(chain, node);
    }
}

struct weir_snapshot *weir_chain_last_snapshot(struct weir_chain *chain, bool tables)
{
    weir_assert(chain->state == WEIR_CHAIN_FINISHED);
    struct weir_snapshot *snapshot = weir_snapshot_new(0, chain->complete, 0);
    snapshot->without_tables = !tables && !chain->drained;
    for (int i = 0; i < chain->op_count; i++) {
        struct op_node *node = &chain->nodes[i];
        if (!node->vtable->snapshot)
            continue;
        enter(node);
        weir_err err = node->vtable->snapshot(node->state, &node->ctx, snapshot, &node->ctx.error);
        leave();
        if (!err)
            err = weir_state_memory_check(node->ctx.memory, &node->ctx.error);
        if (err) {
            fail(chain, node);
            weir_snapshot_free(snapshot);
            return NULL;
        }
    }
    weir_chain_adopt_captures(chain, snapshot);
    weir_chain_finish_captures(chain); /* the states go with the operators */
    for (int i = 0; i < chain->committable_count; i++)
        weir_snapshot_add_committable(snapshot, chain->committables[i].connector, chain->committables[i].text,
                                      &chain->committables[i].segments);
    return snapshot;
}

bool weir_chain_head_is_source(const struct weir_chain *chain)
{
    return chain->nodes[0].vtable->is_source;
}

bool weir_chain_may_inject(const struct weir_chain *chain)
{
    return !chain->snapshot && chain->injected.checkpoint == 0 && chain->passing.checkpoint == 0;
}

bool weir_chain_inject(struct weir_chain *chain, const struct weir_barrier *barrier)
{
    if (!weir_chain_may_inject(chain))
        return false;
    (void)weir_fault("executor.barrier-injected");
    /* Splits that nobody has asked for are no reason to wait: they are their coordinator's state. */
    if ((chain->hands_out && !(barrier->flags & WEIR_BARRIER_DRAIN)) || (barrier->flags & WEIR_BARRIER_OVERTAKES))
        chain->passing = *barrier;
    else
        chain->injected = *barrier;
    return true;
}

/* The head, a source, ends where it is. */
static void end_source(struct weir_chain *chain)
{
    struct op_node *head = &chain->nodes[0];
    chain->producing = false;
    for (int o = 0; o < OUTPUTS; o++)
        weir_out_watermark(head->outs[o], WEIR_WATERMARK_MAX);
    head->ctx.watermark_ms = WEIR_WATERMARK_MAX;
    head->item = (struct weir_item){.kind = WEIR_ITEM_END};
}

/* A source ends; a reader of splits reads no more of them, and ends behind whoever gives it some. */
static void drain(struct weir_chain *chain)
{
    if (chain->producing)
        end_source(chain);
    chain->nodes[0].ctx.draining = true;
    chain->nodes[0].waiting = false;
}

void weir_chain_input_over(struct weir_chain *chain)
{
    if (!chain->nodes[0].ctx.input_over)
        chain->nodes[0].waiting = false;
    chain->nodes[0].ctx.input_over = true;
}

/* Between two calls of the source, as soon as there is room: before it makes more, or it would never come to it. */
static bool step_injected(struct weir_chain *chain)
{
    struct op_node *head = &chain->nodes[0];
    if (head->ended) /* the task is about to be FINISHED, which says it all */
        chain->injected.checkpoint = 0;
    if (chain->injected.checkpoint == 0 || chain->snapshot || head->in_timer || !has_room(head))
        return false;
    if (head->item.kind == WEIR_ITEM_BATCH && !head->begun)
        return false; /* what came before the barrier must be in the operator's state */
    struct weir_barrier barrier = chain->injected;
    chain->injected.checkpoint = 0;
    if (!(barrier.flags & WEIR_BARRIER_DRAIN))
        weir_chain_take_snapshot(head, &barrier);
    pass_barrier(head, &barrier); /* readers of splits are told to end, and everybody that it is by a drain */
    if (barrier.flags & WEIR_BARRIER_DRAIN) {
        chain->drained = true;
        drain(chain);
    }
    deliver_all(head);
    return true;
}

/* Values that the operator saw since then were not right. */
static bool disk_failed(struct op_node *node)
{
    return weir_state_memory_check(node->ctx.memory, &node->ctx.error) != WEIR_OK;
}

static enum weir_step call_handler(struct op_node *node)
{
    const struct weir_op_vtable *v = node->vtable;
    switch (node->item.kind) {
    case WEIR_ITEM_BATCH:
        return v->batch ? v->batch(node->state, &node->ctx, node->item.input, node->item.batch) : WEIR_STEP_DONE;
    case WEIR_ITEM_WATERMARK:
        node->ctx.watermark_ms = node->item.watermark_ms;
        return v->watermark ? v->watermark(node->state, &node->ctx, node->item.watermark_ms) : WEIR_STEP_DONE;
    case WEIR_ITEM_END:
        return v->end ? v->end(node->state, &node->ctx) : WEIR_STEP_DONE;
    case WEIR_ITEM_BARRIER:
        if (node->item.barrier.flags & WEIR_BARRIER_DRAIN)
            return WEIR_STEP_DONE;
        weir_chain_take_snapshot(node, &node->item.barrier);
        return node->chain->state == WEIR_CHAIN_FAILED ? WEIR_STEP_FAILED : WEIR_STEP_DONE;
    case WEIR_ITEM_IDLE:
    case WEIR_ITEM_ACTIVE:
    case WEIR_ITEM_NONE:
        break;
    }
    return WEIR_STEP_DONE;
}

static void finish_item(struct op_node *node)
{
    struct weir_item item = node->item;
    switch (item.kind) {
    case WEIR_ITEM_BATCH:
        node->records_in += (uint64_t)item.batch->row_count;
        weir_batch_unref(item.batch);
        break;
    case WEIR_ITEM_WATERMARK:
        finish_watermark(node);
        break;
    case WEIR_ITEM_IDLE:
    case WEIR_ITEM_ACTIVE:
        /* A watermark operator says itself when its stream is idle. */
        if (!node->vtable->makes_watermarks)
            for (int o = 0; o < OUTPUTS; o++)
                weir_out_idle(node->outs[o], item.kind == WEIR_ITEM_IDLE);
        break;
    case WEIR_ITEM_BARRIER:
        pass_barrier(node, &item.barrier);
        if (item.barrier.flags & WEIR_BARRIER_DRAIN) {
            node->chain->drained = true;
            if (node->index == 0 && node->vtable->is_source) /* whoever reads what it was handed ends, too */
                drain(node->chain);
        }
        break;
    case WEIR_ITEM_END:
        finish_end(node);
        break;
    case WEIR_ITEM_NONE:
        break;
    }
    node->item.kind = WEIR_ITEM_NONE;
    node->begun = false;
}

/* AGAIN: did it do something, or does it wait for its timer, its fd, or a call? */
static bool made_progress(struct op_node *node, uint64_t pushes_before)
{
    node->waiting = node->pushes == pushes_before &&
                    (node->timer_ms != INT64_MAX || node->wait_fd >= 0 || node->ctx.awaits_call) &&
                    weir_clock_mono_ns() < node->chain->deadline_ns;
    return !node->waiting;
}

static bool run_item(struct op_node *node)
{
    uint64_t pushes = node->pushes;
    bool begun = node->begun;
    node->begun = true;
    node->ctx.awaits_call = false;
    enter(node);
    if (!begun && node->ctx.memory && node->item.kind == WEIR_ITEM_BATCH)
        weir_state_memory_settle(node->ctx.memory);
    if (node->item.kind == WEIR_ITEM_BATCH) {
        node->ctx.row_at_hand = -1;
        node->ctx.op_at_hand = NULL;
        weir_crash_batch((long long)node->records_in + 1, node->item.batch->row_count, &node->ctx.row_at_hand,
                         &node->ctx.op_at_hand);
    }
    enum weir_step step = call_handler(node);
    leave();
    if (step == WEIR_STEP_FAILED || disk_failed(node)) {
        fail(node->chain, node);
        return true;
    }
    if (step == WEIR_STEP_AGAIN)
        return made_progress(node, pushes);
    finish_item(node);
    return true;
}

static bool run_timer(struct op_node *node)
{
    if (!node->in_timer) {
        if (node->timer_ms > weir_op_now_ms(&node->ctx))
            return false;
        node->timer_ms = INT64_MAX;
    }
    node->waiting = false; /* what it waited for may be there */
    if (node->index == 0)
        node->chain->source_waits = false;
    if (!node->vtable->timer)
        return true;
    enter(node);
    enum weir_step step = node->vtable->timer(node->state, &node->ctx, weir_op_now_ms(&node->ctx));
    leave();
    if (step == WEIR_STEP_FAILED || disk_failed(node))
        fail(node->chain, node);
    node->in_timer = step == WEIR_STEP_AGAIN;
    return true;
}

/* A timer never comes between two calls of one item. */
static bool step_node(struct op_node *node)
{
    bool moved = deliver_all(node);
    if (node->index == 0)
        moved |= step_injected(node->chain);
    if (node->item.kind == WEIR_ITEM_NONE && node->replay.next < node->replay.count && !weir_chain_holds(node)) {
        node->item = node->replay.items[node->replay.next++].item;
        node->waiting = false;
        moved = true;
    }
    if (node->ended || node->halted || !has_room(node) || weir_chain_holds(node))
        return moved;
    if (node->item.kind == WEIR_ITEM_NONE || node->waiting || node->in_timer) {
        if ((node->timer_ms != INT64_MAX || node->in_timer) && run_timer(node)) {
            deliver_all(node);
            return true;
        }
        if (node->item.kind == WEIR_ITEM_NONE || node->waiting || node->in_timer)
            return moved;
    }
    if (!run_item(node))
        return moved;
    deliver_all(node);
    return true;
}

static bool step_source(struct weir_chain *chain)
{
    struct op_node *head = &chain->nodes[0];
    bool moved = deliver_all(head);
    moved |= step_injected(chain);
    if (head->halted || !chain->producing)
        return moved;
    if (head->in_timer || (head->timer_ms != INT64_MAX && !weir_chain_holds(head)))
        moved |= run_timer(head);
    if (chain->source_waits || !has_room(head) || weir_chain_holds(head) || chain->state != WEIR_CHAIN_RUNNING)
        return moved;
    bool progress = false;
    enter(head);
    enum weir_step step = head->vtable->produce(head->state, &head->ctx, &progress);
    leave();
    if (step == WEIR_STEP_FAILED) {
        fail(chain, head);
        return true;
    }
    if (step == WEIR_STEP_DONE) {
        end_source(chain);
        return true;
    }
    chain->source_waits = !progress; /* until the next call */
    if (progress)
        deliver_all(head);
    return moved || progress;
}

/* --- The driver's calls */

void weir_chain_begin(struct weir_chain *chain, int64_t now_ns, int64_t deadline_ns)
{
    chain->now_ns = now_ns;
    chain->deadline_ns = deadline_ns;
    chain->now_ms_known = false;
    chain->source_waits = false;
    for (int i = 0; i < chain->op_count; i++)
        chain->nodes[i].waiting = false;
}

static bool is_finished(const struct weir_chain *chain)
{
    for (int i = 0; i < chain->op_count; i++) {
        const struct op_node *node = &chain->nodes[i];
        if (!node->ended)
            return false;
        for (int o = 0; o < OUTPUTS; o++) {
            if (!node->outs[o])
                continue;
            if (node->outs[o]->count > 0)
                return false;
            for (int w = 0; w < node->outs[o]->writer_count; w++)
                if (weir_edge_writer_busy(node->outs[o]->writers[w]))
                    return false;
        }
    }
    return true;
}

static void check_writers(struct weir_chain *chain)
{
    for (int i = 0; i < chain->op_count; i++)
        for (int o = 0; o < OUTPUTS; o++) {
            const struct weir_out *out = chain->nodes[i].outs[o];
            for (int w = 0; out && w < out->writer_count; w++) {
                const struct weir_error *error = weir_edge_writer_error(out->writers[w]);
                if (!error || chain->state == WEIR_CHAIN_FAILED)
                    continue;
                chain->state = WEIR_CHAIN_FAILED;
                chain->failed_op = -1;
                chain->error = *error;
            }
        }
}

bool weir_chain_run(struct weir_chain *chain)
{
    bool any = weir_chain_step_captures(chain), moved = true;
    if (chain->state == WEIR_CHAIN_RUNNING)
        check_writers(chain);
    while (moved && chain->state == WEIR_CHAIN_RUNNING) {
        moved = false;
        /* Behind the head first: an item that the head gave goes all the way down in one round. */
        for (int i = 1; i < chain->op_count && chain->state == WEIR_CHAIN_RUNNING; i++)
            moved |= step_node(&chain->nodes[i]);
        if (!moved && chain->state == WEIR_CHAIN_RUNNING)
            moved = chain->producing ? step_source(chain) : step_node(&chain->nodes[0]);
        any |= moved;
        if (!moved)
            break;
        chain->now_ns = weir_clock_mono_ns();
        if (chain->now_ns >= chain->deadline_ns)
            break;
    }
    if (chain->state == WEIR_CHAIN_RUNNING && chain->nodes[0].ended && is_finished(chain) && chain->capture_count == 0)
        chain->state = WEIR_CHAIN_FINISHED;
    return any;
}

bool weir_chain_wants_input(const struct weir_chain *chain)
{
    const struct op_node *head = &chain->nodes[0];
    return chain->state == WEIR_CHAIN_RUNNING && chain->input_count > 0 && head->item.kind == WEIR_ITEM_NONE &&
           weir_chain_may_inject(chain) && chain->passing.checkpoint == 0 && !head->in_timer && !head->ended &&
           !head->halted && has_room(head);
}

void weir_chain_give(struct weir_chain *chain, const struct weir_item *item)
{
    struct op_node *head = &chain->nodes[0];
    weir_assert(head->item.kind == WEIR_ITEM_NONE);
    head->item = *item;
    head->waiting = false;
}

bool weir_chain_head_idle(const struct weir_chain *chain)
{
    return chain->nodes[0].item.kind == WEIR_ITEM_NONE;
}

bool weir_chain_halted(const struct weir_chain *chain)
{
    return chain->nodes[0].halted;
}

bool weir_chain_flush(struct weir_chain *chain, bool dry)
{
    bool left = false;
    for (int i = 0; i < chain->op_count; i++)
        for (int o = 0; o < OUTPUTS; o++) {
            const struct weir_out *out = chain->nodes[i].outs[o];
            for (int w = 0; out && w < out->writer_count; w++)
                left |= weir_edge_writer_flush(out->writers[w], chain->now_ns, dry);
        }
    return left;
}

enum weir_chain_state weir_chain_state(const struct weir_chain *chain)
{
    return chain->state;
}

bool weir_chain_backpressured(const struct weir_chain *chain)
{
    for (int i = 0; i < chain->op_count; i++)
        for (int o = 0; o < OUTPUTS; o++) {
            const struct weir_out *out = chain->nodes[i].outs[o];
            if (!out || out->writer_count == 0)
                continue;
            if (out->count > 0)
                return true;
            for (int w = 0; w < out->writer_count; w++)
                if (weir_edge_writer_busy(out->writers[w]))
                    return true;
        }
    return false;
}

int64_t weir_chain_due_ns(const struct weir_chain *chain, int64_t now_ns)
{
    int64_t due_ns = chain->passing.checkpoint && !chain->overdue ? chain->passing.due_ns : INT64_MAX, wall_ns = 0;
    for (int i = 0; i < chain->op_count; i++) {
        const struct op_node *node = &chain->nodes[i];
        /* Without room behind it a timer waits, and room is announced. */
        if (node->timer_ms != INT64_MAX && !node->ended && has_room(node) && !weir_chain_holds(node)) {
            if (!wall_ns) /* exact: half of what a row waits for would else be the rounding to a millisecond */
                wall_ns = weir_clock_wall_ns();
            int64_t left_ns = node->timer_ms > wall_ns / 1000000 + 3600000 ? 3600000000000
                              : node->timer_ms <= wall_ns / 1000000        ? 0
                                                                           : node->timer_ms * 1000000 - wall_ns;
            if (now_ns + left_ns < due_ns)
                due_ns = now_ns + left_ns;
        }
        for (int o = 0; o < OUTPUTS; o++)
            for (int w = 0; node->outs[o] && w < node->outs[o]->writer_count; w++) {
                int64_t writer_ns = weir_edge_writer_due_ns(node->outs[o]->writers[w]);
                due_ns = writer_ns < due_ns ? writer_ns : due_ns;
            }
    }
    due_ns = chain->report_ns < due_ns ? chain->report_ns : due_ns;
    if (chain->capture_count > 0 && chain->capture_ns < due_ns)
        due_ns = chain->capture_ns;
    return due_ns;
}

const struct weir_error *weir_chain_error(const struct weir_chain *chain, int *op)
{
    *op = chain->failed_op;
    return &chain->error;
}

int weir_chain_wait_fd(const struct weir_chain *chain)
{
    const struct op_node *head = &chain->nodes[0];
    if (head->ended || !has_room(head) || weir_chain_holds(head))
        return -1;
    if (chain->producing ? !chain->source_waits : !head->waiting)
        return -1;
    return head->wait_fd;
}

int weir_chain_committables(const struct weir_chain *chain, const struct weir_chain_committable **committables)
{
    *committables = chain->committables;
    return chain->committable_count;
}

/* --- Counters */

void weir_chain_publish(struct weir_chain *chain)
{
    for (int i = 0; i < chain->op_count; i++) {
        struct op_node *node = &chain->nodes[i];
        uint64_t out = node->records_out_extra;
        for (int o = 0; o < OUTPUTS; o++)
            out += node->outs[o] ? node->outs[o]->records : 0;
        struct weir_op_counters *c = &node->counters;
        atomic_store_explicit(&c->records_in, node->records_in, memory_order_relaxed);
        atomic_store_explicit(&c->records_out, out, memory_order_relaxed);
        atomic_store_explicit(&c->records_bad, node->records_bad, memory_order_relaxed);
        atomic_store_explicit(&c->late_dropped, node->late_dropped, memory_order_relaxed);
        atomic_store_explicit(&c->watermark_in_ms, node->ctx.watermark_ms, memory_order_relaxed);
        atomic_store_explicit(&c->watermark_out_ms, node->outs[0]->watermark_ms, memory_order_relaxed);
    }
}

void weir_chain_report(struct weir_chain *chain, int64_t now_ns, bool at_end)
{
    if (now_ns < chain->report_ns && !at_end)
        return;
    chain->report_ns = INT64_MAX;
    for (int i = 0; i < chain->op_count; i++) {
        struct op_node *node = &chain->nodes[i];
        if (!node->vtable->report || !node->open)
            continue;
        node->vtable->report(node->state, &node->ctx);
        chain->report_ns = now_ns + REPORT_NS;
    }
}

struct weir_op_numbers *weir_chain_numbers(const struct weir_chain *chain, int op)
{
    return &chain->nodes[op].numbers;
}

const struct weir_op_counters *weir_chain_counters(const struct weir_chain *chain, int op)
{
    return &chain->nodes[op].counters;
}

uint64_t weir_chain_bytes_out(const struct weir_chain *chain)
{
    uint64_t bytes = 0;
    for (int i = 0; i < chain->op_count; i++)
        for (int o = 0; o < OUTPUTS; o++)
            for (int w = 0; chain->nodes[i].outs[o] && w < chain->nodes[i].outs[o]->writer_count; w++)
                bytes += weir_edge_writer_bytes(chain->nodes[i].outs[o]->writers[w]);
    return bytes;
}

uint64_t weir_chain_records_out(const struct weir_chain *chain)
{
    uint64_t records = 0;
    for (int i = 0; i < chain->op_count; i++)
        for (int o = 0; o < OUTPUTS; o++)
            records += chain->nodes[i].outs[o] ? chain->nodes[i].outs[o]->edge_records : 0;
    return records;
}
