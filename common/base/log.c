/* Structured logs. A line is made in a buffer of the calling thread and written by one write(2) under one lock, which also covers
 * rotation; so lines never mix, and the file never grows past size_max by more than a line. What cannot be written (a full disk) is counted,
 * and the count is the first line that can.
 *
 * Text: 2026-01-02T03:04:05.678Z INFO  jobmanager [job=.. task=.. attempt=1] The sentence. (file.c:12)
 * JSON: {"time":..,"level":..,"process":..,"pid":..,"job":..,"task":..,"attempt":..,"message":..,"source":..} */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define LINE_SIZE 8192

enum weir_log_level weir_log_level_min = WEIR_LOG_INFO;

static struct {
    pthread_mutex_t lock; /* guards all below */
    int fd;
    char *path;
    size_t size, size_max;
    unsigned long lost; /* lines that could not be written since the last one that could */
    int lost_errno;
    int files_max;
    bool json;
    char process[32];
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO};

static __thread struct {
    char job[65], task[65];
    int attempt;
} scope = {.attempt = -1};

static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

weir_err weir_log_init(const struct weir_log_options *options, struct weir_error *error)
{
    int fd = STDERR_FILENO;
    size_t size = 0;
    if (options->path) {
        fd = open_file(options->path);
        if (fd < 0)
            return weir_fail_errno(error, WEIR_ERR_IO, "cannot open the log file '%s'", options->path);
        struct stat st;
        if (fstat(fd, &st) == 0)
            size = (size_t)st.st_size;
    }
    pthread_mutex_lock(&sink.lock);
    if (sink.fd != STDERR_FILENO)
        close(sink.fd);
    free(sink.path);
    sink.fd = fd;
    sink.path = options->path ? weir_strdup(options->path) : NULL;
    sink.size = size;
    sink.size_max = options->size_max ? options->size_max : (size_t)64 << 20;
    sink.files_max = options->files_max > 0 ? options->files_max : 1;
    sink.json = options->json;
    snprintf(sink.process, sizeof sink.process, "%s", options->process ? options->process : "");
    weir_log_level_min = options->level;
    pthread_mutex_unlock(&sink.lock);
    return WEIR_OK;
}

static bool write_lost(void);

void weir_log_fini(void)
{
    pthread_mutex_lock(&sink.lock);
    if (sink.lost && !write_lost())
        fprintf(stderr, "%lu lines of the log %s could not be written: %s\n", sink.lost, sink.path ? sink.path : "",
                strerrordesc_np(sink.lost_errno));
    sink.lost = 0;
    if (sink.fd != STDERR_FILENO)
        close(sink.fd);
    free(sink.path);
    sink.fd = STDERR_FILENO;
    sink.path = NULL;
    sink.json = false;
    sink.process[0] = 0;
    weir_log_level_min = WEIR_LOG_INFO;
    pthread_mutex_unlock(&sink.lock);
}

weir_err weir_log_level_parse(const char *text, enum weir_log_level *level, struct weir_error *error)
{
    for (int i = 0; i < 4; i++)
        if (!strcasecmp(text, level_names[i])) {
            *level = (enum weir_log_level)i;
            return WEIR_OK;
        }
    return weir_fail(error, WEIR_ERR_INVALID, "'%s' is no log level; they are debug, info, warn, error", text);
}

void weir_log_scope(const char *job, const char *task, int attempt)
{
    snprintf(scope.job, sizeof scope.job, "%s", job ? job : "");
    snprintf(scope.task, sizeof scope.task, "%s", task ? task : "");
    scope.attempt = attempt;
}

/* FILE.(n-2) -> FILE.(n-1), ..., FILE -> FILE.1. False: one could not be renamed, and none that comes after it was. */
static bool shift_files(void)
{
    bool ok = true;
    for (int i = sink.files_max - 1; ok && i > 0; i--) {
        char *to = weir_format("%s.%d", sink.path, i);
        char *from = i == 1 ? weir_strdup(sink.path) : weir_format("%s.%d", sink.path, i - 1);
        ok = rename(from, to) == 0 || errno == ENOENT;
        free(from);
        free(to);
    }
    return ok;
}

/* Called with the lock. When it fails, lines go on into the old file. */
static void rotate(void)
{
    if (shift_files()) {
        if (sink.files_max == 1)
            unlink(sink.path);
        int fd = open_file(sink.path);
        if (fd >= 0) {
            close(sink.fd);
            sink.fd = fd;
        }
    }
    sink.size = 0;
}

/* Bounded appending: what does not fit is cut. One byte is kept for the newline. */
struct line {
    char text[LINE_SIZE];
    size_t size;
};

static void put(struct line *line, const char *bytes, size_t size)
{
    size_t room = LINE_SIZE - 1 - line->size;
    if (size > room)
        size = room;
    memcpy(line->text + line->size, bytes, size);
    line->size += size;
}

static void puts_line(struct line *line, const char *s)
{
    put(line, s, strlen(s));
}

