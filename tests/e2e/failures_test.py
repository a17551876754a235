#!/usr/bin/env python3
"""Kills, stops, crashes, hangs and leaks, with real processes: the job recovers or says why it cannot, others do not notice."""
import os
import shutil
import signal
import tempfile
import time

from weir_test import JOBS, Cluster, main, read_rows, wait_for

FAULTS = os.path.join(JOBS, "faults.so")
PACED = os.path.join(JOBS, "paced.so")
RESTARTS = {"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "3",
            "restart-strategy.fixed-delay.delay": "100 ms"}
NO_RESTART = ("-D", "restart-strategy.type=none")


class Output:
    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="weir-e2e-out-")
        return self.directory

    def __exit__(self, *_):
        shutil.rmtree(self.directory)


def check_counts(directory, rows):
    """Every row once: the counts and the sum of ids over all keys."""
    result = read_rows(directory)
    assert len({row["key"] for row in result}) == len(result) == 100, len(result)
    assert sum(row["n"] for row in result) == rows
    assert sum(row["total"] for row in result) == rows * (rows - 1) // 2


def running_rows(cluster, job):
    """Records that the job's tasks have taken in so far."""
    vertices = cluster.rest(f"/jobs/{job}")[1]["vertices"]
    return sum(v["metrics"]["read-records"] for v in vertices)


def test_a_crash_names_signal_operator_and_stack_and_the_job_restarts():
    with Cluster(taskmanagers=1, slots=2, config=RESTARTS) as cluster, Output() as out:
        job = cluster.submit(FAULTS, "--fault", "segv", "--output", out)
        cluster.wait_state(job, "FINISHED")
        cause = cluster.root_cause(job)
        text = cause["exceptionName"] + cause["stacktrace"] + cause["taskName"]
        assert "SIGSEGV" in text and "operator 'fault'" in text and "go_wrong_by_segv" in text, text
        assert "record 1001 of this subtask's input" in text, text
        check_counts(out, 100000)


def test_without_restarts_every_kind_of_failure_fails_the_job_with_its_reason():
    with Cluster(taskmanagers=1, slots=1) as cluster, Output() as out:
        for fault, expected in (("segv", "SIGSEGV"), ("abort", "SIGABRT"), ("fpe", "SIGFPE"), ("fail", "not to my taste")):
            job = cluster.submit(FAULTS, "--fault", fault, "--output", out, options=NO_RESTART)
            cluster.wait_state(job, "FAILED")
            cause = cluster.root_cause(job)
            assert expected in cause["exceptionName"] + cause["stacktrace"], cause
            assert read_rows(out) == []
            wait_for("free slot", lambda: cluster.rest("/overview")[1]["slots-available"] == 1)


def test_cancel_ends_a_function_that_never_returns():
    with Cluster(taskmanagers=1, slots=1, config={"task.cancellation.timeout": "1 s"}) as cluster:
        job = cluster.submit(FAULTS, "--fault", "hang")
        cluster.wait_state(job, "RUNNING")
        time.sleep(0.5)
        assert cluster.weir("cancel", job).returncode == 0
        cluster.wait_state(job, "CANCELED", timeout_s=20)
        wait_for("end of the executor", lambda: not cluster.executor_pids())
        assert cluster.rest("/overview")[1]["slots-available"] == 1


def run_through_a_loss(lose, heal=None):
    with Cluster(taskmanagers=2, slots=2, config=RESTARTS) as cluster, Output() as out:
        rows = 400000
        job = cluster.submit(FAULTS, "--rows", str(rows), "--rate", "100000", "--output", out, options=("-p", "2"))
        cluster.wait_state(job, "RUNNING")
        wait_for("rows", lambda: running_rows(cluster, job) > 50000)
        lose(cluster, job)
        cluster.wait_state(job, "FINISHED", timeout_s=90)
        check_counts(out, rows)
        if heal:
            heal(cluster)


