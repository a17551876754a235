/* Simulates GPUs that report their temperature: JSON lines {device_id, temperature, is_abnormal, timestamp}, to a file, to standard output, or
 * to whoever connects. Everything but the clock comes from a seed.
 *
 * usage: gpu-temperature-publisher [--devices N] [--interval '1 s'] [--anomalies 5] [--out-of-order '1 s'] [--bad 0] [--seed 1]
 *            [--count N] [--output FILE|-|tcp://HOST:PORT] [--log FILE] [--log-size '256 mb'] [--linger '10 s']
 *
 * --interval      between two readings of a device        --anomalies, --bad  percent of readings (bad: without a temperature)
 * --out-of-order  how much later than its time a reading may be sent, at most
 * --count         readings in all; 0: until SIGTERM       --log  a copy of every line that was published
 * --log-size      how much of the log is kept, over TCP; 0: all. Default: 0 with --log, else 256 mb
 * --linger        over TCP, after the last reading: so long readers that ask for an offset may come back (not after SIGTERM)
 * Each flag may be given as PUBLISHER_DEVICES and so on in the environment.
 *
 * Files are written as fast as can be, with times from 2026-01-01; over TCP (it listens; feed.c) readings are sent when they are due, with
 * the time of the wall clock, from the first connection on. A plain reader (nc) gets what is published while it is connected. One that
 * asks for an offset (the job does) gets the log from there: what it missed, or what it lost, too. SIGTERM and SIGINT end it cleanly, with a summary.
 *
 * How: readings are made in the order of their times; each is given a delay and waits in a heap until its sending time comes. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "feed.h"

#define FILE_START_MS 1767225600000 /* 2026-01-01T00:00:00Z */
#define HEAP_MAX (1 << 22)
#define LINE_MAX_SIZE 160
#define STOP_MS 2000 /* so long readers are still given what they lack, after SIGTERM */

struct settings {
    int64_t devices, interval_ms, out_of_order_ms, count, linger_ms;
    int64_t log_size;      /* -1: not given */
    double anomalies, bad; /* percent */
    uint64_t seed;
    const char *output, *log;
};

struct reading {
    int64_t send_ms; /* when it is sent, on the same clock as time_ms */
    uint64_t number; /* of the reading; settles ties */
    int64_t time_ms;
    float temperature;
    uint32_t device;
    bool abnormal, bad;
};

struct publisher {
    struct settings settings;
    uint64_t random;
    double *mean; /* per device: around which its temperature varies */
    struct reading *heap;
    size_t heap_size;
    uint64_t made, published, abnormal, bad;
    int64_t start_ms;
    FILE *file, *log;
    struct feed *feed; /* NULL: to a file */
    bool ended;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * (int64_t)1000 + now.tv_nsec / 1000000;
}

/* --- Settings */

static bool parse_duration(const char *text, int64_t *ms)
{
    char unit[16] = "";
    double value;
    if (sscanf(text, "%lf %15s", &value, unit) < 1 || value < 0)
        return false;
    double scale = !*unit || strcmp(unit, "ms") == 0 ? 1
                   : strcmp(unit, "s") == 0          ? 1000
                   : strcmp(unit, "min") == 0        ? 60000
                   : strcmp(unit, "h") == 0          ? 3600000
                                                     : 0;
    *ms = (int64_t)(value * scale);
    return scale > 0;
}

static bool parse_size(const char *text, int64_t *size)
{
    char unit[16] = "";
    double value;
    if (sscanf(text, "%lf %15s", &value, unit) < 1 || !(value >= 0 && value < 1e15))
        return false;
    double scale = !*unit || strcmp(unit, "b") == 0 ? 1
                   : strcmp(unit, "kb") == 0        ? 0x1p10
                   : strcmp(unit, "mb") == 0        ? 0x1p20
                   : strcmp(unit, "gb") == 0        ? 0x1p30
                                                    : 0;
    *size = (int64_t)(value * scale);
    return scale > 0 && (*size == 0 || *size >= 1 << 16);
}

