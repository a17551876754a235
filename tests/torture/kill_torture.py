#!/usr/bin/env python3
"""The kill matrix: real processes are killed, stopped, failed and slowed at named points (weir fault), the object store is taken away, and at
the end every record must be there once and every window right (oracle.py).

    tests/torture/kill_torture.py                          the matrix of `make check`
    tests/torture/kill_torture.py --faults 300 --seed 7    random ones; --store file|s3
    tests/torture/kill_torture.py --outside 60             kill -9 of anything at any moment, from outside, for so many seconds

A fault counts when its point acted and checkpoints were completed before and after. Faults are distinct by step, role and kind, not by seed.
"""
import argparse
import collections
import itertools
import os
import random
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kill_world import KEYS, PATIENCE, S3, Proxy, Skip, World, main, oracle, run, wait_for  # noqa: E402

# Steps that a running job does not pass by itself: something else has to fail first.
AFTER_A_FAILURE = ("executor.restore-", "executor.deploy-", "executor.starting", "executor.task-running", "supervisor.start-", "supervisor.executor-spawned",
                   "jobmanager.deploy-")
AFTER_A_JOBMANAGER = ("jobmanager.job-read",)
AT_AN_END = ("executor.task-ended", "jobmanager.job-store")  # only when the job begins or ends
BY_ANOTHER = {"jobmanager.head-get": ("jobmanager.head-put-done", "error")}
STOP_S, ZOMBIE_S = 0.3, 3.5 * PATIENCE  # a pause; and one beyond every lease and heartbeat
STORE_KINDS = ("down", "503", "slow", "cut", "lose", "drop")


