/* The loops of kernels_loops.inc for every processor, and the choice between builds. */
#include <stdbool.h>
#include <stdlib.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#define KERNELS kernels_portable
#define KERNELS_AVX2 0
#include "expr/kernels_loops.inc"

const struct kernels *kernels_get(void)
{
#if defined(__x86_64__)
    static const struct kernels *chosen; /* every thread finds the same */
    const struct kernels *found = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (!found) {
        const char *wish = getenv("WEIR_SIMD");
        bool portable = wish && strcmp(wish, "portable") == 0;
        found = !portable && __builtin_cpu_supports("avx2") ? &kernels_avx2 : &kernels_portable;
        __atomic_store_n(&chosen, found, __ATOMIC_RELAXED);
    }
    return found;
#else
    return &kernels_portable;
#endif
}
