/* Watermark alignment, within a process: how far each reader of a group is, and how far those of other processes are.
 *
 * A reader (a subtask of a source) is a member of its group from open() to close(). It says its least watermark after each batch, and gets
 * the group's: the least of all members' and of what the JobManager says of other processes. What is more than its option
 * "scan.watermark.alignment.max-drift" ahead of that it does not read until then (Flink's terms and rules). Members of one process hear
 * of each other at once, those of others at the group's interval.
 *
 * A member that has not said anything yet, or whose watermark is not known, holds back all the others; so does what the JobManager does not know.
 *
 * Any thread: workers are members, the control thread exchanges with the JobManager. Nothing blocks but for the lock.
 */
#ifndef WEIR_TASKMANAGER_OPS_ALIGNMENT_H
#define WEIR_TASKMANAGER_OPS_ALIGNMENT_H

#include <stdbool.h>
#include <stdint.h>

#define WEIR_ALIGNED_UNKNOWN INT64_MIN /* as a watermark: nothing is known, others wait */
#define WEIR_ALIGNED_FREE INT64_MAX    /* it is idle or at its end: nobody waits for it */

struct weir_alignment; /* of an executor */
struct weir_aligned;   /* a member */

/* `changed` (any thread; may be NULL) is called when the JobManager should hear of it before the interval is over. */
struct weir_alignment *weir_alignment_new(void (*changed)(void *arg), void *arg);
void weir_alignment_free(struct weir_alignment *alignment); /* no member is left; NULL is allowed */

/* `wake` is called when what it waits for (weir_aligned_await()) has come. */
struct weir_aligned *weir_alignment_join(struct weir_alignment *alignment, const char *group, int64_t interval_ms,
                                         void (*wake)(void *arg), void *wake_arg);
/* `finished`: for good. Else another attempt will come, and until the JobManager has heard of it all wait. NULL is allowed. */
void weir_aligned_leave(struct weir_aligned *take_member, bool finished);
/* The member's watermark; returns the group's. */
int64_t weir_aligned_say(struct weir_aligned *member, int64_t watermark_ms);
/* It is to be woken when the group's watermark is at least this. INT64_MAX: it does not wait. */
void weir_aligned_await(struct weir_aligned *member, int64_t watermark_ms);

/* The bound for what may be read: the group's watermark and the drift. */
int64_t weir_alignment_bound_ms(int64_t group_ms, int64_t max_drift_ms);

/* --- For who exchanges with the JobManager */
struct weir_alignment_group {
    const char *name; /* lives as long as the alignment */
    uint32_t members;
    int64_t watermark_ms; /* the members' */
};
/* The shortest interval of a group; INT64_MAX: there are no groups. */
int64_t weir_alignment_interval_ms(struct weir_alignment *alignment);
/* All groups that there ever were, a copy, the caller's to free. */
int weir_alignment_groups(struct weir_alignment *alignment, struct weir_alignment_group **groups);
/* What the JobManager says of other processes' members. */
void weir_alignment_others(struct weir_alignment *alignment, const char *group, int64_t watermark_ms);

#endif
