#!/usr/bin/env python3
"""Checkpoints under backpressure: barriers that overtake, and limits of checkpoints that end them."""
import collections
import json
import os
import signal
import tempfile

import checkpoint_test
from weir_test import Cluster, JOBS, main, read_rows, wait_for

SLOW = os.path.join(JOBS, "slow.so")
ROWS = 30000
CONFIG = {"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1000",
          "restart-strategy.fixed-delay.delay": "100 ms"}
INTERVAL = ("-D", "execution.checkpointing.interval=200 ms")


def checkpoints(cluster, job):
    """Those that are listed, newest first, as /jobs/:id/checkpoints has them, and counts."""
    status, body = cluster.rest(f"/jobs/{job}/checkpoints")
    assert status == 200, (status, body)
    return body["history"], body["counts"]


def completed(cluster, job):
    return checkpoints(cluster, job)[1]["completed"]


def subtasks(cluster, job, checkpoint, vertex):
    status, body = cluster.rest(f"/jobs/{job}/checkpoints/details/{checkpoint}/subtasks/{vertex}")
    assert status == 200, (status, body)
    return body["subtasks"]


def check_rows(directory, rows=ROWS, at_least=False):
    ids = collections.Counter(row["id"] for row in read_rows(directory))
    missing = [i for i in range(rows) if i not in ids]
    twice = [i for i, n in ids.items() if n > 1]
    assert not missing and len(ids) == rows, f"lost {len(missing)}: {missing[:5]}; foreign {len(ids) + len(missing) - rows}"
    if "n" in next(iter(read_rows(directory))) and not at_least: # counts of each key: 1, 2, 3, ... once each
        counts = collections.defaultdict(list)
        for row in read_rows(directory):
            counts[row["key"]].append(row["n"])
        wrong = [key for key, ns in counts.items() if sorted(ns) != list(range(1, len(ns) + 1))]
        assert not wrong, f"the counts of keys {wrong[:5]} are not those of rows that came once"
    assert at_least or not twice, f"twice {len(twice)}: {twice[:5]}"


def kill_executor(cluster):
    pids = cluster.executor_pids()
    os.kill(pids[0], signal.SIGKILL)
    wait_for("another executor", lambda: (p := cluster.executor_pids()) and p != pids)


def run_slow(kills, *options, sleep="100", taskmanagers=1):
    """The slow job with kills, each after two more checkpoints. Returns the duration of the first checkpoint that was complete, in ms."""
    with Cluster(taskmanagers=taskmanagers, slots=2 // taskmanagers, config=CONFIG) as cluster:
        output = cluster.path("output")
        job = cluster.submit(SLOW, "--rows", str(ROWS), "--sleep", sleep, "--output", output, options=("-p", "2", *INTERVAL, *options))
        wait_for("a checkpoint", lambda: completed(cluster, job) >= 1, timeout_s=60)
        first = [c for c in checkpoints(cluster, job)[0] if c["status"] == "COMPLETED"][-1]
        done = 0
        while done < kills:
            before = completed(cluster, job)
            wait_for("two more checkpoints", lambda: completed(cluster, job) >= before + 2 or cluster.state(job) == "FINISHED")
            if cluster.state(job) == "FINISHED":
                break
            kill_executor(cluster)
            done += 1
        assert done == kills, f"the job was over after {done} kills"
        cluster.wait_state(job, "FINISHED", timeout_s=90)
        check_rows(output)
        return first["end_to_end_duration"], first


def test_unaligned_checkpoints_are_quick_and_exact():
    """A barrier that waits for its turn waits for all that is queued ahead of it; one that overtakes does not."""
    aligned, _ = run_slow(0)
    unaligned, first = run_slow(2, "-D", "execution.checkpointing.unaligned.enabled=true")
    assert unaligned * 3 < aligned, f"unaligned {unaligned} ms, aligned {aligned} ms"
    assert first["checkpoint_type"] == "UNALIGNED_CHECKPOINT" and first["persisted_data"] > 0, first


def test_aligned_ones_turn_unaligned():
    """On two TaskManagers: barriers in frames."""
    _, first = run_slow(2, "-D", "execution.checkpointing.unaligned.enabled=true",
                        "-D", "execution.checkpointing.aligned-checkpoint-timeout=100 ms", taskmanagers=2)
    assert first["checkpoint_type"] == "UNALIGNED_CHECKPOINT" and first["persisted_data"] > 0, first


def test_splits_and_windows():
    """A reader that goes on with the split of an earlier attempt does so behind whatever its input says first: a barrier does not wait for that."""
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "rows.json"), "w") as file:
            file.writelines(json.dumps({"id": i, "key": i * 7919 % 100, "ts": i}) + "\n" for i in range(checkpoint_test.ROWS))
        checkpoint_test.CONFIG["execution.checkpointing.unaligned.enabled"] = "true"
        checkpoint_test.run_and_kill(2, "--input", directory, "--sleep", "20")


def by_key(directory):
    """For each key its rows as (count, id), in order."""
    keys = collections.defaultdict(list)
    for row in read_rows(directory):
        keys[row["key"]].append((row["n"], row["id"]))
    return {key: sorted(rows) for key, rows in keys.items()}


