/* The bare loop of "ten chained C maps": ten indirect calls per row, each copies a three-field struct and changes one field; rows in an array that
 * fits the cache, as a batch does. Prints rows per second of one core.
 * usage: calls_bench [million rows, default 20] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct event {
    int64_t id;
    int64_t value;
    double weight;
};
typedef int step_fn(void *ctx, const struct event *in, struct event *out);

/* clang-format off */
/* noipa: neither inlined nor looked into, as a function of another shared object is. */
#define STEP(n)                                                                                       \
    __attribute__((noipa)) static int step_##n(void *ctx, const struct event *in, struct event *out) \
    {                                                                                                 \
        (void)ctx;                                                                                    \
        out->id = in->id;                                                                             \
        out->value = in->value + 1;                                                                   \
        out->weight = in->weight;                                                                     \
        return 0;                                                                                     \
    }
STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9)
    /* clang-format on */
    static step_fn *volatile steps[10] = {step_0, step_1, step_2, step_3, step_4,
                                          step_5, step_6, step_7, step_8, step_9};

#define ROWS 2048

int main(int argc, char **argv)
{
    static struct event rows[ROWS];
    int64_t wanted = (argc > 1 ? atoll(argv[1]) : 20) * 1000000, done = 0, sum = 0;
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    for (; done < wanted; done += ROWS) {
        for (int i = 0; i < ROWS; i++)
            rows[i] = (struct event){done + i, done, 0.5};
        for (int i = 0; i < ROWS; i++) {
            struct event a = rows[i], b;
            for (int k = 0; k < 10; k += 2) {
                if (steps[k](NULL, &a, &b) != 0 || steps[k + 1](NULL, &b, &a) != 0)
                    return 1;
            }
            sum += a.value;
        }
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    printf("%.0f rows/s (sum %lld)\n", (double)done / seconds, (long long)sum);
    return 0;
}
