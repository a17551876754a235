/* Arguments of a job, "--name value", "--name=value" or "--name" alone: one reading of them for the graph's build and for functions at run
 * time. A value may begin with one '-' ("-5"), not with two.
 */
#ifndef WEIR_BASE_ARGUMENTS_H
#define WEIR_BASE_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

struct weir_argument {
    const char *name; /* not 0-terminated */
    size_t name_size;
    const char *value; /* NULL: none */
    int used;          /* how many of the arguments it takes, at least 1 */
};
/* What arguments[i] begins; false: it is no `--name` (used is 1). */
bool weir_argument_at(const char *const *arguments, int count, int i, struct weir_argument *argument);
/* The value of `--name`: NULL when it was not given, "" when it has no value. */
const char *weir_argument_find(const char *const *arguments, int count, const char *name);

#endif
