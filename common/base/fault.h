/* Fault points: named places, `component.step`, at which a test can make a process die, stop, fail or be slow.
 *
 *     if (weir_fault("executor.object-put-begun"))
 *         return weir_fail(error, WEIR_ERR_IO, "...");
 *
 * Off (testing.fault-points: false) a point costs one relaxed load. On, every pass is counted, and an armed point acts on its NTH pass, once:
 * kill (SIGKILL to this process), stop (SIGSTOP), error (weir_fault() is true), delay=MS (this thread sleeps).
 *
 * Every point stands in the table of fault_points.h. Counts and arms are kept in a file that all processes of a host share ($WEIR_HOME/run/
 * fault-points, mapped): they outlive the process that died of one, and an arm holds for the next executor too. The NTH pass is
 * counted over all of them.
 */
#ifndef WEIR_BASE_FAULT_H
#define WEIR_BASE_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

extern atomic_bool weir_fault_on;
bool weir_fault_pass(const char *point); /* through weir_fault() only */
static inline bool weir_fault(const char *point)
{
    return __builtin_expect(atomic_load_explicit(&weir_fault_on, memory_order_relaxed), 0) && weir_fault_pass(point);
}
/* A step that several kinds of processes share: its name is "ROLE.STEP" with this process's role. */
bool weir_fault_pass_here(const char *step);
static inline bool weir_fault_here(const char *step)
{
    return __builtin_expect(atomic_load_explicit(&weir_fault_on, memory_order_relaxed), 0) &&
           weir_fault_pass_here(step);
}

/* Switches all points on. `path`: of the shared file, which is made; NULL: this process has counts of its own. `role`: "jobmanager",
 * "supervisor", "executor". Before other threads run. */
weir_err weir_fault_enable(const char *path, const char *role, struct weir_error *error);
void weir_fault_disable(void); /* no thread may be in a point */

/* "POINT[:NTH]", "kill|stop|error|delay=MS"; NTH counts from now, 1 is the next pass. `id`: of this arming, greater than those before: a repeat does nothing.
 * NOT_FOUND: there is no such point (the nearest is named); INVALID: a wrong text, or points are off. */
weir_err weir_fault_arm(const char *point, const char *action, uint64_t id, struct weir_error *error);
/* Disarms all and sets the counts to 0. INVALID: points are off. */
weir_err weir_fault_reset(uint64_t id, struct weir_error *error);

struct weir_fault_state {
    const char *name, *help;
    bool fails;      /* `error` is an action of it */
    uint64_t passes; /* so far */
    char action[24]; /* armed; "": not */
    uint64_t left;   /* passes until it acts; 0: not armed */
    uint64_t acted;  /* how often it did */
    int32_t pid;     /* of the process that it acted in last */
};
/* Point number `index`, from 0; false: there are no more. Also while points are off. */
bool weir_fault_get(int index, struct weir_fault_state *state);
/* Which table this process counts in: equal in processes that share a file. 0: points are off. */
uint64_t weir_fault_table_id(void);

#endif
