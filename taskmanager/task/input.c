#include "task/input.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"

#define PENDING_MAX 6
#define ANNOUNCED_MAX 8 /* barriers seen and not said: as many as checkpoints may be under way */

struct entry {
    struct weir_channel *chan;
    const struct weir_link *link; /* NULL: nothing is overtaken */
    uint64_t looked;              /* items of the channel before it were looked at for barriers */
    int number;
    int64_t watermark_ms;
    bool idle, ended;
    bool aligned;       /* counts in the minimum: active, and has reached the merged watermark */
    bool blocked;       /* behind the barrier that the others have not given yet */
    bool parked;        /* blocked, has data, and is not in the queue */
    uint64_t barrier;   /* the last checkpoint whose barrier it gave */
    struct entry *next; /* in the queue of channels with data */
};

struct recording { /* of a checkpoint that was cut, until every channel has brought its barrier or its end */
    uint64_t checkpoint;
    struct weir_inflight *rows; /* the caller's */
    uint64_t *at;               /* by entry: items before it are recorded; UINT64_MAX: it has brought it */
    int missing;
    bool given_up;
    struct recording *next;
};

struct weir_input {
    struct weir_inbox *inbox;
    struct entry **entries;
    int count, ended_count, idle_count; /* idle: not ended */
    struct entry *first, *last;         /* with data, in turn */
    struct entry *charged;              /* whose batch is being worked on */
    struct entry *stashed;              /* whose batch is in `pending` */
    const struct weir_error *error;
    int64_t watermark_ms;
    bool idle;                             /* IDLE was said */
    bool ended;                            /* END was said */
    struct weir_item pending[PENDING_MAX]; /* made by one event, not yet given */
    int pending_first, pending_count;
    struct weir_barrier barrier; /* being aligned; checkpoint 0: none */
    int barrier_missing;         /* channels that have neither given it nor ended */
    uint64_t barrier_last;       /* the newest that was said, or given up */
    bool at_least_once;
    struct weir_barrier announced[ANNOUNCED_MAX]; /* may overtake, and were not said; by checkpoint */
    int announced_count;
    uint64_t began_bytes, alignment_bytes; /* what had been taken at its beginning; meanwhile */
    int64_t began_ns, alignment_ns;        /* of the barrier that is being aligned; of the last one */
    struct recording *recordings;
    struct weir_inflight_list replay;   /* goes before the channels */
    int *replay_numbers;                /* by item */
    const struct weir_link *given_link; /* of the last batch that was given: where it came from */
    int given_from;
    uint64_t records, bytes;
};

static void set_given(struct weir_input *input, const struct entry *entry)
{
    input->given_link = entry->link;
    input->given_from = weir_channel_from(entry->chan->id);
}

static bool take_pending(struct weir_input *input, struct weir_item *item)
{
    if (input->pending_count == 0)
        return false;
    *item = input->pending[input->pending_first];
    input->pending_first = (input->pending_first + 1) % PENDING_MAX;
    input->pending_count--;
    input->ended |= item->kind == WEIR_ITEM_END;
    if (item->kind == WEIR_ITEM_BATCH) {
        input->charged = input->stashed;
        set_given(input, input->stashed);
    }
    return true;
}

struct weir_input *weir_input_new(struct weir_waker *waker)
{
    struct weir_input *input = weir_zalloc(sizeof *input);
    input->inbox = weir_inbox_new(waker);
    input->watermark_ms = INT64_MIN;
    return input;
}

static void drop_recording(struct recording **at)
{
    struct recording *recording = *at;
    *at = recording->next;
    free(recording->at);
    free(recording);
}

void weir_input_free(struct weir_input *input)
{
    if (!input)
        return;
    struct weir_item item;
    while (take_pending(input, &item))
        if (item.kind == WEIR_ITEM_BATCH)
            weir_batch_unref(item.batch);
    for (int i = 0; i < input->count; i++) {
        weir_channel_unref(input->entries[i]->chan);
        free(input->entries[i]);
    }
    while (input->recordings)
        drop_recording(&input->recordings);
    weir_inflight_list_fini(&input->replay);
    free(input->replay_numbers);
    free(input->entries);
    weir_inbox_unref(input->inbox);
    free(input);
}

struct weir_inbox *weir_input_inbox(struct weir_input *input)
{
    return input->inbox;
}

