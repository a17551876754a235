/* How much of an operator's state is in memory, and where the rest is: the backend behind its tables.
 *
 * hashmap: there is no struct weir_state_memory; tables grow as they need. rocksdb: tables grow within a budget; beyond it entries that
 * were not used lately are written to RocksDB, many at a time in the order of its keys, and forgotten; a batch's keys that are not in memory
 * are fetched together before the operator sees their values. Namespaces stay known in memory, with the number of their entries.
 *
 * What the budget holds: slots, keys, heaps and bits of all tables of these states. A batch's own entries are always in memory.
 * Owner: the operator's worker thread.
 */
#ifndef WEIR_TASKMANAGER_STATE_MEMORY_H
#define WEIR_TASKMANAGER_STATE_MEMORY_H

#include "base/error.h"
#include "state/rocks.h"

struct weir_state_memory; /* opaque; given to states by their spec */
/* `rocks` is shared, and outlives it. budget: bytes. */
struct weir_state_memory *weir_state_memory_new(struct weir_rocks *rocks, size_t budget);
void weir_state_memory_free(struct weir_state_memory *memory); /* after all its states; NULL is allowed */

/* Between two items: no pointer into any table is held, but walks may be under way. Makes room at the expense of tables that were not
 * used lately; bounded work. */
void weir_state_memory_settle(struct weir_state_memory *memory);
/* Calls on tables cannot fail: what RocksDB could not do is kept here, and the values given since then are not to be trusted. Asked after each
 * item, before its results count. */
weir_err weir_state_memory_check(const struct weir_state_memory *memory, struct weir_error *error);

#endif