def is_stopped(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T"
    except OSError:
        return False


class Matrix:
    """Injects faults into a world, one after the other, and keeps the list."""

    def __init__(self, world, rng, say=print):
        self.world, self.rng, self.say = world, rng, say
        self.injected = self.missed = 0
        self.counted = collections.Counter()
        self.recovery_s = []

    def fault(self, point, kind, nth=1):
        """kinds: kill, stop, zombie (a stop beyond all leases), error, delay, both (the supervisor, and its executors with it)."""
        world, before = self.world, self.world.points().get(point)
        assert before is not None, f"no fault point {point}"
        action = {"zombie": "stop", "both": "kill", "delay": f"delay={self.rng.randrange(100, 700)}"}.get(kind, kind)
        nth = 1 if point in BY_ANOTHER or point.startswith(AFTER_A_FAILURE + AFTER_A_JOBMANAGER) else nth
        world.arm(f"{point}:{nth}", action)
        if point in BY_ANOTHER:
            world.arm(*BY_ANOTHER[point])
        if point.startswith(AFTER_A_FAILURE):
            for pid in world.executor_pids()[:1]:
                world.signal(pid, signal.SIGKILL)
        if point in AFTER_A_JOBMANAGER:
            world.signal(world.daemons["jobmanager"].pid, signal.SIGKILL)
        self.injected += 1
        begun = time.monotonic()
        if action == "stop" and point.startswith("jobmanager."): # it answers nobody meanwhile
            pid = wait_for(f"a stop at {point}", lambda: is_stopped(world.daemons["jobmanager"].pid) and world.daemons["jobmanager"].pid, 40)
            time.sleep(ZOMBIE_S if kind == "zombie" else STOP_S)
            world.signal(pid, signal.SIGCONT)
        acted = wait_for(f"a pass of {point} (to {kind})", lambda: (p := world.points().get(point)) and p["acted"] > before["acted"] and p, 40)
        if kind == "both":
            for pid in world.executor_pids():
                world.signal(pid, signal.SIGKILL)
        if action == "stop" and not point.startswith("jobmanager."):
            time.sleep(ZOMBIE_S if kind == "zombie" else STOP_S)
            world.signal(acted["pid"], signal.SIGCONT)
        self.count(f"{point} {kind}", f"pass {nth}, pid {acted['pid']}", begun)

    def rescale(self, point, kind):
        """The job from 2 to 3 or back, and a fault on the way: the command may fail for it, the job may not."""
        world, before = self.world, self.world.points().get(point)
        vertices = wait_for("the job", lambda: world.rest(f"/jobs/{world.job}", {}).get("vertices"))
        parallelism = 5 - max(v["parallelism"] for v in vertices)
        world.arm(f"{point}:1", kind)
        self.injected += 1
        begun = time.monotonic()
        done = world.weir("rescale", world.job, "--parallelism", parallelism)
        wait_for(f"a pass of {point} (to {kind}) in a rescale", lambda: (p := world.points().get(point)) and p["acted"] > before["acted"], 40)
        self.count(f"rescale, {point} {kind}", f"to {parallelism}, exit code {done.returncode}", begun)

    def count(self, name, how, begun):
        self.world.wait_checkpoints(1, f"after {name}")
        self.recovery_s.append(time.monotonic() - begun)
        self.counted[name] += 1
        self.say(f"# {self.injected:3} {name} ({how}), a checkpoint {self.recovery_s[-1]:.2f} s after it was armed")

    def print_summary(self):
        slow = sorted(self.recovery_s) or [0]
        print(f"# {self.injected} faults injected, {sum(self.counted.values())} counted, {len(self.counted)} distinct; from a fault to the next complete "
              f"checkpoint: half within {slow[len(slow) // 2]:.2f} s, all within {slow[-1]:.2f} s")

    def print_list(self):
        for name, count in sorted(self.counted.items()):
            print(f"#   {count:4} x {name}")


def without_orphans(found):
    """Garbage is collected by whole checkpoints: while one object of a checkpoint is referred to, its others stay; and what is written, or could not be
    deleted, while a JobManager dies is not looked for again. So these are counted, and nothing is asserted of them."""
    return [f for f in found if f[0] != "orphan"], [f for f in found if f[0] == "orphan"]


RESCALES = [("executor.barrier-aligned", "kill"), ("executor.object-put-done", "kill"), ("jobmanager.head-put-done", "kill"), ("jobmanager.deploy-send", "kill"),
            ("executor.restore-part", "kill"), ("supervisor.report-sent", "kill"), ("executor.restore-begun", "error")]


def finish(world, matrix):
    end = world.finish()
    found = world.findings(end)
    matrix.print_summary()
    found, orphans = without_orphans(found)
    assert not found, f"{end * 2 * world.partitions} records: {oracle.summary(found)}"
    print(f"# {end * 2 * world.partitions} records once each and in order, all windows right; {len(orphans)} objects that nothing refers to; daemons were started again {world.restarts} times")


# --- The object store is taken away

class Trouble:
    """What the proxy does to requests, for a while."""

    def __init__(self):
        self.kind = None

    def __call__(self, method, path):
        return {"down": "drop", "503": 503}.get(self.kind, self.kind)


def store_fault(matrix, trouble, proxy, kind):
    matrix.injected += 1
    begun, before = time.monotonic(), sum(proxy.counts.values())
    trouble.kind = kind
    wait_for(f"a request that meets {kind}", lambda: sum(proxy.counts.values()) > before + 1)
    time.sleep(0.7)
    trouble.kind = None
    matrix.count(f"store {kind}", f"{sum(proxy.counts.values()) - before} requests", begun)


# --- The checker

def changed(path, change):
    """The file's lines, changed by hand; how to undo it."""
    before = open(path, "rb").read()
    lines = before.splitlines(keepends=True)
    change(lines)
    with open(path, "wb") as file:
        file.writelines(lines)

    def undo():
        with open(path, "wb") as file:
            file.write(before)
    return undo


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 4]))


