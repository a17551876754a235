#include "executor/crash.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "executor/symbols.h"

#define FRAMES_MAX 64
#define STACK_TEXT_SIZE 16384
#define ALTERNATE_STACK_SIZE ((size_t)64 << 10)
#define STACK_SIGNAL SIGUSR2

static int failure_fd = -1;
static _Thread_local const char *scope_name;
static _Thread_local long long batch_first, batch_count; /* count 0: no batch */
static _Thread_local const volatile int *batch_row;
static _Thread_local const char *const volatile *batch_op;
static _Thread_local void *alternate_stack;

/* --- Text without malloc or stdio */

struct text {
    char *data;
    size_t size, max;
};

static void put(struct text *text, const char *s)
{
    while (*s && text->size < text->max)
        text->data[text->size++] = *s++;
}

static void put_number(struct text *text, uint64_t value, unsigned base)
{
    char digits[32];
    int count = 0;
    do
        digits[count++] = "0123456789abcdef"[value % base];
    while ((value /= base) != 0);
    while (count > 0 && text->size < text->max)
        text->data[text->size++] = digits[--count];
}

/* "go_wrong+0x12 (job.so)"; without a name the offset in the object, for addr2line. */
static void put_frame(struct text *text, void *address)
{
    Dl_info info;
    put(text, "\tat ");
    if (!dladdr(address, &info) || !info.dli_fname) {
        put(text, "0x");
        put_number(text, (uintptr_t)address, 16);
        put(text, "\n");
        return;
    }
    const char *slash = strrchr(info.dli_fname, '/');
    uintptr_t offset = 0;
    const char *name = weir_symbols_find((uintptr_t)address, &offset);
    if (!name && info.dli_sname) {
        name = info.dli_sname;
        offset = (uintptr_t)address - (uintptr_t)info.dli_saddr;
    }
    if (name) {
        put(text, name);
        put(text, "+0x");
        put_number(text, offset, 16);
    } else {
        put(text, "0x");
        put_number(text, (uintptr_t)address - (uintptr_t)info.dli_fbase, 16);
    }
    put(text, " (");
    put(text, slash ? slash + 1 : info.dli_fname);
    put(text, ")\n");
}

static void put_stack(struct text *text, int skip)
{
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);
    for (int i = skip; i < count; i++)
        put_frame(text, frames[i]);
}

static const char *signal_name(int number)
{
    switch (number) {
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGFPE:
        return "SIGFPE";
    case SIGILL:
        return "SIGILL";
    case SIGABRT:
        return "SIGABRT";
    default:
        return "a signal";
    }
}

/* "record 17 of this subtask's input", or between which records, or nothing. */
static void put_position(struct text *text)
{
    if (batch_count > 0 && batch_row && *batch_row >= 0) {
        put(text, "record ");
        put_number(text, (uint64_t)(batch_first + *batch_row), 10);
        put(text, " of this subtask's input");
    } else if (batch_count > 0) {
        put(text, "records ");
        put_number(text, (uint64_t)batch_first, 10);
        put(text, " to ");
        put_number(text, (uint64_t)(batch_first + batch_count - 1), 10);
        put(text, " of this subtask's input");
    }
}

/* --- The packed Failure: protobuf's wire format by hand, since protobuf-c may not be called here */

static void put_field(struct text *out, unsigned field, const char *data, size_t size)
{
    if (size == 0)
        return;
    char head[16];
    size_t count = 0;
    head[count++] = (char)(field << 3 | 2);
    for (size_t rest = size;; rest >>= 7) {
        head[count++] = (char)(rest >= 128 ? (rest & 127) | 128 : rest);
        if (rest < 128)
            break;
    }
    if (out->max - out->size < count + size)
        return;
    memcpy(out->data + out->size, head, count);
    memcpy(out->data + out->size + count, data, size);
    out->size += count + size;
}

static char stack_data[STACK_TEXT_SIZE], message_data[512], position_data[128], packed_data[STACK_TEXT_SIZE + 2048];
static volatile sig_atomic_t crashing;