static bool parse_number(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return *text && !*end && *value >= 0 && *value < 9e15;
}

static bool set(struct settings *settings, const char *name, const char *value)
{
    double number = 0;
    if (strcmp(name, "output") == 0) {
        settings->output = value;
        return true;
    }
    if (strcmp(name, "log") == 0) {
        settings->log = value;
        return true;
    }
    if (strcmp(name, "interval") == 0)
        return parse_duration(value, &settings->interval_ms) && settings->interval_ms > 0;
    if (strcmp(name, "out-of-order") == 0)
        return parse_duration(value, &settings->out_of_order_ms);
    if (strcmp(name, "linger") == 0)
        return parse_duration(value, &settings->linger_ms);
    if (strcmp(name, "log-size") == 0)
        return parse_size(value, &settings->log_size);
    if (!parse_number(value, &number))
        return false;
    if (strcmp(name, "devices") == 0)
        settings->devices = (int64_t)number;
    else if (strcmp(name, "count") == 0)
        settings->count = (int64_t)number;
    else if (strcmp(name, "seed") == 0)
        settings->seed = (uint64_t)number;
    else if (strcmp(name, "anomalies") == 0)
        settings->anomalies = number;
    else if (strcmp(name, "bad") == 0)
        settings->bad = number;
    return settings->devices >= 1 && settings->devices <= 1000000 && settings->anomalies <= 100 && settings->bad <= 100;
}

static const char *const names[] = {"devices", "interval", "anomalies", "bad",      "out-of-order", "seed",
                                    "count",   "output",   "log",       "log-size", "linger"};
#define NAMES (sizeof names / sizeof names[0])

static const char *known(const char *name)
{
    for (size_t i = 0; i < NAMES; i++)
        if (strcmp(names[i], name) == 0)
            return names[i];
    return NULL;
}

static bool read_environment(struct settings *settings)
{
    for (size_t i = 0; i < NAMES; i++) {
        char variable[64] = "PUBLISHER_";
        size_t used = strlen(variable);
        for (const char *p = names[i]; *p; p++)
            variable[used++] = (char)(*p == '-' ? '_' : *p - 32);
        variable[used] = 0;
        const char *value = getenv(variable);
        if (value && !set(settings, names[i], value)) {
            fprintf(stderr, "publisher: %s: '%s' cannot be used\n", variable, value);
            return false;
        }
    }
    return true;
}

static bool read_arguments(struct settings *settings, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char name[32] = "";
        const char *equals = strchr(argv[i], '=');
        size_t size = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        if (strncmp(argv[i], "--", 2) != 0 || size - 2 >= sizeof name) {
            fprintf(stderr, "publisher: what is '%s'? See the head of publisher.c\n", argv[i]);
            return false;
        }
        memcpy(name, argv[i] + 2, size - 2);
        const char *value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!known(name)) {
            fprintf(
                stderr,
                "publisher: unknown flag --%s; there are --devices --interval --anomalies --bad --out-of-order --seed --count --output --log --log-size --linger\n",
                name);
            return false;
        }
        if (!value || !set(settings, name, value)) {
            fprintf(stderr, "publisher: --%s: '%s' cannot be used\n", name, value ? value : "");
            return false;
        }
    }
    return true;
}

/* --- Making readings */