def used_taskmanager(cluster, job):
    """Number of a TaskManager that runs a task of the job."""
    for vertex in cluster.rest(f"/jobs/{job}")[1]["vertices"]:
        for subtask in cluster.rest(f"/jobs/{job}/vertices/{vertex['id']}")[1]["subtasks"]:
            for number in (1, 2):
                if f"-{cluster.taskmanager_pid(number)}-" in subtask["taskmanager-id"]:
                    return number
    raise AssertionError("no task of the job is on a TaskManager")


def test_kill_9_of_a_taskmanager():
    run_through_a_loss(lambda c, job: os.kill(c.taskmanager_pid(used_taskmanager(c, job)), signal.SIGKILL))


def test_sigstop_of_a_taskmanager():
    stopped = []

    def stop(cluster, job):
        pid = cluster.taskmanager_pid(used_taskmanager(cluster, job))
        stopped.append(pid)
        os.kill(pid, signal.SIGSTOP)

    def wake(cluster):
        os.kill(stopped[0], signal.SIGCONT)
        wait_for("the woken TaskManager to come back", lambda: cluster.rest("/overview")[1]["taskmanagers"] == 2)
        wait_for("end of its executors", lambda: not cluster.executor_pids())

    run_through_a_loss(stop, wake)


def test_kill_9_of_an_executor():
    run_through_a_loss(lambda c, job: os.kill(c.executor_pids()[0], signal.SIGKILL))


def test_sigstop_of_a_jobs_only_executor_is_noticed():
    """No peer misses it, and its supervisor lives: only its silence tells."""
    with Cluster(taskmanagers=1, slots=1, config={**RESTARTS, "taskmanager.executor.silence-timeout": "5 s"}) as cluster, \
            Output() as out:
        rows = 200000
        job = cluster.submit(FAULTS, "--rows", str(rows), "--rate", "100000", "--output", out)
        cluster.wait_state(job, "RUNNING")
        wait_for("rows", lambda: running_rows(cluster, job) > 20000)
        os.kill(cluster.executor_pids()[0], signal.SIGSTOP)
        cluster.wait_state(job, "FINISHED", timeout_s=90)
        assert "ExecutorHung" in cluster.root_cause(job)["exceptionName"], cluster.root_cause(job)
        check_counts(out, rows)


def test_too_few_slots_waits_and_says_so():
    with Cluster(taskmanagers=1, slots=1) as cluster, Output() as out:
        job = cluster.submit(FAULTS, "--output", out, options=("-p", "3"))
        status = wait_for("a status", lambda: cluster.rest(f"/jobs/{job}")[1].get("status"))
        assert "slot" in status and "3" in status, status
        assert cluster.weir("cancel", job).returncode == 0
        cluster.wait_state(job, "CANCELED")


def rate_of(cluster, job, seconds):
    before, start = running_rows(cluster, job), time.monotonic()
    time.sleep(seconds)
    return (running_rows(cluster, job) - before) / (time.monotonic() - start)


def test_another_job_does_not_notice_crash_hang_and_leak():
    with Cluster(taskmanagers=2, slots=4, config={"task.cancellation.timeout": "1 s",
                                                  "taskmanager.executor.memory": "300 mb"}) as cluster, Output() as out:
        rows, rate = 2000000, 100000
        good = cluster.submit(PACED, "--rows", str(rows), "--rate", str(rate), "--output", out, options=("-p", "2"))
        cluster.wait_state(good, "RUNNING")
        wait_for("rows", lambda: running_rows(cluster, good) > 100000)
        rates = []
        for fault in ("segv", "hang", "leak"):
            bad = cluster.submit(FAULTS, "--fault", fault, options=(*NO_RESTART, "-p", "2"))
            rates.append(rate_of(cluster, good, 2))
            if fault == "hang":
                cluster.weir("cancel", bad)
            cluster.wait_state(bad, "FAILED", "CANCELED", timeout_s=40)
        cluster.wait_state(good, "FINISHED", timeout_s=120)
        result = read_rows(out)
        assert sum(row["n"] for row in result) == rows
        assert len({(row["key"], row["window_end"]) for row in result}) == len(result)
        assert cluster.rest(f"/jobs/{good}/exceptions")[1]["exceptionHistory"]["entries"] == []
        print("# rates of the other job's records while each fault was on:", [round(r) for r in rates])


if __name__ == "__main__":
    main(globals())
