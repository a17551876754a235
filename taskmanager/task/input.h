/* A task's inputs: many channels into one sequence of items for the head operator.
 *
 * Watermarks are merged: the minimum over the channels that are neither idle nor ended, never falling (Flink's rule: a channel that comes
 * back from idleness counts again once it has caught up). When all channels are idle the input says IDLE. When all have
 * ended it says watermark MAX, then END. Channels with data are served in turn, one item each.
 *
 * Barriers are aligned (Carbone et al.; Flink's rules): when one channel has given that of checkpoint n, what follows on it waits until
 * every other channel has given it or has ended; then the input says BARRIER, once. With at-least-once nothing waits. A newer barrier gives
 * up an older one that is not complete: that checkpoint was aborted. An older one is ignored.
 *
 * A barrier that may overtake (WEIR_BARRIER_OVERTAKES) is seen as soon as it is in a channel, behind whatever. When it is due and has not been
 * said, weir_input_cut() ends the wait: what lies ahead of it in the channels is recorded for the checkpoint, where it is; a channel
 * that has not brought it yet is recorded as it comes, until it has. Channels of edges where nothing is overtaken are waited for.
 *
 * Owned by the task's worker thread; the inbox takes announcements from any.
 */
#ifndef WEIR_TASK_INPUT_H
#define WEIR_TASK_INPUT_H

#include "exchange/inflight.h"

struct weir_input;

/* `waker`: of the worker. */
struct weir_input *weir_input_new(struct weir_waker *waker);
void weir_input_free(struct weir_input *input);
/* To be set as the consumer of each channel; borrowed. */
struct weir_inbox *weir_input_inbox(struct weir_input *input);
/* Before the first call of next(). `number`: which input of the operator. A reference is taken; sets the channel's owner. */
void weir_input_add(struct weir_input *input, struct weir_channel *chan, int number);

/* Before the first call: the edge that the channel of the last weir_input_add() is of (borrowed). Without one nothing is overtaken there. */
void weir_input_set_link(struct weir_input *input, const struct weir_link *link);
/* Before the first call: rows that a barrier overtook come first. `number`: as with weir_input_add(). */
void weir_input_replay(struct weir_input *input, struct weir_inflight_list *take_list, int number);

/* Whether channels wait for each other's barriers (exactly once; the default). */
void weir_input_set_aligned(struct weir_input *input, bool aligned);
/* A checkpoint of a task whose producers have all finished: no barrier will come. BARRIER is said when the ends have come. */
void weir_input_trigger(struct weir_input *input, const struct weir_barrier *barrier);
/* The barrier of this checkpoint, or of a newer one, was said or given up. */
bool weir_input_is_over(const struct weir_input *input, uint64_t checkpoint);
/* For a source that reads what a coordinator hands out: the barrier that is next on its one channel, though the item in hand is not done. */
bool weir_input_take_barrier(struct weir_input *input, struct weir_barrier *barrier);
/* For the same: nothing follows the item in hand but the end. */
bool weir_input_is_over_after(const struct weir_input *input);

/* A barrier that is due though not every channel has given it. */
bool weir_input_overdue(struct weir_input *input, int64_t now_ns, struct weir_barrier *barrier);
/* Now, whatever is missing: `rows` gets `in_hand` (NULL or what the operator has not worked on of the last batch; the reference is taken) and
 * what is ahead of the barrier in the channels. It stays the caller's and is added to until weir_input_recorded() has said so; not
 * before, when nothing had to be waited for. False: it is whole already. */
bool weir_input_cut(struct weir_input *input, const struct weir_barrier *barrier, struct weir_inflight *rows,
                    struct weir_batch *take_in_hand);
/* As that, of a barrier that was said in its turn: only what the operator has in hand. */
void weir_input_record_in_hand(const struct weir_input *input, struct weir_inflight *rows,
                               struct weir_batch *take_in_hand);
/* Records what has come. A checkpoint whose rows are whole: *rows, true. *given_up: it never will be, a newer one has come. */
bool weir_input_recorded(struct weir_input *input, struct weir_inflight **rows, bool *given_up);
/* Takes one item and forgets it, while rows are recorded for a barrier: of a task that has halted behind it, so that whoever has not given
 * the barrier yet is not held up by full channels. False: there is none, or nothing is recorded any more. */
bool weir_input_drop(struct weir_input *input);
/* Instead of weir_input_cut(): the barrier is not wanted. */
void weir_input_give_up(struct weir_input *input, uint64_t checkpoint);
/* When the next barrier is due; INT64_MAX: none. */
int64_t weir_input_due_ns(const struct weir_input *input);
/* Since the first sign of the barrier of the checkpoint that was said last, or cut. */
int64_t weir_input_alignment_ns(const struct weir_input *input);
uint64_t weir_input_alignment_bytes(const struct weir_input *input); /* taken out of its channels meanwhile */

/* The next item for the operator; false: none now. A batch stays charged to its channel until weir_input_done(). */
bool weir_input_next(struct weir_input *input, struct weir_item *item);
void weir_input_done(struct weir_input *input);
bool weir_input_ended(const struct weir_input *input);
/* A broken channel's error, or NULL. */
const struct weir_error *weir_input_error(const struct weir_input *input);
int64_t weir_input_watermark_ms(const struct weir_input *input); /* merged */
uint64_t weir_input_records(const struct weir_input *input);
uint64_t weir_input_bytes(const struct weir_input *input);

#endif
