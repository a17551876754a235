/* Keys that RocksDB is known not to have: what was just asked for in vain is mostly put next. Some of the last ones; exact. */
#ifndef WEIR_TASKMANAGER_STATE_ABSENT_H
#define WEIR_TASKMANAGER_STATE_ABSENT_H

#include <stdbool.h>
#include <stdint.h>

struct weir_absent; /* opaque */
struct weir_absent *weir_absent_new(void);
void weir_absent_free(struct weir_absent *absent);
void weir_absent_add(struct weir_absent *absent, const uint8_t *key, uint32_t key_size);
bool weir_absent_has(const struct weir_absent *absent, const uint8_t *key, uint32_t key_size);
void weir_absent_clear(struct weir_absent *absent); /* something was written */

#endif
