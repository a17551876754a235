/* Metrics registry. A cell is written by its one owner without locks; the registry's lock covers the lists of scopes and metrics
 * only, so that printing never stops a worker. A cell stays where it is until its scope is freed.
 *
 * Histogram buckets: value v >= 2 with highest bit e lies in bucket 2e + (the next bit), values 0 and 1 in buckets 0 and 1: two
 * buckets per power of two, 128 in all, so a quantile is at most 50 % above the value it stands for. */
#include "base/metrics.h"

#include <ctype.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define BUCKETS 128

struct entry {
    struct weir_metric metric; /* first: the metric is the entry; of a histogram, the number of values */
    struct entry *next;
    enum weir_metric_kind kind;
    char *name, *help;
    char *exported; /* "weir_num_records_in_total" */
    _Atomic uint64_t sum;
    _Atomic uint64_t *buckets; /* histograms */
};

struct weir_metric_scope {
    struct weir_metrics *metrics;
    struct weir_metric_scope *previous, *next;
    struct entry *entries; /* in order of creation */
    char **labels;         /* pairs, ended by NULL */
    char *exported_labels; /* name="value",... */
};

struct weir_metrics {
    pthread_mutex_t lock;
    struct weir_metric_scope *scopes; /* in order of creation */
    struct weir_metric_scope *last;
};

struct weir_metrics *weir_metrics_new(void)
{
    struct weir_metrics *metrics = weir_zalloc(sizeof *metrics);
    pthread_mutex_init(&metrics->lock, NULL);
    return metrics;
}

static void free_scope(struct weir_metric_scope *scope)
{
    for (struct entry *e = scope->entries, *next; e; e = next) {
        next = e->next;
        free(e->name);
        free(e->help);
        free(e->exported);
        free(e->buckets);
        free(e);
    }
    for (char **l = scope->labels; *l; l++)
        free(*l);
    free(scope->labels);
    free(scope->exported_labels);
    free(scope);
}