def test_the_checker_finds_what_is_broken_by_hand():
    """A run without a fault, and then one line, one byte, one object less or more."""
    with World() as world:
        world.submit()
        world.wait_checkpoints(3, "without a fault")
        end = world.finish(0.5)
        found, _ = without_orphans(world.findings(end))
        assert not found, oracle.summary(found)
        parts = range(2 * world.partitions)
        rows = min((path for path in oracle.published(world.rows[0]) if os.path.getsize(path) > 2000), key=world.watcher.order) # of the first
        windows = max(oracle.published(world.windows), key=os.path.getsize)

        def names(found):
            return {finding[0] for finding in found}

        def records():
            return oracle.check_records(world.rows, parts, end, world.watcher.order)

        def swap(lines):
            lines[3], lines[4] = lines[4], lines[3]

        def damage(lines):
            lines[5] = lines[5].replace(b'"seq":', b'"seq":1', 1)
        for change, want in ((lambda lines: lines.pop(7), {"lost"}), (lambda lines: lines.insert(7, lines[7]), {"duplicate", "non-monotonic"}), (swap, {"non-monotonic"}),
                             (damage, {"damaged", "lost"}), (lambda lines: lines.append(lines[-1][:20]), {"damaged"})):
            undo = changed(rows, change)
            found = records()
            assert names(found) == want and len(found) <= 2, found[:5]
            undo()
        order = dict(world.watcher.seen)
        moved = os.path.join(os.path.dirname(rows), "part-of-later")
        os.rename(rows, moved)
        world.watcher.look()
        assert names(world.watcher.findings) == {"aborted-read"} and names(records()) == {"non-monotonic"}, (world.watcher.findings, records()[:5])
        os.rename(moved, rows)
        world.watcher.seen = order
        for change, want in ((lambda lines: lines.pop(7), {"window-lost"}), (lambda lines: lines.insert(7, lines[7]), {"window-twice"}),
                             (lambda lines: lines.insert(7, lines.pop(7).replace(b'"n":', b'"n":1')), {"window-wrong"})):
            undo = changed(windows, change)
            found = oracle.check_windows(world.windows, parts, end, world.keys)
            assert names(found) == want and len(found) == 1, found[:5]
            undo()
        pairs = max(oracle.published(world.pairs), key=os.path.getsize)
        for change, want in ((lambda lines: lines.pop(7), {"pair-lost"}), (lambda lines: lines.insert(7, lines[7]), {"pair-twice"}),
                             (lambda lines: lines.insert(7, lines.pop(7).replace(b'"b":', b'"b":1')), {"pair-wrong", "pair-lost"})):
            undo = changed(pairs, change)
            assert names(oracle.check_pairs(world.pairs, world.partitions, end)) == want
            undo()
        assert not oracle.check_pairs(world.pairs, world.partitions, end)
        assert not records() and not oracle.check_windows(world.windows, parts, end, world.keys)
        check_the_checker_of_storage(world, names)


