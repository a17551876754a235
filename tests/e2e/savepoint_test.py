#!/usr/bin/env python3
"""Savepoints: stopped, moved, started again with another parallelism, rescaled while rows flow. Every row and every window comes out once."""
import json
import os
import re
import shutil
import signal
import tempfile

import checkpoint_test
from checkpoint_test import CONFIG, check_rows, check_windows, hidden
from weir_test import Cluster, JOBS, main, read_rows, wait_for

ROWS, FILES = 120000, 120
checkpoint_test.ROWS = ROWS
SLEEP = ("--sleep", "90")
ONCE, SHAPE = os.path.join(JOBS, "once.so"), os.path.join(JOBS, "shape.so")


def cluster(slots=4, **config):
    return Cluster(taskmanagers=1, slots=slots, config={**CONFIG, "execution.checkpointing.interval": "300 ms",
                                                        **{k.replace("__", "-").replace("_", "."): v for k, v in config.items()}})


def begin(c, *options, rows, output, source=("--rows", str(ROWS)), parallelism=2):
    return c.submit(ONCE, "--output", output, "--rows-output", rows, *source, options=("-p", str(parallelism), *options))


def some_rows(c, job, rows, more_than=0):
    """Until more rows are published, while it still runs."""
    wait_for("more rows", lambda: len(read_rows(rows)) > more_than or c.state(job) == "FINISHED")
    assert c.state(job) != "FINISHED", "the job was too fast for this test"


def check_end(c, job, rows, output):
    c.wait_state(job, "FINISHED", timeout_s=90)
    check_rows(rows)
    check_windows(rows, output)
    assert not hidden(rows) and not hidden(output), f"left behind: {hidden(rows) + hidden(output)}"


