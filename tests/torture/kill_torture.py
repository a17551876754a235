#!/usr/bin/env python3
"""The kill matrix: real processes are killed, stopped, failed and slowed at named points (weir fault), the object store is taken away, and at
the end every record must be there once, every window right, every checkpoint's state that which follows from its offsets (oracle.py).

    tests/torture/kill_torture.py                                 the matrix of `make check`
    tests/torture/kill_torture.py --faults 300 --seed 7           random ones; --store file|s3
    tests/torture/kill_torture.py --faults 300 --seed 7 --runs 4  seeds 7, 8, 9, 10; a run that fails does not end the others
    tests/torture/kill_torture.py --resume --runs 4 ...           the first seed is the one behind the last in the results
    tests/torture/kill_torture.py --outside 60                    kill -9 of anything at any moment, from outside, for so many seconds

A fault counts when its point acted and checkpoints were completed before and after. Faults are distinct by step, role and kind, not by seed.
Runs (all but those of `make check`) use a copy of the programs, so that a build meanwhile does not matter, and leave in WEIR_BUILD/torture:
results.jsonl (a line a run), SEED.log, and of a run that failed failed-SEED/: logs, output, records, objects.
"""
import argparse
import collections
import os
import random
import shutil
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
import kill_runs  # noqa: E402
OWN = None # the copy
if __name__ == "__main__" and any(argument.startswith(("--faults", "--outside")) for argument in sys.argv):
    OWN = kill_runs.copy_programs()
from kill_world import S3, Proxy, Skip, World, main, oracle, run, s3_world, wait_for  # noqa: E402
from kill_matrix import AT_AN_END, COMMANDS, LOCAL_KINDS, OF_KAFKA, STORE_KINDS, Matrix, Trouble  # noqa: E402


def judge(world, matrix, end):
    """At the end of a job: `end` as in World.findings."""
    found = world.findings(end)
    print("#", matrix.summary())
    records = sum(end.values()) if isinstance(end, dict) else end * 2 * world.partitions
    assert not found, f"{records} records: {oracle.summary(found)}"
    print(f"# {records} records once each and in order, all windows right, the state of {world.states_read} snapshots too; no object that nothing "
          f"refers to; daemons were started again {world.restarts} times")


def finish(world, matrix):
    judge(world, matrix, world.finish())


def drain(world, matrix, point, kind):
    """Ends the job where it is, instead of at an end of its input."""
    judge(world, matrix, matrix.stop(point, kind, drain=True)[0])


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
    with World(rate=300, keys=500, config={"execution.checkpointing.gc-grace": "1 h"}) as world: # nothing is deleted beside this test
        world.submit()
        world.wait_checkpoints(3, "without a fault")
        done = world.weir("savepoint", world.job, world.path("savepoint"))
        assert done.returncode == 0, done.stderr
        check_the_checker_of_state(world, done.stdout.strip())
        wait_for("a window that fires before the end of the input", lambda: oracle.published(world.windows))
        end = world.finish(0.5)
        found = [finding for finding in world.findings(end, collected_s=0) if finding[0] != "orphan"]
        assert not found, oracle.summary(found)
        ends = dict.fromkeys(range(2 * world.partitions), end)
        rows = min((path for path in oracle.published(world.rows[0]) if os.path.getsize(path) > 2000), key=world.watcher.order) # of the first
        windows = max(oracle.published(world.windows), key=os.path.getsize)

        def names(found):
            return {finding[0] for finding in found}

        def records():
            return oracle.check_records(world.rows, ends, world.watcher.order)

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
            found = oracle.check_windows(world.windows, ends, world.keys)
            assert names(found) == want and len(found) == 1, found[:5]
            undo()
        pairs = max(oracle.published(world.pairs), key=os.path.getsize)
        for change, want in ((lambda lines: lines.pop(7), {"pair-lost"}), (lambda lines: lines.insert(7, lines[7]), {"pair-twice"}),
                             (lambda lines: lines.insert(7, lines.pop(7).replace(b'"b":', b'"b":1')), {"pair-wrong", "pair-lost"})):
            undo = changed(pairs, change)
            assert names(oracle.check_pairs(world.pairs, world.partitions, ends)) == want
            undo()
        assert not oracle.check_pairs(world.pairs, world.partitions, ends)
        assert not records() and not oracle.check_windows(world.windows, ends, world.keys)
        check_the_checker_of_storage(world, names)


