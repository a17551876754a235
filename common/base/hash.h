/* Hashes: XXH3 for keys, CRC-32C for frames (hardware where there is one, a table beside it), SHA-256 for content names. */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
uint64_t weir_xxh3(const void *bytes, size_t size);                 /* seed 0 */
uint32_t weir_crc32c(uint32_t crc, const void *bytes, size_t size); /* start with 0 */
/* Of much, by a thread in the background: others have the core between pieces (base/thread.h), as they have in weir_sha256_hex(). */
uint32_t weir_crc32c_background(const void *bytes, size_t size);
uint32_t weir_crc32c_portable(uint32_t crc, const void *bytes, size_t size); /* the same, for tests */
/* The CRC-32C of a followed by b, from theirs and b's size: for what was checksummed in parts. */
uint32_t weir_crc32c_join(uint32_t a, uint32_t b, int64_t size_b);
void weir_sha256_hex(const void *bytes, size_t size, char out[65]);
weir_err weir_sha256_file_hex(const char *path, char out[65], struct weir_error *error);
#endif
