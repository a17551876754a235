/* Between config.c and config_table.c only. */
#ifndef WEIR_BASE_CONFIG_INT_H
#define WEIR_BASE_CONFIG_INT_H

#include "base/config.h"

struct weir_config_range { /* of numbers, durations (ms) and sizes (bytes); both ends included */
    const char *name;
    int64_t min, max;
};
struct weir_config_alias { /* older spellings: taken, with a note in the log */
    const char *old_name, *name;
};
extern const struct weir_config_range weir_config_ranges[];  /* ends with name NULL */
extern const struct weir_config_alias weir_config_aliases[]; /* ends with old_name NULL */

#endif