static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (crashing) { /* in the handler itself, or a second thread: the first one reports */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    crashing = 1;
    if (batch_op && *batch_op)
        scope_name = *batch_op;
    struct text stack = {stack_data, 0, sizeof stack_data};
    struct text message = {message_data, 0, sizeof message_data};
    struct text position = {position_data, 0, sizeof position_data};
    put_stack(&stack, 2); /* without the handler and the kernel's frame */
    put(&message, "the job's code crashed with ");
    put(&message, signal_name(number));
    if (number == SIGSEGV || number == SIGBUS) {
        put(&message, " at address 0x");
        put_number(&message, (uintptr_t)info->si_addr, 16);
    }
    if (scope_name) {
        put(&message, " in operator '");
        put(&message, scope_name);
        put(&message, "'");
    }
    put_position(&position);
    if (failure_fd >= 0) {
        static const char kind[] = "UserCodeCrash";
        struct text out = {packed_data, 0, sizeof packed_data};
        put_field(&out, 1, kind, sizeof kind - 1);
        put_field(&out, 2, message.data, message.size);
        put_field(&out, 3, stack.data, stack.size);
        if (scope_name)
            put_field(&out, 4, scope_name, strlen(scope_name));
        put_field(&out, 5, position.data, position.size);
        if (out.max - out.size > 2) {
            out.data[out.size++] = 6 << 3;
            out.data[out.size++] = (char)number;
        }
        ssize_t ignored = write(failure_fd, out.data, out.size);
        (void)ignored;
    }
    ssize_t ignored = write(2, message.data, message.size);
    ignored = write(2, "\n", 1);
    ignored = write(2, stack.data, stack.size);
    (void)ignored;
    signal(number, SIG_DFL);
    raise(number);
}

/* --- Stacks of other threads: one request at a time */

static pthread_mutex_t stack_lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t stack_done;
static struct text stack_request;
static volatile sig_atomic_t stack_wanted;

static void on_stack_request(int number)
{
    (void)number;
    int saved = errno;
    if (stack_wanted) {
        stack_wanted = 0;
        put_stack(&stack_request, 2);
        sem_post(&stack_done);
    }
    errno = saved;
}

bool weir_crash_stack_of(pthread_t thread, char *out, int size)
{
    pthread_mutex_lock(&stack_lock);
    static char text[STACK_TEXT_SIZE];
    stack_request = (struct text){text, 0, sizeof text};
    stack_wanted = 1;
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 1;
    bool ok = pthread_kill(thread, STACK_SIGNAL) == 0;
    while (ok && sem_timedwait(&stack_done, &deadline) != 0)
        ok = errno == EINTR;
    if (!ok)
        stack_wanted = 0;
    snprintf(out, (size_t)size, "%.*s", ok ? (int)stack_request.size : 0, text);
    pthread_mutex_unlock(&stack_lock);
    return ok;
}

/* --- Set-up */

void weir_crash_install(int fd)
{
    failure_fd = fd;
    void *frames[4];
    backtrace(frames, 4); /* loads the unwinder now */
    sem_init(&stack_done, 0, 0);
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &action, NULL);
    struct sigaction on_request = {.sa_handler = on_stack_request, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigemptyset(&on_request.sa_mask);
    sigaction(STACK_SIGNAL, &on_request, NULL);
    weir_crash_thread_init();
}

void weir_crash_thread_init(void)
{
    if (alternate_stack)
        return;
    void *memory = mmap(NULL, ALTERNATE_STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    stack_t stack = {.ss_sp = memory, .ss_size = ALTERNATE_STACK_SIZE};
    if (sigaltstack(&stack, NULL) == 0)
        alternate_stack = memory;
    else
        munmap(memory, ALTERNATE_STACK_SIZE);
}

void weir_crash_thread_fini(void)
{
    if (!alternate_stack)
        return;
    stack_t off = {.ss_flags = SS_DISABLE};
    sigaltstack(&off, NULL);
    munmap(alternate_stack, ALTERNATE_STACK_SIZE);
    alternate_stack = NULL;
}

void weir_crash_scope(const char *operator_name)
{
    scope_name = operator_name;
    batch_count = 0;
    batch_row = NULL;
    batch_op = NULL;
}

void weir_crash_batch(long long first_record, long long record_count, const volatile int *row,
                      const char *const volatile *op)
{
    batch_first = first_record;
    batch_count = record_count;
    batch_row = row;
    batch_op = op;
}
