/* Private to common/expr: typed loops over whole columns, in a portable build and one for AVX2 (kernels_loops.inc is
 * compiled twice). No NULLs here: values under a cleared validity bit are computed like others and never looked at.
 * `a` and `b` do not overlap `out`. Scalars are read through the pointer of their operand.
 */
#ifndef WEIR_EXPR_KERNELS_H
#define WEIR_EXPR_KERNELS_H

#include <stdint.h>

enum shape { SHAPE_VV, SHAPE_VS, SHAPE_SV }; /* vector or scalar operands */
typedef void (*arith_kernel)(void *out, const void *a, const void *b, int count);
typedef void (*compare_kernel)(uint64_t *out, const void *a, const void *b, int count);
typedef void (*convert_kernel)(void *out, const void *in, int count);

#define KERNEL_TYPES 6 /* PHYS_I8 ... PHYS_F64, minus PHYS_I8 */
struct kernels {
    arith_kernel arith[4][KERNEL_TYPES][3];             /* + - * and / (floating only) */
    compare_kernel compare[6][KERNEL_TYPES][2];         /* = <> < <= > >=; VV, VS */
    convert_kernel convert[KERNEL_TYPES][KERNEL_TYPES]; /* from, to: Java's conversions */
    /* out[i] = bit i of mask ? a[i * a_step] : b[i * b_step]; by width 1, 2, 4, 8 (log2) */
    void (*choose[4])(void *out, const uint64_t *mask, const void *a, int a_step, const void *b, int b_step, int count);
    void (*bits_to_bytes)(uint8_t *out, const uint64_t *bits, int count);  /* 0 or 1 each */
    void (*bytes_to_bits)(uint64_t *out, const uint8_t *bytes, int count); /* each 0 or 1 */
};
extern const struct kernels kernels_portable;
extern const struct kernels kernels_avx2;
/* The best that this processor runs; WEIR_SIMD=portable in the environment takes the portable ones. */
const struct kernels *kernels_get(void);

#endif
