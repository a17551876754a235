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
 * Owned by the task's worker thread; the inbox takes announcements from any.
 */
#ifndef WEIR_TASK_INPUT_H
#define WEIR_TASK_INPUT_H

#include "exchange/channel.h"

struct weir_input;

/* `waker`: of the worker. */
struct weir_input *weir_input_new(struct weir_waker *waker);
void weir_input_free(struct weir_input *input);
/* To be set as the consumer of each channel; borrowed. */
struct weir_inbox *weir_input_inbox(struct weir_input *input);
/* Before the first call of next(). `number`: which input of the operator. A reference is taken; sets the channel's owner. */
void weir_input_add(struct weir_input *input, struct weir_channel *chan, int number);

/* Whether channels wait for each other's barriers (exactly once; the default). */
void weir_input_set_aligned(struct weir_input *input, bool aligned);
/* A checkpoint of a task whose producers have all finished: no barrier will come. BARRIER is said when the ends have come. */
void weir_input_trigger(struct weir_input *input, const struct weir_barrier *barrier);
/* For a source that reads what a coordinator hands out: the barrier that is next on its one channel, though the item in hand is not done. */
bool weir_input_take_barrier(struct weir_input *input, struct weir_barrier *barrier);

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
