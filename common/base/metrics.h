/* Metrics: counters, gauges, histograms in a registry, with labels by scope, shown as Prometheus text.
 *
 * A counter or gauge is one 64-bit cell written by one thread with relaxed stores and read by any; histograms have fixed
 * log-linear buckets (two per power of two, in the unit of the name). Names follow rest-api's list: weir's own are weir_..., with the Flink
 * name kept beside it so that the REST interface and the Flink-named export can give it.
 */
#ifndef WEIR_BASE_METRICS_H
#define WEIR_BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/mem.h"

struct weir_metrics;      /* a registry; thread-safe */
struct weir_metric_scope; /* labels shared by metrics: job, task, subtask, operator */

enum weir_metric_kind { WEIR_COUNTER, WEIR_GAUGE, WEIR_HISTOGRAM };

struct weir_metric {
    _Atomic uint64_t value; /* counter; gauge: the bits of an int64 */
};
static inline void weir_metric_add(struct weir_metric *metric, uint64_t n) /* the owning thread only */
{
    atomic_store_explicit(&metric->value, atomic_load_explicit(&metric->value, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
static inline void weir_metric_set(struct weir_metric *metric, int64_t value)
{
    atomic_store_explicit(&metric->value, (uint64_t)value, memory_order_relaxed);
}
static inline int64_t weir_metric_get(const struct weir_metric *metric)
{
    return (int64_t)atomic_load_explicit(&metric->value, memory_order_relaxed);
}

struct weir_metrics *weir_metrics_new(void);
void weir_metrics_free(struct weir_metrics *metrics);
/* `labels`: pairs, ended by NULL; copied. The scope is removed with all its metrics by weir_metric_scope_free(). */
struct weir_metric_scope *weir_metric_scope_new(struct weir_metrics *metrics, const char *const *labels);
void weir_metric_scope_free(struct weir_metric_scope *scope);
/* The metric of that name in the scope, made when it is not there. `name` is Flink's ("numRecordsIn"); the exported
 * name is weir_ + snake case + "_total" for counters. `help` may be NULL. */
struct weir_metric *weir_metric_new(struct weir_metric_scope *scope, enum weir_metric_kind kind, const char *name,
                                    const char *help);
void weir_histogram_record(struct weir_metric *histogram, uint64_t value);
/* 0 <= quantile <= 1; upper bound of the bucket. */
uint64_t weir_histogram_quantile(const struct weir_metric *histogram, double quantile);
/* Prometheus text 0.0.4. */
void weir_metrics_print(struct weir_metrics *metrics, struct weir_buf *out);
/* Every metric, for REST. */
void weir_metrics_each(struct weir_metrics *metrics,
                       void (*visit)(void *arg, const char *const *labels, const char *name, enum weir_metric_kind kind,
                                     const struct weir_metric *metric),
                       void *arg);

#endif
