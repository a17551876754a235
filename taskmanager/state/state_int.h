/* What keys.c and table.c share; see table.h. */
#ifndef WEIR_TASKMANAGER_STATE_STATE_INT_H
#define WEIR_TASKMANAGER_STATE_STATE_INT_H

#include "state/table.h"

#define WEIR_STATE_RAW_KEY_SIZE_MAX 9 /* flag byte and eight more */

/* Canonical encoding of a raw key that is not NULL; `out` is written in full. Returns its size. */
uint32_t weir_state_encode_raw(enum weir_type_id type, uint64_t raw, uint8_t out[WEIR_STATE_RAW_KEY_SIZE_MAX]);
/* The inverse; false: the key is NULL. */
bool weir_state_decode_raw(enum weir_type_id type, const uint8_t *key, uint32_t key_size, uint64_t *raw);

/* Who the state is, for messages and files. */
struct weir_state_about {
    const char *uid, *name;
    int max_parallelism, key_group_first, key_group_count;
};
struct weir_state_about weir_state_about(const struct weir_state *state);
const struct weir_state_codec *weir_state_codec(const struct weir_state *state);

#endif
