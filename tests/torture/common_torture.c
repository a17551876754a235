/* Torture in one process: every scenario is played once to count its calls, then once for each call and each way in which it can fail,
 * in a child process of its own.
 *
 *     common_torture [--faults N] [--seed S] [--list] [SCENARIO...]
 *
 * N faults drawn by seed, spread over all scenarios (default: every one; of slow scenarios a sample). --list prints a line a fault.
 * What a fault may lead to, by class, is in README.md: it is judged in judge(). Prints TAP. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ftw.h>

#include <curl/curl.h>
#include <openssl/evp.h>

#include "torture/faults.h"
#include "torture/scenarios.h"

#define SECONDS_MAX 30
#define WRONG_SHOWN 10 /* of a scenario */
#define FEW_CALLS 12
#define SLOW_FAULTS 60 /* of a slow scenario, when all are wanted */

struct way {
    enum fault_kind kind;
    int error;
    const char *name;
    bool soft; /* nothing is lost: the result must be right */
};
static const struct way ways[] = {
    {FAULT_alloc, ENOMEM, "ENOMEM", false},
    {FAULT_open, EMFILE, "EMFILE", false},
    {FAULT_open, EACCES, "EACCES", false},
    {FAULT_read, EIO, "EIO", false},
    {FAULT_read, FAULT_SHORT, "short", true},
    {FAULT_write, ENOSPC, "ENOSPC", false},
    {FAULT_write, FAULT_SHORT, "short", true},
    {FAULT_stdio, ENOSPC, "ENOSPC", false},
    {FAULT_sync, EIO, "EIO", false},
    {FAULT_close, EIO, "EIO", false},
    {FAULT_rename, EIO, "EIO", false},
    {FAULT_unlink, EACCES, "EACCES", false},
    {FAULT_mkdir, ENOSPC, "ENOSPC", false},
    {FAULT_stat, EIO, "EIO", false},
    {FAULT_truncate, ENOSPC, "ENOSPC", false},
    {FAULT_send, EPIPE, "EPIPE", false},
    {FAULT_send, EINTR, "EINTR", true},
    {FAULT_send, EAGAIN, "EAGAIN", true},
    {FAULT_send, FAULT_SHORT, "short", true},
    {FAULT_recv, ECONNRESET, "ECONNRESET", false},
    {FAULT_recv, EINTR, "EINTR", true},
    {FAULT_recv, EAGAIN, "EAGAIN", true},
    {FAULT_recv, FAULT_SHORT, "short", true},
    {FAULT_socket, EMFILE, "EMFILE", false},
    {FAULT_connect, ECONNREFUSED, "ECONNREFUSED", false},
    {FAULT_bind, EADDRINUSE, "EADDRINUSE", false},
    {FAULT_accept, EMFILE, "EMFILE", false},
    {FAULT_accept, ECONNABORTED, "ECONNABORTED", false},
    {FAULT_mmap, ENOMEM, "ENOMEM", false},
    {FAULT_thread, EAGAIN, "EAGAIN", false},
    {FAULT_epoll, ENOSPC, "ENOSPC", false},
    {FAULT_poll, EINTR, "EINTR", true},
    {FAULT_event, EMFILE, "EMFILE", false},
    {FAULT_pipe, EMFILE, "EMFILE", false},
    {FAULT_spawn, EAGAIN, "EAGAIN", false},
    {FAULT_wait, EINTR, "EINTR", true},
};
#define WAYS ((int)(sizeof ways / sizeof ways[0]))

static struct shared {
    struct fault_block block;
    struct run run;
} * shared;
static char directory[] = "/tmp/weir-torture-XXXXXX";
static char errors_path[64]; /* standard error of the child */
static bool list;
static uint64_t seed = 1;

/* --- For scenarios */

void run_say(struct run *run, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = sizeof run->output - run->size;
    int size = vsnprintf(run->output + run->size, room, format, args);
    va_end(args);
    if (size > 0)
        run->size += (size_t)size < room ? (size_t)size : room - 1;
}

int run_fail(struct run *run, const struct weir_error *error)
{
    snprintf(run->message, sizeof run->message, "%s", error->message);
    return 1;
}

/* --- One run */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type;
    return ftw->level == 0 ? 0 : remove(path);
}

static int64_t count_fds(void)
{
    int64_t count = 0;
    DIR *fds = opendir("/proc/self/fd");
    while (fds && readdir(fds))
        count++;
    if (fds)
        closedir(fds);
    return count;
}

