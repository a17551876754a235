#!/usr/bin/env python3
"""The Kafka sink with sink.transaction = open, against a real broker: rows in transactions that wait for their checkpoint. Whatever becomes of one, each row is there
once, a key's in order, and none stays open. (Faults of all kinds, at random: tests/torture/kafka_torture.py --transaction open.)"""
import glob
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kafka_sink_test  # noqa: E402
from fault_test import points  # noqa: E402
from kafka_kit import Kafka  # noqa: E402
from kafka_sink_test import CHECKPOINTS, JOB, all_come, check_identity, fill, kill_executors, rows_through_kills, submit, values  # noqa: E402
from recovery_test import cluster_with  # noqa: E402
from weir_test import BUILD, Cluster, main, run, wait_for  # noqa: E402

OPEN = ("--guarantee", "exactly-once", "--transaction", "open")
FAULTS = dict(CHECKPOINTS, **{"testing.fault-points": "true"})
PROGRESS = "weir-progress"


def nothing_is_open(topic):
    wait_for("no transaction open", lambda: not kafka.open_transactions(), 60, told=kafka.open_transactions)
    assert kafka.ends(topic, "read_committed") == kafka.ends(topic, "read_uncommitted")


def test_rows_wait_with_the_brokers():
    """They are there before their checkpoint, for who reads uncommitted; a cancel, a crash and an end leave nothing open."""
    seldom = dict(CHECKPOINTS, **{"execution.checkpointing.interval": "1 h", "pipeline.operator-chaining.enabled": "false"})
    with cluster_with(slots=3, taskmanagers=1, **dict(seldom, **{"execution.checkpointing.interval": "10 min"})) as (cluster, _):
        kafka.create("wait-in", 4)
        kafka.create("wait-out", 3)
        job = submit(cluster, "wait-in", "wait-out", *OPEN, "--transaction-timeout", "900000", options=("-p", "2"))
        fill("wait-in", 4, 0, 1000)
        wait_for("rows in an open transaction", lambda: sum(map(len, values("wait-out", isolation="read_uncommitted").values())) == 1000)
        assert sum(map(len, values("wait-out").values())) == 0 and kafka.open_transactions()
        assert cluster.weir("checkpoint", job).returncode == 0
        all_come("wait-out", 1000)
        fill("wait-in", 4, 1000, 500)
        wait_for("rows of the next", lambda: sum(map(len, values("wait-out", isolation="read_uncommitted").values())) == 1500)
        kill_executors(cluster) # the next attempt ends what this one had open, and reads its rows again
        wait_for("them again", lambda: sum(map(len, values("wait-out", isolation="read_uncommitted").values())) >= 2000)
        assert sum(map(len, values("wait-out").values())) == 1000
        assert cluster.weir("checkpoint", job).returncode == 0
        all_come("wait-out", 1500)
        fill("wait-in", 4, 1500, 500)
        wait_for("rows of the last", lambda: sum(map(len, values("wait-out", isolation="read_uncommitted").values())) >= 2500)
        assert cluster.weir("cancel", job).returncode == 0
        nothing_is_open("wait-out")
        assert check_identity("wait-out", 1500)


def test_it_ends_with_its_input():
    with Cluster(slots=2, config=CHECKPOINTS) as cluster:
        kafka.create("end-in", 4)
        kafka.create("end-out", 3)
        fill("end-in", 4, 0, 5000)
        cluster.wait_state(submit(cluster, "end-in", "end-out", *OPEN, "--stop", "latest-offset", options=("-p", "2")), "FINISHED")
        assert check_identity("end-out", 5000)
        nothing_is_open("end-out")


def test_through_kills():
    """Executors, TaskManagers and the JobManager die; a stop, another parallelism, the other way of writing, and back."""
    with cluster_with(slots=3, taskmanagers=2, **CHECKPOINTS) as (cluster, start_jobmanager):
        kafka.create("kill-in", 4)
        kafka.create("kill-out", 3)
        job = submit(cluster, "kill-in", "kill-out", *OPEN, options=("-p", "2"))
        at = rows_through_kills(cluster, start_jobmanager, job, "kill-in", "kill-out")
        for turn, way in enumerate(("commit", "open", "open")):
            assert cluster.weir("stop", job, "--savepoint", cluster.path(f"sp{turn}")).returncode == 0
            assert check_identity("kill-out", at)
            nothing_is_open("kill-out")
            fill("kill-in", 4, at, 500)
            at += 500
            job = submit(cluster, "kill-in", "kill-out", "--guarantee", "exactly-once", "--transaction", way,
                         options=("-p", str(turn + 1), "-s", glob.glob(cluster.path(f"sp{turn}", "*"))[0]))
            all_come("kill-out", at)
        assert cluster.weir("cancel", job).returncode == 0
        nothing_is_open("kill-out")


EXECUTOR_STEPS = ("executor.kafka-fenced", "executor.output-synced", "executor.report-sent", "executor.complete-received", "executor.kafka-commit-begun",
                  "executor.kafka-marked", "executor.kafka-committed")
