#!/usr/bin/env python3
"""The Kafka source against a real broker: places to begin and end, metadata, exactly once through kills, discovery, what is lost or gone."""
import base64
import json
import os
import re
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kafka_kit import Kafka  # noqa: E402
from weir_test import BUILD, Cluster, main, read_rows, run, wait_for  # noqa: E402

JOB = os.path.join(BUILD, "tests", "jobs", "kafka.so")
CHECKPOINTS = {"execution.checkpointing.interval": "200 ms", "restart-strategy.fixed-delay.delay": "100 ms",
               "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1000"}


def value(i):
    return json.dumps({"id": i})


def fill(kafka, topic, partitions, first, count):
    kafka.produce(topic, ((i % partitions, f"k{i % 7}", value(i)) for i in range(first, first + count)))


def submit(cluster, kafka, topic, *more, options=()):
    output = cluster.path("out-" + str(len(os.listdir(cluster.home))))
    job = cluster.submit(JOB, "--topic", topic, "--brokers", kafka.brokers, "--output", output, *more, options=options)
    return job, output


def ids(output):
    return sorted(row["id"] for row in read_rows(output))


def test_bounded_with_metadata():
    with Cluster(slots=3) as cluster:
        kafka.create("bounded", 5)
        kafka.produce("bounded", [(i % 5, f"k{i}" if i % 2 else None, value(i), 1700000000000 + i) for i in range(1000)])
        job, output = submit(cluster, kafka, "bounded", "--stop", "latest-offset", options=("-p", "3"))
        cluster.wait_state(job, "FINISHED")
        rows = read_rows(output)
        assert sorted(r["id"] for r in rows) == list(range(1000))
        for r in rows:
            i = r["id"]
            assert (r["topic"], r["p"], r["o"], r["k"]) == ("bounded", i % 5, i // 5, f"k{i}" if i % 2 else None), r
            assert r["h"] == {}, r
            assert r["at"] == f"2023-11-14T22:13:{20 + i // 1000:02d}.{i % 1000:03d}" or r["at"].startswith("2023-11-14T22:13:20"), r
        # From and to places inside.
        for arguments, wanted in (
                (("--start", "specific-offsets", "--start-offsets", "partition:0,offset:190;partition:1,offset:200", "--stop", "specific-offsets",
                  "--stop-offsets", "partition:0,offset:195;partition:1,offset:200;partition:2,offset:3;partition:3,offset:0;partition:4,offset:1"),
                 [i * 5 for i in range(190, 195)] + [2, 7, 12] + [4]),
                (("--start", "timestamp", "--start-time", "1700000000990", "--stop", "latest-offset"), list(range(990, 1000))),
                (("--start", "latest-offset", "--stop", "latest-offset"), [])):
            job, output = submit(cluster, kafka, "bounded", *arguments, options=("-p", "2"))
            cluster.wait_state(job, "FINISHED")
            assert ids(output) == sorted(wanted), (arguments, ids(output))


def test_headers():
    def encoded(value):
        return value if value is None else base64.b64encode(value).decode()

    with Cluster(slots=1, config={"restart-strategy.type": "none"}) as cluster:
        kafka.create("headers", 1)
        sets = [[], [("a", b"1")], [("a", b"1"), ("b", None), ("a", b"\x00\xff"), ("", b""), ("\u00e4", b"x" * 5000)], [("a", None)] * 3]
        kafka.produce("headers", [(0, None, value(i), i, sets[i % 4]) for i in range(3000)]) # several batches, within them one without after one with
        job, output = submit(cluster, kafka, "headers", "--stop", "latest-offset")
        cluster.wait_state(job, "FINISHED")
        rows = read_rows(output)
        assert len(rows) == 3000
        for row in rows:
            assert row["h"] == {name: encoded(content) for name, content in sets[row["id"] % 4]}, row


def test_exactly_once_through_kills_and_at_another_parallelism():
    with Cluster(slots=4, config=CHECKPOINTS) as cluster:
        kafka.create("kills", 4)
        fill(kafka, "kills", 4, 0, 4000)
        job, output = submit(cluster, kafka, "kills", options=("-p", "2"))
        wait_for("the first rows", lambda: len(read_rows(output)) >= 4000)
        at = 4000
        for _ in range(3):
            for pid in cluster.executor_pids():
                os.kill(pid, signal.SIGKILL)
            fill(kafka, "kills", 4, at, 2000)
            at += 2000
            wait_for("rows after a kill", lambda: len(read_rows(output)) >= at)
        done = cluster.weir("rescale", job, "--parallelism", "3")
        assert done.returncode == 0, done.stderr
        fill(kafka, "kills", 4, at, 2000)
        at += 2000
        wait_for("rows after rescaling", lambda: len(read_rows(output)) >= at)
        done = cluster.weir("stop", job, "--savepoint", cluster.path("savepoints"))
        assert done.returncode == 0, done.stderr
        assert ids(output) == list(range(at))
        wait_for("the group's offsets", lambda: sum(kafka.committed("weir-test", "kills", 4)) >= at - 2000)
        # Another job goes on from what the group has committed.
        fill(kafka, "kills", 4, at, 40)
        offsets = kafka.committed("weir-test", "kills", 4)
        job, output = submit(cluster, kafka, "kills", "--start", "group-offsets", "--stop", "latest-offset")
        cluster.wait_state(job, "FINISHED")
        assert ids(output) == [i for i in range(at + 40) if i // 4 >= offsets[i % 4]], (offsets, ids(output)[:20])


def test_new_partitions_and_topics():
    with Cluster(slots=2, config=CHECKPOINTS) as cluster:
        kafka.create("grow.a", 1)
        job, output = submit(cluster, kafka, "grow[.].*", "--by", "topic-pattern", "--start", "latest-offset", options=("-p", "2"))
        cluster.wait_state(job, "RUNNING")
        wait_for("a reader", lambda: "reading topic grow.a" in executor_logs(cluster))
        kafka.add_partitions("grow.a", 3)
        kafka.create("grow.b", 2)
        fill(kafka, "grow.a", 3, 0, 300)
        fill(kafka, "grow.b", 2, 300, 200)
        wait_for("all rows", lambda: len(read_rows(output)) >= 500)
        assert cluster.weir("stop", job, "--savepoint", cluster.path("sp")).returncode == 0
        assert ids(output) == list(range(500))


def executor_logs(cluster):
    logs = cluster.path("logs")
    return "".join(open(os.path.join(logs, name)).read() for name in os.listdir(logs) if "executor" in name)


def failed_with(cluster, kafka, topic, *arguments, brokers=None):
    output = cluster.path("none")
    job = cluster.submit(JOB, "--topic", topic, "--brokers", brokers or kafka.brokers, "--output", output, *arguments)
    cluster.wait_state(job, "FAILED", timeout_s=120)
    return cluster.root_cause(job)["stacktrace"]


def test_what_is_wrong_is_said():
    with Cluster(slots=1, config={"restart-strategy.type": "none"}) as cluster:
        why = failed_with(cluster, kafka, "no-such-topic")
        assert "there is no topic 'no-such-topic'" in why, why
        kafka.create("bad", 1)
        kafka.produce("bad", [(0, "k", value(1)), (0, "k", "{nonsense"), (0, None, None), (0, "k", value(2))])
        why = failed_with(cluster, kafka, "bad", "--stop", "latest-offset")
        assert "bad, partition 0, offset 1" in why and "{nonsense" in why, why
        job, output = submit(cluster, kafka, "bad", "--stop", "latest-offset", "--on-error", "skip")
        cluster.wait_state(job, "FINISHED")
        assert ids(output) == [1, 2]
        why = failed_with(cluster, kafka, "bad", "--start", "group-offsets", "--group", "nobody")
        assert "the group has committed no offset" in why and "auto.offset.reset" in why, why
        why = failed_with(cluster, kafka, "bad", "--start", "specific-offsets", "--start-offsets", "partition:0,offset:99")
        assert "offset 99 is not there" in why and "scan.offset-lost" in why, why
        for arguments, wanted in ((("--start", "specific-offsets"), "must say which"), (("--start", "specific-offsets", "--start-offsets", "0:1"), "is not of the form"),
                                  (("--by", "topic-pattern", "--topic", "(("), "no regular expression")):
            topic = () if "--topic" in arguments else ("--topic", "x")
            done = run(os.path.join(BUILD, "bin", "weir"), "info", JOB, "--brokers", "b:1", "--output", "/tmp/x", *topic, *arguments)
            assert done.returncode != 0 and wanted in done.stderr, done.stderr


def test_the_broker_is_away():
    """Killed, stopped, and not there at all."""
    with Cluster(slots=1, config=CHECKPOINTS) as cluster:
        kafka.create("away", 2)
        fill(kafka, "away", 2, 0, 1000)
        job, output = submit(cluster, kafka, "away")
        wait_for("the first rows", lambda: len(read_rows(output)) >= 1000)
        kafka.signal(1, "KILL")
        kafka.start(1)
        fill(kafka, "away", 2, 1000, 1000)
        wait_for("rows after the broker's death", lambda: len(read_rows(output)) >= 2000, 60)
        kafka.signal(1, "STOP")
        cluster.weir("checkpoint", job) # goes on without a broker
        kafka.signal(1, "CONT")
        fill(kafka, "away", 2, 2000, 1000)
        wait_for("rows after its pause", lambda: len(read_rows(output)) >= 3000, 60)
        kafka.delete("away")
        wait_for("the job to say that its topic is gone", lambda: "there is no topic 'away'" in str(cluster.root_cause(job)) or "is gone from" in str(cluster.root_cause(job)), 60)
        assert cluster.weir("cancel", job).returncode == 0
        assert ids(output) == list(range(3000))
    with Cluster(slots=1, config={"restart-strategy.type": "none"}) as cluster:
        why = failed_with(cluster, kafka, "any", "--timeout", "2000", brokers="127.0.0.1:1")
        assert "127.0.0.1:1" in why and "refused" in why, why


def test_retention_runs_past_a_checkpoint():
    """What a checkpoint would read next is deleted, or its topic made anew and shorter: the job says what is lost, and goes on without it only when it is told to."""
    with Cluster(slots=1, config=dict(CHECKPOINTS, **{"restart-strategy.fixed-delay.attempts": "2"})) as cluster:
        def later(topic, *more):
            job, output = submit(cluster, kafka, topic, *more, options=("-s", savepoint))
            return job, output

        for topic in ("kept", "anew"):
            kafka.create(topic, 2)
            fill(kafka, topic, 2, 0, 1000)
            job, output = submit(cluster, kafka, topic)
            wait_for("the rows", lambda: len(read_rows(output)) == 1000)
            done = cluster.weir("stop", job, "--savepoint", cluster.path("sp-" + topic))
            assert done.returncode == 0, done.stderr
            savepoint = done.stdout.split()[-1]
            if topic == "kept":
                fill(kafka, topic, 2, 1000, 1000)
                kafka.delete_before(topic, 0, 700)
                there, first, gone = [i for i in range(1000, 2000) if i % 2 or i // 2 >= 700], 2000, 0
            else:
                kafka.delete(topic)
                wait_for("the topic's end", lambda: topic not in kafka.admin.list_topics(timeout=30).topics)
                kafka.create(topic, 2)
                fill(kafka, topic, 2, 3000, 100)
                there, first, gone = list(range(3000, 3100)), 3100, "[01]"
            job, _ = later(topic)
            cluster.wait_state(job, "FAILED", timeout_s=60)
            why = cluster.root_cause(job)["stacktrace"]
            assert re.search(f"topic '{topic}', partition {gone}: offset 500 is not there any more", why) and "'scan.offset-lost'" in why, why
            job, output = later(topic, "--lost", "earliest")
            wait_for("what is there", lambda: ids(output) == there, 60, told=lambda: ids(output)[:20])
            assert cluster.weir("cancel", job).returncode == 0
            job, output = later(topic, "--lost", "latest")
            wait_for("checkpoints", lambda: cluster.rest(f"/jobs/{job}/checkpoints")[1]["counts"]["completed"] > 2)
            fill(kafka, topic, 2, first, 10)
            wait_for("what comes", lambda: set(range(first, first + 10)) <= set(ids(output)), 60)
            assert set(ids(output)) <= set(there if topic == "kept" else ()) | set(range(first, first + 10)), ids(output)
            assert topic != "kept" or not [i for i in ids(output) if i < first and i % 2 == 0], ids(output)
            assert cluster.weir("cancel", job).returncode == 0


def fill_seconds(kafka, topic, partition, ids, times_s):
    kafka.produce(topic, ((partition, None, json.dumps({"id": i, "ts": s * 1000})) for i, s in zip(ids, times_s)))


def test_what_is_far_ahead_waits():
    """Partitions and topics of an alignment group, in two processes: what is far ahead in event time is paused, and goes on when the others have come; a checkpoint
    passes, a killed executor goes on. Without the option the same topic is read to its end."""
    aligned = os.path.join(BUILD, "tests", "jobs", "kafka_aligned.so")
    rows, slack = 40000, 12000 # of rows that were under way when a partition was paused: many on a busy machine
    with Cluster(taskmanagers=2, slots=1, config=CHECKPOINTS) as cluster:
        kafka.create("near", 2)
        kafka.create("far", 2)
        fill_seconds(kafka, "near", 0, range(10), range(10)) # up to second 9
        fill_seconds(kafka, "near", 1, range(100000, 100000 + rows), range(rows)) # the same topic, ahead of its other partition
        for p in range(2):
            fill_seconds(kafka, "far", p, range((p + 2) * 100000, (p + 2) * 100000 + rows), range(rows))

        def start(*arguments):
            output = cluster.path("aligned-" + str(len(os.listdir(cluster.home))))
            return cluster.submit(aligned, "--brokers", kafka.brokers, "--output", output, *arguments, options=("-p", "2")), output

        def read(output):
            """How many rows of each partition but the slow one."""
            seen = [row["id"] // 100000 for row in read_rows(output)]
            return [seen.count(i) for i in (1, 2, 3)]

        job, output = start()
        wait_for("all rows, without alignment", lambda: sum(read(output)) == 3 * rows)
        assert cluster.weir("cancel", job).returncode == 0

        job, output = start("--drift", "20 s")
        wait_for("the first rows", lambda: min(read(output)) >= 30)

        def drift_ms():
            """What the metrics say, of each source; the largest of its subtasks."""
            vertices = json.loads(cluster.weir("metrics", job, "-o", "json").stdout)["vertices"]
            return [o["metrics"]["watermarkAlignmentDrift"] for v in vertices for o in v["operators"] if "watermarkAlignmentDrift" in o["metrics"]]

        def still():
            """Nothing comes any more: all but the slow partition are paused."""
            done = cluster.weir("checkpoint", job)
            assert done.returncode == 0, done.stderr
            before = read(output)
            done = cluster.weir("checkpoint", job)
            return read(output) == before
        wait_for("all to wait", still)
        assert max(read(output)) <= 30 + slack, read(output)
        wait_for("the drift", lambda: len(drift_ms()) == 2 and all(20000 < ms <= (21 + slack) * 1000 for ms in drift_ms()), told=drift_ms)
        for pid in cluster.executor_pids():
            os.kill(pid, signal.SIGKILL)
        cluster.wait_state(job, "RUNNING")
        wait_for("all to wait after a kill", still)
        assert max(read(output)) <= 30 + slack, read(output)
        fill_seconds(kafka, "near", 0, [10], [20000])
        wait_for("them to go on", lambda: min(read(output)) >= 20000)
        wait_for("all to wait again", still)
        assert max(read(output)) <= 20020 + slack, read(output)
        fill_seconds(kafka, "near", 0, [11], [rows])
        wait_for("the rest", lambda: sum(read(output)) >= 3 * rows)
        assert cluster.weir("stop", job, "--savepoint", cluster.path("sp")).returncode == 0
        assert ids(output) == list(range(12)) + [p * 100000 + i for p in (1, 2, 3) for i in range(rows)]


if __name__ == "__main__":
    with Kafka() as kafka:
        main(globals())