def check_the_checker_of_state(world, path):
    snapshot = world.read_state(path)
    inspected, totals, waits, windows = snapshot
    reader = next(s for operator in inspected["operators"] for s in operator["states"] if s.get("offsets"))

    def found():
        return sorted({finding[:2] for finding in oracle.check_state(*snapshot, world.partitions, world.keys)[0]})
    assert not found() and totals and windows, found()
    for rows, field, what in ((totals, "n", "totals"), (totals, "bits", "totals"), (windows, "seqs", "windows")):
        rows[3]["value"][field] += 1
        assert found() == [("state-wrong", what)], found()
        rows[3]["value"][field] -= 1
    totals.append(totals[5])
    assert found() == [("state-wrong", "a key is there twice")], found()
    totals.pop()
    for rows, what in ((totals, "totals"), (windows, "windows")):
        row = rows.pop(3)
        assert found() == [("state-lost", what)], found()
        rows.append(row)
    waits.append({"key": -1, "value": 0})
    assert found() == [("state-extra", "pairs")], found()
    waits.pop()
    before = reader["offsets"][0]["position"]
    reader["offsets"][0]["position"] = str(int(before) + 1) # a record that the state lacks
    assert {what for _, what in found()} >= {"totals", "windows"}, found()
    reader["offsets"][0]["position"] = before
    assert not found()


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
    *(("supervisor." + step, "kill") for step in ("report-sent", "commit-begun", "commit-file", "commit-done", "commit-answered", "start-received")),
    ("supervisor.commit-file", "both"), ("supervisor.commit-file", "zombie"), ("supervisor.commit-file", "error"),
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
        world.check_newest_state()
        finish(world, matrix)
        seen.update(matrix.counted)


# What a command is disturbed by, in order; after each "stop" the job is begun again with its savepoint, and disturbed in that.
COMMAND_MATRIX = [
    *(("rescale", *fault) for fault in (
        ("executor.barrier-aligned", "kill"), ("executor.object-put-done", "kill"), ("jobmanager.head-put-done", "kill"), ("jobmanager.deploy-send", "kill"),
        ("executor.restore-part", "kill"), ("supervisor.report-sent", "kill"), ("executor.restore-begun", "error"), ("executor.restore-done", "stop"))),
    ("savepoint", "jobmanager.metadata-put-done", "kill"), ("savepoint", "executor.object-put-done", "kill"), ("savepoint", "supervisor.report-received", "stop"),
    ("stop", "jobmanager.head-put-done", "kill"), ("run -s", "executor.restore-part", "kill"),
    ("stop", "supervisor.commit-file", "kill"), ("run -s", "jobmanager.head-put-done", "kill"),
    ("stop", "executor.report-send", "kill"), ("run -s", "jobmanager.deploy-send", "stop"),
]


def run_commands(world, matrix, commands):
    savepoint = None
    for name, point, kind in commands:
        if name == "stop":
            savepoint = matrix.stop(point, kind)[1]
        elif name == "run -s":
            matrix.restore(savepoint, point, kind)
        else:
            {"rescale": matrix.rescale, "savepoint": matrix.savepoint}[name](point, kind)


def test_commands_under_faults():
    with World() as world:
        matrix = run_matrix(world, [])
        run_commands(world, matrix, COMMAND_MATRIX)
        drain(world, matrix, "supervisor.commit-begun", "kill")
        seen.update(matrix.counted)


def test_the_matrix_on_s3():
    """State and output."""
    trouble = Trouble()
    with S3() as s3:
        proxy = Proxy(s3.endpoint, trouble)
        with s3_world(s3, proxy, output=True, slots=4) as world:
            matrix = run_matrix(world, S3_MATRIX, 2)
            for kind in STORE_KINDS:
                matrix.store(trouble, proxy, kind)
            for kind in LOCAL_KINDS:
                matrix.local(kind)
            for parallelism in (4, 1, 2):
                matrix.rescale("supervisor.commit-file", "kill", parallelism)
            world.check_newest_state()
            finish(world, matrix)
            seen.update(matrix.counted)
        proxy.shutdown()


