#!/usr/bin/env python3
"""State ten times larger than its budget: the results are those of a job that keeps all in memory, and the executor's memory stays within
the budget and what docs/operations.md says comes on top. With it the directory: used, and gone afterwards. WEIR_LARGE_STATE=1 for the full size."""
import os
import zlib

from weir_test import Cluster, JOBS, PATIENCE, main, wait_for

MB = 1 << 20
FULL = bool(os.environ.get("WEIR_LARGE_STATE"))
# An entry is 80 bytes: a key of 8, five aggregates. With the tables' room to grow they take about twice that in memory.
KEYS, ROWS, BUDGET_MB = (8_000_000, 24_000_000, 64) if FULL else (1_000_000, 1_500_000, 8)
OVERHEAD_MB = 80 # 40 as documented, and what the reader, the sink and allocators have besides


def result_of(directory):
    """Lines and a sum over them in which their order does not count."""
    count, total = 0, 0
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), "rb") as file:
            for line in file:
                count, total = count + 1, total + zlib.crc32(line) * (len(line) + 7)
    return count, total


def peak_mb(pid):
    try:
        return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM")) // 1024
    except (OSError, StopIteration):
        return 0


def run(cluster, name, *options):
    output, peak = cluster.path(name), 0
    job = cluster.submit(os.path.join(JOBS, "large_state.so"), "--rows", ROWS, "--keys", KEYS, "--output", output,
                         options=("-p", "1", *options))
    used = False

    def ended():
        nonlocal peak, used
        for pid in cluster.executor_pids():
            peak = max(peak, peak_mb(pid))
        for root, _, files in os.walk(cluster.path("data", "state")):
            used = used or any(file.endswith(".sst") for file in files)
        return cluster.state(job) in ("FINISHED", "FAILED")
    wait_for("the job's end", ended, 1200)
    assert cluster.state(job) == "FINISHED", cluster.root_cause(job)
    return result_of(output), peak, used


def test_state_beyond_memory():
    with Cluster(taskmanagers=1, slots=1) as cluster:
        wanted, peak, used = run(cluster, "in-memory", "-D", "state.backend.type=hashmap")
        assert not used and wanted[0] > KEYS / 2, (wanted, used)
        state_mb = peak - OVERHEAD_MB
        got, limited, used = run(cluster, "beyond", "-D", f"state.memory.size={BUDGET_MB} mb")
        print(f"# {wanted[0]} keys; in memory a peak of {peak} MB, with {BUDGET_MB} MB for state {limited} MB")
        assert used, "nothing went to disk"
        assert got == wanted, f"{got} is not {wanted}"
        # A sanitizer keeps a shadow of all memory, and what was freed for a while.
        assert PATIENCE > 1 or limited <= BUDGET_MB + OVERHEAD_MB, f"{limited} MB with a budget of {BUDGET_MB} MB"
        assert state_mb > 5 * BUDGET_MB, f"only {state_mb} MB of state"
        wait_for("the end of the directory", lambda: not any(files for _, _, files in os.walk(cluster.path("data", "state"))))


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
