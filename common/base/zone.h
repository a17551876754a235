/* Time zones: the session's (table.local-time-zone), one for the process. Names of the tz database ("Europe/Berlin"), UTC, GMT,
 * Z, and offsets ("+08:00", "UTC+8", "GMT-03:30"). Files of the database are read once, from $TZDIR or /usr/share/zoneinfo. */
#ifndef WEIR_BASE_ZONE_H
#define WEIR_BASE_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The session's zone. Before any expression is evaluated, and not while one is. INVALID: there is no such zone. */
weir_err weir_zone_set_session(const char *name, struct weir_error *error);
/* A moment, ms since 1970 UTC, as what clocks of the session's zone show, and back. A local time that does not exist (clocks go
 * forward) is moved by the gap; of one that is there twice, the earlier moment is taken: as java.time does. */
int64_t weir_zone_to_local(int64_t utc_ms);
int64_t weir_zone_to_utc(int64_t local_ms);
/* The same for a named zone; false: there is none. Reads a file the first time. */
bool weir_zone_named_to_utc(const char *name, int64_t *ms);

#endif
