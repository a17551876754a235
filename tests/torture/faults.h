/* Faults on purpose: the n-th call of a kind (an allocation, an open, a write, a send, ...) fails.
 *
 * faults.c defines the C library's functions of these kinds anew. Linked into a program, or preloaded into one, its definitions are
 * the ones that everything in the process calls (weir, libzmq, libcurl, ...); each counts its call and passes it on to the kernel
 * or to libc, or fails it when its turn has come. Orders and counts are in a block of shared memory, so that who tortures sees them whatever
 * becomes of the process:
 *
 * - a program that links faults.c makes the block itself (faults_use) and shares it with the children that it forks;
 * - a preloaded process maps the file $TORTURE_DIR/ROLE, if there is one; ROLE is `jobmanager`, `taskmanager`, `executor`, `build-job` or
 *   `weir`. Processes of one role share counts: the n-th call is counted over an executor and the one that takes its place.
 *
 * The block is read and written by tests/torture/block.py as well: text fields first, all numbers little-endian, no padding. */
#ifndef WEIR_TORTURE_FAULTS_H
#define WEIR_TORTURE_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What block.py knows by the same order. */
#define FAULT_KINDS(X) \
    X(alloc) /* malloc, calloc, realloc, aligned ones */ \
    X(open)  /* open, openat, fopen, opendir, mkstemp, ... */ \
    X(read)  /* from regular files */ \
    X(write) /* to regular files */ \
    X(stdio) /* fflush, fclose: what was buffered is not written */ \
    X(sync)  /* fsync, fdatasync */ \
    X(close) /* of a regular file; it is closed all the same */ \
    X(rename) \
    X(unlink) /* unlink, unlinkat, rmdir */ \
    X(mkdir) \
    X(stat) /* stat, fstat, access */ \
    X(truncate) \
    X(send) /* sockets and pipes */ \
    X(recv) /* sockets and pipes */ \
    X(socket) \
    X(connect) \
    X(bind) /* bind, listen */ \
    X(accept) \
    X(mmap) \
    X(thread) \
    X(epoll) /* epoll_create, epoll_ctl */ \
    X(poll)  /* poll, epoll_wait, select: interrupted */ \
    X(event) /* eventfd, signalfd, timerfd */ \
    X(pipe)  /* pipe, socketpair, dup */ \
    X(spawn) /* posix_spawn, fork */ \
    X(wait)  /* waitpid: interrupted */

enum fault_kind {
#define X(name) FAULT_##name,
    FAULT_KINDS(X)
#undef X
        FAULT_KIND_COUNT
};
#define FAULT_KINDS_MAX 32
#define FAULT_FRAMES 16

/* Instead of an errno: a transfer of one byte; nothing is wrong, the caller goes on with the rest. */
#define FAULT_SHORT 10001

struct fault_block {
    char below[256];  /* only calls on paths that begin with this; "" all */
    char where[1024]; /* of the first fault: "module+0xoffset" by frame, innermost first */
    char crash[1024]; /* the frames of a process that a signal ended: of the handler, then of the code */
    uint64_t armed;   /* 1: fail; 0: count only */
    uint64_t kind;
    uint64_t nth;    /* 1 is the first */
    uint64_t onward; /* 1: from the n-th on, not once */
    uint64_t error;  /* errno, or FAULT_SHORT */
    _Atomic uint64_t hits;
    _Atomic uint64_t live; /* allocations not freed, of processes that link faults.c */
    _Atomic uint64_t counts[FAULT_KINDS_MAX];
};

extern const char *const fault_names[FAULT_KINDS_MAX];
void faults_use(struct fault_block *block); /* NULL: none */
/* While this is true nothing is counted and nothing fails, in this process. */
void faults_pause(bool pause);
/* From now on a crash leaves its frames in the block. */
void faults_watch_crashes(void);

#endif
