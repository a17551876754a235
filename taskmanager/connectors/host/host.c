/* host: what this machine does, live: CPU, memory, disk and network counters from /proc, a row per metric and interval.
 *
 * Schema: host STRING, metric STRING, value DOUBLE, ts TIMESTAMP(3), all NOT NULL. Rates and shares are over the interval before
 * the row's time. Metrics whose file this machine does not have (diskstats in some containers) are left out.
 * Reading these files takes some 100 us and never blocks.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "connectors/connectors_int.h"

#define FILE_SIZE_MAX ((size_t)1 << 20)
#define METRICS_MAX 32

static const struct weir_option source_options[] = {
    {"interval", WEIR_OPTION_DURATION, "1 s", NULL, "Time between two samples"},
    {"samples", WEIR_OPTION_INT, "0", NULL, "How many samples to take; 0: without end"},
    {"proc", WEIR_OPTION_STRING, "/proc", NULL, "Where the counters are; a container may mount the host's elsewhere"},
    {0},
};

/* Totals since the machine's start; have_*: the file is there. */
struct totals {
    bool have_disk, have_net, have_load;
    double user, system, idle, iowait, all;           /* ticks */
    double memory_total, memory_available, swap_used; /* bytes */
    double load_1min;
    double disk_read, disk_written, disk_busy_ms; /* bytes */
    double net_received, net_sent;                /* bytes */
};

struct weir_reader {
    struct weir_schema *schema;
    char *proc;
    char host[256];
    int64_t interval_ms, samples, taken;
    int64_t due_ms, last_ms;
    struct totals last;
    struct weir_buf text;
};

static weir_err source_schema(const struct weir_key_value *options, int option_count, struct weir_schema *declared,
                              struct weir_schema **schema, struct weir_error *error)
{
    struct weir_type string = {.id = WEIR_TYPE_STRING}, number = {.id = WEIR_TYPE_DOUBLE};
    struct weir_type time = {.id = WEIR_TYPE_TIMESTAMP, .precision = 3};
    struct weir_field fields[] = {{"host", string}, {"metric", string}, {"value", number}, {"ts", time}};
    if (weir_options_get_int(options, option_count, source_options, "interval") < 10)
        return weir_fail(error, WEIR_ERR_INVALID, "connector 'host': interval must be at least 10 ms");
    if (weir_options_get_int(options, option_count, source_options, "samples") < 0)
        return weir_fail(error, WEIR_ERR_INVALID, "connector 'host': samples cannot be negative");
    *schema = weir_schema_new(fields, 4);
    if (declared && !weir_schema_equal(declared, *schema)) {
        weir_schema_unref(*schema);
        *schema = NULL;
        return weir_fail(error, WEIR_ERR_INVALID,
                         "connector 'host' gives host STRING NOT NULL, metric STRING NOT NULL, value DOUBLE NOT NULL, "
                         "ts TIMESTAMP(3) NOT NULL: leave the schema out, or declare just that");
    }
    return 0;
}

/* --- Reading /proc */