class SmallDisk:
    """with SmallDisk(24) as place: ... a file system of so many MiB."""

    def __init__(self, size_mib):
        self.size_mib = size_mib

    def __enter__(self):
        self.place = tempfile.mkdtemp(prefix="weir-disk-")
        if run("mount", "-t", "tmpfs", "-o", f"size={self.size_mib}m", "tmpfs", self.place).returncode != 0:
            os.rmdir(self.place)
            raise Skip("no small file system can be mounted here")
        return self.place

    def __exit__(self, *_):
        run("umount", self.place)
        os.rmdir(self.place)


def test_a_full_disk():
    """Everything is on it: logs, records of processes, output, checkpoints."""
    with SmallDisk(24) as place, World(place=place) as world:
        matrix = run_matrix(world, [])
        for _ in range(2):
            matrix.full_disk(place)
        finish(world, matrix)
        seen.update(matrix.counted)


def test_there_were_forty():
    """The list of what was counted above."""
    print_list(seen)
    print(f"# {len(seen)} distinct faults")
    assert len(seen) >= 40, f"only {len(seen)} distinct faults"


def print_list(counted):
    for name, count in sorted(counted.items()):
        print(f"#   {count:3} x {name}")


# --- Random ones

TIMEOUT = "execution.checkpointing.aligned-checkpoint-timeout"
A_WORLD = 50 # faults on one cluster and job
ALL_KINDS = ("kill", "stop", "zombie", "delay", "error")


def all_faults(world):
    for point, about in sorted(world.points().items()):
        if not point.startswith(AT_AN_END + OF_KAFKA) and not (point == "executor.barrier-aligned" and world.unaligned() and world.config[TIMEOUT] == "0 s"):
            role = point.split(".")[0]
            for kind in ["kill", "stop", "delay"] + ["error"] * about["can-fail"] + ["both"] * (role == "supervisor") + ["zombie"]:
                yield "point", point, kind


def all_commands(world):
    points = world.points()
    for name, steps in COMMANDS.items():
        for point in steps:
            for kind in ALL_KINDS:
                if kind != "error" or points[point]["can-fail"]:
                    yield name, point, kind


def plan(world, rng, store, count):
    """So many faults: most at fault points, each fifth in a command, some on the store, the local copies or the disk."""
    points = [f for f in all_faults(world) if store == "file" or f[1] not in ("executor.store-put-mid", "jobmanager.store-put-mid")]
    commands = [f for f in all_commands(world) if f[0] not in ("stop --drain", "run -s")]
    restores = [f for f in all_commands(world) if f[0] == "run -s"]
    rng.shuffle(points)
    for i in range(count):
        chance = rng.random()
        if chance < 0.08:
            yield ("store", rng.choice(STORE_KINDS), "") if store == "s3" and rng.random() < 0.7 else ("disk", "full", "")
        elif chance < 0.12 and world.keeps_copies():
            yield "local", rng.choice(LOCAL_KINDS), ""
        elif chance < 0.3:
            command = rng.choice(commands)
            yield command
            if command[0] == "stop":
                yield rng.choice(restores)
        else:
            yield points[i % len(points)]


def inject(world, matrix, store, faults, trouble, proxy, place):
    savepoint = None
    for name, point, kind in faults:
        if name == "point":
            matrix.fault(point, kind, matrix.rng.randrange(1, 5))
        elif name == "store":
            matrix.store(trouble, proxy, point)
        elif name == "disk":
            matrix.full_disk(place)
        elif name == "local":
            matrix.local(point)
        elif name == "stop":
            savepoint = matrix.stop(point, kind)[1]
        elif name == "run -s":
            matrix.restore(savepoint, point, kind)
        else:
            run_commands(world, matrix, [(name, point, kind)])
        world.look_around()
        if matrix.injected % 10 == 0 and name != "stop" and not world.unaligned(): # what a barrier overtook is in no state; nor has an ended job any
            world.check_newest_state()


SPILLS = {"config": {"state.memory.size": "8 mb"}, "keys": 120000, "rate": 500} # three operators share the memory; with so many keys `totals` does not fit