def check_the_checker_of_storage(world, names):
    _, reached = oracle.check_storage(world.root, world.job)
    for key in sorted(reached):
        path = os.path.join(world.root, key)
        if key.endswith("HEAD") or "graph-" in key or "code-" in key:
            continue
        flip(path, os.path.getsize(path) - 1)
        assert "corrupt" in names(oracle.check_storage(world.root, world.job)[0]), key
        flip(path, os.path.getsize(path) - 1)
        os.rename(path, path + ".gone")
        assert "missing" in names(oracle.check_storage(world.root, world.job)[0]), key
        os.rename(path + ".gone", path)
    assert not oracle.check_storage(world.root, world.job)[0]
    before = {finding[1] for finding in oracle.check_orphans(world.root, world.job, reached)}
    for name in ("chk-1/0-9-1", "chk-1/.put-1-1", "chk-9999/metadata"):
        path = os.path.join(world.root, "jobs", world.job, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").close()
        assert {finding[1] for finding in oracle.check_orphans(world.root, world.job, reached)} - before == {f"jobs/{world.job}/{name}"}
        os.unlink(path)


# --- The matrix of make check

FILE_MATRIX = [
    *(("executor." + step, "kill") for step in ("trigger-received", "barrier-injected", "snapshot-captured", "output-synced", "store-put-mid", "object-put-done",
                                                "report-send", "restore-begun", "restore-done", "task-running")),
    *(("executor." + step, "stop") for step in ("barrier-aligned", "object-put-begun", "restore-part")),
    *(("executor." + step, "error") for step in ("output-synced", "object-put-begun", "restore-part", "starting")),
    *(("supervisor." + step, "kill") for step in ("trigger-received", "report-received", "commit-received", "commit-file", "commit-done", "executor-spawned")),
    ("supervisor.commit-begun", "error"), ("supervisor.report-sent", "both"), ("supervisor.commit-begun", "both"), ("supervisor.commit-file", "zombie"),
    ("jobmanager.metadata-put-begun", "error"), ("jobmanager.head-put-done", "error"), ("jobmanager.head-put-done", "delay"), ("jobmanager.report-counted", "stop"),
    *(("jobmanager." + step, "kill") for step in ("trigger-send", "trigger-sent", "report-received", "store-put-mid", "metadata-put-done", "head-put-begun", "commit-sent",
                                                  "garbage-done", "deploy-send")),
]
S3_MATRIX = [
    *(("executor." + step, "kill") for step in ("barrier-aligned", "object-put-begun", "object-put-done", "report-sent", "starting", "restore-part", "deploy-received")),
    ("executor.object-put-done", "error"), ("executor.restore-begun", "error"), ("executor.object-put-begun", "delay"), ("executor.snapshot-captured", "stop"),
    *(("supervisor." + step, "kill") for step in ("report-sent", "commit-begun", "commit-answered", "start-received")),
    ("supervisor.report-received", "zombie"), ("jobmanager.metadata-put-done", "error"), ("jobmanager.head-put-begun", "error"), ("jobmanager.head-get", "error"),
    *(("jobmanager." + step, "kill") for step in ("report-counted", "metadata-put-begun", "head-put-done", "head-answered", "commit-send", "commit-done", "garbage-begun")),
    ("jobmanager.head-put-done", "zombie"),
]
seen = collections.Counter()


def run_matrix(world, faults, seed=1):
    matrix = Matrix(world, random.Random(seed))
    world.submit()
    world.wait_checkpoints(2, "at the beginning")
    for point, kind in faults:
        matrix.fault(point, kind, matrix.rng.randrange(1, 4))
    return matrix


def test_the_matrix_on_files():
    with World() as world:
        matrix = run_matrix(world, FILE_MATRIX)
        finish(world, matrix)
        seen.update(matrix.counted)


def s3_world(s3, proxy, **more):
    config = {"s3.endpoint": proxy.endpoint, "s3.attempts": "4", **more.pop("config", {})}
    return World(dir="s3://weir-test/state", root=os.path.join(s3.bucket(), "state"), env=KEYS, config=config, **more)


def test_rescaling_under_faults():
    """2 -> 3 -> 2 ...: each with another fault on its way."""
    with World() as world:
        matrix = run_matrix(world, [])
        for point, kind in RESCALES:
            matrix.rescale(point, kind)
        finish(world, matrix)
        seen.update(matrix.counted)


def test_the_matrix_on_s3():
    trouble = Trouble()
    with S3() as s3:
        proxy = Proxy(s3.endpoint, trouble)
        with s3_world(s3, proxy) as world:
            matrix = run_matrix(world, S3_MATRIX, 2)
            for kind in STORE_KINDS:
                store_fault(matrix, trouble, proxy, kind)
            finish(world, matrix)
            seen.update(matrix.counted)
        proxy.shutdown()


def test_a_full_disk():
    """Everything is on it: logs, records of processes, output, checkpoints."""
    with tempfile.TemporaryDirectory() as place:
        if run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place).returncode != 0:
            raise Skip("no small file system can be mounted here")
        try:
            with World(place=place) as world:
                matrix = run_matrix(world, [])
                for _ in range(2):
                    matrix.injected += 1
                    begun = time.monotonic()
                    with open(os.path.join(place, "filler"), "wb", buffering=0) as file:
                        try:
                            while True:
                                file.write(b"x" * 4096)
                        except OSError:
                            pass
                    time.sleep(1)
                    os.unlink(os.path.join(place, "filler"))
                    matrix.count("disk full", "1 s", begun)
                finish(world, matrix)
                seen.update(matrix.counted)
        finally:
            run("umount", place)


