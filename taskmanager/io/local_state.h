/* Whose local copies of checkpoints are on this host: a directory for each job, which its executors fill and read (executor/local_copies.h) and
 * which outlives them. It goes when no executor of the job has been here for a while, and with the TaskManager.
 *
 * One thread: the supervisor's.
 */
#ifndef WEIR_TASKMANAGER_IO_LOCAL_STATE_H
#define WEIR_TASKMANAGER_IO_LOCAL_STATE_H

#include <stdint.h>

struct weir_local_state; /* opaque */

/* What an earlier TaskManager has left in `directory` (borrowed; NULL: there are no copies) is removed, here and by _free. */
struct weir_local_state *weir_local_state_new(const char *directory);
void weir_local_state_free(struct weir_local_state *local);
/* An executor of the job begins; its last one here has ended. */
void weir_local_state_used(struct weir_local_state *local, const char *job_id);
void weir_local_state_unused(struct weir_local_state *local, const char *job_id, int64_t now_ms);
/* Removes what nobody has come back for. */
void weir_local_state_timers(struct weir_local_state *local, int64_t now_ms);

#endif
