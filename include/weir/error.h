/* error.h: how a connector says what went wrong: a code for the program, a sentence for the person.
 *
 * A function that can fail returns `weir_err` (0 is success) and fills the `struct weir_error` that it was given. Layers wrap the sentence
 * on the way up: "cannot open the input: part-3.json: Permission denied".
 */
#ifndef WEIR_ERROR_H
#define WEIR_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

enum weir_err_code {
    WEIR_OK = 0,
    WEIR_ERR_INVALID,     /* what the caller or user passed is wrong */
    WEIR_ERR_NOT_FOUND,   /* a file, job, column, function that does not exist */
    WEIR_ERR_EXISTS,      /* it is there already */
    WEIR_ERR_IO,          /* the operating system or a peer failed */
    WEIR_ERR_TIMEOUT,     /* a bound on a wait was reached */
    WEIR_ERR_FULL,        /* a bound on a size or count was reached */
    WEIR_ERR_NO_MEMORY,   /* SDK only: daemons abort instead */
    WEIR_ERR_PROTOCOL,    /* bytes from outside that break the protocol */
    WEIR_ERR_CHANNEL,     /* CHANNEL_BROKEN: gap, repeat, wrong attempt, bad checksum */
    WEIR_ERR_DATA,        /* a bad record */
    WEIR_ERR_USER_CODE,   /* a user function failed or crashed */
    WEIR_ERR_CANCELED,    /* asked to stop */
    WEIR_ERR_UNSUPPORTED, /* valid, but not built here */
    WEIR_ERR_CODES
};
typedef int weir_err; /* 0 or an enum weir_err_code; never ignored */

struct weir_error; /* the caller's; may be NULL where only the code is wanted */

/* Fills `error` (when not NULL) and returns `code`, so that `return weir_fail(error, WEIR_ERR_IO, "...")` reads well. */
weir_err weir_fail(struct weir_error *error, enum weir_err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with ": <strerror(errno)>" at the end. */
weir_err weir_fail_errno(struct weir_error *error, enum weir_err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "<prefix>: " before the sentence that is there already; keeps the code and returns it. */
weir_err weir_wrap(struct weir_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