static uint64_t next_random(struct publisher *p)
{
    uint64_t z = p->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double uniform(struct publisher *p)
{
    return (double)(next_random(p) >> 11) * 0x1p-53;
}

/* Reading `number` of the stream: devices take turns within an interval. */
static struct reading make(struct publisher *p)
{
    const struct settings *s = &p->settings;
    uint64_t number = p->made++;
    struct reading reading = {.number = number, .device = (uint32_t)(number % (uint64_t)s->devices)};
    uint64_t round = number / (uint64_t)s->devices;
    reading.time_ms =
        p->start_ms + (int64_t)round * s->interval_ms + (int64_t)reading.device * s->interval_ms / s->devices;
    reading.send_ms = reading.time_ms + (int64_t)(uniform(p) * (double)s->out_of_order_ms);
    reading.abnormal = uniform(p) * 100 < s->anomalies;
    reading.bad = uniform(p) * 100 < s->bad;
    double spread = uniform(p) + uniform(p) + uniform(p) - 1.5;
    reading.temperature = (float)(p->mean[reading.device] + spread * 8 + (reading.abnormal ? 15 + uniform(p) * 20 : 0));
    return reading;
}

static bool before(const struct reading *a, const struct reading *b)
{
    return a->send_ms != b->send_ms ? a->send_ms < b->send_ms : a->number < b->number;
}

static void heap_push(struct publisher *p, struct reading reading)
{
    size_t i = p->heap_size++;
    for (; i > 0 && before(&reading, &p->heap[(i - 1) / 2]); i = (i - 1) / 2)
        p->heap[i] = p->heap[(i - 1) / 2];
    p->heap[i] = reading;
}

static struct reading heap_pop(struct publisher *p)
{
    struct reading top = p->heap[0], last = p->heap[--p->heap_size];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < p->heap_size; i = child) {
        if (child + 1 < p->heap_size && before(&p->heap[child + 1], &p->heap[child]))
            child++;
        if (!before(&p->heap[child], &last))
            break;
        p->heap[i] = p->heap[child];
    }
    p->heap[i] = last;
    return top;
}

/* The next reading to send: all whose time is not past the earliest sending time are in the heap. False: no more. */
static bool next_reading(struct publisher *p, struct reading *reading)
{
    const struct settings *s = &p->settings;
    while ((s->count == 0 || p->made < (uint64_t)s->count) && p->heap_size < HEAP_MAX) {
        int64_t newest_ms = p->start_ms + (int64_t)(p->made / (uint64_t)s->devices) * s->interval_ms;
        if (p->heap_size > 0 && newest_ms > p->heap[0].send_ms)
            break;
        heap_push(p, make(p));
    }
    if (p->heap_size == 0)
        return false;
    *reading = heap_pop(p);
    return true;
}

/* --- Text */

static char *put_padded(char *out, int64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + digits;
}

static char *put_time(char *out, int64_t ms)
{
    static time_t day = -1;
    static char date[16];
    time_t seconds = (time_t)(ms / 1000);
    if (seconds / 86400 != day) {
        struct tm parts;
        day = seconds / 86400;
        gmtime_r(&seconds, &parts);
        strftime(date, sizeof date, "%Y-%m-%dT", &parts);
    }
    memcpy(out, date, 11);
    out = put_padded(out + 11, seconds % 86400 / 3600, 2);
    *out++ = ':';
    out = put_padded(out, seconds % 3600 / 60, 2);
    *out++ = ':';
    out = put_padded(out, seconds % 60, 2);
    *out++ = '.';
    out = put_padded(out, ms % 1000, 3);
    *out++ = 'Z';
    return out;
}

static size_t print(const struct reading *reading, char *line)
{
    char *out = line + sprintf(line, "{\"device_id\":\"gpu-%05" PRIu32 "\",\"temperature\":", reading->device);
    if (reading->bad) {
        out += sprintf(out, "null");
    } else { /* hundredths of a degree */
        long hundredths = lround((double)reading->temperature * 100);
        if (hundredths < 0)
            *out++ = '-';
        hundredths = labs(hundredths);
        out += sprintf(out, "%ld.", hundredths / 100);
        out = put_padded(out, hundredths % 100, 2);
    }
    out += sprintf(out, ",\"is_abnormal\":%s,\"timestamp\":\"", reading->abnormal ? "true" : "false");
    out = put_time(out, reading->time_ms);
    memcpy(out, "\"}\n", 3);
    return (size_t)(out + 3 - line);
}

/* --- Output */

