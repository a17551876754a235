/* An executor: runs the tasks of one job. The supervisor talks to it over a control line (proto/control.proto, each Control preceded by
 * its size as u32 little-endian).
 *
 *   supervisor                        executor
 *     ExecutorStart        ---->        plan, code, sockets
 *                          <----      ExecutorReport READY (endpoint), or EXITED (why not) and the end
 *     DeployTasks, CancelTasks ->     TaskReport INITIALIZING, RUNNING, FINISHED | FAILED | CANCELED
 *     Lease                ---->
 *                          <----      Heartbeat with the tasks' metrics, once a second
 *     StopExecutor, or the line closes, or the lease ends: it ends
 */
#ifndef WEIR_EXECUTOR_EXECUTOR_H
#define WEIR_EXECUTOR_EXECUTOR_H

/* The control line of an executor that is a process of its own: there the crash handler is installed (its report goes to
 * WEIR_EXECUTOR_CRASH_FD when that is open), and the process ends even when user code does not return. With another fd the executor
 * is a thread of a bigger process (`weir run --local`), and returns when its tasks have let go. */
#define WEIR_EXECUTOR_CONTROL_FD 3
#define WEIR_EXECUTOR_CRASH_FD 4

/* Blocks until the executor ends; returns the exit code: 0 asked to, 1 it could not start, 2 the lease ended, 3 a task did not
 * react to its cancellation. The fd stays the caller's. */
int weir_executor_run(int control_fd);

#endif
