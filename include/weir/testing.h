/* testing.h: a job's functions in a test of their own, without a cluster. Link with -lweir-testing -lweir.
 *
 *     #include "job.c"                             what is tested: its functions are static
 *     #include <weir/testing.h>
 *
 *     int main(void)
 *     {
 *         struct weir_test *test = weir_test_process("device_id", .in = WEIR_ROW_OF(reading), .out = WEIR_ROW_OF(reading),
 *                                                    .on_row = spike, .on_timer = quiet);
 *         weir_test_row(test, reading, .device_id = weir_test_text("a"), .temperature = 20, .timestamp = 1000);
 *         weir_test_restore(test);                 a checkpoint, a failure, and on from there
 *         weir_test_row(test, reading, .device_id = weir_test_text("a"), .temperature = 50, .timestamp = 2000);
 *         const struct reading *found = weir_test_next(test, reading);
 *         assert(found && found->temperature == 50 && !weir_test_next(test, reading));
 *         weir_test_watermark(test, 70000);        timers until then fire
 *         weir_test_free(test);
 *     }
 *
 * It is the operator that a cluster runs, with the same state, timers, checks and messages, one subtask with all keys. A mistake in the test's
 * set-up, or a function that failed where weir_test_fails() did not ask whether it does, ends the program with a message and exit code 1.
 * One thread. Of the same version of weir only: it is no part of the ABI of jobs.
 */
#ifndef WEIR_TESTING_H
#define WEIR_TESTING_H

#include <weir/weir.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_test;

/* As weir_process(); `key`: its key columns as in weir_key_by(), or NULL: the stream has no key. */
#define weir_test_process(key, ...) \
    weir_test_process_at(__FILE__, __LINE__, key, NULL, false, WEIR_PROCESS_(__VA_ARGS__))
/* As weir_process2(), both inputs keyed (or key and key2 NULL: neither). */
#define weir_test_process2(key, key2, ...) \
    weir_test_process_at(__FILE__, __LINE__, key, key2, false, WEIR_PROCESS_(__VA_ARGS__))
/* As weir_process2() with a weir_broadcast() second input. */
#define weir_test_process_broadcast(key, ...) \
    weir_test_process_at(__FILE__, __LINE__, key, NULL, true, WEIR_PROCESS_(__VA_ARGS__))
void weir_test_free(struct weir_test *test);

/* --- Before the first row */

/* What weir_side_output() does: rows of this side output are kept for weir_test_next_side(). Two at most. */
#define weir_test_side(test, side) weir_test_side_at(test, ((void)sizeof((side)->side_row), &(side)->decl))
/* An argument of the job. */
void weir_test_argument(struct weir_test *test, const char *name, const char *value);
/* From now on a snapshot is taken after every row, watermark and timer, and a new instance goes on from it: nothing may be kept but in states. */
void weir_test_restore_always(struct weir_test *test);

/* --- What happens, in the order of the calls */

/* A row of the first input: its struct, then the fields as in an initializer (the others are zero). */
#define weir_test_row(test, row, ...) weir_test_put_at(test, 0, WEIR_ROW_OF(row), &(struct row){__VA_ARGS__})
#define weir_test_row2(test, row, ...) weir_test_put_at(test, 1, WEIR_ROW_OF(row), &(struct row){__VA_ARGS__})
/* A string of a row. */
static inline struct weir_str weir_test_text(const char *text)
{
    return (struct weir_str){text, __builtin_strlen(text)};
}
/* An array of rows of the first input. */
#define weir_test_rows(test, row, rows, count) \
    weir_test_put_all_at(test, 0, WEIR_ROW_OF(row), 1 ? (rows) : (const struct row *)0, count)
/* Event time, of both inputs: timers until then fire, rows before it are late. */
void weir_test_watermark(struct weir_test *test, weir_ts watermark);
/* Processing time, ms since 1970 (it begins at 0 and never goes back): weir_now(), and timers until then fire. */
void weir_test_time(struct weir_test *test, weir_ts now);
/* The end of bounded input: event-time timers that are left fire. */
void weir_test_end(struct weir_test *test);
/* A snapshot now, and a new instance that begins with it. The watermark is forgotten, as after a failure. */
void weir_test_restore(struct weir_test *test);
/* Did the last call fail? Then why, as `weir exceptions` would say it; else NULL. A test that failed takes no more rows. */
const char *weir_test_fails(struct weir_test *test);

/* --- What came out */

/* const struct ROW *: the next row that was emitted, NULL: no more. Valid until weir_test_free(). */
#define weir_test_next(test, row) ((const struct row *)weir_test_take_at(test, NULL, WEIR_ROW_OF(row)))
#define weir_test_next_side(test, side) \
    ((const __typeof__(*(side)->side_row) *)weir_test_take_at(test, &(side)->decl, (side)->decl.row))
/* Time of the next processing-time timer; INT64_MAX: none is set. */
weir_ts weir_test_timer(const struct weir_test *test);

/* --- Machinery */

struct weir_test *weir_test_process_at(const char *file, int line, const char *key, const char *key2, bool broadcast,
                                       const struct weir_process_spec *spec);
void weir_test_side_at(struct weir_test *test, const struct weir_side_decl *side);
void weir_test_put_at(struct weir_test *test, int input, const struct weir_row_type *type, const void *row);
void weir_test_put_all_at(struct weir_test *test, int input, const struct weir_row_type *type, const void *rows,
                          size_t count);
const void *weir_test_take_at(struct weir_test *test, const struct weir_side_decl *side,
                              const struct weir_row_type *type);

#ifdef __cplusplus
}
#endif
#endif
