/* Errors: a code for the program, a sentence for the person.
 *
 * A function that can fail returns `weir_err` (0 is success) and, where the caller wants the sentence,
 * takes a caller-owned `struct weir_error *` (may be NULL) that it fills. Layers wrap the sentence on
 * the way up ("cannot open the input: part-3.json: Permission denied"). Log once, where it is handled.
 *
 * A code exists only where a caller could react differently. What to do about a code (retry, fail the
 * task, the job, the process) is in one table: weir_err_reaction().
 */
#ifndef WEIR_BASE_ERROR_H
#define WEIR_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "weir/error.h" /* codes, weir_fail(), weir_fail_errno(), weir_wrap() */

enum weir_err_class { WEIR_CLASS_USER, WEIR_CLASS_TRANSIENT, WEIR_CLASS_FATAL };
enum weir_err_effect { WEIR_EFFECT_NONE, WEIR_EFFECT_MAYBE, WEIR_EFFECT_DONE }; /* did it possibly happen? */
enum weir_err_reaction { WEIR_REACT_RETRY, WEIR_REACT_FAIL_TASK, WEIR_REACT_FAIL_JOB, WEIR_REACT_FAIL_PROCESS };

/* Why a record is bad (DATA): what dead letters and counters tell apart. */
enum weir_bad_reason {
    WEIR_BAD_OTHER,
    WEIR_BAD_MALFORMED, /* it is not what the format calls a record */
    WEIR_BAD_VALUE,     /* a column cannot take its value, or has none and is NOT NULL */
    WEIR_BAD_SCHEMA,    /* the schema that it names is unknown, or does not go with the columns */
    WEIR_BAD_METADATA,  /* its key, headers or time, not its value */
    WEIR_BAD_TOO_LARGE, /* longer than record.size-max */
    WEIR_BAD_REASONS
};

#define WEIR_ERROR_MESSAGE_SIZE 1024

struct weir_error {
    enum weir_err_code code;
    enum weir_err_effect effect;
    enum weir_bad_reason reason;           /* of DATA; weir_fail() sets OTHER */
    char message[WEIR_ERROR_MESSAGE_SIZE]; /* UTF-8, one sentence, no newline at the end */
};

/* weir_fail(DATA) of a record, saying why it is bad. */
weir_err weir_fail_record(struct weir_error *error, enum weir_bad_reason reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *weir_bad_name(enum weir_bad_reason reason); /* "MALFORMED", ... */
const char *weir_err_name(enum weir_err_code code);     /* "INVALID", ... */
enum weir_err_class weir_err_class(enum weir_err_code code);
enum weir_err_reaction weir_err_reaction(enum weir_err_code code);

#endif
