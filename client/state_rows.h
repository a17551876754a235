/* The states of a checkpoint as rows: one JSON object for each entry. Pure: bytes in, rows out. */
#ifndef WEIR_CLIENT_STATE_ROWS_H
#define WEIR_CLIENT_STATE_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "state/snapshot.h"

struct weir_saved_part { /* borrowed */
    enum weir_state_kind kind;
    int subtask, parallelism; /* that wrote it */
    const uint8_t *bytes;
    size_t size;
};

/* Whether the bytes are a run; they may be only its end. */
bool weir_saved_is_run(const uint8_t *bytes, size_t size);

/* The row is the visitor's. False stops, which is no error. */
typedef bool weir_saved_visit(json_t *take_row, void *arg);
/* All parts of one state, in the order of the metadata. What has no schema that is known here comes as hexadecimal bytes. DATA: a part is damaged;
 * rows before it have been given. */
weir_err weir_saved_rows(const char *state, const struct weir_saved_part *parts, int count, weir_saved_visit *visit,
                         void *arg, struct weir_error *error);
/* Of a run: what its schema says, for people; "" when it is not known here. At most `size` bytes with the 0. */
void weir_saved_schema_text(const uint8_t *schema, size_t schema_size, char *out, size_t size);

#endif
