/* An operator's own numbers (base/op_metrics.h), and those of the partitions that it reads. The task's worker writes, who reports to the
 * TaskManager reads. */
#ifndef WEIR_TASKMANAGER_OPS_OP_NUMBERS_H
#define WEIR_TASKMANAGER_OPS_OP_NUMBERS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/meter.h"
#include "base/op_metrics.h"

#define WEIR_OP_LANES_SHOWN_MAX 100 /* of one subtask: each is a time series; sums and maxima are over all of them */

struct weir_op_lane {
    char topic[250];
    int32_t partition;
    int64_t next, committed; /* offsets: the next to be read, what the group was told; -1: not known, as in lag */
    int64_t lag;             /* records that are there and not read */
};

struct weir_op_numbers {
    _Atomic int64_t values[WEIR_OP_METRICS];
    pthread_mutex_t lock; /* of the lanes */
    struct weir_op_lane *lanes;
    int lane_count, lane_capacity;
    struct weir_meter bad; /* of who reports */
};

void weir_op_numbers_init(struct weir_op_numbers *numbers);
void weir_op_numbers_fini(struct weir_op_numbers *numbers);
/* For the worker. `numbers` may be NULL: nobody is interested. */
void weir_op_number_set(struct weir_op_numbers *numbers, enum weir_op_metric metric, int64_t value);
/* NONE counts as 0. */
void weir_op_number_add(struct weir_op_numbers *numbers, enum weir_op_metric metric, int64_t by);
/* In place of the ones before; what is beyond WEIR_OP_LANES_SHOWN_MAX is left out. */
void weir_op_lanes_set(struct weir_op_numbers *numbers, const struct weir_op_lane *lanes, int count);
/* A copy, the caller's to free. */
int weir_op_lanes_get(struct weir_op_numbers *numbers, struct weir_op_lane **lanes);

#endif