void weir_metrics_free(struct weir_metrics *metrics)
{
    if (!metrics)
        return;
    for (struct weir_metric_scope *s = metrics->scopes, *next; s; s = next) {
        next = s->next;
        free_scope(s);
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

static char *export_labels(char *const *labels)
{
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    bool ok = true;
    for (int i = 0; labels[i]; i += 2) {
        ok = ok && weir_buf_printf(&out, "%s%s=\"", i ? "," : "", labels[i]);
        for (const char *c = labels[i + 1]; ok && *c; c++)
            ok = *c == '\n'                ? weir_buf_puts(&out, "\\n")
                 : *c == '"' || *c == '\\' ? weir_buf_printf(&out, "\\%c", *c)
                                           : weir_buf_append(&out, c, 1);
        ok = ok && weir_buf_puts(&out, "\"");
    }
    weir_assert(ok);
    char *text = weir_strndup(out.data ? (char *)out.data : "", out.size);
    weir_buf_fini(&out);
    return text;
}

struct weir_metric_scope *weir_metric_scope_new(struct weir_metrics *metrics, const char *const *labels)
{
    struct weir_metric_scope *scope = weir_zalloc(sizeof *scope);
    int count = 0;
    while (labels && labels[count])
        count++;
    weir_assert(count % 2 == 0);
    scope->metrics = metrics;
    scope->labels = weir_zalloc((size_t)(count + 1) * sizeof *scope->labels);
    for (int i = 0; i < count; i++)
        scope->labels[i] = weir_strdup(labels[i]);
    scope->exported_labels = export_labels(scope->labels);
    pthread_mutex_lock(&metrics->lock);
    scope->previous = metrics->last;
    if (metrics->last)
        metrics->last->next = scope;
    else
        metrics->scopes = scope;
    metrics->last = scope;
    pthread_mutex_unlock(&metrics->lock);
    return scope;
}

void weir_metric_scope_free(struct weir_metric_scope *scope)
{
    if (!scope)
        return;
    struct weir_metrics *metrics = scope->metrics;
    pthread_mutex_lock(&metrics->lock);
    *(scope->previous ? &scope->previous->next : &metrics->scopes) = scope->next;
    *(scope->next ? &scope->next->previous : &metrics->last) = scope->previous;
    pthread_mutex_unlock(&metrics->lock);
    free_scope(scope);
}

/* "numRecordsIn" -> "weir_num_records_in"; "Status.JVM.CPU.Load" -> "weir_status_jvm_cpu_load". */
static char *export_name(const char *name, enum weir_metric_kind kind)
{
    char out[256];
    size_t n = (size_t)snprintf(out, sizeof out, "weir_");
    for (const char *c = name; *c && n < sizeof out - 10; c++) {
        bool upper = isupper((unsigned char)*c);
        bool word = upper && c > name &&
                    (islower((unsigned char)c[-1]) || isdigit((unsigned char)c[-1]) ||
                     (isupper((unsigned char)c[-1]) && islower((unsigned char)c[1])));
        if (word && out[n - 1] != '_')
            out[n++] = '_';
        if (isalnum((unsigned char)*c))
            out[n++] = (char)tolower((unsigned char)*c);
        else if (out[n - 1] != '_')
            out[n++] = '_';
    }
    out[n] = 0;
    if (kind == WEIR_COUNTER)
        snprintf(out + n, sizeof out - n, "_total");
    return weir_strdup(out);
}

struct weir_metric *weir_metric_new(struct weir_metric_scope *scope, enum weir_metric_kind kind, const char *name,
                                    const char *help)
{
    pthread_mutex_lock(&scope->metrics->lock);
    struct entry **at = &scope->entries;
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    if (!*at) {
        struct entry *entry = weir_zalloc(sizeof *entry);
        entry->kind = kind;
        entry->name = weir_strdup(name);
        entry->help = help ? weir_strdup(help) : NULL;
        entry->exported = export_name(name, kind);
        if (kind == WEIR_HISTOGRAM)
            entry->buckets = weir_zalloc(BUCKETS * sizeof *entry->buckets);
        *at = entry;
    }
    struct entry *found = *at;
    pthread_mutex_unlock(&scope->metrics->lock);
    weir_assert(found->kind == kind);
    return &found->metric;
}

static int bucket_of(uint64_t value)
{
    if (value < 2)
        return (int)value;
    int e = 63 - __builtin_clzll(value);
    return 2 * e + (int)(value >> (e - 1) & 1);
}

/* The largest value in a bucket. */
static uint64_t bucket_last(int bucket)
{
    if (bucket < 2)
        return (uint64_t)bucket;
    if (bucket == BUCKETS - 1)
        return UINT64_MAX;
    int e = bucket / 2, half = bucket % 2;
    return ((uint64_t)(3 + half) << (e - 1)) - 1;
}

static void add_relaxed(_Atomic uint64_t *cell, uint64_t n)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n, memory_order_relaxed);
}

void weir_histogram_record(struct weir_metric *histogram, uint64_t value)
{
    struct entry *entry = (struct entry *)histogram;
    weir_assert(entry->kind == WEIR_HISTOGRAM);
    add_relaxed(&entry->buckets[bucket_of(value)], 1);
    add_relaxed(&entry->sum, value);
    add_relaxed(&entry->metric.value, 1);
}

uint64_t weir_histogram_quantile(const struct weir_metric *histogram, double quantile)
{
    const struct entry *entry = (const struct entry *)histogram;
    weir_assert(entry->kind == WEIR_HISTOGRAM);
    uint64_t counts[BUCKETS], total = 0;
    for (int i = 0; i < BUCKETS; i++) {
        counts[i] = atomic_load_explicit(&entry->buckets[i], memory_order_relaxed);
        total += counts[i];
    }
    if (!total)
        return 0;
    double rank = quantile * (double)total;
    uint64_t seen = 0;
    int last = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += counts[i];
        if (counts[i])
            last = i;
        if (counts[i] && (double)seen >= rank)
            return bucket_last(i);
    }
    return bucket_last(last);
}

/* --- Printing */