static void play(const struct scenario *scenario)
{
    struct run *run = &shared->run;
    int fd = open(errors_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(99);
    close(fd);
    alarm(SECONDS_MAX);
    faults_use(NULL);
    int64_t fds = count_fds();
    faults_use(&shared->block);
    faults_watch_crashes();
    int64_t live = (int64_t)shared->block.live;
    run->result = scenario->play(run);
    run->leaked_blocks = (int64_t)shared->block.live - live;
    faults_use(NULL);
    run->leaked_fds = count_fds() - fds;
    run->ended = true;
    _exit(0);
}

/* The child's status. */
static int run_once(const struct scenario *scenario, const struct way *way, uint64_t nth)
{
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    memset(shared, 0, sizeof *shared);
    shared->run.directory = directory;
    if (way) {
        shared->block.armed = 1;
        shared->block.kind = way->kind;
        shared->block.error = (uint64_t)way->error;
        shared->block.nth = nth;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        play(scenario);
    int status = 0;
    while (pid < 0 || (waitpid(pid, &status, 0) < 0 && errno == EINTR))
        if (pid < 0)
            abort();
    return status;
}

/* --- Judging */

static void read_errors(char *text, size_t room)
{
    FILE *file = fopen(errors_path, "re");
    size_t size = file ? fread(text, 1, room - 1, file) : 0;
    text[size] = 0;
    if (file)
        fclose(file);
}

/* What is documented to end a process that has no memory: weir's own, libzmq's, C++'s. */
static bool says_out_of_memory(const char *text)
{
    return strstr(text, "out of memory") || strstr(text, "OUT OF MEMORY") || strstr(text, "std::bad_alloc") ||
           strstr(text, "Cannot allocate memory");
}

/* A library that ends the process when it cannot have what it needs, as libzmq ("Too many open files (src/epoll.cpp:65)"), libpgm or
 * glibc's name services do: between the crash and the first frame of ours there are frames of another than libc. */
static bool is_foreign(const char *frames)
{
    for (const char *at = frames; *at; at += strcspn(at, " "), at += *at == ' ')
        if (strncmp(at, "common_torture+", 15) == 0 && at != frames) /* the first is the handler */
            return false;
        else if (strncmp(at, "lib", 3) == 0 && strncmp(at, "libc.so", 7) != 0)
            return true;
    return false;
}

/* libmicrohttpd reads edge-triggered: the kernel promises it that a read that gave less than was wanted has taken all there was. */
static bool is_broken_promise(const struct way *way)
{
    const char *frames = shared->block.where;
    return way->kind == FAULT_recv && way->error != EINTR && strstr(frames, "libmicrohttpd") &&
           strstr(frames, "libmicrohttpd") < frames + 120;
}

/* NULL: as it should be; else what is wrong. */
static const char *judge(const struct scenario *scenario, const struct way *way, int status, const struct run *good,
                         const char *errors, const char **outcome)
{
    const struct run *run = &shared->run;
    static char text[128];
    if (WIFSIGNALED(status)) {
        *outcome = "aborted";
        if (WTERMSIG(status) == SIGALRM)
            return "it hangs";
        if (!way->soft && is_foreign(shared->block.crash))
            return NULL;
        if (WTERMSIG(status) == SIGABRT && way->kind == FAULT_alloc && says_out_of_memory(errors))
            return NULL;
        snprintf(text, sizeof text, "it ends by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
        return text;
    }
    if (!run->ended) {
        *outcome = "error";
        snprintf(text, sizeof text, "it ends with exit code %d", WEXITSTATUS(status));
        return way->kind == FAULT_alloc && says_out_of_memory(errors) ? NULL : text;
    }
    if (run->result) {
        *outcome = "error";
        if (!run->message[0])
            return "it fails without a word";
        if (way->soft && !is_broken_promise(way))
            return "it fails, though nothing was lost";
    } else {
        *outcome = "right";
        if (run->size != good->size || memcmp(run->output, good->output, good->size) != 0)
            return "it says that all went well, and its result is wrong";
    }
    if (!scenario->loose && run->leaked_blocks > good->leaked_blocks)
        return "it leaves memory behind";
    if (!scenario->loose && run->leaked_fds > good->leaked_fds)
        return "it leaves descriptors behind";
    return NULL;
}

static struct run good; /* of the scenario at hand */

static void show_difference(const struct run *run)
{
    size_t at = 0;
    while (at < run->size && at < good.size && run->output[at] == good.output[at])
        at++;
    if (at < run->size || at < good.size)
        printf("#   output differs at %zu: '%.60s', not '%.60s'\n", at, run->output + at, good.output + at);
}

struct tally {
    int played, right, failed_cleanly, aborted, not_reached, wrong;
};

static void inject(const struct scenario *scenario, const struct way *way, uint64_t nth, struct tally *tally)
{
    char errors[8192];
    const char *outcome = "";
    int status = run_once(scenario, way, nth);
    bool reached = shared->block.hits > 0;
    read_errors(errors, sizeof errors);
    const char *wrong = judge(scenario, way, status, &good, errors, &outcome);
    tally->played++;
    tally->not_reached += !reached;
    tally->right += !wrong && outcome[0] == 'r';
    tally->failed_cleanly += !wrong && outcome[0] == 'e';
    tally->aborted += !wrong && outcome[0] == 'a';
    if (wrong && ++tally->wrong > WRONG_SHOWN)
        return;
    if (list || wrong)
        printf("# %s: %s %llu %s: %s%s%s\n", scenario->name, fault_names[way->kind], (unsigned long long)nth, way->name,
               wrong ? "WRONG: " : outcome, wrong ? wrong : "", reached ? "" : " (not reached)");
    if (list && !wrong && shared->run.message[0])
        printf("#   message: %s\n", shared->run.message);
    if (!wrong)
        return;
    const struct run *run = &shared->run;
    printf("#   at %s\n", shared->block.where);
    if (shared->block.crash[0])
        printf("#   crash: %s\n", shared->block.crash);
    if (outcome[0] == 'r' || !outcome[0])
        show_difference(run);
    if (run->message[0])
        printf("#   message: %s\n", run->message);
    if (run->leaked_blocks != good.leaked_blocks || run->leaked_fds != good.leaked_fds)
        printf("#   left: %lld blocks (%lld without the fault), %lld descriptors\n", (long long)run->leaked_blocks,
               (long long)good.leaked_blocks, (long long)run->leaked_fds);
    if (errors[0])
        printf("#   standard error: %.600s\n", errors);
}

static uint64_t rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

/* `share`: about so many faults; 0: all. */
static bool torture(int number, const struct scenario *scenario, int share)
{
    struct tally tally = {0};
    int status = run_once(scenario, NULL, 0);
    if (!WIFEXITED(status) || !shared->run.ended || shared->run.result) {
        char errors[2048];
        read_errors(errors, sizeof errors);
        printf("not ok %d - %s\n# fails without a fault: %s\n# %s\n", number, scenario->name, shared->run.message,
               errors);
        return false;
    }
    good = shared->run;
    uint64_t counts[FAULT_KINDS_MAX], all = 0;
    for (int k = 0; k < FAULT_KIND_COUNT; k++)
        counts[k] = shared->block.counts[k];
    for (int w = 0; w < WAYS; w++)
        all += counts[ways[w].kind];
    if (!share && scenario->slow)
        share = SLOW_FAULTS;
    for (int w = 0; w < WAYS; w++)
        for (uint64_t n = 1; n <= counts[ways[w].kind]; n++)
            /* Of kinds that are called often so many that it comes to the share; the others always. */
            if (!share || (uint64_t)share >= all || rnd() % all < (uint64_t)share ||
                (counts[ways[w].kind] <= FEW_CALLS && share == SLOW_FAULTS))
                inject(scenario, &ways[w], n, &tally);
    printf("%sok %d - %s: %d of %llu faults: %d right results, %d errors, %d aborted, %d not reached, %d wrong\n",
           tally.wrong ? "not " : "", number, scenario->name, tally.played, (unsigned long long)all, tally.right,
           tally.failed_cleanly, tally.aborted, tally.not_reached, tally.wrong);
    fflush(stdout);
    return tally.wrong == 0;
}

static void warm_up(void)
{
    curl_global_init(CURL_GLOBAL_ALL);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    EVP_MD_CTX_free(context);
    tzset();
    signal(SIGPIPE, SIG_IGN);
}

static bool is_wanted(const char *name, char **wanted)
{
    if (!*wanted)
        return true;
    for (; *wanted; wanted++)
        if (strcmp(*wanted, name) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    int faults = 0, at = 1, count = 0, failed = 0, number = 0;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--list") == 0)
            list = true;
        else if (strcmp(argv[at], "--faults") == 0 && at + 1 < argc)
            faults = atoi(argv[++at]);
        else if (strcmp(argv[at], "--seed") == 0 && at + 1 < argc)
            seed = strtoull(argv[++at], NULL, 10);
        else
            return fprintf(stderr, "usage: %s [--faults N] [--seed S] [--list] [SCENARIO...]\n", argv[0]), 2;
    }
    if (!mkdtemp(directory))
        return perror(directory), 2;
    snprintf(errors_path, sizeof errors_path, "%s.err", directory);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    warm_up();
    for (const struct scenario *s = scenarios; s->name; s++)
        count += is_wanted(s->name, argv + at);
    printf("1..%d\n", count);
    for (const struct scenario *s = scenarios; s->name; s++)
        if (is_wanted(s->name, argv + at))
            failed += !torture(++number, s, faults ? (faults + count - 1) / count : 0);
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    rmdir(directory);
    unlink(errors_path);
    return failed > 0;
}
