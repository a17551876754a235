/* Files that hold secrets, and random bytes for new ones.
 *
 * A secret file that everyone may read is refused, with the command that mends it; a group may read it (Kubernetes mounts Secrets so).
 * What was read is overwritten when it is freed. Nothing here is ever logged.
 */
#ifndef WEIR_BASE_SECRET_H
#define WEIR_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define WEIR_SECRET_FILE_MAX ((size_t)1 << 20)

/* `what`: the configuration key that named the file, for messages. *text is freed by weir_secret_free(). INVALID: others may read it,
 * or it is no text; NOT_FOUND; IO. */
weir_err weir_secret_read(const char *what, const char *path, char **text, struct weir_error *error);
void weir_secret_free(char *text);
/* The same for a file without a secret: everyone may read it. Freed by free(). */
weir_err weir_public_read(const char *what, const char *path, char **text, struct weir_error *error);
/* A new file, complete or not at all, mode `mode`. EXISTS: it is there, and `replace` is false. */
weir_err weir_secret_write(const char *path, const char *text, int mode, bool replace, struct weir_error *error);

weir_err weir_random_bytes(void *out, size_t size, struct weir_error *error);
void weir_hex_encode(const uint8_t *bytes, size_t size, char *out); /* 2 * size + 1 bytes */
/* False: `text` does not begin with 2 * size hex digits. */
bool weir_hex_decode(const char *text, size_t size, uint8_t *out);

/* From here on this process leaves no core file, in which its keys would be. Children begin with the same;
 * weir_core_restore() gives a process that holds no lasting key its core files back. */
void weir_core_disable(void);
void weir_core_restore(void);

#endif