/* The whole file as text; false: it is not there. */
static bool read_file(struct weir_reader *reader, const char *name)
{
    char path[4096];
    weir_buf_clear(&reader->text);
    snprintf(path, sizeof path, "%s/%s", reader->proc, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = -1;
    while (weir_buf_reserve(&reader->text, 16384) && (n = read(fd, reader->text.data + reader->text.size, 16384)) > 0)
        reader->text.size += (size_t)n;
    close(fd);
    if (!reader->text.data)
        return false;
    reader->text.data[reader->text.size] = 0;
    return n == 0 && reader->text.size > 0;
}

static weir_err read_cpu(struct weir_reader *reader, struct totals *t, struct weir_error *error)
{
    double user, nice, system, idle, iowait = 0, irq = 0, softirq = 0, steal = 0;
    if (!read_file(reader, "stat") || sscanf((const char *)reader->text.data, "cpu %lf %lf %lf %lf %lf %lf %lf %lf",
                                             &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal) < 4)
        return weir_fail(error, WEIR_ERR_IO, "connector 'host': cannot read the processor's counters in %s/stat",
                         reader->proc);
    t->user = user + nice;
    t->system = system + irq + softirq;
    t->idle = idle;
    t->iowait = iowait;
    t->all = user + nice + system + idle + iowait + irq + softirq + steal;
    return 0;
}

static double memory_field(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtod(at + strlen(name), NULL) * 1024 : 0;
}

static weir_err read_memory(struct weir_reader *reader, struct totals *t, struct weir_error *error)
{
    if (!read_file(reader, "meminfo"))
        return weir_fail(error, WEIR_ERR_IO, "connector 'host': cannot read %s/meminfo", reader->proc);
    const char *text = (const char *)reader->text.data;
    t->memory_total = memory_field(text, "MemTotal:");
    t->memory_available = memory_field(text, "MemAvailable:");
    t->swap_used = memory_field(text, "SwapTotal:") - memory_field(text, "SwapFree:");
    return 0;
}

/* Whole disks only: a partition's traffic is in its disk's. A partition's name is its disk's and a number ("sda1", "nvme0n1p1"). */
static bool is_part_of(const char *name, const char *disk)
{
    size_t size = strlen(disk);
    if (!disk[0] || strncmp(name, disk, size) != 0 || !name[size])
        return false;
    return name[size] == 'p' ||
           (name[size] >= '0' && name[size] <= '9' && (disk[size - 1] < '0' || disk[size - 1] > '9'));
}

static void read_disks(struct weir_reader *reader, struct totals *t)
{
    t->have_disk = read_file(reader, "diskstats");
    char disk[64] = "", *rest = NULL;
    char *line = t->have_disk ? strtok_r((char *)reader->text.data, "\n", &rest) : NULL;
    for (; line; line = strtok_r(NULL, "\n", &rest)) {
        char name[64];
        double sectors_read, sectors_written, busy_ms;
        if (sscanf(line, "%*d %*d %63s %*f %*f %lf %*f %*f %*f %lf %*f %*f %lf", name, &sectors_read, &sectors_written,
                   &busy_ms) != 4)
            continue;
        if (strncmp(name, "loop", 4) == 0 || strncmp(name, "ram", 3) == 0 || strncmp(name, "dm-", 3) == 0 ||
            strncmp(name, "md", 2) == 0 || is_part_of(name, disk))
            continue;
        snprintf(disk, sizeof disk, "%s", name);
        t->disk_read += sectors_read * 512;
        t->disk_written += sectors_written * 512;
        t->disk_busy_ms += busy_ms;
    }
}

static void read_network(struct weir_reader *reader, struct totals *t)
{
    t->have_net = read_file(reader, "net/dev");
    char *rest = NULL;
    char *line = t->have_net ? strtok_r((char *)reader->text.data, "\n", &rest) : NULL;
    for (; line; line = strtok_r(NULL, "\n", &rest)) {
        char *colon = strchr(line, ':');
        double received, sent;
        if (!colon || sscanf(colon + 1, "%lf %*f %*f %*f %*f %*f %*f %*f %lf", &received, &sent) != 2)
            continue;
        *colon = 0;
        if (strcmp(line + strspn(line, " "), "lo") == 0)
            continue;
        t->net_received += received;
        t->net_sent += sent;
    }
}

static weir_err read_totals(struct weir_reader *reader, struct totals *t, struct weir_error *error)
{
    memset(t, 0, sizeof *t);
    weir_err err = read_cpu(reader, t, error);
    if (err || (err = read_memory(reader, t, error)))
        return err;
    t->have_load = read_file(reader, "loadavg");
    if (t->have_load)
        t->load_1min = strtod((const char *)reader->text.data, NULL);
    read_disks(reader, t);
    read_network(reader, t);
    return 0;
}

/* --- Rows */

static void add(struct weir_reader *reader, struct weir_batch *batch, int64_t now_ms, const char *metric, double value)
{
    int row = batch->row_count;
    if (row == METRICS_MAX)
        return;
    weir_column_set_bytes(&batch->columns[0], row, reader->host, strlen(reader->host));
    weir_column_set_bytes(&batch->columns[1], row, metric, strlen(metric));
    batch->columns[2].f64[row] = value;
    batch->columns[3].i64[row] = now_ms;
    batch->row_count++;
}

/* A counter that went back (a device was removed) is no negative rate. */
static double rate(double now, double before, double seconds)
{
    return now > before && seconds > 0 ? (now - before) / seconds : 0;
}

static void add_rows(struct weir_reader *reader, struct weir_batch *batch, const struct totals *now, int64_t now_ms)
{
    const struct totals *before = &reader->last;
    double seconds = (double)(now_ms - reader->last_ms) / 1000, ticks = now->all - before->all;
    double idle = rate(now->idle, before->idle, ticks), iowait = rate(now->iowait, before->iowait, ticks);
    add(reader, batch, now_ms, "cpu.user.percent", 100 * rate(now->user, before->user, ticks));
    add(reader, batch, now_ms, "cpu.system.percent", 100 * rate(now->system, before->system, ticks));
    add(reader, batch, now_ms, "cpu.iowait.percent", 100 * iowait);
    add(reader, batch, now_ms, "cpu.busy.percent", ticks > 0 && idle + iowait < 1 ? 100 * (1 - idle - iowait) : 0);
    if (now->have_load)
        add(reader, batch, now_ms, "load.1min", now->load_1min);
    add(reader, batch, now_ms, "memory.used.bytes", now->memory_total - now->memory_available);
    add(reader, batch, now_ms, "memory.available.bytes", now->memory_available);
    if (now->memory_total > 0)
        add(reader, batch, now_ms, "memory.used.percent", 100 * (1 - now->memory_available / now->memory_total));
    add(reader, batch, now_ms, "swap.used.bytes", now->swap_used);
    if (now->have_disk) {
        add(reader, batch, now_ms, "disk.read.bytes_per_s", rate(now->disk_read, before->disk_read, seconds));
        add(reader, batch, now_ms, "disk.written.bytes_per_s", rate(now->disk_written, before->disk_written, seconds));
    }
    if (now->have_net) {
        add(reader, batch, now_ms, "net.received.bytes_per_s", rate(now->net_received, before->net_received, seconds));
        add(reader, batch, now_ms, "net.sent.bytes_per_s", rate(now->net_sent, before->net_sent, seconds));
    }
}

static void reader_close(struct weir_reader *reader)
{
    weir_schema_unref(reader->schema);
    weir_buf_fini(&reader->text);
    free(reader->proc);
    free(reader);
}

static weir_err reader_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_reader **out, struct weir_error *error)
{
    struct weir_reader *reader = weir_zalloc(sizeof *reader);
    reader->schema = weir_schema_ref(ctx->schema);
    reader->proc = weir_strdup(weir_options_get(options, option_count, source_options, "proc"));
    reader->interval_ms = weir_options_get_int(options, option_count, source_options, "interval");
    reader->samples = weir_options_get_int(options, option_count, source_options, "samples");
    weir_buf_init(&reader->text, FILE_SIZE_MAX);
    if (gethostname(reader->host, sizeof reader->host - 1) != 0)
        snprintf(reader->host, sizeof reader->host, "localhost");
    reader->last_ms = ctx->now_ms(ctx);
    reader->due_ms = reader->last_ms + reader->interval_ms;
    weir_err err = read_totals(reader, &reader->last, error);
    if (err) {
        reader_close(reader);
        return err;
    }
    *out = reader;
    return 0;
}

