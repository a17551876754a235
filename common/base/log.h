/* Structured logs: one line an event, as text or JSON, with the fields of the thread's scope (job, task, attempt).
 *
 * A line is a sentence (printf); who and where come from the scope that the thread has set around its work.
 * Thread-safe; one write(2) a line. Lines longer than 8 KiB are cut.
 * A log file is rotated at `size_max` and `files_max` of them are kept: FILE, FILE.1, ...
 */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum weir_log_level { WEIR_LOG_DEBUG, WEIR_LOG_INFO, WEIR_LOG_WARN, WEIR_LOG_ERROR };

struct weir_log_options {
    const char *path; /* NULL: standard error, no rotation */
    enum weir_log_level level;
    bool json;
    size_t size_max; /* bytes */
    int files_max;
    const char *process; /* "jobmanager", "taskmanager", "executor" */
};
/* Once per process, before threads; without it lines go to standard error as text at INFO. */
weir_err weir_log_init(const struct weir_log_options *options, struct weir_error *error);
void weir_log_fini(void);
weir_err weir_log_level_parse(const char *text, enum weir_log_level *level, struct weir_error *error);

/* Fields of this thread's lines from now on; strings are copied (64 bytes kept); NULL or -1: none. */
void weir_log_scope(const char *job, const char *task, int attempt);

void weir_log_write(enum weir_log_level level, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
extern enum weir_log_level weir_log_level_min;
/* For what others can cause as often as they like: at most one line a second. Zero-initialise, static; any thread. True: log it, and say
 * that *left_out lines like it were not. */
struct weir_log_gate {
    _Atomic int64_t open_at_ms;
    _Atomic uint64_t left_out;
};
bool weir_log_gate_pass(struct weir_log_gate *gate, unsigned long long *left_out);
#define weir_log(level, ...) \
    do { \
        if (WEIR_LOG_##level >= weir_log_level_min) \
            weir_log_write(WEIR_LOG_##level, __FILE__, __LINE__, __VA_ARGS__); \
    } while (0)

#endif
