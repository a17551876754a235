/* What an executor leaves when its code crashes: a packed Failure (proto/control.proto) with signal, operator, record position and
 * backtrace, on a pipe to its supervisor. And stacks of threads that hang.
 *
 * The handler runs on an alternate stack and uses only preallocated memory, write(2) and dladdr(); backtrace() is called once at set-up,
 * so that what it loads is there. Threads tell where they are by weir_crash_scope(): plain stores, cheap enough for every item.
 */
#ifndef WEIR_EXECUTOR_CRASH_H
#define WEIR_EXECUTOR_CRASH_H

#include <pthread.h>
#include <stdbool.h>

/* SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT. `fd`: where the Failure goes; -1: text to standard error. */
void weir_crash_install(int fd);
/* Every thread that runs user code: its alternate stack. */
void weir_crash_thread_init(void);
void weir_crash_thread_fini(void);

/* The thread works for this operator now; the string must stay valid until the next call; NULL: none. */
void weir_crash_scope(const char *operator_name);
/* It works on these rows now, counted from 1 over all that the operator of this subtask has taken in. *row: which of them (-1: not known),
 * *op: whose function (NULL: the scope's operator); both are read when it crashes and must stay valid until the scope changes. */
void weir_crash_batch(long long first_record, long long record_count, const volatile int *row,
                      const char *const volatile *op);

/* Backtrace of another thread, as lines, into `out` (size bytes); false: it did not answer within 1 s. */
bool weir_crash_stack_of(pthread_t thread, char *out, int size);

#endif
