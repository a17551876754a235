#!/usr/bin/env python3
"""weir state inspect and read, on checkpoints of real jobs: against a model of what the sources had given, and on damaged files."""
import collections
import decimal
import json
import os
import shutil
import subprocess
import tempfile

from weir_test import EXAMPLES, JOBS, WEIR, Cluster, free_port, main, read_rows, run, wait_for

CONFIG = {"execution.checkpointing.interval": "100 ms"}


def state(*arguments):
    return run(WEIR, "state", *arguments)


def rows_of(path, operator, name):
    done = state("read", path, "--operator", operator, "--state", name)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def newest_copy(cluster, job, directory):
    copy = os.path.join(directory, "copy")
    shutil.rmtree(copy, ignore_errors=True)
    try:
        shutil.copytree(cluster.path("data", "checkpoints"), copy)
    except shutil.Error:
        return None
    chks = [c for c in os.listdir(os.path.join(copy, "jobs", job)) if c.startswith("chk-") and
            os.path.exists(os.path.join(copy, "jobs", job, c, "metadata"))]
    return os.path.join(copy, "jobs", job, max(chks, key=lambda c: int(c[4:]))) if chks else None


def kept_checkpoint(cluster, job, directory):
    """A copy of the storage, taken while the job holds still; the newest checkpoint's directory in it."""
    for name in os.listdir(cluster.path("run", "executors")):
        os.kill(int(open(cluster.path("run", "executors", name)).read().split()[0]), 19)
    # A checkpoint that was under way may end, and an older one go.
    return wait_for("a checkpoint to copy", lambda: newest_copy(cluster, job, directory))


