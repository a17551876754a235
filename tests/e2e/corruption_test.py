#!/usr/bin/env python3
"""Checkpoints that are damaged where they lie: a bit, a part cut off, an object that is gone. Found in any case; the job goes back where that neither
loses nor repeats output, else it stops, says why, and how to go on."""
import glob
import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "torture"))
from kill_world import World, main, oracle, wait_for  # noqa: E402

ON_DEMAND = {"execution.checkpointing.interval": "1 h", "execution.checkpointing.num-retained": "2"}


def checkpoint(world):
    done = world.weir("checkpoint", world.job)
    assert done.returncode == 0, done.stderr
    return [entry["id"] for entry in oracle.read_head(world.root, world.job)["retained"]]


def flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def truncate(path):
    os.truncate(path, os.path.getsize(path) - 1)


def damage(world, number, how, which="[0-9]*"):
    paths = glob.glob(os.path.join(world.root, "jobs", world.job, f"chk-{number}", which))
    assert paths, f"checkpoint {number} has no object {which}"
    how(paths[0])


def kill_executors(world):
    for pid in world.executor_pids():
        world.signal(pid, signal.SIGKILL)


def all_run(world):
    """Those that hand out splits have ended."""
    vertices = world.rest(f"/jobs/{world.job}", {}).get("vertices")
    return vertices and all(v["status"] == "RUNNING" or "splits" in v["name"] for v in vertices)


def started(world, output=True):
    world.submit(output=output)
    wait_for("running tasks", lambda: all_run(world))
    wait_for("some records", lambda: sum(v["metrics"]["write-records"] for v in world.rest(f"/jobs/{world.job}")["vertices"]) > 8000)


def log_of(world):
    return open(world.path("logs", "jobmanager.log")).read()


def test_going_back_where_nothing_was_published():
    """A bit of the newest, then the end of the next, which is the newest by then; the job goes on each time."""
    with World(taskmanagers=1, slots=2, config=ON_DEMAND) as world:
        started(world, output=False)
        for how in (flip, truncate, os.unlink):
            first = checkpoint(world)[-1]
            second = checkpoint(world)[-1]
            damage(world, second, how)
            kill_executors(world)
            wait_for("going back", lambda: f"goes back from checkpoint {second} to {first}" in log_of(world))
            wait_for("all tasks again", lambda: all_run(world))
            assert second not in checkpoint(world)
        found, _ = oracle.check_storage(world.root, world.job)
        assert not found, oracle.summary(found)
        world.finish()


def test_stopping_where_output_was_published():
    with World(taskmanagers=1, slots=2, config=ON_DEMAND) as world:
        started(world)
        first = checkpoint(world)[-1]
        second = checkpoint(world)[-1]
        damage(world, second, flip)
        kill_executors(world)
        wait_for("the end of the job", lambda: world.state() == "FAILED")
        why = world.why()
        assert "CHECKPOINT_CORRUPT" in why and f"output of checkpoint {second} is published" in why and "weir run -s" in why, why
        assert f"jobs/{world.job}/chk-{first}" in why, why
        # What it says can be done.
        old, rows, began_ms = world.job, len(oracle.published(world.rows[0])), world.began_ms
        world.watcher.stop()
        world.submit("-s", os.path.join(world.root, "jobs", old, f"chk-{first}"))
        world.began_ms = began_ms # the input goes on where it was, so its end is counted from there
        world.finish()
        now = len(oracle.published(world.rows[0]))
        assert now > rows, f"{now} files after, {rows} before"


def test_damaged_metadata_and_head_when_a_jobmanager_takes_over():
    """Nothing of such a job is changed; the others go on."""
    with World(taskmanagers=1, slots=2, config=ON_DEMAND) as world:
        started(world, output=False)
        number = checkpoint(world)[-1]
        head = os.path.join(world.root, "jobs", world.job, "HEAD")
        for path in (os.path.join(world.root, "jobs", world.job, f"chk-{number}", "metadata"), head):
            before = open(path, "rb").read()
            jobmanager = world.daemons["jobmanager"].pid
            world.signal(jobmanager, signal.SIGSTOP) # it must not write HEAD meanwhile
            flip(path)
            damaged = open(path, "rb").read()
            world.signal(jobmanager, signal.SIGKILL)
            wait_for("the damage to be found", lambda: world.state() == "FAILED", 60)
            assert "CHECKPOINT_CORRUPT" in json.dumps(world.rest(f"/jobs/{world.job}/exceptions")), world.rest(f"/jobs/{world.job}/exceptions")
            assert open(path, "rb").read() == damaged
            with open(path, "wb") as file: # mended: what the message asks for
                file.write(before)
            world.signal(world.daemons["jobmanager"].pid, signal.SIGKILL)
            wait_for("the job to go on", lambda: world.state() == "RUNNING", 60)
            wait_for("all its tasks", lambda: all_run(world), 60)
        world.finish()


if __name__ == "__main__":
    main(globals())
