#!/usr/bin/env python3
"""The page's buttons, clicked: savepoint, rescale, stop, cancel; what fails is said on the page; what cannot be done is not offered."""
import os
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e")]
from browser import Browser  # noqa: E402
from weir_test import Cluster, JOBS, main, wait_for  # noqa: E402

JOB = os.path.join(JOBS, "shape.so")
ROWS = ("--rows", "100000000")


def text(page, name):
    return page.value(f"document.getElementById('{name}').hidden ? '' : document.getElementById('{name}').textContent")


def note(page, beginning):
    return wait_for(f"'{beginning}' on the page, not '{text(page, 'act-note')}'", lambda: (t := text(page, "act-note")).startswith(beginning) and t, 60)


def ready(page):
    wait_for("buttons", lambda: page.value("document.getElementById('acts') && !document.getElementById('acts').hidden && !document.getElementById('rescale').disabled"), 60)


def test_savepoint_rescale_and_stop():
    with tempfile.TemporaryDirectory() as state, Cluster(slots=4, config={"execution.checkpointing.dir": state + "/checkpoints",
                                                                          "execution.checkpointing.savepoint-dir": state + "/savepoints"}) as c:
        job = c.submit(JOB, *ROWS, "--output", c.path("out"), options=("-p", "2", "-D", "execution.checkpointing.interval=1 s"))
        c.wait_state(job, "RUNNING")
        with Browser(f"http://127.0.0.1:{c.port}/#{job}") as page:
            ready(page)
            page.click("savepoint")
            place = note(page, "Savepoint at ").split(" at ")[1].removeprefix("file://")
            assert os.path.isfile(os.path.join(place, "_metadata")), place
            for wrong in ("none", "0", "3.5"):
                page.click("rescale", wrong)
                note(page, "A parallelism is a whole number")
            page.click("rescale", None)
            ready(page)
            page.click("rescale", "99999")
            note(page, "Rescaling to 99999 failed: ")
            ready(page)
            page.click("rescale", "3")
            note(page, "Rescaled to 3")
            assert max(v["parallelism"] for v in c.rest(f"/jobs/{job}")[1]["vertices"]) == 3
            c.wait_state(job, "RUNNING")
            ready(page)
            page.click("stop", None)
            assert c.state(job) == "RUNNING"
            page.click("stop", True)
            place = note(page, "Stopped; savepoint at ").split(" at ")[1].removeprefix("file://")
            assert os.path.isfile(os.path.join(place, "_metadata")), place
            c.wait_state(job, "FINISHED")
            wait_for("no buttons", lambda: page.value("document.getElementById('acts').hidden"))


def test_without_a_place_for_savepoints():
    with Cluster(slots=1) as c:
        job = c.submit(JOB, *ROWS, "--output", c.path("out"), options=("-p", "1"))
        c.wait_state(job, "RUNNING")
        with Browser(f"http://127.0.0.1:{c.port}/#{job}") as page:
            ready(page)
            page.click("savepoint")
            assert "savepoint-dir" in note(page, "Savepoint failed: ")
            page.click("cancel", True)
            c.wait_state(job, "CANCELED")
            wait_for("no buttons", lambda: page.value("document.getElementById('acts').hidden"))


if __name__ == "__main__":
    main(globals())