static void publish(struct publisher *p, const struct reading *reading)
{
    char line[LINE_MAX_SIZE];
    size_t size = print(reading, line);
    if (p->file && fwrite(line, 1, size, p->file) != size) {
        fprintf(stderr, "publisher: cannot write: %s\n", strerror(errno));
        p->ended = true;
        return;
    }
    if (p->feed && !feed_append(p->feed, line, size)) {
        p->ended = true;
        return;
    }
    if (p->log)
        fwrite(line, 1, size, p->log);
    p->published++;
    p->abnormal += reading->abnormal;
    p->bad += reading->bad;
}

/* The readers get the rest, and a source that failed meanwhile comes back for it. */
static void linger(struct publisher *p)
{
    int64_t until_ms = INT64_MAX, stopped_ms = INT64_MAX;
    feed_end(p->feed);
    for (;;) {
        int64_t now_ms = wall_ms();
        if (stop && stopped_ms == INT64_MAX)
            stopped_ms = now_ms + STOP_MS;
        if (feed_readers(p->feed) > 0)
            until_ms = INT64_MAX;
        else if (until_ms == INT64_MAX)
            until_ms = now_ms + (feed_was_replayed(p->feed) ? p->settings.linger_ms : 0);
        if (now_ms >= until_ms || now_ms >= stopped_ms || (stop && feed_readers(p->feed) == 0))
            return;
        feed_serve(p->feed, 100);
    }
}

static void run(struct publisher *p)
{
    while (p->feed && !feed_was_read(p->feed) && !stop)
        feed_serve(p->feed, 100);
    p->start_ms = p->feed ? wall_ms() : FILE_START_MS;
    struct reading reading;
    while (!stop && !p->ended && next_reading(p, &reading)) {
        while (p->feed && !stop) {
            int64_t wait_ms = reading.send_ms - wall_ms();
            feed_serve(p->feed, wait_ms > 0 ? (int)(wait_ms < 100 ? wait_ms : 100) : 0);
            if (wait_ms <= 0 && !feed_full(p->feed))
                break;
        }
        if (!stop)
            publish(p, &reading);
    }
    if (p->feed)
        linger(p);
}

static bool set_up(struct publisher *p)
{
    const char *output = p->settings.output;
    const struct settings *settings = &p->settings;
    bool tcp = strncmp(output, "tcp:", 4) == 0;
    p->random = p->settings.seed;
    p->heap = malloc(HEAP_MAX * sizeof *p->heap);
    p->mean = malloc((size_t)p->settings.devices * sizeof *p->mean);
    if (!p->heap || !p->mean) {
        fprintf(stderr, "publisher: no memory\n");
        return false;
    }
    for (int64_t i = 0; i < p->settings.devices; i++)
        p->mean[i] = 62 + uniform(p) * 18;
    if (tcp) {
        int64_t size = settings->log_size >= 0 ? settings->log_size : settings->log ? 0 : (int64_t)256 << 20;
        p->feed = feed_open(output, settings->log, size);
        return p->feed != NULL;
    }
    p->file = strcmp(output, "-") == 0 ? stdout : fopen(output, "w");
    if (!p->file) {
        fprintf(stderr, "publisher: cannot write %s: %s\n", output, strerror(errno));
        return false;
    }
    if (settings->log && !(p->log = fopen(settings->log, "w"))) {
        fprintf(stderr, "publisher: cannot write %s: %s\n", settings->log, strerror(errno));
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct publisher p = {.settings = {.devices = 10,
                                       .interval_ms = 1000,
                                       .out_of_order_ms = 1000,
                                       .anomalies = 5,
                                       .seed = 1,
                                       .output = "-",
                                       .linger_ms = 10000,
                                       .log_size = -1}};
    if (!read_environment(&p.settings) || !read_arguments(&p.settings, argc, argv))
        return 2;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!set_up(&p))
        return 1;
    run(&p);
    int failed = p.ended || (p.file && fflush(p.file) != 0) || (p.log && fclose(p.log) != 0) || !feed_close(p.feed);
    fprintf(stderr, "publisher: %" PRIu64 " readings published, %" PRIu64 " abnormal, %" PRIu64 " bad\n", p.published,
            p.abnormal, p.bad);
    free(p.heap);
    free(p.mean);
    return failed ? 1 : 0;
}