static void put_json_string(struct line *line, const char *key, const char *s, size_t reserve)
{
    puts_line(line, line->size > 1 ? ",\"" : "\"");
    puts_line(line, key);
    puts_line(line, "\":\"");
    for (; *s && line->size + reserve + 8 < LINE_SIZE; s++) {
        unsigned char c = (unsigned char)*s;
        char escape[8];
        if (c == '"' || c == '\\') {
            escape[0] = '\\';
            escape[1] = (char)c;
            put(line, escape, 2);
        } else if (c < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            put(line, escape, 6);
        } else {
            put(line, (const char *)&c, 1);
        }
    }
    /* A cut must not leave half a character behind. */
    if (*s)
        while (line->size && ((unsigned char)line->text[line->size - 1] & 0x80)) {
            bool lead = ((unsigned char)line->text[line->size - 1] & 0xC0) == 0xC0;
            line->size--;
            if (lead)
                break;
        }
    puts_line(line, "\"");
}

static void format_time(char out[32])
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 32 - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static void make_json(struct line *line, enum weir_log_level level, const char *time, const char *source,
                      const char *message)
{
    char number[32];
    puts_line(line, "{");
    put_json_string(line, "time", time, 0);
    put_json_string(line, "level", level_names[level], 0);
    put_json_string(line, "process", sink.process, 0);
    snprintf(number, sizeof number, ",\"pid\":%d", (int)getpid());
    puts_line(line, number);
    if (scope.job[0])
        put_json_string(line, "job", scope.job, 0);
    if (scope.task[0])
        put_json_string(line, "task", scope.task, 0);
    if (scope.attempt >= 0) {
        snprintf(number, sizeof number, ",\"attempt\":%d", scope.attempt);
        puts_line(line, number);
    }
    put_json_string(line, "source", source, 0);
    put_json_string(line, "message", message, 4);
    puts_line(line, "}");
}

static void make_text(struct line *line, enum weir_log_level level, const char *time, const char *source,
                      const char *message)
{
    char text[256];
    snprintf(text, sizeof text, "%s %-5s %s%s", time, level_names[level], sink.process, sink.process[0] ? " " : "");
    puts_line(line, text);
    if (scope.job[0] || scope.task[0] || scope.attempt >= 0) {
        const char *gap = "[";
        if (scope.job[0]) {
            snprintf(text, sizeof text, "%sjob=%s", gap, scope.job);
            puts_line(line, text);
            gap = " ";
        }
        if (scope.task[0]) {
            snprintf(text, sizeof text, "%stask=%s", gap, scope.task);
            puts_line(line, text);
            gap = " ";
        }
        if (scope.attempt >= 0) {
            snprintf(text, sizeof text, "%sattempt=%d", gap, scope.attempt);
            puts_line(line, text);
        }
        puts_line(line, "] ");
    }
    size_t start = line->size;
    puts_line(line, message);
    for (size_t i = start; i < line->size; i++) /* one event is one line, and nothing in it moves a terminal's cursor */
        if ((unsigned char)line->text[i] < 0x20 || line->text[i] == 0x7f)
            line->text[i] = ' ';
    snprintf(text, sizeof text, " (%s)", source);
    puts_line(line, text);
}

/* Writes a whole line, or cuts what was written of it off by a newline. Called with the lock. */
static bool write_line(const char *text, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = write(sink.fd, text + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
        sink.size += (size_t)n;
    }
    if (done == size)
        return true;
    sink.lost_errno = errno;
    if (done > 0 && write(sink.fd, "\n", 1) == 1)
        sink.size++;
    return false;
}

/* Before the first line that can be written again: how many could not. Called with the lock. */
static bool write_lost(void)
{
    struct line line = {.size = 0};
    char message[160], time[32];
    format_time(time);
    snprintf(message, sizeof message, "%lu lines of this log could not be written: %s", sink.lost,
             strerrordesc_np(sink.lost_errno));
    if (sink.json)
        make_json(&line, WEIR_LOG_ERROR, time, "log.c", message);
    else
        make_text(&line, WEIR_LOG_ERROR, time, "log.c", message);
    line.text[line.size++] = '\n';
    return write_line(line.text, line.size);
}

bool weir_log_gate_pass(struct weir_log_gate *gate, unsigned long long *left_out)
{
    int64_t now_ms = weir_clock_mono_ms(), open_at_ms = atomic_load(&gate->open_at_ms);
    if (now_ms < open_at_ms || !atomic_compare_exchange_strong(&gate->open_at_ms, &open_at_ms, now_ms + 1000)) {
        atomic_fetch_add(&gate->left_out, 1);
        return false;
    }
    *left_out = atomic_exchange(&gate->left_out, 0);
    return true;
}

void weir_log_write(enum weir_log_level level, const char *file, int source_line, const char *format, ...)
{
    int saved = errno;
    static __thread char message[LINE_SIZE];
    static __thread struct line line;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    char time[32], source[128];
    format_time(time);
    const char *slash = strrchr(file, '/');
    snprintf(source, sizeof source, "%.100s:%d", slash ? slash + 1 : file, source_line);
    line.size = 0;

    pthread_mutex_lock(&sink.lock);
    if (sink.json)
        make_json(&line, level, time, source, message);
    else
        make_text(&line, level, time, source, message);
    line.text[line.size++] = '\n';
    if (sink.path && sink.size && sink.size + line.size > sink.size_max)
        rotate();
    if (sink.lost && write_lost())
        sink.lost = 0;
    if (sink.lost || !write_line(line.text, line.size))
        sink.lost++;
    pthread_mutex_unlock(&sink.lock);
    errno = saved;
}