struct line {
    const struct entry *entry;
    const struct weir_metric_scope *scope;
    int index; /* keeps the order of creation among equals */
};

static int compare_lines(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int order = strcmp(x->entry->exported, y->entry->exported);
    return order ? order : x->index - y->index;
}

static bool print_histogram(struct weir_buf *out, const struct line *line)
{
    const struct entry *entry = line->entry;
    const char *labels = line->scope->exported_labels, *comma = *labels ? "," : "";
    uint64_t counts[BUCKETS], seen = 0;
    int top = -1;
    for (int i = 0; i < BUCKETS; i++) {
        counts[i] = atomic_load_explicit(&entry->buckets[i], memory_order_relaxed);
        if (counts[i])
            top = i;
    }
    bool ok = true;
    for (int i = 0; ok && i <= top; i++) {
        seen += counts[i];
        ok = weir_buf_printf(out, "%s_bucket{%s%sle=\"%llu\"} %llu\n", entry->exported, labels, comma,
                             (unsigned long long)bucket_last(i), (unsigned long long)seen);
    }
    ok = ok && weir_buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", entry->exported, labels, comma,
                               (unsigned long long)seen);
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    ok = ok && weir_buf_printf(out, "%s_sum%s%s%s %llu\n", entry->exported, open, labels, close,
                               (unsigned long long)atomic_load_explicit(&entry->sum, memory_order_relaxed));
    return ok && weir_buf_printf(out, "%s_count%s%s%s %llu\n", entry->exported, open, labels, close,
                                 (unsigned long long)seen);
}

static bool print_line(struct weir_buf *out, const struct line *line, bool first)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    const struct entry *entry = line->entry;
    bool ok = true;
    if (first) {
        if (entry->help)
            ok = weir_buf_printf(out, "# HELP %s %s\n", entry->exported, entry->help);
        ok = ok && weir_buf_printf(out, "# TYPE %s %s\n", entry->exported, kinds[entry->kind]);
    }
    if (!ok || entry->kind == WEIR_HISTOGRAM)
        return ok && print_histogram(out, line);
    const char *labels = line->scope->exported_labels;
    return weir_buf_printf(out, "%s%s%s%s %lld\n", entry->exported, *labels ? "{" : "", labels, *labels ? "}" : "",
                           (long long)weir_metric_get(&entry->metric));
}

void weir_metrics_print(struct weir_metrics *metrics, struct weir_buf *out)
{
    pthread_mutex_lock(&metrics->lock);
    int count = 0;
    for (struct weir_metric_scope *s = metrics->scopes; s; s = s->next)
        for (struct entry *e = s->entries; e; e = e->next)
            count++;
    struct line *lines = weir_alloc((size_t)count * sizeof *lines);
    int n = 0;
    for (struct weir_metric_scope *s = metrics->scopes; s; s = s->next)
        for (struct entry *e = s->entries; e; e = e->next, n++)
            lines[n] = (struct line){e, s, n};
    qsort(lines, (size_t)count, sizeof *lines, compare_lines);
    bool ok = true;
    for (int i = 0; ok && i < count; i++) {
        size_t before = out->size;
        ok = print_line(out, &lines[i], i == 0 || strcmp(lines[i].entry->exported, lines[i - 1].entry->exported) != 0);
        if (!ok && out->data) { /* full: end at a whole line */
            out->size = before;
            out->data[before] = 0;
        }
    }
    free(lines);
    pthread_mutex_unlock(&metrics->lock);
}

void weir_metrics_each(struct weir_metrics *metrics,
                       void (*visit)(void *arg, const char *const *labels, const char *name, enum weir_metric_kind kind,
                                     const struct weir_metric *metric),
                       void *arg)
{
    pthread_mutex_lock(&metrics->lock);
    for (struct weir_metric_scope *s = metrics->scopes; s; s = s->next)
        for (struct entry *e = s->entries; e; e = e->next)
            visit(arg, (const char *const *)s->labels, e->name, e->kind, &e->metric);
    pthread_mutex_unlock(&metrics->lock);
}