static enum weir_read read_batch(struct weir_reader *reader, struct weir_connector_ctx *ctx, struct weir_batch **out,
                                 int64_t *wait_until_ms, struct weir_error *error)
{
    if (reader->samples > 0 && reader->taken == reader->samples)
        return WEIR_READ_END;
    int64_t now_ms = ctx->now_ms(ctx);
    if (now_ms < reader->due_ms) {
        *wait_until_ms = reader->due_ms;
        return WEIR_READ_EMPTY;
    }
    struct totals now;
    if (read_totals(reader, &now, error))
        return WEIR_READ_FAILED;
    struct weir_batch *batch = weir_batch_new(reader->schema, METRICS_MAX);
    add_rows(reader, batch, &now, now_ms);
    reader->last = now;
    reader->last_ms = now_ms;
    reader->taken++;
    /* A sample that came late does not make the next ones crowd. */
    reader->due_ms += reader->interval_ms;
    if (reader->due_ms <= now_ms)
        reader->due_ms = now_ms + reader->interval_ms;
    *out = batch;
    return WEIR_READ_DATA;
}

static const struct weir_connector_rows rows_interface = {.source_schema = source_schema, .read_batch = read_batch};

const struct weir_connector weir_connector_host = {
    .size = sizeof(struct weir_connector),
    .name = "host",
    .help = "This machine's CPU, memory, disk and network counters",
    .source_options = source_options,
    .parallelism_max = 1,
    .reader_open = reader_open,
    .reader_close = reader_close,
    .rows = &rows_interface,
};