void weir_input_add(struct weir_input *input, struct weir_channel *chan, int number)
{
    struct entry *entry = weir_zalloc(sizeof *entry);
    entry->chan = weir_channel_ref(chan);
    entry->number = number;
    entry->watermark_ms = INT64_MIN;
    entry->aligned = true;
    chan->owner = entry;
    input->entries = weir_realloc(input->entries, (size_t)(input->count + 1) * sizeof(struct entry *));
    input->entries[input->count++] = entry;
}

void weir_input_set_link(struct weir_input *input, const struct weir_link *link)
{
    if (weir_link_overtakes(link))
        input->entries[input->count - 1]->link = link;
}

void weir_input_replay(struct weir_input *input, struct weir_inflight_list *take_list, int number)
{
    struct weir_inflight_list *all = &input->replay;
    size_t count = (size_t)(all->count + take_list->count);
    if (count > 0) {
        all->items = weir_realloc(all->items, count * sizeof *all->items);
        input->replay_numbers = weir_realloc(input->replay_numbers, count * sizeof *input->replay_numbers);
    }
    for (int i = 0; i < take_list->count; i++) {
        input->replay_numbers[all->count] = number;
        all->items[all->count++] = take_list->items[i];
    }
    free(take_list->items);
    *take_list = (struct weir_inflight_list){NULL, 0, 0};
}

/* --- Merging */

static void say(struct weir_input *input, struct weir_item item)
{
    weir_assert(input->pending_count < PENDING_MAX);
    input->pending[(input->pending_first + input->pending_count++) % PENDING_MAX] = item;
}

static void say_watermark(struct weir_input *input, int64_t watermark_ms)
{
    if (watermark_ms <= input->watermark_ms)
        return;
    input->watermark_ms = watermark_ms;
    say(input, (struct weir_item){.kind = WEIR_ITEM_WATERMARK, .watermark_ms = watermark_ms});
}

/* The minimum over the channels that count. */
static void merge(struct weir_input *input)
{
    int64_t min_ms = INT64_MAX;
    bool any = false;
    for (int i = 0; i < input->count; i++) {
        const struct entry *entry = input->entries[i];
        if (entry->ended || entry->idle || !entry->aligned)
            continue;
        any = true;
        if (entry->watermark_ms < min_ms)
            min_ms = entry->watermark_ms;
    }
    if (any)
        say_watermark(input, min_ms);
}

static void say_idle(struct weir_input *input, bool idle)
{
    if (input->idle == idle)
        return;
    input->idle = idle;
    say(input, (struct weir_item){.kind = idle ? WEIR_ITEM_IDLE : WEIR_ITEM_ACTIVE});
}

/* All channels that have not ended are idle: nothing more is expected now, so the furthest of them is the time. */
static void all_idle(struct weir_input *input)
{
    int64_t max_ms = INT64_MIN;
    for (int i = 0; i < input->count; i++)
        if (!input->entries[i]->ended && input->entries[i]->watermark_ms > max_ms)
            max_ms = input->entries[i]->watermark_ms;
    say_watermark(input, max_ms);
    say_idle(input, true);
}

static void set_active(struct weir_input *input, struct entry *entry)
{
    if (!entry->idle || entry->ended)
        return;
    entry->idle = false;
    input->idle_count--;
    entry->aligned = entry->watermark_ms >= input->watermark_ms;
    say_idle(input, false);
}

static void take_watermark(struct weir_input *input, struct entry *entry, int64_t watermark_ms)
{
    set_active(input, entry);
    if (watermark_ms <= entry->watermark_ms)
        return;
    bool held_back = entry->watermark_ms <= input->watermark_ms || !entry->aligned;
    entry->watermark_ms = watermark_ms;
    if (!entry->aligned && watermark_ms >= input->watermark_ms)
        entry->aligned = true;
    if (held_back) /* only the slowest can move the minimum */
        merge(input);
}

static void take_idle(struct weir_input *input, struct entry *entry)
{
    if (entry->idle || entry->ended)
        return;
    entry->idle = true;
    input->idle_count++;
    if (input->idle_count + input->ended_count == input->count)
        all_idle(input);
    else
        merge(input);
}

/* --- Barriers */

static void enqueue(struct weir_input *input, struct entry *entry)
{
    entry->next = NULL;
    if (input->last)
        input->last->next = entry;
    else
        input->first = entry;
    input->last = entry;
}

static void unblock_all(struct weir_input *input)
{
    for (int i = 0; i < input->count; i++) {
        struct entry *entry = input->entries[i];
        entry->blocked = false;
        if (entry->parked)
            enqueue(input, entry);
        entry->parked = false;
    }
}