def said(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def parallelism(c, job):
    return max(v["parallelism"] for v in c.rest(f"/jobs/{job}")[1]["vertices"])


def make_input(directory):
    for part in range(FILES):
        with open(os.path.join(directory, f"part-{part}.json"), "w") as file:
            for i in range(part * ROWS // FILES, (part + 1) * ROWS // FILES):
                file.write(json.dumps({"id": i, "key": i * 7919 % 100, "ts": i}) + "\n")


def test_stop_move_and_go_on_with_another_parallelism():
    with tempfile.TemporaryDirectory() as directory, cluster() as c:
        make_input(directory)
        source = ("--input", directory, *SLEEP)
        where = {"rows": c.path("rows"), "output": c.path("output"), "source": source}
        job = begin(c, **where)
        some_rows(c, job, where["rows"])
        place = said(c.weir("stop", "--savepoint", c.path("savepoints"), job)).removeprefix("file:").replace("//", "/", 1)
        assert c.state(job) == "FINISHED"
        published = len(read_rows(where["rows"]))
        assert 0 < published < ROWS, published
        assert not hidden(where["rows"]), f"not published: {hidden(where['rows'])}"
        moved = c.path("moved", "here")
        os.makedirs(os.path.dirname(moved))
        shutil.move(place, moved)

        second = begin(c, "-s", moved, parallelism=3, **where)
        status, body = c.rest(f"/jobs/{second}/checkpoints")
        assert status == 200 and body["counts"]["restored"] == 1 and body["latest"]["restored"]["is_savepoint"], body
        some_rows(c, second, where["rows"], published)
        shutil.rmtree(moved)  # the job does not depend on it
        again = said(c.weir("savepoint", second, c.path("savepoints")))
        assert re.search(rf"/savepoint-{second[:6]}-[0-9a-f]{{12}}$", again), again
        assert c.state(second) == "RUNNING"
        kinds = {entry["external_path"]: entry["is_savepoint"] for entry in c.rest(f"/jobs/{second}/checkpoints")[1]["history"]
                 if entry["status"] == "COMPLETED"}
        assert kinds[again], kinds
        last = said(c.weir("stop", "--savepoint", c.path("savepoints"), second))

        third = begin(c, "-s", last, "--claim-mode", "claim", parallelism=1, **where)
        check_end(c, third, where["rows"], where["output"])
        wait_for("the claimed savepoint to go", lambda: not os.path.exists(last.removeprefix("file:").replace("//", "/", 1)))


def rescale_while_rows_flow(*arguments):
    with tempfile.TemporaryDirectory() as directory, cluster(slots=6) as c:
        make_input(directory)
        where = {"rows": c.path("rows"), "output": c.path("output"), "source": ("--input", directory, *SLEEP, *arguments)}
        job = begin(c, **where)
        for wanted in (3, 1):
            some_rows(c, job, where["rows"], len(read_rows(where["rows"])))
            assert f"parallelism of {wanted}" in said(c.weir("rescale", job, "--parallelism", str(wanted)))
            assert c.state(job) in ("RUNNING", "FINISHED") and parallelism(c, job) == wanted
        check_end(c, job, where["rows"], where["output"])
        return read_rows(where["output"])


def test_rescale_while_rows_flow():
    rescale_while_rows_flow()


def test_rescale_functions_that_keep_state():
    last = {}
    for row in rescale_while_rows_flow("--count-by", "process"):
        assert row["total"] == row["seen"], row
        last[row["key"]] = max(last.get(row["key"], 0), row["total"])
    assert sum(last.values()) == ROWS, sum(last.values())


def test_without_an_interval():
    """Nothing is made by itself. What somebody asks for is a checkpoint as any: it publishes, a restart begins with it, and so does another job."""
    with tempfile.TemporaryDirectory() as directory, cluster(execution_checkpointing_interval="0") as c:
        make_input(directory)
        where = {"rows": c.path("rows"), "output": c.path("output"), "source": ("--input", directory, "--sleep", "50", "--count-by", "process")}
        job = begin(c, **where)
        wait_for("hidden files", lambda: os.path.isdir(where["rows"]) and hidden(where["rows"]))
        assert not read_rows(where["rows"]) and c.rest(f"/jobs/{job}/checkpoints")[0] == 404
        said(c.weir("checkpoint", job))
        some_rows(c, job, where["rows"])
        os.kill(c.executor_pids()[0], signal.SIGKILL)
        wait_for("a restart", lambda: c.rest(f"/jobs/{job}")[1]["weir-restarts"] > 0)
        published = len(read_rows(where["rows"]))
        assert "parallelism of 3" in said(c.weir("rescale", job, "--parallelism", "3"))
        some_rows(c, job, where["rows"], published)
        place = said(c.weir("stop", "--savepoint", c.path("savepoints"), job))
        assert not hidden(where["rows"]), hidden(where["rows"])

        second = begin(c, "-s", place, parallelism=1, **where)
        published = len(read_rows(where["rows"]))
        said(c.weir("savepoint", second, c.path("savepoints")))
        some_rows(c, second, where["rows"], published)
        drained = said(c.weir("stop", "--drain", "--savepoint", c.path("savepoints"), second))
        assert len(read_rows(where["rows"])) < ROWS, "the job was too fast for this test"

        third = begin(c, "-s", drained, **where)
        c.wait_state(third, "FINISHED", timeout_s=90)
        check_rows(where["rows"])
        last = {}
        for row in read_rows(where["output"]):
            assert row["total"] == row["seen"], row
            last[row["key"]] = max(last.get(row["key"], 0), row["total"])
        assert sum(last.values()) == ROWS, f"state was lost: {sum(last.values())}"
        assert not hidden(where["rows"]) and not hidden(where["output"])


def place_of(location):
    return re.sub("^file:/*", "/", location)


def sums(directory):
    """Rows and their ids by window, over all keys: n, sum."""
    got = {}
    for row in read_rows(directory):
        n, total = got.get(row["window_end"], (0, 0))
        got[row["window_end"]] = (n + row["n"], total + row["sum"])
    return got


def check_sums(directory, partial=0):
    """Every window has its 1000 rows, once; readers that ended in the middle leave some at the end with fewer."""
    got = sums(directory)
    assert got, "no windows"
    for number, end in enumerate(sorted(got)[:len(got) - partial]):
        assert got[end] == (1000, number * 1000000 + 499500), (number, end, got[end])
    return sum(n for n, _ in got.values())


def shape(c, *arguments, options=(), parallelism=2, output="output"):
    return c.submit(SHAPE, "--output", c.path(output), *arguments, options=("-p", str(parallelism), *options))


def windows_flow(c, output="output", more_than=0):
    wait_for("windows", lambda: len(sums(c.path(output))) > more_than)


def refused(done, *words):
    assert done.returncode != 0, done.stdout
    for word in words:
        assert word in done.stderr, (word, done.stderr)
    return done


def test_drained_and_changed():
    """Sources that are drained end in the middle and their windows fire; a savepoint restores into other chains, with an operator more, and with one
    less only when that is allowed."""
    with cluster(slots=8) as c:
        c_dir = c.path("savepoints")
        job = shape(c)
        windows_flow(c)
        place = said(c.weir("stop", "--savepoint", c_dir, job))
        rows = check_sums(c.path("output"))
        # Chains cut elsewhere, another parallelism, and one more operator with state, which begins with none.
        second = shape(c, "--apart", "yes", "--extra", c.path("extra"), parallelism=3,
                       options=("-s", place, "-D", "pipeline.operator-chaining.enabled=false"))
        windows_flow(c, more_than=rows // 1000 + 20)
        windows_flow(c, "extra")
        place = said(c.weir("savepoint", second, c_dir))
        drained = said(c.weir("stop", "--drain", "--savepoint", c_dir, second))
        assert c.state(second) == "FINISHED" and os.path.exists(place_of(drained)), drained
        total = check_sums(c.path("output"), partial=10)
        assert len(sums(c.path("output"))) > rows // 1000 + 10
        assert not hidden(c.path("output"))
        for job_id in (job, second):
            vertices = c.rest(f"/jobs/{job_id}")[1]["vertices"]
            assert all(v["status"] == "FINISHED" for v in vertices), vertices
        # One operator less: not by accident.
        run = ("run", "-d", "-p", "2", "-s", place)
        refused(c.weir(*run, SHAPE, "--output", c.path("third")), "'extra'", "--allow-non-restored-state")
        third = shape(c, output="third", options=("-s", place, "--allow-non-restored-state"))
        windows_flow(c, "third")
        assert said(c.weir("cancel", third))
        first_end = min(sums(c.path("third")))
        assert first_end in sums(c.path("output")), "it did not go on from the savepoint"
        assert total > rows


def test_what_cannot_be_restored_is_refused_early():
    with cluster(slots=8) as c, tempfile.TemporaryDirectory() as elsewhere:
        large = ("--keys", "100000", "--width", "20 s")  # more than a report has room for
        job = shape(c, *large)
        windows_flow(c)
        place = place_of(said(c.weir("savepoint", job, c.path("savepoints"))))

        def run(path, *options, arguments=large, job_so=SHAPE):
            return c.weir("run", "-d", "-s", path, *options, job_so, "--output", c.path("other"), *arguments)

        refused(run(c.path("nothing")), "there is no savepoint or checkpoint", "nothing")
        assert not os.path.exists(c.path("nothing")), "asking made it"
        os.makedirs(c.path("empty"))
        refused(run(c.path("empty")), "neither _metadata nor metadata")
        refused(run(place, arguments=("--uid", "tally")), "'counts'", "its uid again", "--allow-non-restored-state")
        refused(run(place, "-D", "pipeline.max-parallelism=64"), "128 key groups", "pipeline.max-parallelism to 128")
        refused(run(place, "-p", "200"), "over the max parallelism of 128")
        refused(run(place, arguments=("--rows-output", c.path("rows")), job_so=ONCE), "does not have", "allow")
        refused(c.weir("run", "-d", "--claim-mode", "claim", SHAPE), "goes with -s")
        refused(run(place, "--claim-mode", "clam"), "'claim'")
        before = len(c.rest("/jobs/overview")[1]["jobs"])

        for name, harm, words in (
                ("cut", lambda p: os.truncate(p, os.path.getsize(p) - 1), ("CHECKPOINT_CORRUPT",)),
                ("flipped", lambda p: flip(p, 40), ("CHECKPOINT_CORRUPT",)),
                ("foreign", lambda p: open(p, "w").write("hello"), ("CHECKPOINT_CORRUPT", "another program's"))):
            shutil.copytree(place, os.path.join(elsewhere, name))
            harm(os.path.join(elsewhere, name, "_metadata"))
            refused(run(os.path.join(elsewhere, name)), *words)
        objects = [name for name in os.listdir(place) if name != "_metadata"]
        assert objects, "all of it is in the metadata"
        for name, harm, words in (("missing", os.unlink, (objects[0], "not there")),
                                  ("short", lambda p: os.truncate(p, 3), ("which has 3",)),
                                  ("damaged", lambda p: flip(p, 40), ("CHECKPOINT_CORRUPT", "checksum"))):
            shutil.copytree(place, os.path.join(elsewhere, name))
            harm(os.path.join(elsewhere, name, objects[0]))
            refused(run(os.path.join(elsewhere, name)), *words)
        assert len(c.rest("/jobs/overview")[1]["jobs"]) == before, "a refused job is listed"

        # Savepoints that cannot be made.
        open(c.path("file"), "w").close()
        refused(c.weir("savepoint", job, c.path("file", "below")), "savepoints cannot be kept in", "can write to")
        refused(c.weir("savepoint", job, "ftp://host/x"), "file:///PATH, s3://BUCKET")
        refused(c.weir("savepoint", job), "execution.checkpointing.savepoint-dir")
        refused(c.weir("stop", job), "execution.checkpointing.savepoint-dir")
        refused(c.weir("rescale", job, "--parallelism", "129"), "max parallelism, 128", "fixed")
        refused(c.weir("rescale", job, "--parallelism", "2"), "the tasks would be the same")
        refused(c.weir("rescale", job), "usage")
        assert refused(c.weir("savepoint", "nosuch", c.path("savepoints"))).returncode == 4
        status, body = c.rest("/jobs/" + 32 * "0" + "/savepoints", "POST", json.dumps({"target-directory": c.path("savepoints")}).encode(),
                              {"Content-Type": "application/json"})
        assert status == 202, body
        answer = c.rest(f"/jobs/{32 * '0'}/savepoints/{body['request-id']}")[1]
        assert "there is no job" in answer["operation"]["failure-cause"]["stack-trace"], answer
        assert c.state(job) == "RUNNING"

        # A retained checkpoint is as good as a savepoint, by its directory or its metadata.
        status, body = c.rest(f"/jobs/{job}/checkpoints")
        assert said(c.weir("cancel", job)) and c.wait_state(job, "CANCELED")
        # Disposal.
        status, body = c.rest("/savepoint-disposal", "POST", json.dumps({"savepoint-path": place}).encode(), {"Content-Type": "application/json"})
        assert status == 200 and not os.path.exists(place), body


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_go_on_from_a_checkpoint():
    """Of a job that still runs, and keeps it for long enough to be copied."""
    with cluster(slots=4) as c:
        job = shape(c, "--rows", "600000", options=("-D", "execution.checkpointing.num-retained=1000"))
        windows_flow(c)
        number, path = said(c.weir("checkpoint", job)).split()[:2]
        second = shape(c, "--rows", "600000", "--rate", "1000000", output="second", parallelism=3, options=("-s", path + "/metadata"))
        restored = c.rest(f"/jobs/{second}/checkpoints")[1]["latest"]["restored"]
        assert (restored["id"], restored["is_savepoint"], restored["external_path"]) == (int(number), False, path), restored
        said(c.weir("cancel", job))
        c.wait_state(second, "FINISHED")
        ends = sorted(sums(c.path("second")))
        assert 0 < len(ends) < 601 and sums(c.path("second"))[ends[-2]][0] == 1000, ends


def test_what_stays_when_a_job_has_ended():
    """By its policy and its end; what stayed is gone on from."""
    keep = "execution.checkpointing.externalized-checkpoint-retention"
    cases = (("RETAIN_ON_CANCELLATION", "cancel", True), ("DELETE_ON_CANCELLATION", "cancel", False), ("DELETE_ON_CANCELLATION", "kill", True),
             ("NO_EXTERNALIZED_CHECKPOINTS", "kill", False), ("RETAIN_ON_CANCELLATION", "stop", False))
    with cluster(slots=1, execution_checkpointing_gc__grace="100 ms", execution_checkpointing_interval="1 h") as c:
        places = []
        for i, (policy, end, _) in enumerate(cases):
            job = shape(c, "--width", "1 d", output=f"of-{i}", parallelism=1, options=("-D", f"{keep}={policy}", "-D", "restart-strategy.type=none"))
            c.wait_state(job, "RUNNING")
            said(c.weir("checkpoint", job)) # the first has output files to make, so that it may be kept for their sake
            places.append(said(c.weir("checkpoint", job)).split()[1].removeprefix("file://"))
            assert os.path.isfile(os.path.join(places[i], "metadata")), places[i]
            if end == "cancel":
                said(c.weir("cancel", job))
            if end == "stop":
                said(c.weir("stop", job, "--savepoint", c.path("stopped")))
            for pid in c.executor_pids() if end == "kill" else ():
                os.kill(pid, signal.SIGKILL)
            c.wait_state(job, {"cancel": "CANCELED", "kill": "FAILED", "stop": "FINISHED"}[end], timeout_s=90)
        for place, (policy, end, stays) in zip(places, cases):
            if not stays:
                wait_for(f"removal after {end} with {policy}", lambda: not os.path.exists(place))
        for i, (place, (policy, end, stays)) in enumerate(zip(places, cases)):
            if stays:
                assert os.path.isfile(os.path.join(place, "metadata")), f"nothing left after {end} with {policy}"
                job = shape(c, "--width", "1 d", "--rows", "10", output=f"again-{i}", parallelism=1, options=("-s", place))
                c.wait_state(job, "FINISHED")
                assert c.rest(f"/jobs/{job}/checkpoints")[1]["latest"]["restored"]["external_path"].endswith(place)


if __name__ == "__main__":
    main(globals())
