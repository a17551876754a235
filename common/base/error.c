#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum weir_err_class class;
    enum weir_err_reaction reaction;
} codes[WEIR_ERR_CODES] = {
    [WEIR_OK] = {"OK", WEIR_CLASS_USER, WEIR_REACT_RETRY},
    [WEIR_ERR_INVALID] = {"INVALID", WEIR_CLASS_USER, WEIR_REACT_FAIL_JOB},
    [WEIR_ERR_NOT_FOUND] = {"NOT_FOUND", WEIR_CLASS_USER, WEIR_REACT_FAIL_TASK},
    [WEIR_ERR_EXISTS] = {"EXISTS", WEIR_CLASS_USER, WEIR_REACT_FAIL_TASK},
    [WEIR_ERR_IO] = {"IO", WEIR_CLASS_TRANSIENT, WEIR_REACT_FAIL_TASK},
    [WEIR_ERR_TIMEOUT] = {"TIMEOUT", WEIR_CLASS_TRANSIENT, WEIR_REACT_RETRY},
    [WEIR_ERR_FULL] = {"FULL", WEIR_CLASS_TRANSIENT, WEIR_REACT_FAIL_TASK},
    [WEIR_ERR_NO_MEMORY] = {"NO_MEMORY", WEIR_CLASS_FATAL, WEIR_REACT_FAIL_PROCESS},
    [WEIR_ERR_PROTOCOL] = {"PROTOCOL", WEIR_CLASS_FATAL, WEIR_REACT_FAIL_TASK},
    [WEIR_ERR_CHANNEL] = {"CHANNEL_BROKEN", WEIR_CLASS_TRANSIENT, WEIR_REACT_FAIL_TASK},
    [WEIR_ERR_DATA] = {"DATA", WEIR_CLASS_USER, WEIR_REACT_FAIL_TASK},
    [WEIR_ERR_USER_CODE] = {"USER_CODE", WEIR_CLASS_USER, WEIR_REACT_FAIL_TASK},
    [WEIR_ERR_CANCELED] = {"CANCELED", WEIR_CLASS_USER, WEIR_REACT_FAIL_TASK},
    [WEIR_ERR_UNSUPPORTED] = {"UNSUPPORTED", WEIR_CLASS_USER, WEIR_REACT_FAIL_JOB},
};

__attribute__((format(printf, 3, 0))) static void fill(struct weir_error *error, enum weir_err_code code,
                                                       const char *format, va_list args)
{
    error->code = code;
    error->effect = WEIR_EFFECT_NONE;
    error->reason = WEIR_BAD_OTHER;
    vsnprintf(error->message, sizeof error->message, format, args);
}

weir_err weir_fail(struct weir_error *error, enum weir_err_code code, const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        fill(error, code, format, args);
        va_end(args);
    }
    return (int)code;
}

weir_err weir_fail_record(struct weir_error *error, enum weir_bad_reason reason, const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        fill(error, WEIR_ERR_DATA, format, args);
        va_end(args);
        error->reason = reason;
    }
    return WEIR_ERR_DATA;
}

weir_err weir_fail_errno(struct weir_error *error, enum weir_err_code code, const char *format, ...)
{
    int saved = errno;
    if (error) {
        va_list args;
        va_start(args, format);
        fill(error, code, format, args);
        va_end(args);
        size_t used = strlen(error->message);
        snprintf(error->message + used, sizeof error->message - used, ": %s", strerror(saved));
    }
    return (int)code;
}

weir_err weir_wrap(struct weir_error *error, const char *format, ...)
{
    if (!error)
        return WEIR_ERR_IO;
    char inner[WEIR_ERROR_MESSAGE_SIZE];
    memcpy(inner, error->message, sizeof inner);
    va_list args;
    va_start(args, format);
    int used = vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    if (used > 0 && (size_t)used < sizeof error->message)
        snprintf(error->message + used, sizeof error->message - (size_t)used, ": %.*s",
                 (int)(sizeof error->message - (size_t)used - 3), inner);
    return (int)error->code;
}

const char *weir_bad_name(enum weir_bad_reason reason)
{
    static const char *const names[WEIR_BAD_REASONS] = {"OTHER",  "MALFORMED", "INVALID_VALUE",
                                                        "SCHEMA", "METADATA",  "TOO_LARGE"};
    return (unsigned)reason < WEIR_BAD_REASONS ? names[reason] : "OTHER";
}

const char *weir_err_name(enum weir_err_code code)
{
    return (unsigned)code < WEIR_ERR_CODES ? codes[code].name : "UNKNOWN";
}

enum weir_err_class weir_err_class(enum weir_err_code code)
{
    return (unsigned)code < WEIR_ERR_CODES ? codes[code].class : WEIR_CLASS_FATAL;
}

enum weir_err_reaction weir_err_reaction(enum weir_err_code code)
{
    return (unsigned)code < WEIR_ERR_CODES ? codes[code].reaction : WEIR_REACT_FAIL_PROCESS;
}
