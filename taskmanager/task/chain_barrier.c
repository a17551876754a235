/* A barrier that passes all operators of a chain at once: one that may overtake what is queued, or that of a task which hands out splits.
 *
 * Until it is due it waits until the chain and its outputs are empty, as any barrier would; no new input is begun meanwhile. From then on it
 * waits only for what is half done (an operator in the middle of a batch, which may use an overdraft of room for that), and passes: every
 * operator gives its state, and what lies in front of it, in the chain or in a writer, becomes channel state of the snapshot. The barrier
 * goes straight into the channels, ahead of all that.
 */
#include "base/assert.h"
#include "task/chain_int.h"

static bool is_source_head(const struct op_node *node)
{
    return node->index == 0 && node->vtable->is_source;
}

static bool has_begun(const struct op_node *node)
{
    return node->item.kind != WEIR_ITEM_NONE && node->begun;
}

static bool can_be_cut(const struct op_node *node)
{
    return node->item.kind == WEIR_ITEM_BATCH && node->vtable->cut;
}

/* Does the barrier overtake what lies in front of it, in the chain? */
static bool is_overtaken(const struct op_node *node)
{
    return weir_link_overtaken_by(node->link, &node->chain->passing);
}

bool weir_chain_holds(const struct op_node *node)
{
    if (node->chain->passing.checkpoint == 0 || node->in_timer)
        return false;
    if (node->index > 0 && !is_overtaken(node))
        return false; /* the barrier waits until it has done all */
    bool overdue = node->chain->overdue;
    if (is_source_head(node)) {
        /* Whatever it works on, a restored split behind a watermark too, is in its state; a split that it was given is not yet. */
        if (node->begun || node->item.kind == WEIR_ITEM_NONE)
            return true;
        return overdue && node->item.kind != WEIR_ITEM_BATCH;
    }
    if (has_begun(node))
        return overdue && can_be_cut(node);
    return overdue;
}

/* --- May it pass now? */

static bool is_leaf(const struct op_node *node)
{
    for (int o = 0; o < 3; o++)
        if (node->outs[o] && node->outs[o]->child_count + node->outs[o]->writer_count > 0)
            return false;
    return true;
}

/* A sink that has ended has put its output aside for the end of the task, which is about to come and says it all. */
static bool is_ending(const struct weir_chain *chain)
{
    for (int i = 0; i < chain->op_count; i++)
        if (chain->nodes[i].ended && is_leaf(&chain->nodes[i]))
            return true;
    return chain->committable_count > 0;
}

static bool is_half_done(const struct op_node *node, bool overdue)
{
    if (node->in_timer)
        return true;
    if (node->index > 0 && !is_overtaken(node))
        return node->item.kind != WEIR_ITEM_NONE || node->replay.next < node->replay.count;
    if (is_source_head(node))
        return node->item.kind == WEIR_ITEM_BATCH && !node->begun;
    return has_begun(node) && !(overdue && can_be_cut(node));
}

static bool is_empty(const struct op_node *node)
{
    if ((node->item.kind != WEIR_ITEM_NONE && !is_source_head(node)) || node->replay.next < node->replay.count)
        return false;
    for (int o = 0; o < 3; o++) {
        const struct weir_out *out = node->outs[o];
        if (out && out->count > 0)
            return false;
        for (int w = 0; out && w < out->writer_count; w++)
            if (!weir_edge_writer_settled(out->writers[w]))
                return false;
    }
    return true;
}

/* Nothing lies where a barrier may not overtake it. */
static bool keeps_order(const struct op_node *node)
{
    for (int o = 0; o < 3; o++) {
        const struct weir_out *out = node->outs[o];
        for (int c = 0; out && c < out->child_count; c++)
            if (!is_overtaken(out->children[c]) && (out->count > 0 || out->children[c]->item.kind != WEIR_ITEM_NONE))
                return false;
        for (int w = 0; out && w < out->writer_count; w++) {
            const struct weir_edge_writer *writer = out->writers[w];
            if (!weir_edge_writer_overtaken_by(writer, &node->chain->passing) &&
                !weir_edge_writer_is_on_demand(writer) && (out->count > 0 || !weir_edge_writer_settled(writer)))
                return false;
        }
    }
    return true;
}

/* In the middle of a batch: what it has done goes on, the rest is in front of it. False: not now. */
static bool cut(struct op_node *node)
{
    node->cut_row = 0;
    if (!has_begun(node) || is_source_head(node))
        return true;
    node->cut_row = node->vtable->cut(node->state, &node->ctx, node->item.batch);
    return node->cut_row >= 0;
}

static void forget(struct weir_chain *chain)
{
    chain->passing.checkpoint = 0;
    chain->overdue = false;
}

bool weir_chain_may_pass(struct weir_chain *chain, int64_t now_ns)
{
    if (chain->passing.checkpoint == 0 || chain->state != WEIR_CHAIN_RUNNING)
        return false;
    if (is_ending(chain)) {
        forget(chain);
        return false;
    }
    chain->overdue = chain->hands_out || now_ns >= chain->passing.due_ns;
    for (int i = 0; i < chain->op_count; i++)
        if (is_half_done(&chain->nodes[i], chain->overdue))
            return false;
    for (int i = 0; i < chain->op_count && chain->overdue; i++)
        if (!cut(&chain->nodes[i]))
            return false;
    for (int i = 0; i < chain->op_count; i++)
        if (chain->overdue ? !keeps_order(&chain->nodes[i]) : !is_empty(&chain->nodes[i]))
            return false;
    return true;
}

