/* The supervisor's end of an executor's control line: Controls, each preceded by its size (u32 little-endian), on a non-blocking
 * stream socket. What cannot be written at once is queued, up to WEIR_EXECUTOR_LINE_QUEUE_MAX; beyond, the line counts as broken.
 */
#ifndef WEIR_TASKMANAGER_IO_EXECUTOR_LINE_H
#define WEIR_TASKMANAGER_IO_EXECUTOR_LINE_H

#include <stdbool.h>

#include "base/mem.h"
#include "control.pb-c.h"

#define WEIR_EXECUTOR_LINE_QUEUE_MAX ((size_t)64 << 20)

struct weir_executor_line {
    int fd; /* -1: closed */
    struct weir_buf in;
    struct weir_buf out;
    size_t out_sent; /* of out */
};
void weir_executor_line_init(struct weir_executor_line *line, int fd);
void weir_executor_line_fini(struct weir_executor_line *line); /* closes fd */
bool weir_executor_line_wants_write(const struct weir_executor_line *line);
/* False: the line is broken (it was closed). */
bool weir_executor_line_send(struct weir_executor_line *line, const Weir__Control *control);
bool weir_executor_line_flush(struct weir_executor_line *line);
/* Reads what is there. False: broken or closed by the peer. */
bool weir_executor_line_fill(struct weir_executor_line *line);
/* The next whole message, freed by the caller; NULL: none. *broken: what came is no Control. */
Weir__Control *weir_executor_line_next(struct weir_executor_line *line, bool *broken);

#endif