def test_there_were_forty():
    """The list of what was counted above."""
    for name, count in sorted(seen.items()):
        print(f"#   {count} x {name}")
    print(f"# {len(seen)} distinct faults")
    assert len(seen) >= 40, f"only {len(seen)} distinct faults"


# --- Random ones

def all_faults(world):
    for point, about in sorted(world.points().items()):
        if not point.startswith(AT_AN_END):
            role = point.split(".")[0]
            for kind in ["kill", "stop", "delay"] + ["error"] * about["can-fail"] + ["both"] * (role == "supervisor") + ["zombie"]:
                yield point, kind


def torture(arguments):
    rng, trouble = random.Random(arguments.seed), Trouble()
    total, injected = collections.Counter(), 0
    with S3() as s3:
        proxy = Proxy(s3.endpoint, trouble)
        while injected < arguments.faults:
            store = arguments.store or rng.choice(["file", "s3"])
            with s3_world(s3, proxy) if store == "s3" else World() as world:
                matrix = Matrix(world, rng)
                world.submit()
                world.wait_checkpoints(2, "at the beginning")
                kinds = [f for f in all_faults(world) if store == "file" or f[0] not in ("executor.store-put-mid", "jobmanager.store-put-mid")]
                rng.shuffle(kinds)
                for point, kind in itertools.islice(itertools.cycle(kinds), min(50, arguments.faults - injected)):
                    if store == "s3" and rng.random() < 0.1:
                        store_fault(matrix, trouble, proxy, rng.choice(STORE_KINDS))
                    matrix.fault(point, kind, rng.randrange(1, 5))
                finish(world, matrix)
                total.update(matrix.counted)
                injected += matrix.injected
        proxy.shutdown()
    for name, count in sorted(total.items()):
        print(f"#   {count:3} x {name}")
    print(f"# {injected} faults injected, {sum(total.values())} counted, {len(total)} distinct, seed {arguments.seed}: none lost, none doubled, no wrong window")


def kill_from_outside(world, seconds, rng):
    """kill -9 of one process or several, whatever they are doing."""
    until, kills = time.monotonic() + seconds, collections.Counter()
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.05, 1.5))
        if rng.random() < 0.2:
            world.wait_checkpoints(1, f"among {dict(kills)}")
        victims = [("executor", pid) for pid in world.executor_pids()] + [(name.split("-")[0], p.pid) for name, p in world.daemons.items()]
        for role, pid in rng.sample(victims, rng.choice([1, 1, 1, 2, len(victims)])):
            if role in OUTSIDE:
                world.signal(pid, signal.SIGKILL)
                kills[role] += 1
    return kills


OUTSIDE = ("executor", "taskmanager", "jobmanager")


def outside(arguments):
    with World() as world:
        matrix = Matrix(world, random.Random(arguments.seed))
        world.submit()
        world.wait_checkpoints(2, "at the beginning")
        kills = kill_from_outside(world, arguments.outside, matrix.rng)
        world.wait_checkpoints(1, "at the end")
        finish(world, matrix)
        print(f"# {sum(kills.values())} processes killed from outside: {dict(kills)}")


def test_killed_from_outside():
    outside(argparse.Namespace(seed=3, outside=6))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tests", nargs="*")
    parser.add_argument("--faults", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=["file", "s3"])
    parser.add_argument("--outside", type=float)
    arguments = parser.parse_args()
    sys.argv[1:] = arguments.tests
    if arguments.faults:
        torture(arguments)
    elif arguments.outside:
        outside(arguments)
    else:
        main(globals())
