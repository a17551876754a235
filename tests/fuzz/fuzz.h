/* What the fuzz targets share. A target is one file, NAME_fuzz.c, with LLVMFuzzerTestOneInput(); its inputs lie in corpus/NAME, its
 * dictionary, if it has one, in dict/NAME.dict. The same file is linked with libFuzzer (make fuzz) and with driver.c (make check).
 */
#ifndef WEIR_TESTS_FUZZ_H
#define WEIR_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Optional: the corpus as real encoders make it, written by `NAME_fuzz --write-seeds DIR` (make fuzz-seeds). */
typedef void fuzz_put(const char *name, const void *bytes, size_t size);
void fuzz_seeds(fuzz_put *put);

/* What must hold for every input. */
#define fuzz_check(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* --- Taking an input apart. At its end everything is 0 and empty. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline struct fuzz_input fuzz_take(struct fuzz_input *in, size_t size)
{
    struct fuzz_input part = {in->at, size < in->left ? size : in->left};
    if (part.left > 0)
        in->at += part.left;
    in->left -= part.left;
    return part;
}

static inline uint64_t fuzz_number(struct fuzz_input *in, size_t size)
{
    struct fuzz_input part = fuzz_take(in, size);
    uint64_t value = 0;
    for (size_t i = 0; i < part.left; i++)
        value |= (uint64_t)part.at[i] << 8 * i;
    return value;
}

/* The bytes up to `end` (which is taken, too), or all. */
static inline struct fuzz_input fuzz_until(struct fuzz_input *in, uint8_t end)
{
    const uint8_t *found = in->left > 0 ? memchr(in->at, end, in->left) : NULL;
    struct fuzz_input part = fuzz_take(in, found ? (size_t)(found - in->at) : in->left);
    (void)fuzz_take(in, found != NULL);
    return part;
}

/* On the heap and no longer than it is, so that one byte too many read is seen. */
static inline char *fuzz_text(struct fuzz_input part)
{
    char *text = weir_alloc(part.left + 1);
    if (part.left > 0)
        memcpy(text, part.at, part.left);
    text[part.left] = 0;
    return text;
}

#endif