/* Those up to it are over. */
static void forget_announced(struct weir_input *input, uint64_t checkpoint)
{
    int kept = 0;
    for (int i = 0; i < input->announced_count; i++)
        if (input->announced[i].checkpoint > checkpoint)
            input->announced[kept++] = input->announced[i];
    input->announced_count = kept;
}

static void begin_alignment(struct weir_input *input)
{
    if (input->began_ns != 0)
        return;
    input->began_ns = weir_clock_mono_ns();
    input->began_bytes = input->bytes;
}

static void end_alignment(struct weir_input *input, uint64_t checkpoint)
{
    input->alignment_ns = input->began_ns ? weir_clock_mono_ns() - input->began_ns : 0;
    input->alignment_bytes = input->began_ns ? input->bytes - input->began_bytes : 0;
    input->began_bytes = input->bytes;
    input->barrier_last = checkpoint;
    input->barrier.checkpoint = 0;
    forget_announced(input, checkpoint);
    input->began_ns = input->announced_count > 0 ? weir_clock_mono_ns() : 0;
    unblock_all(input);
}

/* It is somewhere in the channels, or was triggered. */
static void announce(struct weir_input *input, const struct weir_barrier *barrier)
{
    if (!(barrier->flags & WEIR_BARRIER_OVERTAKES) || barrier->checkpoint <= input->barrier_last ||
        barrier->checkpoint < input->barrier.checkpoint)
        return;
    int at = 0;
    while (at < input->announced_count && input->announced[at].checkpoint < barrier->checkpoint)
        at++;
    if (at < input->announced_count && input->announced[at].checkpoint == barrier->checkpoint) {
        if (barrier->due_ns < input->announced[at].due_ns)
            input->announced[at].due_ns = barrier->due_ns;
        return;
    }
    if (input->announced_count == ANNOUNCED_MAX)
        return; /* it is noticed again when its turn has come */
    memmove(&input->announced[at + 1], &input->announced[at],
            (size_t)(input->announced_count - at) * sizeof *input->announced);
    input->announced[at] = *barrier;
    input->announced_count++;
    begin_alignment(input);
}

static void settle_barrier(struct weir_input *input)
{
    if (input->barrier.checkpoint == 0 || input->barrier_missing > 0)
        return;
    (void)weir_fault("executor.barrier-aligned");
    say(input, (struct weir_item){.kind = WEIR_ITEM_BARRIER, .barrier = input->barrier});
    end_alignment(input, input->barrier.checkpoint);
}

/* False: of a checkpoint that is over. */
static bool begin_barrier(struct weir_input *input, const struct weir_barrier *barrier)
{
    if (barrier->checkpoint <= input->barrier_last || barrier->checkpoint < input->barrier.checkpoint)
        return false;
    if (barrier->checkpoint == input->barrier.checkpoint)
        return true;
    if (input->barrier.checkpoint > 0)
        unblock_all(input);
    forget_announced(input, barrier->checkpoint - 1);
    announce(input, barrier);
    begin_alignment(input);
    input->barrier = *barrier;
    input->barrier_missing = input->count - input->ended_count;
    return true;
}

static void take_barrier(struct weir_input *input, struct entry *entry, const struct weir_barrier *barrier)
{
    if (!begin_barrier(input, barrier) || entry->barrier == barrier->checkpoint)
        return;
    entry->barrier = barrier->checkpoint;
    entry->blocked = !input->at_least_once;
    input->barrier_missing--;
    settle_barrier(input);
}

void weir_input_set_aligned(struct weir_input *input, bool aligned)
{
    input->at_least_once = !aligned;
}

void weir_input_trigger(struct weir_input *input, const struct weir_barrier *barrier)
{
    if (!input->ended && begin_barrier(input, barrier))
        settle_barrier(input);
}

bool weir_input_is_over(const struct weir_input *input, uint64_t checkpoint)
{
    return checkpoint <= input->barrier_last;
}

bool weir_input_take_barrier(struct weir_input *input, struct weir_barrier *barrier)
{
    if (input->count != 1 || input->pending_count > 0)
        return false;
    struct entry *entry = input->entries[0];
    struct weir_item item;
    if (weir_channel_peek_kind(entry->chan) != WEIR_ITEM_BARRIER || !weir_channel_pop(entry->chan, &item))
        return false;
    weir_channel_done(entry->chan, false);
    *barrier = item.barrier;
    input->alignment_ns = 0;
    input->alignment_bytes = 0;
    bool newer = item.barrier.checkpoint > input->barrier_last;
    if (newer)
        input->barrier_last = item.barrier.checkpoint;
    return newer;
}