def draw_settings(rng):
    """Of a cluster and of the job: (configuration, what World takes besides)."""
    backend, spills = rng.choice([("hashmap", False), ("rocksdb", False), ("rocksdb", False), ("rocksdb", True)])
    unaligned = rng.random() < 0.35
    config = {"state.backend.type": backend, "execution.checkpointing.unaligned.enabled": str(unaligned).lower(), TIMEOUT: rng.choice(["0 s", "100 ms"]),
              "execution.checkpointing.max-concurrent-checkpoints": rng.choice([1, 1, 3]), "state.backend.local-recovery": rng.choice(["auto", "auto", "true", "false"])}
    more = {"sleep_us": 50 if unaligned else 0}
    if spills:
        config.update(SPILLS["config"])
        more.update(keys=SPILLS["keys"], rate=SPILLS["rate"])
    return config, more


def one_world(rng, store, count, s3, proxy, trouble):
    """A cluster and a job, whose settings are drawn, and so many faults."""
    config, more = draw_settings(rng)
    output = store == "s3" and rng.random() < 0.5
    print(f"# {store}{', output too' if output else ''}, {config}", flush=True)
    with SmallDisk(1024) as place:
        with s3_world(s3, proxy, output, config=config, place=place, **more) if store == "s3" else World(config=config, place=place, **more) as world:
            matrix = Matrix(world, rng)
            world.submit()
            world.wait_checkpoints(2, "at the beginning")
            inject(world, matrix, store, plan(world, rng, store, count), trouble, proxy, place)
            print(f"# at most {', '.join(f'{value} {name}' for name, value in world.most.items())}")
            if rng.random() < 0.3:
                drain(world, matrix, *rng.choice([f[1:] for f in all_commands(world) if f[0] == "stop --drain"]))
            else:
                finish(world, matrix)
            return matrix


def torture(faults, seed, store):
    """One run. What it was, for the results."""
    rng, trouble = random.Random(seed), Trouble()
    total, injected, missed, slow = collections.Counter(), 0, 0, []
    with S3() as s3:
        proxy = Proxy(s3.endpoint, trouble)
        while injected - missed < faults:
            matrix = one_world(rng, store or rng.choice(["file", "s3"]), min(A_WORLD, faults - injected + missed), s3, proxy, trouble)
            total.update(matrix.counted)
            injected, missed, slow = injected + matrix.injected, missed + matrix.missed, slow + matrix.recovery_s
        proxy.shutdown()
    print_list(total)
    slow.sort()
    return {"injected": injected - missed, "distinct": sorted(total), "half": round(slow[len(slow) // 2][0], 2), "slowest": [round(s, 2) for s, _ in slow[-3:]]}


def kill_from_outside(world, seconds, rng):
    """kill -9 of one process or several, whatever they are doing."""
    until, kills = time.monotonic() + seconds, collections.Counter()
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.05, 1.5))
        if rng.random() < 0.2:
            world.wait_checkpoints(1, f"among {dict(kills)}")
        victims = [("executor", pid) for pid in world.executor_pids()] + [(name.split("-")[0], p.pid) for name, p in world.daemons.items()]
        for role, pid in rng.sample(victims, rng.choice([1, 1, 1, 2, len(victims)])):
            world.signal(pid, signal.SIGKILL)
            kills[role] += 1
    return kills


def outside(seconds, seed):
    with World() as world:
        matrix = Matrix(world, random.Random(seed))
        world.submit()
        world.wait_checkpoints(2, "at the beginning")
        kills = kill_from_outside(world, seconds, matrix.rng)
        world.wait_checkpoints(1, "at the end")
        world.check_newest_state()
        finish(world, matrix)
        print(f"# {sum(kills.values())} processes killed from outside: {dict(kills)}")
    return {"injected": sum(kills.values()), "distinct": []}


def test_killed_from_outside():
    outside(6, 3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tests", nargs="*")
    parser.add_argument("--faults", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--store", choices=["file", "s3"])
    parser.add_argument("--outside", type=float)
    arguments = parser.parse_args()
    sys.argv[1:] = arguments.tests
    if OWN:
        try:
            first = kill_runs.next_seed() if arguments.resume else arguments.seed
            what, body = ("outside", lambda seed: outside(arguments.outside, seed)) if arguments.outside else \
                ("kill", lambda seed: torture(arguments.faults, seed, arguments.store))
            sys.exit(kill_runs.runs(what, range(first, first + arguments.runs), body, "none lost, none doubled, no wrong window, no wrong state"))
        finally:
            shutil.rmtree(OWN)
    main(globals())