def test_overtaken_rows_find_another_parallelism():
    """Rows that were on their way go to whoever has their keys now; those in a chain are dealt out. A second job goes on from a checkpoint
    of the first, which goes on as well: what each key's count had come to there says which rows are the second one's."""
    with Cluster(taskmanagers=1, slots=6, config=CONFIG) as cluster:
        first, second = cluster.path("first"), cluster.path("second")
        job = ("--rows", "20000", "--sleep", "120", "--output")
        options = (*INTERVAL, "-D", "execution.checkpointing.unaligned.enabled=true", "-D", "execution.checkpointing.num-retained=100")
        one = cluster.submit(SLOW, *job, first, options=("-p", "2", *options))
        wait_for("two checkpoints", lambda: completed(cluster, one) >= 2)
        newest = next(c for c in checkpoints(cluster, one)[0] if c["status"] == "COMPLETED")
        assert newest["persisted_data"] > 0, newest
        two = cluster.submit(SLOW, *job, second, options=("-p", "3", "-s", newest["external_path"], *options))
        cluster.wait_state(one, "FINISHED", timeout_s=90)
        cluster.wait_state(two, "FINISHED", timeout_s=90)
        check_rows(first, rows=20000)
        firsts, seconds = by_key(first), by_key(second)
        assert sum(len(rows) for rows in seconds.values()) > 1000
        for key, rows in seconds.items():
            begin, total = rows[0][0], len(firsts[key])
            assert [n for n, _ in rows] == list(range(begin, total + 1)), (key, begin, total, len(rows))
            assert sorted(i for _, i in rows) == sorted(i for n, i in firsts[key] if n >= begin), key


def test_rescale_under_backpressure():
    """Whatever the job's mode: its barrier overtakes seconds of queued rows. What it halts in front of a count is counted elsewhere, once."""
    with Cluster(taskmanagers=1, slots=4, config=CONFIG) as cluster:
        output = cluster.path("output")
        job = cluster.submit(SLOW, "--rows", "20000", "--sleep", "300", "--output", output,
                             options=("-p", "2", "-D", "execution.checkpointing.interval=1 h"))
        vertices = lambda: cluster.rest(f"/jobs/{job}")[1]["vertices"]
        for wanted in (4, 1):
            wait_for("rows that are queued", lambda: max(v["metrics"]["read-records"] for v in vertices()) > 1000)
            done = cluster.weir("rescale", job, "--parallelism", str(wanted))
            assert done.returncode == 0, done.stderr
            newest = checkpoints(cluster, job)[0][0]
            assert newest["checkpoint_type"] == "UNALIGNED_CHECKPOINT" and newest["persisted_data"] > 0, newest
        done = cluster.weir("rescale", job, "--parallelism", "4")
        assert done.returncode == 0, done.stderr
        cluster.wait_state(job, "FINISHED", timeout_s=90)
        check_rows(output, rows=20000)


def test_at_least_once_loses_nothing():
    with Cluster(taskmanagers=1, slots=2, config=CONFIG) as cluster:
        output = cluster.path("output")
        job = cluster.submit(SLOW, "--rows", "20000", "--sleep", "80", "--rate", "10000", "--output", output,
                             options=("-p", "2", *INTERVAL, "-D", "execution.checkpointing.mode=AT_LEAST_ONCE"))
        assert cluster.rest(f"/jobs/{job}/checkpoints/config")[1]["mode"] == "at_least_once"
        for _ in range(2):
            before = completed(cluster, job)
            wait_for("a checkpoint", lambda: completed(cluster, job) > before or cluster.state(job) == "FINISHED")
            kill_executor(cluster)
        cluster.wait_state(job, "FINISHED", timeout_s=90)
        check_rows(output, rows=20000, at_least=True)


def test_a_checkpoint_that_takes_too_long_has_failed():
    """Its barriers wait behind seconds of rows: one may fail, the second fails the job."""
    with Cluster(taskmanagers=1, slots=2, config=CONFIG) as cluster:
        job = cluster.submit(SLOW, "--rows", str(ROWS), "--sleep", "500", "--output", cluster.path("output"),
                             options=("-p", "2", *INTERVAL, "-D", "execution.checkpointing.timeout=300 ms",
                                      "-D", "execution.checkpointing.tolerable-failed-checkpoints=1"))
        cluster.wait_state(job, "FAILED")
        history, counts = checkpoints(cluster, job)
        assert counts["failed"] == 2 and counts["completed"] == 0, counts
        assert "execution.checkpointing.timeout" in history[0]["failure_message"], history[0]
        assert "tolerable-failed-checkpoints is 1" in cluster.root_cause(job)["stacktrace"], cluster.root_cause(job)


def test_checkpoints_go_on_after_tasks_have_finished():
    with Cluster(taskmanagers=1, slots=2, config=CONFIG) as cluster:
        output, short = cluster.path("output"), cluster.path("short")
        job = cluster.submit(SLOW, "--rows", "20000", "--sleep", "120", "--output", output, "--short", short,
                             options=("-p", "2", *INTERVAL, "-D", "execution.checkpointing.unaligned.enabled=true"))
        vertices = lambda: cluster.rest(f"/jobs/{job}")[1]["vertices"]
        wait_for("tasks that have finished", lambda: any(v["status"] == "FINISHED" for v in vertices()))
        before = completed(cluster, job)
        wait_for("more checkpoints", lambda: completed(cluster, job) >= before + 2)
        assert cluster.state(job) == "RUNNING"
        kill_executor(cluster)
        cluster.wait_state(job, "FINISHED", timeout_s=90)
        check_rows(output, rows=20000)
        check_rows(short, rows=1000)


def test_unaligned_needs_exactly_once():
    with Cluster(taskmanagers=1, slots=2, config={**CONFIG, "execution.checkpointing.unaligned.enabled": "TRUE"}) as cluster:
        done = cluster.weir("run", "-D", "execution.checkpointing.mode=at_least_once", SLOW, "--output", cluster.path("output"))
        assert done.returncode != 0 and "needs execution.checkpointing.mode exactly-once" in done.stderr + done.stdout, done


if __name__ == "__main__":
    main(globals())
