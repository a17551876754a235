/* What is tortured in one process: a table of scenarios (common_torture.c), each a stretch of a module's ordinary use. */
#ifndef WEIR_TORTURE_SCENARIOS_H
#define WEIR_TORTURE_SCENARIOS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Shared with the process that judges. */
struct run {
    const char *directory; /* empty at the start, removed at the end */
    int result;            /* 0: it says that all went well */
    bool ended;
    char message[WEIR_ERROR_MESSAGE_SIZE];
    size_t size;
    char output[1 << 16]; /* what it made, as text: must be that of the run without faults */
    int64_t leaked_blocks, leaked_fds;
};

/* Adds to the output. */
void run_say(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes over an error; returns 1. */
int run_fail(struct run *run, const struct weir_error *error);

struct scenario {
    const char *name;
    int (*play)(struct run *run); /* 0, or 1 with run->message */
    const char *loose;            /* why blocks or descriptors may stay behind after a fault; NULL: they may not */
    bool slow;                    /* waits or starts processes: a sample of its faults is enough for `make check` */
};
extern const struct scenario scenarios[]; /* ends with name NULL */

#endif
