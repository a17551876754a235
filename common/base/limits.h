/* What this process may use of the machine: memory and CPU limits of its control groups (a container, a systemd unit), of both
 * versions, and what the machine has. Everything that is sized by the machine asks here, not sysconf().
 */
#ifndef WEIR_BASE_LIMITS_H
#define WEIR_BASE_LIMITS_H

#include <stdint.h>

struct weir_limits {
    int64_t
        memory_bytes;   /* what may be used: the limit, or the machine's memory where it is smaller or there is none */
    int64_t memory_max; /* the control group's limit in bytes; 0: none */
    int cpu_count;      /* whole CPUs, rounded up, at least 1: quota, affinity, machine; the smallest */
    int64_t
        oom_kill_count; /* processes of this control group that the kernel killed for memory; 0 where it does not count */
};

/* Reads files below `root` ("": the system's; a test's directory has proc/self/cgroup, proc/self/mountinfo and the files they name).
 * What cannot be read is no limit. */
void weir_limits_read(const char *root, struct weir_limits *limits);

#endif