/* --- Passing */

/* What is left of the item in hand, with a reference of its own; NONE: nothing that counts. */
static struct weir_item rest_of(const struct op_node *node)
{
    struct weir_item item = {.kind = WEIR_ITEM_NONE};
    if (node->item.kind == WEIR_ITEM_WATERMARK && !node->begun)
        return node->item;
    if (node->item.kind != WEIR_ITEM_BATCH || is_source_head(node))
        return item;
    struct weir_batch *batch = node->item.batch;
    int from = node->begun ? node->cut_row : 0;
    if (from == batch->row_count)
        return item;
    item.kind = WEIR_ITEM_BATCH;
    item.batch = from == 0 ? weir_batch_ref(batch) : weir_batch_slice(batch, from, batch->row_count - from);
    return item;
}

struct weir_batch *weir_chain_in_hand(const struct weir_chain *chain)
{
    struct weir_item rest = rest_of(&chain->nodes[0]);
    return rest.kind == WEIR_ITEM_BATCH ? rest.batch : NULL;
}

/* The operator that it is a child of, and as which. */
static const struct weir_out *upstream_of(const struct weir_chain *chain, const struct op_node *node, int *as)
{
    for (int i = 0; i < node->index; i++)
        for (int o = 0; o < 3; o++) {
            const struct weir_out *out = chain->nodes[i].outs[o];
            for (*as = 0; out && *as < out->child_count; ++*as)
                if (out->children[*as] == node)
                    return out;
        }
    weir_assert(false);
    return NULL;
}

/* Everything between an operator and the one before it in the chain. */
static void record_before(struct weir_chain *chain, const struct op_node *node, struct weir_inflight *rows)
{
    int own = node->ctx.subtask, as;
    if (!node->link)
        return;
    struct weir_item rest = rest_of(node);
    weir_inflight_in(rows, node->link, own, &rest);
    if (rest.kind == WEIR_ITEM_BATCH)
        weir_batch_unref(rest.batch);
    for (int i = node->replay.next; i < node->replay.count; i++)
        weir_inflight_in(rows, node->link, node->replay.items[i].from, &node->replay.items[i].item);
    const struct weir_out *out = upstream_of(chain, node, &as);
    for (int i = out->taken[as]; i < out->count; i++)
        weir_inflight_in(rows, node->link, own, &out->items[(out->first + i) % OUT_ITEMS_MAX]);
}

static void pass_out(struct weir_out *out, const struct weir_barrier *barrier, struct weir_inflight *rows)
{
    for (int w = 0; w < out->writer_count; w++) {
        struct weir_edge_writer *writer = out->writers[w];
        if (weir_edge_writer_overtaken_by(writer, barrier)) {
            weir_edge_writer_record(writer, rows);
            for (int i = out->taken[out->child_count + w]; i < out->count; i++)
                weir_edge_writer_record_item(writer, &out->items[(out->first + i) % OUT_ITEMS_MAX], rows);
        }
        weir_edge_writer_overtake(writer, barrier);
    }
}

struct weir_barrier weir_chain_passing(const struct weir_chain *chain)
{
    return chain->passing;
}

void weir_chain_pass(struct weir_chain *chain, struct weir_inflight *rows)
{
    struct weir_barrier barrier = chain->passing;
    forget(chain);
    for (int i = 0; i < chain->op_count && chain->state == WEIR_CHAIN_RUNNING; i++) {
        if (i > 0)
            record_before(chain, &chain->nodes[i], rows);
        weir_chain_take_snapshot(&chain->nodes[i], &barrier);
    }
    for (int i = 0; i < chain->op_count && chain->state == WEIR_CHAIN_RUNNING; i++)
        for (int o = 0; o < 3; o++)
            if (chain->nodes[i].outs[o])
                pass_out(chain->nodes[i].outs[o], &barrier, rows);
}

int weir_chain_subtask(const struct weir_chain *chain)
{
    return chain->nodes[0].ctx.subtask;
}

void weir_chain_intercept(struct weir_chain *chain, void (*on_snapshot)(void *arg, struct weir_snapshot *take_snapshot),
                          void *arg, void (**before)(void *arg, struct weir_snapshot *take_snapshot), void **before_arg)
{
    *before = chain->on_snapshot;
    *before_arg = chain->on_snapshot_arg;
    chain->on_snapshot = on_snapshot;
    chain->on_snapshot_arg = arg;
}

/* --- Splits and restores */

int64_t weir_out_undelivered(const struct weir_out *out)
{
    int64_t rows = 0;
    for (int i = 0; out && i < out->count; i++) {
        const struct weir_item *item = &out->items[(out->first + i) % OUT_ITEMS_MAX];
        rows += item->kind == WEIR_ITEM_BATCH ? item->batch->row_count : 0;
    }
    for (int w = 0; out && w < out->writer_count; w++)
        rows += weir_edge_writer_undelivered(out->writers[w]);
    return rows;
}

void weir_chain_replay(struct weir_chain *chain, int op, struct weir_inflight_list *take_list)
{
    weir_assert(op > 0 && op < chain->op_count && chain->nodes[op].replay.count == 0);
    chain->nodes[op].replay = *take_list;
    for (int i = 0; i < take_list->count; i++)
        chain->nodes[op].replay.items[i].item.input = 0;
    *take_list = (struct weir_inflight_list){NULL, 0, 0};
}
