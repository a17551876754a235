#!/usr/bin/env python3
"""State larger than its budget, of windows and of functions: the results are those of a job that keeps all in memory, and the executor's memory
stays within the budget and what docs/operations.md says comes on top, after a kill and a restore, too. With it the directory: used, and gone
afterwards. WEIR_LARGE_STATE=1 for the full size (make check-large)."""
import os
import signal
import zlib

from checkpoint_test import CONFIG, completed
from weir_test import Cluster, JOBS, PATIENCE, main, wait_for

MB = 1 << 20
FULL = bool(os.environ.get("WEIR_LARGE_STATE"))
# 8 M of 10.1 M keys come: 640 MB. With the tables' room to grow they take about twice that in memory.
ENTRY_SIZE = 80 # a key of 8 bytes, five aggregates
KEYS, ROWS, BUDGET_MB = (10_100_000, 16_000_000, 64) if FULL else (700_000, 1_000_000, 8)
F_KEYS, F_ROWS, F_RATE, F_BUDGET_MB = (3_000_000, 6_000_000, 100_000, 64) if FULL else (200_000, 320_000, 40_000, 8)
# What is tested is memory: a machine that is busy for seconds is no reason to begin anew.
PATIENT = {"heartbeat.timeout": "120 s", "heartbeat.interval": "1 s"} if FULL else {}
OVERHEAD_MB = 80 # 40 as documented, and what the reader, the sink and allocators have besides


def result_of(directory):
    """Lines and a sum over them in which their order does not count."""
    count, total = 0, 0
    for name in os.listdir(directory):
        if name.startswith((".", "_")):
            continue
        with open(os.path.join(directory, name), "rb") as file:
            for line in file:
                count, total = count + 1, total + zlib.crc32(line) * (len(line) + 7)
    return count, total


def peak_mb(pid):
    try:
        return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM")) // 1024
    except (OSError, StopIteration):
        return 0


def run(cluster, name, *options, arguments=("--rows", ROWS, "--keys", KEYS), kills=0):
    output, peak = cluster.path(name), 0
    job = cluster.submit(os.path.join(JOBS, "large_state.so"), *arguments, "--output", output, options=("-p", "1", *options))
    used, done = False, 0

    def ended():
        nonlocal peak, used, kills, done
        if kills and used and completed(cluster, job) >= done + 2:
            kills, done = kills - 1, completed(cluster, job)
            os.kill(cluster.executor_pids()[0], signal.SIGKILL)
        for pid in cluster.executor_pids():
            peak = max(peak, peak_mb(pid))
        for root, _, files in os.walk(cluster.path("data", "state")):
            used = used or any(file.endswith(".sst") for file in files)
        return cluster.state(job) in ("FINISHED", "FAILED")
    wait_for("the job's end", ended, 3000 if FULL else 1200)
    assert cluster.state(job) == "FINISHED", cluster.root_cause(job)
    assert kills == 0, f"{kills} kills are left, after {completed(cluster, job)} checkpoints"
    return result_of(output), peak, used


def test_state_beyond_memory():
    with Cluster(taskmanagers=1, slots=1, config=PATIENT) as cluster:
        wanted, peak, used = run(cluster, "in-memory", "-D", "state.backend.type=hashmap")
        assert not used and wanted[0] > KEYS / 2, (wanted, used)
        state_mb = wanted[0] * ENTRY_SIZE / 1e6
        got, limited, used = run(cluster, "beyond", "-D", f"state.memory.size={BUDGET_MB} mb")
        print(f"# {wanted[0]} keys, {state_mb:.0f} MB of state; in memory a peak of {peak} MB, with {BUDGET_MB} MB for state {limited} MB")
        assert used, "nothing went to disk"
        assert got == wanted, f"{got} is not {wanted}"
        # A sanitizer keeps a shadow of all memory, and what was freed for a while.
        assert PATIENCE > 1 or limited <= BUDGET_MB + OVERHEAD_MB, f"{limited} MB with a budget of {BUDGET_MB} MB"
        assert state_mb >= (640 if FULL else 5 * BUDGET_MB) and peak > state_mb, f"only {state_mb} MB of state"
        wait_for("the end of the directory", lambda: not any(files for _, _, files in os.walk(cluster.path("data", "state"))))


def test_functions_beyond_memory_and_kills():
    arguments = ("--by", "function", "--rows", F_ROWS, "--keys", F_KEYS)
    with Cluster(taskmanagers=1, slots=1, config={**CONFIG, **PATIENT}) as cluster:
        wanted, peak, used = run(cluster, "in-memory", "-D", "state.backend.type=hashmap", arguments=arguments)
        assert not used and wanted[0] == F_ROWS // 16, (wanted, used)
        got, limited, used = run(cluster, "beyond", "-D", f"state.memory.size={F_BUDGET_MB} mb",
                                 arguments=(*arguments, "--rate", F_RATE), kills=2)
        print(f"# {F_KEYS} keys; in memory a peak of {peak} MB, with {F_BUDGET_MB} MB for state and two kills {limited} MB")
        assert used, "nothing went to disk"
        assert got == wanted, f"{got} is not {wanted}"
        # The last snapshot is taken from what is in memory: the tables' part of the budget is there twice.
        assert PATIENCE > 1 or limited <= F_BUDGET_MB * 15 / 8 + OVERHEAD_MB, f"{limited} MB with a budget of {F_BUDGET_MB} MB"


def test_a_budget_that_is_too_small():
    with Cluster(taskmanagers=1, slots=1) as cluster:
        done = cluster.weir("run", "-d", "-D", "state.memory.size=1 mb", os.path.join(JOBS, "large_state.so"))
        assert done.returncode != 0 and "state.memory.size" in done.stderr and "at least" in done.stderr, done.stderr


def test_a_directory_that_cannot_be_written():
    with Cluster(taskmanagers=1, slots=1, config={"restart-strategy.type": "none"}) as cluster:
        os.makedirs(cluster.path("data"), exist_ok=True)
        directory = cluster.path("data", "state")
        os.path.isdir(directory) and os.rmdir(directory)
        open(directory, "w").close()
        job = cluster.submit(os.path.join(JOBS, "large_state.so"), "--output", cluster.path("output"))
        cluster.wait_state(job, "FAILED")
        said = str(cluster.root_cause(job))
        assert "WEIR_HOME" in said and "state on disk" in said, said


if __name__ == "__main__":
    main(globals())
