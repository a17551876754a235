#!/usr/bin/env python3
"""Exactly once: executors that are killed while checkpoints go on. Every row and every window comes out once."""
import collections
import glob
import gzip
import json
import os
import shutil
import signal
import subprocess
import tempfile

from weir_test import Cluster, JOBS, WEIR, main, read_rows, wait_for

ROWS = 100000
CONFIG = {"execution.checkpointing.interval": "200 ms", "restart-strategy.type": "fixed-delay",
          "restart-strategy.fixed-delay.attempts": "1000", "restart-strategy.fixed-delay.delay": "100 ms"}


def completed(cluster, job):
    """Checkpoints that are complete."""
    status, body = cluster.rest(f"/jobs/{job}/checkpoints")
    if status == 200 and "counts" in body:
        return body["counts"]["completed"]
    logs = [open(cluster.path("logs", name), errors="replace").read() for name in os.listdir(cluster.path("logs"))]
    return sum(log.count("is complete:") for log in logs)


def hidden(directory):
    return [name for name in os.listdir(directory) if name.startswith(".part-")]


def check_rows(directory):
    ids = collections.Counter(row["id"] for row in read_rows(directory))
    missing = [i for i in range(ROWS) if i not in ids]
    twice = [i for i, n in ids.items() if n > 1]
    assert not missing and not twice and len(ids) == ROWS, \
        f"lost {len(missing)}: {missing[:5]}; twice {len(twice)}: {twice[:5]}; foreign {len(ids) + len(missing) - ROWS}"


def check_windows(rows, directory, size=1000):
    """The windows against the rows: counts by (key, window), and the first id of each."""
    want = collections.Counter()
    for row in read_rows(rows):
        want[(row["key"], row["id"] // size + 1)] += 1
    got = collections.Counter()
    results = read_rows(directory)
    for row in results:
        got[(row["key"], int(row["first"]) // size + 1)] += row["n"]
    assert got == want, f"{len(set(got.items()) ^ set(want.items()))} windows differ"
    assert len(results) == len(want), f"{len(results)} results, {len(want)} windows"


def folders(cluster, job):
    """Of checkpoints: those of the newest one, and of older ones that it needs."""
    directory = cluster.path("data", "checkpoints", "jobs", job)
    return sum(name.startswith("chk-") for name in os.listdir(directory)) if os.path.isdir(directory) else 0


def run_and_kill(kills_wanted, *arguments, check=None, window=1000, seen=None):
    """A job whose executor is killed, each time after two more checkpoints."""
    with Cluster(taskmanagers=1, slots=2, config=CONFIG) as cluster:
        output, rows = cluster.path("output"), cluster.path("rows")
        job = cluster.submit(os.path.join(JOBS, "once.so"), "--output", output, "--rows-output", rows, *arguments, options=("-p", "2"))
        kills = 0
        while kills < kills_wanted:
            before = completed(cluster, job)
            wait_for("two more checkpoints", lambda: completed(cluster, job) >= before + 2 or cluster.state(job) == "FINISHED")
            pids = cluster.executor_pids()
            if cluster.state(job) == "FINISHED" or not pids:
                break
            os.kill(pids[0], signal.SIGKILL)
            kills += 1
            if seen is not None:
                seen.append(folders(cluster, job))
            wait_for("another executor", lambda: (p := cluster.executor_pids()) and p != pids)
        assert kills >= 2, f"the job was over after {kills} kills"
        assert read_rows(rows), "nothing was published while it ran"
        cluster.wait_state(job, "FINISHED", timeout_s=60)
        check_rows(rows)
        check_windows(rows, output, window)
        if check:
            check(output)
        assert not hidden(rows) and not hidden(output), f"left behind: {hidden(rows) + hidden(output)}"


def test_kill_9_of_the_executor_again_and_again():
    run_and_kill(3, "--rows", str(ROWS))


def check_totals(directory):
    """Functions with state: what they have counted in all, at the end, is what there was; their list is as long."""
    last = {}
    for row in read_rows(directory):
        assert row["total"] == row["seen"], row
        last[row["key"]] = max(last.get(row["key"], 0), row["total"])
    assert sum(last.values()) == ROWS, sum(last.values())


def test_kill_9_with_functions_that_keep_state_and_timers():
    run_and_kill(2, "--rows", str(ROWS), "--count-by", "process", check=check_totals)


def test_kill_9_in_the_middle_of_files():
    """Splits: byte ranges of a plain file, and a packed one."""
    with tempfile.TemporaryDirectory() as directory:
        half = [json.dumps({"id": i, "key": i * 7919 % 100, "ts": i}) + "\n" for i in range(ROWS)]
        with open(os.path.join(directory, "first.json"), "w") as file:
            file.writelines(half[:ROWS // 2])
        with gzip.open(os.path.join(directory, "second.json.gz"), "wt") as file:
            file.writelines(half[ROWS // 2:])
        run_and_kill(3, "--input", directory, "--sleep", "80")


def test_kill_9_with_increments():
    """A state that is written as what changed: checkpoints refer to the runs of earlier ones, attempts go on from them."""
    seen = []
    run_and_kill(4, "--rows", str(ROWS), "--key-max", "5000", "--window", "20 s", "--rate", "10000", window=20000, seen=seen)
    assert max(seen) > 2, f"no checkpoint refers to older ones: {seen}"


def test_local_runs_have_a_place_for_checkpoints():
    with tempfile.TemporaryDirectory() as home:
        env = dict(os.environ, WEIR_HOME=home)
        command = [WEIR, "run", "--local", "-D", "execution.checkpointing.interval=50 ms", os.path.join(JOBS, "once.so"),
                   "--output", home + "/output", "--rows-output", home + "/rows", "--rows"]
        found = lambda: glob.glob(home + "/data/local/jobs/*/chk-*/metadata")
        job = subprocess.Popen([*command, "100000000"], env=env, stderr=subprocess.PIPE, text=True)
        try:
            wait_for("rows that a checkpoint has published", lambda: found() and read_rows(home + "/rows"))
        finally:
            job.send_signal(signal.SIGINT)
            job.communicate(timeout=60)
        shutil.rmtree(home + "/data")
        shutil.rmtree(home + "/rows")
        done = subprocess.run([*command, str(ROWS)], env=env, stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        check_rows(home + "/rows")
        assert os.listdir(home + "/data/local/jobs") == [], "what a finished job has no use for is left"


if __name__ == "__main__":
    main(globals())