bool weir_input_is_over_after(const struct weir_input *input)
{
    struct weir_channel *chan = input->count == 1 ? input->entries[0]->chan : NULL;
    const struct weir_item *item = chan ? weir_channel_look(chan, chan->head) : NULL;
    return item &&
           (item->kind == WEIR_ITEM_END || (item->kind == WEIR_ITEM_WATERMARK && item->watermark_ms == INT64_MAX));
}

static void take_end(struct weir_input *input, struct entry *entry)
{
    weir_assert(!entry->ended);
    if (entry->idle)
        input->idle_count--;
    entry->idle = false;
    entry->ended = true;
    input->ended_count++;
    if (input->barrier.checkpoint > 0 && entry->barrier != input->barrier.checkpoint) {
        input->barrier_missing--;
        settle_barrier(input); /* before what the end says: all its rows came before */
    }
    if (input->ended_count == input->count) {
        say_watermark(input, INT64_MAX);
        say(input, (struct weir_item){.kind = WEIR_ITEM_END});
    } else if (input->idle_count + input->ended_count == input->count) {
        all_idle(input);
    } else {
        merge(input);
    }
}

/* --- Barriers that overtake */

/* What has come on a channel since it was looked at last, for one recording. */
static void record_channel(struct weir_input *input, struct recording *recording, int e)
{
    const struct entry *entry = input->entries[e];
    const struct weir_item *item;
    while (!recording->given_up && recording->at[e] != UINT64_MAX &&
           (item = weir_channel_look(entry->chan, recording->at[e]))) {
        recording->at[e]++;
        if (item->kind == WEIR_ITEM_END ||
            (item->kind == WEIR_ITEM_BARRIER && item->barrier.checkpoint == recording->checkpoint)) {
            recording->at[e] = UINT64_MAX;
            recording->missing--;
        } else if (item->kind == WEIR_ITEM_BARRIER) {
            recording->given_up = item->barrier.checkpoint > recording->checkpoint;
        } else {
            weir_inflight_in(recording->rows, entry->link, weir_channel_from(entry->chan->id), item);
        }
    }
}

static void record_all(struct weir_input *input)
{
    for (struct recording *recording = input->recordings; recording; recording = recording->next)
        for (int e = 0; e < input->count; e++)
            record_channel(input, recording, e);
}

bool weir_input_drop(struct weir_input *input)
{
    struct weir_item item;
    weir_input_done(input);
    if (!input->recordings || !weir_input_next(input, &item))
        return false;
    if (item.kind == WEIR_ITEM_BATCH)
        weir_batch_unref(item.batch);
    weir_input_done(input);
    return true;
}

bool weir_input_recorded(struct weir_input *input, struct weir_inflight **rows, bool *given_up)
{
    record_all(input);
    for (struct recording **at = &input->recordings; *at; at = &(*at)->next) {
        if ((*at)->missing > 0 && !(*at)->given_up)
            continue;
        *rows = (*at)->rows;
        *given_up = (*at)->given_up;
        drop_recording(at);
        return true;
    }
    return false;
}

static void look_for_barriers(struct weir_input *input)
{
    if (!atomic_load_explicit(&input->inbox->urgent, memory_order_relaxed) ||
        !atomic_exchange(&input->inbox->urgent, 0))
        return;
    for (int e = 0; e < input->count; e++) {
        struct entry *entry = input->entries[e];
        const struct weir_item *item;
        if (entry->looked < entry->chan->head)
            entry->looked = entry->chan->head;
        for (; (item = weir_channel_look(entry->chan, entry->looked)); entry->looked++)
            if (item->kind == WEIR_ITEM_BARRIER)
                announce(input, &item->barrier);
    }
}

/* What may not be overtaken has come in its turn. */
static bool has_given(const struct entry *entry, uint64_t checkpoint)
{
    return entry->ended || entry->barrier >= checkpoint;
}

static bool may_overtake(const struct weir_input *input, const struct weir_barrier *announced)
{
    bool may = !input->ended && announced->checkpoint >= input->barrier.checkpoint &&
               /* the operator has a batch of such an edge in hand */
               !(input->charged && !weir_link_overtaken_by(input->charged->link, announced));
    for (int e = 0; e < input->count && may; e++)
        may = weir_link_overtaken_by(input->entries[e]->link, announced) ||
              has_given(input->entries[e], announced->checkpoint);
    for (int i = input->replay.next; i < input->replay.count && may; i++)
        may = weir_link_overtaken_by(input->replay.items[i].link, announced);
    return may;
}

