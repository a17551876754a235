#!/usr/bin/env python3
"""A JobManager that is killed and started again finds its jobs in the checkpoint storage, and they go on: every row comes out once."""
import contextlib
import glob
import json
import os
import signal
import subprocess

from checkpoint_test import CONFIG, ROWS, check_rows, check_windows, completed, hidden
from weir_test import BUILD, JOBS, Cluster, main, wait_for

ONCE = os.path.join(JOBS, "once.so")


def jobmanager(cluster):
    return json.load(open(cluster.path("run", "jobmanager.json")))


def wait_killed(pid):
    """Until its ports are free: a leader may be a zombie while its other threads still end."""
    def gone():
        try:
            return open(f"/proc/{pid}/stat").read().split(") ")[1][0] == "Z" and len(os.listdir(f"/proc/{pid}/task")) == 1
        except OSError:
            return True
    wait_for(f"end of process {pid}", gone)


@contextlib.contextmanager
def cluster_with(taskmanagers=1, slots=2, **config):
    """A cluster, and a function that starts its JobManager again, at the same ports."""
    started = []
    with Cluster(taskmanagers=taskmanagers, slots=slots, config={**CONFIG, **config}) as cluster:
        first = jobmanager(cluster)

        def start_again(**more):
            settings = {**cluster.config, **more, "rest.port": first["rest_port"], "jobmanager.rpc.port": first["rpc_port"],
                        "log.file": cluster.path("logs", f"jobmanager-{len(started) + 2}.log")}
            options = [o for k, v in settings.items() for o in ("-D", f"{k}={v}")]
            process = subprocess.Popen([os.path.join(BUILD, "bin", "weir-jobmanager"), "--name", "jobmanager", *options],
                                       env=dict(os.environ, **cluster.env), stderr=subprocess.DEVNULL)
            started.append(process)
            wait_for("the next JobManager", lambda: jobmanager(cluster)["pid"] == process.pid)
            return process

        try:
            yield cluster, start_again
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(timeout=30)


def kill(cluster):
    pid = jobmanager(cluster)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_killed(pid)


def submit(cluster, *arguments):
    output, rows = cluster.path("output"), cluster.path("rows")
    job = cluster.submit(ONCE, "--output", output, "--rows-output", rows, *arguments, options=("-p", "2"))
    return job, output, rows


def check_all(job, cluster, output, rows):
    cluster.wait_state(job, "FINISHED", timeout_s=90)
    check_rows(rows)
    check_windows(rows, output)
    assert not hidden(rows) and not hidden(output), f"left behind: {hidden(rows) + hidden(output)}"


def log_of(cluster):
    return "".join(open(path, errors="replace").read() for path in sorted(glob.glob(cluster.path("logs", "jobmanager*.log"))))


def test_kill_9_in_the_middle_twice_and_the_second_time_with_an_executor():
    with cluster_with() as (cluster, start_again):
        job, output, rows = submit(cluster, "--rows", str(ROWS))
        for kills in range(2):
            before = completed(cluster, job)
            wait_for("two more checkpoints", lambda: completed(cluster, job) >= before + 2)
            executors = cluster.executor_pids()
            kill(cluster)
            if kills == 1 and executors:
                os.kill(executors[0], signal.SIGKILL)
            start_again()
            wait_for("the job", lambda: cluster.rest(f"/jobs/{job}")[0] == 200)
        wait_for("both", lambda: log_of(cluster).count("is taken over: it goes on from checkpoint") == 2)
        check_all(job, cluster, output, rows)
        kill(cluster)
        start_again()
        wait_for("the job that has ended", lambda: cluster.state(job) == "FINISHED")