def test_windows_against_a_model():
    with tempfile.TemporaryDirectory() as directory, Cluster(taskmanagers=1, slots=2, config=CONFIG) as cluster:
        job = cluster.submit(os.path.join(JOBS, "once.so"), "--output", cluster.path("out"), "--rows-output", cluster.path("rows"),
                             "--rows", "1000000", options=("-p", "2"))
        wait_for("five checkpoints", lambda: cluster.rest(f"/jobs/{job}/checkpoints")[1]["counts"]["completed"] >= 5)
        path = kept_checkpoint(cluster, job, directory)
        inspected = json.loads(state("inspect", "-o", "json", path).stdout)
        assert (inspected["jobid"], inspected["name"], inspected["version"]) == (job, "once", 1), inspected
        states = {s["name"]: (o["uid"], s) for o in inspected["operators"] for s in o["states"]}
        assert inspected["size"] == sum(p["size"] for _, s in states.values() for p in s["parts"]) > 0
        offsets = states["reader"][1]["offsets"]
        assert [o["subtask"] for o in offsets] == [0, 1] and rows_of(path, states["reader"][0], "reader") == offsets
        # Subtask i has given i, i + 2, ... below its position: per second, what is in the windows that have not fired.
        model, counts, firsts = collections.defaultdict(list), collections.Counter(), {}
        for offset in offsets:
            for i in range(offset["subtask"], int(offset["position"].split()[0]), 2):
                model[i // 1000].append(i)
        windows = rows_of("file:" + path, states["windows"][0], "windows")
        assert len(windows) == states["windows"][1]["values"] == len({(row["key"], row["start"]) for row in windows}) > 0
        for row in windows:
            second = sum(a * int(b) for a, b in zip((3600, 60, 1), row["start"][11:19].split(":")))
            assert row["key"] == row["value"]["key"] and row["end"] == row["value"]["window_end"] and 0 <= row["key"] < 100, row
            counts[second] += row["value"]["n"]
            firsts[second] = min(firsts.get(second, 1 << 60), row["value"]["first"])
        newest = max(counts)
        assert {s: counts[s] for s in counts} == {s: len(model[s]) for s in counts} and firsts[newest] == min(model[newest])
        assert newest == max(model), "an open window is missing"
        text = state("inspect", path + "/metadata").stdout
        assert f"of job once ({job})" in text and "tumbling window: key" in text and offsets[0]["position"] in text


def check_functions(path):
    """Per key the ids that came (a list) and how many (a sum), and what is open (a map, timers), of all rows below the sources' positions."""
    inspected = json.loads(state("inspect", "-o", "json", path).stdout)
    offsets = [o for op in inspected["operators"] for s in op["states"] for o in s.get("offsets", [])]
    given = sorted(i for o in offsets for i in range(o["subtask"], int(o["position"].split()[0]), 2))
    ids, totals = rows_of(path, "by hand", "ids"), {row["key"]: row["value"] for row in rows_of(path, "by hand", "total")}
    assert sorted(row["value"] for row in ids) == given, (len(ids), len(given))
    assert collections.Counter(row["key"] for row in ids) == totals
    firsts = {(row["key"], row["map-key"]): row["value"] for row in rows_of(path, "by hand", "seconds")}
    for (key, end), value in firsts.items():
        mine = [row["value"] for row in ids if row["key"] == key and end - 1000 <= row["value"] < end]
        assert (value["n"], value["first"]) == (len(mine), min(mine)), (key, end, value, mine)
    assert {row["key"] for row in rows_of(path, "by hand", "_event_timers")} == {key for key, _ in firsts}
    return inspected


def incremental(cluster, job, directory):
    path = newest_copy(cluster, job, directory)
    done = state("inspect", "-o", "json", path) if path else None
    if not done or done.returncode != 0:
        return None
    states = [(o["uid"], s) for o in json.loads(done.stdout)["operators"] for s in o["states"]]
    whole = all(state("read", path, "--operator", uid, "--state", s["name"]).returncode == 0 for uid, s in states)
    return path if whole and any(s.get("runs", 0) > 2 for _, s in states) else None


def test_functions_in_a_moved_savepoint_and_in_increments():
    with tempfile.TemporaryDirectory() as directory, Cluster(taskmanagers=1, slots=2, config=CONFIG) as cluster:
        job = cluster.submit(os.path.join(JOBS, "once.so"), "--output", cluster.path("out"), "--rows-output", cluster.path("rows"),
                             "--rows", "1000000", "--count-by", "process", options=("-p", "2"))
        wait_for("five checkpoints", lambda: cluster.rest(f"/jobs/{job}/checkpoints")[1]["counts"]["completed"] >= 5)
        made = cluster.weir("savepoint", job, cluster.path("savepoints"))
        assert made.returncode == 0, made.stderr
        (name,) = os.listdir(cluster.path("savepoints"))
        shutil.move(cluster.path("savepoints", name), os.path.join(directory, "moved"))
        inspected = check_functions(os.path.join(directory, "moved"))
        assert inspected["savepoint"] and not any("/" in p.get("object", "") for o in inspected["operators"] for s in o["states"] for p in s["parts"])
        # One of several runs a subtask: most are, but for the first and those that were consolidated. While the job goes on a copy may be torn.
        path = wait_for("a checkpoint of increments", lambda: incremental(cluster, job, directory))
        check_functions(path)


def nested_model(numbers):
    """What tests/jobs/types.c makes of them: by key and second."""
    groups = collections.defaultdict(list)
    for n in numbers:
        groups[n % 3, n % 2, n % 5, n // 1000].append(n)
    return groups


def check_nested(row, numbers):
    """A window of that job, as its sink or its state has it."""
    first = numbers[0]
    price = decimal.Decimal(first % 3) / 8
    assert row["price"] == price and row["total"] == price * len(numbers) and row["mean"] == price, row
    assert row["place"] == {"EXPR$0": first % 2, "EXPR$1": str(first % 5)} and row["tags"] == [first % 2, None], row
    assert row["n"] == len(numbers) and row["more"] == {"n": first} and row["deep"] == str(first % 5), row
    assert row["seen"] == f"1970-01-01T00:00:{numbers[-1] // 1000:02}.{numbers[-1] % 1000:03}Z".replace(".000Z", "Z"), row


def key_of(row):
    return int(row["price"] * 8), row["tags"][0], int(row["place"]["EXPR$1"])


def test_keys_and_values_of_nested_types():
    exact = {"parse_float": decimal.Decimal}
    with tempfile.TemporaryDirectory() as directory, Cluster(taskmanagers=1, slots=3, config=CONFIG) as cluster:
        arguments = ("--output", cluster.path("out"), "--rows", "40000", "--rate", "10000")
        job = cluster.submit(os.path.join(JOBS, "types.so"), *arguments, options=("-p", "2"))
        wait_for("windows", lambda: len(read_rows(cluster.path("out"))) > 60)
        made = cluster.weir("stop", "--savepoint", directory, job)
        assert made.returncode == 0, made.stderr
        path = made.stdout.strip().removeprefix("file:").replace("//", "/", 1)
        inspected = json.loads(state("inspect", "-o", "json", path).stdout)
        offsets = [o for op in inspected["operators"] for s in op["states"] for o in s.get("offsets", [])]
        given = sorted(i for o in offsets for i in range(o["subtask"], int(o["position"].split()[0]), 2))
        assert 0 < len(given) < 40000, (len(given), offsets)
        done = state("read", path, "--operator", "sums", "--state", "windows")
        assert done.returncode == 0, done.stderr
        open_windows = [json.loads(line, **exact) for line in done.stdout.splitlines()]
        fired = min(int(o["watermark"][17:19]) * 1000 + int(o["watermark"][20:23] or 0) for o in offsets) // 1000
        model = {group: numbers for group, numbers in nested_model(given).items() if group[-1] >= fired}
        for row in open_windows:
            value = row["value"]
            assert row["key"] == [value[k] for k in ("price", "place", "tags")], row
            check_nested(value, model[(*key_of(value), int(row["start"][17:19]))])
        assert len(open_windows) == len(model) > 0, (len(open_windows), len(model), offsets)
        again = cluster.submit(os.path.join(JOBS, "types.so"), *arguments, options=("-p", "3", "-s", path))
        cluster.wait_state(again, "FINISHED", timeout_s=90)
        model, seen = nested_model(range(40000)), set()
        for row in read_rows(cluster.path("out"), **exact):
            group = (*key_of(row), (int(row["window_end"][17:19]) - 1) % 60)
            check_nested(row, model[group])
            assert group not in seen, group
            seen.add(group)
        assert seen == set(model), len(seen)


def test_damage_and_what_is_not_there():
    with tempfile.TemporaryDirectory() as directory, Cluster(taskmanagers=1, slots=1, config=CONFIG) as cluster:
        port = free_port()
        publisher = subprocess.Popen([os.path.join(EXAMPLES, "gpu-temperature-publisher"), "--devices", "2000", "--interval", "1 s",
                                      "--output", f"tcp://127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
        try:
            job = cluster.submit(os.path.join(EXAMPLES, "gpu-temperature.so"), "--input", f"tcp://127.0.0.1:{port}", "--output",
                                 cluster.path("out"), "--window", "1 d")
            wait_for("a checkpoint of all devices", lambda: any(
                c["state_size"] > 60000 for c in cluster.rest(f"/jobs/{job}/checkpoints")[1].get("history", [])))
            path = kept_checkpoint(cluster, job, directory)
        finally:
            publisher.kill()
            publisher.wait()
        metadata = os.path.join(path, "metadata")
        windows = rows_of(path, "windows", "windows")  # by the uid that the job gave
        assert len({row["key"] for row in windows}) > 300 and all(row["key"] == row["value"]["device_id"] for row in windows)
        parts = [(o["uid"], p) for o in json.loads(state("inspect", path, "-o", "json").stdout)["operators"]
                 for s in o["states"] if s["name"] == "windows" for p in s["parts"]]
        uid, part = max(parts, key=lambda p: p[1]["size"])
        assert rows_of(path, uid[:10], "windows") == windows

        def refused(exit_code, *words, arguments=("inspect", path)):
            done = state(*arguments)
            assert done.returncode == exit_code and not done.stdout.startswith("{\"path") and done.stderr.count("\n") <= 2, \
                (done.returncode, done.stdout[-300:], done.stderr)
            for word in words:
                assert word in done.stderr, (word, done.stderr)
            return done

        read = ("read", path, "--operator", "windows", "--state", "windows")
        refused(2, "usage: weir state read", arguments=("read", path))
        refused(2, "do you mean 'inspect'", arguments=("inspct", path))
        refused(4, "no state of an operator 'wndows'", arguments=("read", path, "--operator", "wndows", "--state", "windows"))
        refused(4, "no state 'window'", "do you mean 'windows'", arguments=("read", path, "--operator", "windows", "--state", "window"))
        refused(4, "No such file", arguments=("inspect", directory + "/missing"))
        refused(4, "there is no _metadata or metadata", arguments=("inspect", os.path.dirname(path)))
        assert not os.path.exists(directory + "/missing")

        def damaged(file, change, exit_code, *words, arguments=("inspect", path)):
            before = open(file, "rb").read()
            open(file, "wb").write(change(before))
            try:
                refused(exit_code, *words, arguments=arguments)
            finally:
                open(file, "wb").write(before)

        def flip(at):
            return lambda b: b[:at] + bytes([b[at] ^ 4]) + b[at + 1:]

        for at in (0, 5, 9, 16, -1):
            damaged(metadata, flip(at) if at >= 0 else flip(os.path.getsize(metadata) - 1), 1, "metadata", "CHECKPOINT_CORRUPT")
        damaged(metadata, lambda b: b[:len(b) // 2], 1, "CHECKPOINT_CORRUPT")
        damaged(metadata, lambda b: b"", 1, "CHECKPOINT_CORRUPT")
        whole = os.path.join(directory, "copy", part["object"])
        damaged(whole, flip(part["offset"] + 1000), 1, "CHECKPOINT_CORRUPT", "does not fit its checksum", arguments=read)
        damaged(whole, flip(part["offset"] + part["size"] - 40), 1, "CHECKPOINT_CORRUPT", uid)
        damaged(whole, lambda b: b[:part["offset"] + 100], 1, uid)
        os.unlink(whole)
        refused(1, "CHECKPOINT_CORRUPT", "is not there", arguments=read)
        refused(1, "CHECKPOINT_CORRUPT", "is not there")


if __name__ == "__main__":
    main(globals())