bool weir_input_overdue(struct weir_input *input, int64_t now_ns, struct weir_barrier *barrier)
{
    look_for_barriers(input);
    for (int i = 0; i < input->announced_count; i++) {
        if (input->announced[i].due_ns > now_ns || !may_overtake(input, &input->announced[i]))
            continue;
        *barrier = input->announced[i];
        return true;
    }
    return false;
}

void weir_input_give_up(struct weir_input *input, uint64_t checkpoint)
{
    if (checkpoint > input->barrier_last)
        end_alignment(input, checkpoint);
}

void weir_input_record_in_hand(const struct weir_input *input, struct weir_inflight *rows,
                               struct weir_batch *take_in_hand)
{
    struct weir_item item = {.kind = WEIR_ITEM_BATCH, .batch = take_in_hand};
    if (take_in_hand && input->given_link)
        weir_inflight_in(rows, input->given_link, input->given_from, &item);
    weir_batch_unref(take_in_hand);
}

/* What was taken out of the channels, or lay before them, and did not come to the operator. */
static void record_taken(struct weir_input *input, struct weir_inflight *rows, struct weir_batch *take_in_hand)
{
    weir_input_record_in_hand(input, rows, take_in_hand);
    for (int i = input->replay.next; i < input->replay.count; i++)
        weir_inflight_in(rows, input->replay.items[i].link, input->replay.items[i].from, &input->replay.items[i].item);
    for (int i = 0; i < input->pending_count; i++) {
        const struct weir_item *pending = &input->pending[(input->pending_first + i) % PENDING_MAX];
        if (pending->kind == WEIR_ITEM_BATCH && input->stashed->link)
            weir_inflight_in(rows, input->stashed->link, weir_channel_from(input->stashed->chan->id), pending);
    }
}

bool weir_input_cut(struct weir_input *input, const struct weir_barrier *barrier, struct weir_inflight *rows,
                    struct weir_batch *take_in_hand)
{
    record_taken(input, rows, take_in_hand);
    struct recording *recording = weir_zalloc(sizeof *recording);
    recording->checkpoint = barrier->checkpoint;
    recording->rows = rows;
    recording->at = weir_zalloc((size_t)(input->count + 1) * sizeof *recording->at);
    for (int e = 0; e < input->count; e++) {
        const struct entry *entry = input->entries[e];
        bool over = has_given(entry, barrier->checkpoint);
        recording->at[e] = over ? UINT64_MAX : entry->chan->head;
        recording->missing += !over;
        weir_assert(over || entry->link);
        record_channel(input, recording, e);
    }
    end_alignment(input, barrier->checkpoint);
    recording->next = input->recordings;
    input->recordings = recording;
    bool whole = recording->missing == 0 && !recording->given_up;
    if (whole)
        drop_recording(&input->recordings);
    return !whole;
}

int64_t weir_input_due_ns(const struct weir_input *input)
{
    int64_t due_ns = INT64_MAX;
    for (int i = 0; i < input->announced_count; i++)
        if (input->announced[i].due_ns < due_ns && may_overtake(input, &input->announced[i]))
            due_ns = input->announced[i].due_ns;
    return due_ns;
}

int64_t weir_input_alignment_ns(const struct weir_input *input)
{
    return input->alignment_ns;
}

uint64_t weir_input_alignment_bytes(const struct weir_input *input)
{
    return input->alignment_bytes;
}

/* --- Channels in turn */

static void take_announced(struct weir_input *input)
{
    struct weir_ready_node *node = weir_ready_take(&input->inbox->list);
    while (node) {
        struct weir_ready_node *next = node->next;
        struct weir_channel *chan = (void *)((uint8_t *)node - offsetof(struct weir_channel, data));
        enqueue(input, chan->owner);
        node = next;
    }
}

/* A parked channel that breaks is announced already: it is seen here. */
static void look_at_parked(struct weir_input *input)
{
    for (int i = 0; i < input->count && input->barrier.checkpoint > 0 && !input->error; i++)
        if (input->entries[i]->parked && weir_channel_broken(input->entries[i]->chan))
            input->error = &input->entries[i]->chan->error;
}

