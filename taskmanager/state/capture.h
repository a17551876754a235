/* A state's part of one checkpoint while it is being captured and written.
 *
 * At the barrier weir_state_snapshot() fixes which entries belong to it, by bits, without looking at any. The worker then copies them in
 * slices (weir_capture_step()) between batches; an entry that is about to change before its turn is copied first. What was copied is
 * sorted and written elsewhere, run by run, while the capture goes on (weir_capture_next(), which may wait for the worker).
 *
 * Which of it depends on what is known to be complete: changes since the newest complete checkpoint, beside that one's runs; or, when those
 * are of a hundred checkpoints, all that has changed since they began, in place of theirs (they are joined, without being read: what they
 * have is still in memory, and bits say which of it is theirs); or
 * everything, where there is no such checkpoint, or the state is so small that it makes no difference, or is partly on disk and its runs have
 * outgrown it. Where the runs of a large state in memory have outgrown it, each checkpoint writes a sixteenth of what has not changed as well, until
 * all is written anew and the runs from before are left out (a pass): one in full would keep the next ones waiting for as long as it takes.
 */
#ifndef WEIR_TASKMANAGER_STATE_CAPTURE_H
#define WEIR_TASKMANAGER_STATE_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

/* A run in the store. */
struct weir_run_ref {
    char *object;
    int64_t offset, size;
    uint32_t crc32c;
};

struct weir_capture; /* shared: by its state, its snapshot, and whoever steps it */
struct weir_capture *weir_capture_ref(struct weir_capture *capture);
void weir_capture_unref(struct weir_capture *capture); /* NULL is allowed */

/* The state's worker: copies some entries, for about `budget_ns` (0: all that is left). True: nothing is left to copy, or it was given up.
 * *moved (may be NULL) stays as it is when nothing was done, since too much waits to be written. */
bool weir_capture_step(struct weir_capture *capture, int64_t budget_ns, bool *moved);

/* --- Any thread, one at a time */
const char *weir_capture_uid(const struct weir_capture *capture);
const char *weir_capture_name(const struct weir_capture *capture);
/* Runs of earlier checkpoints that belong to this one, too. */
const struct weir_run_ref *weir_capture_base(const struct weir_capture *capture, int *count);
bool weir_capture_is_full(const struct weir_capture *capture); /* there are none */
/* Appends the next run to `out`; *more false: there is none. *last: it was the last one. Waits for the worker. An error: the capture was given
 * up, with its task or for a newer one. */
weir_err weir_capture_next(struct weir_capture *capture, struct weir_buf *out, bool *more, bool *last,
                           struct weir_error *error);
/* All runs are in the store: later checkpoints may refer to them. Strings are copied. */
void weir_capture_written(struct weir_capture *capture, const struct weir_run_ref *refs, int count);

#endif