def test_kill_9_at_each_step_of_the_final_commit():
    """An interval that never comes: the only checkpoint is the last one. Each JobManager dies a step later than the one before."""
    points = ["jobmanager.metadata-put-done", "jobmanager.head-put-done:2", "jobmanager.commit-send", "jobmanager.commit-sent",
              "jobmanager.commit-done"]
    with cluster_with(**{"execution.checkpointing.interval": "1 h", "testing.fault-points": "true"}) as (cluster, start_again):
        job, output, rows = submit(cluster, "--rows", str(ROWS), "--rate", "50000")
        wait_for("running", lambda: cluster.state(job) == "RUNNING")
        for point in points: # all before the first: a JobManager that has taken over publishes at once
            armed = cluster.weir("fault", "arm", point, "kill")
            assert armed.returncode == 0, armed.stderr
        for _ in points:
            wait_killed(jobmanager(cluster)["pid"])
            start_again()
        check_all(job, cluster, output, rows)
        assert log_of(cluster).count("is taken over") == len(points)


def test_a_cancelled_job_stays_cancelled():
    with cluster_with() as (cluster, start_again):
        job, output, rows = submit(cluster, "--rows", "100000000")
        wait_for("a checkpoint", lambda: completed(cluster, job) >= 1)
        done = cluster.weir("cancel", job)
        assert done.returncode == 0, done.stderr
        kill(cluster)
        start_again()
        cluster.wait_state(job, "CANCELED")
        assert not [n for n in os.listdir(rows) if n.startswith(".part-")] or wait_for("removal", lambda: not hidden(rows))


def test_what_is_damaged_is_named_and_stops_no_other_job():
    with cluster_with() as (cluster, start_again):
        good, output, rows = submit(cluster, "--rows", str(ROWS))
        other = [cluster.submit(ONCE, "--output", cluster.path(f"o{i}"), "--rows-output", cluster.path(f"r{i}"), "--rows", "100000000")
                 for i in range(2)]
        wait_for("checkpoints", lambda: completed(cluster, good) >= 1)
        kill(cluster)
        store = cluster.path("data", "checkpoints", "jobs")
        head = os.path.join(store, other[0], "HEAD")
        graph = glob.glob(os.path.join(store, other[1], "graph-*"))[0]
        for path in (head, graph):
            data = bytearray(open(path, "rb").read())
            data[-1] ^= 1
            open(path, "wb").write(data)
        start_again()
        for job, path in ((other[0], head), (other[1], graph)):
            cluster.wait_state(job, "FAILED")
            cause = cluster.root_cause(job)
            assert cause["exceptionName"] == "CHECKPOINT_CORRUPT" and os.path.basename(path) in cause["stacktrace"] and job in cause["stacktrace"], cause
        check_all(good, cluster, output, rows)


def test_a_damaged_newest_checkpoint_stops_its_job():
    with cluster_with() as (cluster, start_again):
        job, output, rows = submit(cluster, "--rows", "100000000")
        wait_for("a checkpoint", lambda: completed(cluster, job) >= 1)
        kill(cluster)
        for path in glob.glob(cluster.path("data", "checkpoints", "jobs", job, "chk-*", "metadata")):
            os.truncate(path, os.path.getsize(path) - 1)
        start_again()
        cluster.wait_state(job, "FAILED")
        cause = cluster.root_cause(job)
        assert cause["exceptionName"] == "CHECKPOINT_CORRUPT" and "/metadata" in cause["stacktrace"], cause
        assert "CHECKPOINT_CORRUPT" in log_of(cluster)


def test_a_command_waits_until_the_jobs_are_read():
    with cluster_with(**{"testing.fault-points": "true"}) as (cluster, start_again):
        job, output, rows = submit(cluster)
        wait_for("a checkpoint", lambda: completed(cluster, job) >= 1)
        assert cluster.weir("fault", "arm", "jobmanager.job-read", "delay=3000").returncode == 0
        kill(cluster)
        start_again()
        assert cluster.rest(f"/jobs/{job}")[0] in (200, 503) # not 404; 503 for three seconds
        done = cluster.weir("checkpoint", job)
        assert done.returncode == 0, done.stderr
        assert cluster.weir("checkpoint", "nobody").returncode == 4
        check_all(job, cluster, output, rows)


if __name__ == "__main__":
    main(globals())