/* The first channel with data and its item. A channel stays in the queue, marked queued, while it has some. */
static struct entry *pop_in_turn(struct weir_input *input, struct weir_item *item)
{
    for (;;) {
        struct entry *entry = input->first;
        if (!entry) {
            look_at_parked(input);
            return NULL;
        }
        input->first = entry->next;
        if (!input->first)
            input->last = NULL;
        if (weir_channel_broken(entry->chan) && !input->error)
            input->error = &entry->chan->error;
        if (entry->blocked) {
            entry->parked = true;
            continue;
        }
        if (weir_channel_peek(entry->chan)) {
            record_all(input); /* at least what is popped now */
            (void)weir_channel_pop(entry->chan, item);
            enqueue(input, entry);
            return entry;
        }
        weir_ready_done(&entry->chan->data);
        /* Pushed or broken just before: its producer found it queued and said nothing. */
        bool again = weir_channel_peek(entry->chan) || (weir_channel_broken(entry->chan) && !input->error);
        if (again && weir_ready_claim(&entry->chan->data))
            enqueue(input, entry);
    }
}

static struct entry *entry_of(struct weir_input *input, const struct weir_inflight_item *replayed)
{
    for (int e = 0; e < input->count; e++)
        if (input->entries[e]->link == replayed->link &&
            weir_channel_from(input->entries[e]->chan->id) == replayed->from)
            return input->entries[e];
    return NULL;
}

/* One of those that a barrier overtook before this attempt. False: a watermark that is no news, or was said. */
static bool take_replayed(struct weir_input *input, struct weir_item *item)
{
    const struct weir_inflight_item *replayed = &input->replay.items[input->replay.next];
    int number = input->replay_numbers[input->replay.next++];
    if (replayed->item.kind != WEIR_ITEM_BATCH) {
        struct entry *entry = entry_of(input, replayed);
        if (entry)
            take_watermark(input, entry, replayed->item.watermark_ms);
        return false;
    }
    *item = replayed->item;
    item->input = number;
    input->given_link = replayed->link;
    input->given_from = replayed->from;
    input->records += (uint64_t)item->batch->row_count;
    input->bytes += weir_batch_bytes(item->batch);
    return true;
}

bool weir_input_next(struct weir_input *input, struct weir_item *item)
{
    weir_assert(!input->charged);
    look_for_barriers(input);
    for (;;) {
        if (take_pending(input, item))
            return true;
        if (input->replay.next < input->replay.count) {
            if (take_replayed(input, item))
                return true;
            continue;
        }
        take_announced(input);
        struct entry *entry = pop_in_turn(input, item);
        if (!entry || input->error) {
            if (entry && item->kind == WEIR_ITEM_BATCH)
                weir_batch_unref(item->batch);
            return false;
        }
        switch (item->kind) {
        case WEIR_ITEM_BATCH:
            item->input = entry->number;
            input->charged = entry;
            set_given(input, entry);
            input->records += (uint64_t)item->batch->row_count;
            input->bytes += weir_batch_bytes(item->batch);
            if (!entry->idle)
                return true;
            set_active(input, entry); /* ACTIVE goes before the batch */
            if (input->pending_count > 0) {
                say(input, *item);
                input->stashed = entry;
                input->charged = NULL;
                take_pending(input, item);
            }
            return true;
        case WEIR_ITEM_WATERMARK:
            take_watermark(input, entry, item->watermark_ms);
            break;
        case WEIR_ITEM_IDLE:
            take_idle(input, entry);
            break;
        case WEIR_ITEM_ACTIVE:
            set_active(input, entry);
            break;
        case WEIR_ITEM_BARRIER:
            take_barrier(input, entry, &item->barrier);
            break;
        case WEIR_ITEM_END:
            take_end(input, entry);
            break;
        case WEIR_ITEM_NONE:
            break;
        }
        weir_channel_done(entry->chan, false);
    }
}

void weir_input_done(struct weir_input *input)
{
    if (!input->charged)
        return;
    weir_channel_done(input->charged->chan, true);
    input->charged = NULL;
}

bool weir_input_ended(const struct weir_input *input)
{
    return input->ended;
}

const struct weir_error *weir_input_error(const struct weir_input *input)
{
    return input->error;
}

int64_t weir_input_watermark_ms(const struct weir_input *input)
{
    return input->watermark_ms;
}

uint64_t weir_input_records(const struct weir_input *input)
{
    return input->records;
}

uint64_t weir_input_bytes(const struct weir_input *input)
{
    return input->bytes;
}
