/* Output that waited in the log of a complete checkpoint: handed to the connector sink by sink, all subtasks' at once. Blocks. */
#ifndef WEIR_TASKMANAGER_IO_COMMIT_MESSAGES_H
#define WEIR_TASKMANAGER_IO_COMMIT_MESSAGES_H

#include "base/error.h"
#include "control.pb-c.h"

/* Committables without segments are left out: they are the connectors' commit()'s. DATA: CHECKPOINT_CORRUPT, what the log holds is not what was
 * written. */
weir_err weir_commit_messages(const Weir__CommitOutput *output, struct weir_error *error);

/* What was published so by this process, by job and sink, for the next heartbeat. In the arena's memory. */
struct weir_arena;
void weir_commit_numbers(struct weir_arena *arena, Weir__ProcessMetrics *process);

#endif
