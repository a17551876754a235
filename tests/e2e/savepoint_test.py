#!/usr/bin/env python3
"""Savepoints: stopped, moved, started again with another parallelism, rescaled while rows flow. Every row and every window comes out once."""
import json
import os
import re
import shutil
import tempfile

import checkpoint_test
from checkpoint_test import CONFIG, check_rows, check_windows, hidden
from weir_test import Cluster, JOBS, main, read_rows, wait_for

ROWS, FILES = 120000, 120
checkpoint_test.ROWS = ROWS
SPIN = ("--spin", "60000")
ONCE = os.path.join(JOBS, "once.so")


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
        source = ("--input", directory, *SPIN)
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


def test_rescale_while_rows_flow():
    with tempfile.TemporaryDirectory() as directory, cluster(slots=6) as c:
        make_input(directory)
        where = {"rows": c.path("rows"), "output": c.path("output"), "source": ("--input", directory, *SPIN)}
        job = begin(c, **where)
        for wanted in (3, 1):
            some_rows(c, job, where["rows"], len(read_rows(where["rows"])))
            assert f"parallelism of {wanted}" in said(c.weir("rescale", job, "--parallelism", str(wanted)))
            assert c.state(job) in ("RUNNING", "FINISHED") and parallelism(c, job) == wanted
        check_end(c, job, where["rows"], where["output"])


if __name__ == "__main__":
    main(globals())
