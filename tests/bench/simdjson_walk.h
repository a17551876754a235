/* What simdjson alone does with the benchmark's readings: the yardstick of the JSON figures. */
#ifndef WEIR_BENCH_SIMDJSON_WALK_H
#define WEIR_BENCH_SIMDJSON_WALK_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
struct walk_sums {
    size_t records;
    double temperature;
    size_t id_bytes;
    size_t abnormal;
    int64_t time; /* ms where the timestamp is a number, else bytes of its text */
};
/* iterate_many over all lines, touching each of the four members in order; 0: well, else simdjson's error code. `bytes` is padded by
 * 64. */
int simdjson_walk_many(const uint8_t *bytes, size_t size, int time_is_text, struct walk_sums *sums);
/* The same a line at a time. */
int simdjson_walk_lines(const uint8_t *bytes, size_t size, int time_is_text, struct walk_sums *sums);
#ifdef __cplusplus
}
#endif
#endif
