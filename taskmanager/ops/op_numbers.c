#include "ops/op_numbers.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void weir_op_numbers_init(struct weir_op_numbers *numbers)
{
    memset(numbers, 0, sizeof *numbers);
    for (int i = 0; i < WEIR_OP_METRICS; i++)
        atomic_init(&numbers->values[i], WEIR_OP_METRIC_NONE);
    pthread_mutex_init(&numbers->lock, NULL);
}

void weir_op_numbers_fini(struct weir_op_numbers *numbers)
{
    pthread_mutex_destroy(&numbers->lock);
    free(numbers->lanes);
}

void weir_op_number_set(struct weir_op_numbers *numbers, enum weir_op_metric metric, int64_t value)
{
    if (numbers)
        atomic_store_explicit(&numbers->values[metric], value, memory_order_relaxed);
}

void weir_op_number_add(struct weir_op_numbers *numbers, enum weir_op_metric metric, int64_t by)
{
    if (!numbers)
        return;
    int64_t value = atomic_load_explicit(&numbers->values[metric], memory_order_relaxed);
    weir_op_number_set(numbers, metric, value == WEIR_OP_METRIC_NONE ? by : value + by);
}

void weir_op_lanes_set(struct weir_op_numbers *numbers, const struct weir_op_lane *lanes, int count)
{
    if (!numbers)
        return;
    count = count < WEIR_OP_LANES_SHOWN_MAX ? count : WEIR_OP_LANES_SHOWN_MAX;
    pthread_mutex_lock(&numbers->lock);
    if (count > numbers->lane_capacity) {
        numbers->lane_capacity = count;
        numbers->lanes = weir_realloc(numbers->lanes, (size_t)count * sizeof *lanes);
    }
    if (count > 0)
        memcpy(numbers->lanes, lanes, (size_t)count * sizeof *lanes);
    numbers->lane_count = count;
    pthread_mutex_unlock(&numbers->lock);
}

int weir_op_lanes_get(struct weir_op_numbers *numbers, struct weir_op_lane **lanes)
{
    pthread_mutex_lock(&numbers->lock);
    int count = numbers->lane_count;
    *lanes = weir_alloc((size_t)(count + 1) * sizeof **lanes);
    if (count > 0)
        memcpy(*lanes, numbers->lanes, (size_t)count * sizeof **lanes);
    pthread_mutex_unlock(&numbers->lock);
    return count;
}
