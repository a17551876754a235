/* Names of a shared object's functions, static ones too, from its .symtab: read once when the job is loaded, so that the crash handler can
 * name them without doing I/O. An object without a symbol table (stripped) gives none.
 */
#ifndef WEIR_EXECUTOR_SYMBOLS_H
#define WEIR_EXECUTOR_SYMBOLS_H

#include <stdint.h>

/* `base`: where the object was loaded. Once per process; a file that cannot be read is no error. */
void weir_symbols_load(const char *path, uintptr_t base);
/* The function that holds `address`, or NULL; *offset in it. Async-signal-safe. */
const char *weir_symbols_find(uintptr_t address, uintptr_t *offset);

#endif
