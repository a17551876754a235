#!/usr/bin/env python3
"""Local copies of checkpoints: an executor that was killed is back from them; what is damaged or gone comes from the checkpoint storage. Every row
comes out once all the same."""
import os
import re
import signal

from checkpoint_test import CONFIG, check_rows, check_windows, completed
from weir_test import Cluster, JOBS, main, wait_for

SETTINGS = {**CONFIG, "state.backend.local-recovery": "true"}


def executor_logs(cluster):
    return {n: open(cluster.path("logs", n), errors="replace").read() for n in os.listdir(cluster.path("logs")) if "-executor-" in n}


def restored(text):
    """Bytes of local copies, and from the storage, by the tasks that an executor started."""
    found = re.findall(r"from checkpoint \d+: (\d+) bytes of local copies, (\d+) from", text)
    return sum(int(l) for l, _ in found), sum(int(s) for _, s in found), len(found)


def copies(cluster):
    return [os.path.join(root, f) for root, _, files in os.walk(cluster.path("data", "local")) for f in files]


def kill_executor(cluster, job, meanwhile):
    """After two more checkpoints; meanwhile() is called while it is stopped. The log of its successor."""
    before, logs = completed(cluster, job), executor_logs(cluster)
    wait_for("two more checkpoints", lambda: completed(cluster, job) >= before + 2)
    pid = cluster.executor_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    meanwhile()
    os.kill(pid, signal.SIGKILL)

    def successor():
        text = "".join(text[len(logs.get(name, "")):] for name, text in executor_logs(cluster).items())
        return text if restored(text)[2] == 4 else None # two sources, two windows
    return wait_for("restored tasks", successor, 60)


def damage(cluster):
    files = [f for f in copies(cluster) if os.path.getsize(f) > 1000]
    assert files, "there are no local copies"
    for file in files:
        with open(file, "r+b") as f:
            f.seek(os.path.getsize(file) // 2)
            byte = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([byte[0] ^ 1]))


def remove(cluster):
    assert copies(cluster)
    for file in copies(cluster):
        os.unlink(file)


def test_killed_executors_are_back_from_local_copies():
    with Cluster(taskmanagers=1, slots=2, config=SETTINGS) as cluster:
        output, rows = cluster.path("output"), cluster.path("rows")
        job = cluster.submit(os.path.join(JOBS, "once.so"), "--output", output, "--rows-output", rows, "--key-max", "4999",
                             "--window", "100 s", "--rate", "8000", options=("-p", "2"))
        local, stored, _ = restored(kill_executor(cluster, job, lambda: None))
        assert local > 100000 and stored == 0, f"{local} bytes of local copies, {stored} from the storage"
        text = kill_executor(cluster, job, lambda: damage(cluster))
        local, stored, _ = restored(text)
        assert stored > 100000 and "is damaged" in text, f"{local} bytes of local copies, {stored} from the storage\n{text}"
        local, stored, _ = restored(kill_executor(cluster, job, lambda: remove(cluster)))
        assert stored > 100000 and local == 0, f"{local} bytes of local copies, {stored} from the storage"
        local, stored, _ = restored(kill_executor(cluster, job, lambda: None))
        assert local > 50000, f"{local} bytes of local copies, {stored} from the storage: none are made after a restore"
        newest = max(int(re.search(r"chk-(\d+)", f).group(1)) for f in copies(cluster))
        assert newest >= completed(cluster, job) - 5 and len(copies(cluster)) < 110, copies(cluster)
        cluster.wait_state(job, "FINISHED", timeout_s=120)
        check_rows(rows)
        check_windows(rows, output, 100000)


def test_a_rescale_puts_subtasks_where_their_state_is():
    with Cluster(taskmanagers=2, slots=2, config=SETTINGS) as cluster:
        output, rows = cluster.path("output"), cluster.path("rows")
        job = cluster.submit(os.path.join(JOBS, "once.so"), "--output", output, "--rows-output", rows, "--key-max", "4999",
                             "--window", "100 s", options=("-p", "2"))
        wait_for("two checkpoints", lambda: completed(cluster, job) >= 2)
        done = cluster.weir("rescale", job, "--parallelism", "4")
        assert done.returncode == 0, done.stderr
        wait_for("restored tasks", lambda: sum(restored(t)[2] for t in executor_logs(cluster).values()) == 8)
        local, stored, _ = (sum(n) for n in zip(*(restored(t) for t in executor_logs(cluster).values())))
        assert local > 100000 and stored == 0, f"{local} bytes of local copies, {stored} from the storage"
        cluster.wait_state(job, "FINISHED", timeout_s=120)
        check_rows(rows)
        check_windows(rows, output, 100000)


def test_off_means_none():
    with Cluster(taskmanagers=1, slots=1, config=CONFIG) as cluster: # a directory is as near as a copy would be
        job = cluster.submit(os.path.join(JOBS, "once.so"), "--output", cluster.path("output"), "--rows-output", cluster.path("rows"),
                             "--key-max", "4999", "--window", "100 s")
        wait_for("two checkpoints", lambda: completed(cluster, job) >= 2)
        assert not copies(cluster), copies(cluster)
        cluster.weir("cancel", job)


if __name__ == "__main__":
    main(globals())
