/* The loops of kernels_loops.inc for x86-64 with AVX2. Called only where the processor has it (kernels_get()). No FMA:
 * results are the same bits as the portable build's. */
#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC optimize("O3")
#pragma GCC target("avx2")
#endif
#define KERNELS kernels_avx2
#define KERNELS_AVX2 1
#include "expr/kernels_loops.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int kernels_avx2_is_for_x86; /* a translation unit may not be empty */
#endif
