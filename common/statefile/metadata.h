/* A checkpoint's or savepoint's metadata, as it is in the object store: an envelope and a Snapshot (proto/snapshot.proto). Byte by byte in
 * docs/snapshot-format.md. Pure: bytes in, message out. */
#ifndef WEIR_STATEFILE_METADATA_H
#define WEIR_STATEFILE_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "snapshot.pb-c.h"

#define WEIR_METADATA_VERSION 1
#define WEIR_ENVELOPE_SIZE 16

/* "WEIR", `kind`, the XXH3 of the rest as u64, the rest. DATA: it is another kind's, or damaged. */
weir_err weir_envelope_check(const char kind[4], const uint8_t *bytes, size_t size, struct weir_error *error);

/* The caller frees it (weir__snapshot__free_unpacked()). DATA "CHECKPOINT_CORRUPT: ..." when it is damaged or says what cannot be;
 * UNSUPPORTED: of a later version. Parts are checked as far as they are in it: sizes, numbers, and checksums of those that lie in it. */
weir_err weir_metadata_parse(const uint8_t *bytes, size_t size, Weir__Snapshot **snapshot, struct weir_error *error);

#endif
