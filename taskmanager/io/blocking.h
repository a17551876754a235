/* Threads for a supervisor's blocking work: fetching job code, publishing and removing output. One job's output is published in order, and what
 * keeps it (a broker that is away) does not keep the others'. Results are taken by the supervisor's thread after the eventfd became readable. The queue is bounded by what the core asks for (one fetch per code, one
 * commit per checkpoint, one abort per job).
 */
#ifndef WEIR_TASKMANAGER_IO_BLOCKING_H
#define WEIR_TASKMANAGER_IO_BLOCKING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "control.pb-c.h"

struct weir_blocking;

enum weir_blocking_kind { WEIR_BLOCKING_FETCH, WEIR_BLOCKING_COMMIT, WEIR_BLOCKING_ABORT };

struct weir_blocking_work {
    enum weir_blocking_kind kind;
    char *sha256;           /* FETCH */
    char *job_id;           /* COMMIT, ABORT */
    Weir__Control *control; /* COMMIT, ABORT: a copy */
    weir_err err;
    struct weir_error error;
    char *path; /* FETCH: the verified local file */
    struct weir_blocking_work *next;
};

struct weir_blocking_options {
    const char *rest_url;        /* "http://127.0.0.1:8081" */
    const char *rest_token_file; /* read for each fetch, so that a new token is taken; NULL: none is sent */
    const char *rest_ca_file;    /* of an https URL; NULL: the system's */
    const char *code_directory;  /* cache: <sha256>.so */
    const char *local_code;      /* `weir run --local`: the file itself, no fetching; else NULL */
};
weir_err weir_blocking_start(const struct weir_blocking_options *options, struct weir_blocking **blocking,
                             struct weir_error *error);
int weir_blocking_fd(const struct weir_blocking *blocking);
/* Strings and control are copied. */
void weir_blocking_submit(struct weir_blocking *blocking, enum weir_blocking_kind kind, const char *sha256,
                          const char *job_id, const Weir__Control *control);
/* A finished work, freed by weir_blocking_work_free(); NULL: none. */
struct weir_blocking_work *weir_blocking_take(struct weir_blocking *blocking);
void weir_blocking_work_free(struct weir_blocking_work *work);
/* How long to wait after so many failures in a row to publish the same, the longest of which took longest_ms. Two TaskManagers may be at it, one of them cut off
 * from the JobManager: who begins takes the other's transaction away. So whoever fails again waits longer than it takes, and one of them gets through. */
int64_t weir_blocking_pause_ms(int failures, int64_t longest_ms);
/* Waits for the running work (bounded by its own timeouts). */
void weir_blocking_stop(struct weir_blocking *blocking);

#endif