ERRORS = ("executor.kafka-fenced", "executor.kafka-commit-begun", "executor.kafka-marked", "executor.kafka-committed", "supervisor.commit-begun",
          "supervisor.kafka-fenced", "supervisor.kafka-settled", "supervisor.kafka-produced", "supervisor.kafka-commit-begun", "supervisor.kafka-committed")


def test_at_every_step():
    """A crash at each step of the executor, and an error at each that can fail; what is written meanwhile comes out once."""
    with cluster_with(slots=2, taskmanagers=1, **FAULTS) as (cluster, _):
        kafka.create("step-in", 4)
        kafka.create("step-out", 3)
        job, at = submit(cluster, "step-in", "step-out", *OPEN, options=("-p", "2")), 0

        def a_fault(point, action):
            nonlocal at
            before = points(cluster)[point, ""]["acted"]
            assert cluster.weir("fault", "arm", point, action).returncode == 0
            if "fenced" in point:
                kill_executors(cluster)
            if point == "supervisor.kafka-fenced":
                cluster.weir("fault", "arm", "supervisor.kafka-produced", "error")
            for _ in range(100):
                fill("step-in", 4, at, 100)
                at += 100
                time.sleep(0.1)
                if points(cluster)[point, ""]["acted"] > before:
                    break
            else:
                raise AssertionError(f"{point} {action} did not act: {points(cluster)[point, '']}")
            all_come("step-out", at, 120)

        for point in EXECUTOR_STEPS:
            a_fault(point, "kill")
        for point in ERRORS:
            a_fault(point, "error")
        assert cluster.rest(f"/jobs/{job}")[1]["state"] == "RUNNING"
        assert cluster.weir("cancel", job).returncode == 0
        nothing_is_open("step-out")


def test_a_transaction_that_has_timed_out():
    """Its holder sleeps past its timeout with the marker written, and wakes: it can commit nothing any more, and all is there."""
    with cluster_with(slots=2, taskmanagers=1, **FAULTS) as (cluster, _):
        kafka.create("late-in", 4)
        kafka.create("late-out", 3)
        job, at = submit(cluster, "late-in", "late-out", *OPEN, "--transaction-timeout", "3000", options=("-p", "2")), 0
        for point in ("executor.complete-received", "executor.kafka-marked"):
            fill("late-in", 4, at, 500)
            at += 500
            all_come("late-out", at)
            before = points(cluster)[point, ""]["acted"]
            assert cluster.weir("fault", "arm", point, "stop").returncode == 0
            fill("late-in", 4, at, 500)
            at += 500
            pid = wait_for("a holder that sleeps", lambda: (p := points(cluster)[point, ""])["acted"] > before and p["pid"])
            wait_for("the end of its transactions", lambda: not kafka.open_transactions(), 60)
            os.kill(pid, signal.SIGCONT)
            all_come("late-out", at, 120)
        assert cluster.weir("cancel", job).returncode == 0
        nothing_is_open("late-out")


def test_a_holder_that_sleeps():
    """It had its marker written, and would have committed: who publishes in its place has fenced it first."""
    with cluster_with(slots=2, taskmanagers=1, **FAULTS) as (cluster, _):
        kafka.create("sleep-in", 4)
        kafka.create("sleep-out", 3)
        job = submit(cluster, "sleep-in", "sleep-out", *OPEN, options=("-p", "2"))
        fill("sleep-in", 4, 0, 500)
        all_come("sleep-out", 500)
        assert cluster.weir("fault", "arm", "executor.kafka-marked", "stop").returncode == 0
        fill("sleep-in", 4, 500, 500)
        pid = wait_for("a holder that sleeps", lambda: (p := points(cluster)["executor.kafka-marked", ""])["acted"] and p["pid"])
        logs = cluster.path("logs", "taskmanager-1.log")
        wait_for("somebody who publishes in its place", lambda: "it is aborted, and its messages are published from the checkpoint" in open(logs, errors="replace").read(), 60)
        wait_for("rows from the checkpoint", lambda: sum(map(len, values("sleep-out").values())) > 500, 60)
        os.kill(pid, signal.SIGCONT)
        fill("sleep-in", 4, 1000, 500)
        all_come("sleep-out", 1500, 120)
        assert cluster.weir("cancel", job).returncode == 0
        nothing_is_open("sleep-out")


def test_order_behind_a_late_publication():
    """A holder dies, who publishes in its place is slow: its next attempt writes nothing before those rows are there."""
    with cluster_with(slots=2, taskmanagers=1, **FAULTS) as (cluster, _):
        kafka.create("late-pub-in", 4)
        kafka.create("late-pub-out", 3)
        job, at = submit(cluster, "late-pub-in", "late-pub-out", *OPEN, options=("-p", "2")), 500
        fill("late-pub-in", 4, 0, at)
        all_come("late-pub-out", at)
        assert cluster.weir("fault", "arm", "executor.kafka-commit-begun", "kill").returncode == 0
        fill("late-pub-in", 4, at, 200)
        at += 200
        wait_for("the holder's death", lambda: points(cluster)["executor.kafka-commit-begun", ""]["acted"])
        assert cluster.weir("fault", "arm", "supervisor.kafka-settled", "delay=4000").returncode == 0
        for _ in range(20): # more rows of the same keys
            fill("late-pub-in", 4, at, 100)
            at += 100
            time.sleep(0.1)
        all_come("late-pub-out", at, 120)
        assert points(cluster)["supervisor.kafka-settled", ""]["acted"]
        assert cluster.weir("cancel", job).returncode == 0


