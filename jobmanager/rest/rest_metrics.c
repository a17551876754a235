/* GET /metrics: the cluster as Prometheus text 0.0.4, derived from the view's snapshots. weir's own names have correct types; with
 * metrics.flink-names the same values follow under the names that Flink's exporter gives them (all gauges).
 *
 * Prometheus wants the lines of one name together, so each name is one pass over the snapshots. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "jobmanager/rest/rest_int.h"

#define METRICS_SIZE_MAX ((size_t)64 << 20)

struct printer {
    struct weir_buf *out;
    char host[128];
    bool flink_names;
    bool full;
    const struct weir_view_job **jobs; /* with vertices */
    int job_count;
};

static void put(struct printer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct printer *p, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    p->full = p->full || !weir_buf_puts(p->out, text);
}

static void put_label(struct printer *p, const char *name, const char *value, bool first)
{
    put(p, "%s%s=\"", first ? "" : ",", name);
    for (const char *c = value; *c; c++) {
        if (*c == '\n')
            put(p, "\\n");
        else if (*c == '"' || *c == '\\')
            put(p, "\\%c", *c);
        else
            p->full = p->full || !weir_buf_append(p->out, c, 1);
    }
    put(p, "\"");
}

static void head(struct printer *p, const char *name, const char *type, const char *help)
{
    put(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(struct printer *p, const char *name, const char *flink, const char *help, double value)
{
    head(p, name, "gauge", help);
    put(p, "%s{", name);
    put_label(p, "host", p->host, true);
    put(p, "} %.17g\n", value);
    if (p->flink_names && flink) {
        head(p, flink, "gauge", help);
        put(p, "%s{", flink);
        put_label(p, "host", p->host, true);
        put(p, "} %.17g\n", value);
    }
}

/* --- Per job */

static double job_value(const struct weir_view_job *job, int which, int64_t now_ms)
{
    switch (which) {
    case 0: {
        bool running = job->state == WEIR_VIEW_JOB_RUNNING && job->timestamps_ms[WEIR_VIEW_JOB_RUNNING] > 0;
        return running ? (double)(now_ms - job->timestamps_ms[WEIR_VIEW_JOB_RUNNING]) : 0;
    }
    case 1:
        return (double)job->restarts;
    default:
        return job->state == WEIR_VIEW_JOB_RUNNING;
    }
}

static void print_jobs(struct printer *p)
{
    static const struct {
        const char *name, *type, *flink, *help;
    } metrics[] = {
        {"weir_job_uptime_ms", "gauge", "flink_jobmanager_job_uptime",
         "How long the job has been RUNNING without interruption."},
        {"weir_job_restarts_total", "counter", "flink_jobmanager_job_numRestarts",
         "How often regions of the job were restarted."},
        {"weir_job_running", "gauge", NULL, "1 while the job is RUNNING."},
    };
    int64_t now_ms = weir_clock_wall_ms();
    for (int m = 0; m < 3; m++)
        for (int flink = 0; flink <= (p->flink_names && metrics[m].flink); flink++) {
            const char *name = flink ? metrics[m].flink : metrics[m].name;
            head(p, name, flink ? "gauge" : metrics[m].type, metrics[m].help);
            for (int i = 0; i < p->job_count; i++) {
                put(p, "%s{", name);
                put_label(p, "host", p->host, true);
                put_label(p, "job_id", p->jobs[i]->id, false);
                put_label(p, "job_name", p->jobs[i]->name, false);
                put(p, "} %.17g\n", job_value(p->jobs[i], m, now_ms));
            }
        }
}

/* --- Per task and operator */

static double task_value(const struct weir_view_task *task, int which)
{
    switch (which) {
    case 0:
        return (double)task->records_in;
    case 1:
        return (double)task->records_out;
    case 2:
        return (double)task->bytes_in;
    case 3:
        return (double)task->bytes_out;
    case 4:
        return (double)task->busy_ms;
    case 5:
        return (double)task->idle_ms;
    default:
        return (double)task->backpressured_ms;
    }
}

static double operator_value(const struct weir_view_operator *op, int which)
{
    switch (which) {
    case 0:
        return (double)op->records_in;
    case 1:
        return (double)op->records_out;
    case 2:
        return (double)op->records_bad;
    case 3:
        return (double)op->late_dropped;
    case 4:
        return (double)op->watermark_in_ms;
    default:
        return (double)op->watermark_out_ms;
    }
}

struct family {
    const char *name, *type, *flink, *help;
};

static void put_task_labels(struct printer *p, const struct weir_view_job *job, const struct weir_view_vertex *vertex,
                            const struct weir_view_task *task)
{
    char number[32];
    put_label(p, "host", task->host, true);
    put_label(p, "tm_id", task->taskmanager_id, false);
    put_label(p, "job_id", job->id, false);
    put_label(p, "job_name", job->name, false);
    put_label(p, "task_id", vertex->id, false);
    put_label(p, "task_name", vertex->name, false);
    snprintf(number, sizeof number, "%d", task->subtask);
    put_label(p, "subtask_index", number, false);
    snprintf(number, sizeof number, "%d", task->attempt);
    put_label(p, "task_attempt_num", number, false);
}

/* Every task (which_operator false) or every operator of every task. */
static void print_family(struct printer *p, const struct family *family, int which, bool per_operator, bool flink)
{
    const char *name = flink ? family->flink : family->name;
    head(p, name, flink ? "gauge" : family->type, family->help);
    for (int j = 0; j < p->job_count && !p->full; j++)
        for (int v = 0; v < p->jobs[j]->vertex_count; v++) {
            const struct weir_view_vertex *vertex = &p->jobs[j]->vertices[v];
            for (int t = 0; t < vertex->parallelism; t++) {
                const struct weir_view_task *task = &vertex->tasks[t];
                for (int o = 0; o < (per_operator ? task->operator_count : 1); o++) {
                    if (per_operator && which >= 4 && operator_value(&task->operators[o], which) < -9e18)
                        continue; /* no watermark yet */
                    put(p, "%s{", name);
                    put_task_labels(p, p->jobs[j], vertex, task);
                    if (per_operator)
                        put_label(p, "operator_name", task->operators[o].name, false);
                    put(p, "} %.17g\n",
                        per_operator ? operator_value(&task->operators[o], which) : task_value(task, which));
                }
            }
        }
}

static void put_number(struct printer *p, const char *name, enum weir_op_metric metric, const struct weir_view_job *job,
                       const struct weir_view_vertex *vertex, const struct weir_view_task *task, int o)
{
    const struct weir_op_metric_kind *kind = &weir_op_metric_kinds[metric];
    int64_t value = task->operators[o].numbers[metric];
    put(p, "%s{", name);
    put_task_labels(p, job, vertex, task);
    put_label(p, "operator_name", task->operators[o].name, false);
    if (kind->code)
        put_label(p, "code", kind->code, false);
    if (kind->is_rate)
        put(p, "} %.3f\n", (double)value / 1000);
    else
        put(p, "} %lld\n", (long long)value);
}

/* What some operators have beside, of metrics [first, end), which have one name; a name that none has is left out. */
static void print_numbers(struct printer *p, int first, int end, bool flink)
{
    const struct weir_op_metric_kind *kind = &weir_op_metric_kinds[first];
    const char *name = flink ? kind->flink : kind->exported;
    bool any = false;
    for (int j = 0; j < p->job_count && !p->full; j++)
        for (int v = 0; v < p->jobs[j]->vertex_count; v++)
            for (int t = 0; t < p->jobs[j]->vertices[v].parallelism; t++) {
                const struct weir_view_task *task = &p->jobs[j]->vertices[v].tasks[t];
                for (int i = 0; i < task->operator_count * (end - first); i++) {
                    int o = i / (end - first), metric = first + i % (end - first);
                    if (task->operators[o].numbers[metric] == WEIR_OP_METRIC_NONE)
                        continue;
                    if (!any)
                        head(p, name, kind->counts && !flink ? "counter" : "gauge", kind->help);
                    any = true;
                    put_number(p, name, (enum weir_op_metric)metric, p->jobs[j], &p->jobs[j]->vertices[v], task, o);
                }
            }
}

/* Behind the last of the metrics that have the name of `first`. */
static int end_of_name(int first)
{
    int end = first + 1;
    while (end < WEIR_OP_METRICS &&
           strcmp(weir_op_metric_kinds[end].exported, weir_op_metric_kinds[first].exported) == 0)
        end++;
    return end;
}

static int64_t lane_value(const struct weir_view_lane *lane, int which)
{
    return which == 0 ? lane->lag : which == 1 ? lane->next : lane->committed;
}

static void put_lanes(struct printer *p, const char *name, int which, const struct weir_view_job *job,
                      const struct weir_view_vertex *vertex, const struct weir_view_task *task)
{
    char number[32];
    for (int o = 0; o < task->operator_count; o++)
        for (int l = 0; l < task->operators[o].lane_count && !p->full; l++) {
            const struct weir_view_lane *lane = &task->operators[o].lanes[l];
            if (lane_value(lane, which) < 0)
                continue; /* not known */
            put(p, "%s{", name);
            put_task_labels(p, job, vertex, task);
            put_label(p, "operator_name", task->operators[o].name, false);
            put_label(p, "topic", lane->topic, false);
            snprintf(number, sizeof number, "%d", lane->partition);
            put_label(p, "partition", number, false);
            put(p, "} %lld\n", (long long)lane_value(lane, which));
        }
}

static void print_lanes(struct printer *p)
{
    static const struct family families[] = {
        {"weir_operator_partition_records_lag", "gauge", NULL, "Records of the partition that are not read yet."},
        {"weir_operator_partition_current_offset", "gauge",
         "flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_currentOffset",
         "The next offset to be read."},
        {"weir_operator_partition_committed_offset", "gauge",
         "flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_committedOffset",
         "The offset that the consumer group was told."},
    };
    bool any = false;
    for (int j = 0; j < p->job_count; j++)
        for (int v = 0; v < p->jobs[j]->vertex_count; v++)
            for (int t = 0; t < p->jobs[j]->vertices[v].parallelism; t++)
                for (int o = 0; o < p->jobs[j]->vertices[v].tasks[t].operator_count; o++)
                    any |= p->jobs[j]->vertices[v].tasks[t].operators[o].lane_count > 0;
    for (int f = 0; f < 3 && any; f++)
        for (int flink = 0; flink <= (p->flink_names && families[f].flink); flink++) {
            const char *name = flink ? families[f].flink : families[f].name;
            head(p, name, "gauge", families[f].help);
            for (int j = 0; j < p->job_count; j++)
                for (int v = 0; v < p->jobs[j]->vertex_count; v++)
                    for (int t = 0; t < p->jobs[j]->vertices[v].parallelism; t++)
                        put_lanes(p, name, f, p->jobs[j], &p->jobs[j]->vertices[v], &p->jobs[j]->vertices[v].tasks[t]);
        }
}

static void print_tasks(struct printer *p)
{
    static const struct family tasks[] = {
        {"weir_task_num_records_in_total", "counter", "flink_taskmanager_job_task_numRecordsIn", "Rows that came in."},
        {"weir_task_num_records_out_total", "counter", "flink_taskmanager_job_task_numRecordsOut",
         "Rows that went out."},
        {"weir_task_num_bytes_in_total", "counter", "flink_taskmanager_job_task_numBytesIn", "Bytes that came in."},
        {"weir_task_num_bytes_out_total", "counter", "flink_taskmanager_job_task_numBytesOut", "Bytes that went out."},
        {"weir_task_busy_ms_total", "counter", "flink_taskmanager_job_task_accumulateBusyTimeMs", "Time at work."},
        {"weir_task_idle_ms_total", "counter", "flink_taskmanager_job_task_accumulateIdleTimeMs",
         "Time without input."},
        {"weir_task_backpressured_ms_total", "counter", "flink_taskmanager_job_task_accumulateBackPressuredTimeMs",
         "Time without room for output."},
    };
    static const struct family operators[] = {
        {"weir_operator_num_records_in_total", "counter", "flink_taskmanager_job_task_operator_numRecordsIn",
         "Rows that came in."},
        {"weir_operator_num_records_out_total", "counter", "flink_taskmanager_job_task_operator_numRecordsOut",
         "Rows that went out."},
        {"weir_operator_num_records_bad_total", "counter", "flink_taskmanager_job_task_operator_numRecordsBad",
         "Records that could not be read."},
        {"weir_operator_num_late_records_dropped_total", "counter",
         "flink_taskmanager_job_task_operator_numLateRecordsDropped", "Rows behind the watermark that were dropped."},
        {"weir_operator_current_input_watermark_ms", "gauge",
         "flink_taskmanager_job_task_operator_currentInputWatermark", "Watermark that came in, ms since 1970."},
        {"weir_operator_current_output_watermark_ms", "gauge",
         "flink_taskmanager_job_task_operator_currentOutputWatermark", "Watermark that went out, ms since 1970."},
    };
    for (int i = 0; i < 7; i++)
        for (int flink = 0; flink <= p->flink_names; flink++)
            print_family(p, &tasks[i], i, false, flink);
    for (int i = 0; i < 6; i++)
        for (int flink = 0; flink <= p->flink_names; flink++)
            print_family(p, &operators[i], i, true, flink);
    for (int i = 0; i < WEIR_OP_METRICS; i = end_of_name(i))
        for (int flink = 0; flink <= (p->flink_names && weir_op_metric_kinds[i].flink); flink++)
            print_numbers(p, i, end_of_name(i), flink);
    print_lanes(p);
}

/* --- TaskManagers and this process */

static void print_taskmanagers(struct printer *p, const struct weir_view_taskmanager *tms, int count)
{
    static const struct family families[] = {
        {"weir_taskmanager_slots", "gauge", NULL, "Slots that it offers."},
        {"weir_taskmanager_slots_free", "gauge", NULL, "Slots that no job uses."},
        {"weir_taskmanager_resident_bytes", "gauge", "flink_taskmanager_Status_JVM_Memory_Heap_Used",
         "Resident memory of the supervisor and its executors."},
        {"weir_taskmanager_memory_bytes", "gauge", "flink_taskmanager_Status_JVM_Memory_Heap_Max",
         "Memory of its host."},
        {"weir_taskmanager_cpu_seconds_total", "counter", NULL, "CPU time of the supervisor."},
        {"weir_taskmanager_threads", "gauge", "flink_taskmanager_Status_JVM_Threads_Count",
         "Threads of the supervisor."},
    };
    for (int f = 0; f < 6; f++)
        for (int flink = 0; flink <= (p->flink_names && families[f].flink); flink++) {
            const char *name = flink ? families[f].flink : families[f].name;
            head(p, name, flink ? "gauge" : families[f].type, families[f].help);
            for (int i = 0; i < count; i++) {
                double value = f == 0   ? tms[i].slots
                               : f == 1 ? tms[i].slots_free
                               : f == 2 ? (double)(tms[i].rss_bytes + tms[i].executor_rss_bytes)
                               : f == 3 ? (double)tms[i].memory_bytes
                               : f == 4 ? (double)tms[i].cpu_ns / 1e9
                                        : tms[i].threads;
                put(p, "%s{", name);
                put_label(p, "host", tms[i].host, true);
                put_label(p, "tm_id", tms[i].id, false);
                put(p, "} %.17g\n", value);
            }
        }
}

static double resident_bytes(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

void weir_rest_metrics(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    const struct weir_cluster_view *view = weir_rest_view(request);
    struct weir_arena arena;
    weir_arena_init(&arena);
    response->content_type = "text/plain; version=0.0.4; charset=utf-8";
    struct printer p = {.out = &response->body,
                        .flink_names = weir_config_int(rest->options.config, "metrics.flink-names") != 0};
    gethostname(p.host, sizeof p.host - 1);
    const struct weir_view_job *all = NULL;
    const struct weir_view_taskmanager *tms = NULL;
    int all_count = 0, tm_count = 0, slots = 0, slots_free = 0, running = 0;
    view->jobs(view->self, &arena, &all, &all_count);
    view->taskmanagers(view->self, &arena, &tms, &tm_count);
    for (int i = 0; i < tm_count; i++) {
        slots += tms[i].slots;
        slots_free += tms[i].slots_free;
    }
    /* Ended jobs are left out: a scrape would carry them for as long as the JobManager remembers them. */
    p.jobs = weir_arena_alloc(&arena, (size_t)(all_count + 1) * sizeof *p.jobs);
    for (int i = 0; i < all_count; i++) {
        const struct weir_view_job *job = NULL;
        running += all[i].state == WEIR_VIEW_JOB_RUNNING;
        if (!weir_rest_job_ended(all[i].state) && view->job(view->self, all[i].id, WEIR_VIEW_VERTICES, &arena, &job))
            p.jobs[p.job_count++] = job;
    }
    single(&p, "weir_jobmanager_num_running_jobs", "flink_jobmanager_numRunningJobs", "Jobs that are RUNNING.",
           running);
    single(&p, "weir_jobmanager_num_registered_task_managers", "flink_jobmanager_numRegisteredTaskManagers",
           "TaskManagers that are registered.", tm_count);
    single(&p, "weir_jobmanager_task_slots_total", "flink_jobmanager_taskSlotsTotal", "Slots of all TaskManagers.",
           slots);
    single(&p, "weir_jobmanager_task_slots_available", "flink_jobmanager_taskSlotsAvailable", "Slots that no job uses.",
           slots_free);
    single(&p, "weir_jobmanager_resident_bytes", "flink_jobmanager_Status_JVM_Memory_Heap_Used",
           "Resident memory of the JobManager.", resident_bytes());
    head(&p, "weir_jobmanager_cpu_seconds_total", "counter", "CPU time of the JobManager.");
    put(&p, "weir_jobmanager_cpu_seconds_total %.6f\n", (double)weir_clock_cpu_ns() / 1e9);
    head(&p, "weir_jobmanager_rest_refused_total", "counter", "Requests without a token that allows them.");
    put(&p, "weir_jobmanager_rest_refused_total %llu\n",
        (unsigned long long)((const struct weir_rest *)request->arg)->refused);
    print_jobs(&p);
    print_taskmanagers(&p, tms, tm_count);
    print_tasks(&p);
    if (view->print_metrics)
        view->print_metrics(view->self, &response->body);
    if (p.full || response->body.size > METRICS_SIZE_MAX) {
        response->content_type = NULL;
        weir_http_fail(response, 500, "There are more metrics than one answer takes.");
    }
    weir_arena_fini(&arena);
}