def test_a_holder_that_is_gone():
    """Nobody takes its place, as where a job may not restart: its complete checkpoint is published all the same, and what was open ends by its timeout."""
    with cluster_with(slots=2, taskmanagers=1, **dict(FAULTS, **{"restart-strategy.type": "none"})) as (cluster, _):
        kafka.create("gone-in", 4)
        kafka.create("gone-out", 3)
        job = submit(cluster, "gone-in", "gone-out", *OPEN, "--transaction-timeout", "3000", options=("-p", "2"))
        wait_for("checkpoints", lambda: cluster.rest(f"/jobs/{job}/checkpoints")[1]["counts"]["completed"] > 1)
        assert cluster.weir("fault", "arm", "executor.kafka-marked", "kill").returncode == 0
        fill("gone-in", 4, 0, 400)
        cluster.wait_state(job, "FAILED", timeout_s=120)
        wait_for("some rows", lambda: check_identity("gone-out", 400) or any(values("gone-out").values()), 60)
        nothing_is_open("gone-out")


def test_output_that_waits_in_a_savepoint():
    """Its job publishes it, and so may the one that begins with the savepoint: it is there once, whoever does."""
    seldom = dict(CHECKPOINTS, **{"execution.checkpointing.interval": "10 min"})
    with cluster_with(slots=2, taskmanagers=1, **seldom) as (cluster, _):
        kafka.create("save-in", 4)
        kafka.create("save-out", 3)
        at, place = 0, ()
        for turn in range(3):
            fill("save-in", 4, at, 500)
            at += 500
            job = submit(cluster, "save-in", "save-out", *OPEN, "--transaction-timeout", "900000", options=place)
            wait_for("the rows to be taken", lambda: kafka_sink_test.written(cluster, job) >= 500 or kafka.open_transactions(), 60)
            if turn == 1: # it goes on: both know the same output
                assert cluster.weir("savepoint", job, cluster.path("turn1")).returncode == 0
                assert cluster.weir("cancel", job).returncode == 0
                cluster.wait_state(job, "CANCELED")
            else:
                assert cluster.weir("stop", job, "--savepoint", cluster.path(f"turn{turn}")).returncode == 0
            place = ("-s", glob.glob(cluster.path(f"turn{turn}", "*"))[0])
        job = submit(cluster, "save-in", "save-out", *OPEN, "--transaction-timeout", "900000", options=place)
        fill("save-in", 4, at, 100)
        wait_for("the rows to be taken", lambda: kafka.open_transactions(), 60)
        assert cluster.weir("stop", job, "--savepoint", cluster.path("last")).returncode == 0
        nothing_is_open("save-out")
        check_identity("save-out", at + 100)


def test_what_cannot_be_asked_for():
    for arguments, wanted in ((("--guarantee", "at-least-once", "--transaction", "open"), "is a way of exactly-once: leave out 'delivery-guarantee'"),
                              (("--guarantee", "none", "--transaction", "open"), "is a way of exactly-once"), ((*OPEN[:2], "--transaction", "sometimes"), "commit")):
        done = run(os.path.join(BUILD, "bin", "weir"), "info", JOB, "--brokers", "b:1", "--topic", "x", "--to", "y", *arguments)
        assert done.returncode != 0 and wanted in done.stderr, (arguments, done.stderr)
    with Cluster(slots=1, config={"restart-strategy.type": "none"}) as cluster:
        kafka.create("wrong-in", 1)
        kafka.create("wrong-out", 1)
        why = kafka_sink_test.failed_with(cluster, "wrong-in", "wrong-out", *OPEN)
        assert "needs checkpoints" in why and "execution.checkpointing.interval" in why, why
    with Cluster(slots=1, config={"restart-strategy.type": "none", "execution.checkpointing.interval": "10 s"}) as cluster:
        why = kafka_sink_test.failed_with(cluster, "wrong-in", "wrong-out", *OPEN, "--transaction-timeout", "10000")
        assert "'properties.transaction.timeout.ms' (10000)" in why and "execution.checkpointing.interval (10000 ms)" in why, why
        why = kafka_sink_test.failed_with(cluster, "wrong-in", "wrong-out", *OPEN, "--transaction-timeout", str(2 ** 31 - 1))
        assert "transaction timeout" in why.lower(), why


if __name__ == "__main__":
    with Kafka(extra="auto.create.topics.enable=false") as kafka:
        kafka_sink_test.kafka = kafka
        main(globals())
