#!/usr/bin/env python3
"""The Kafka sink against a real broker: keys, partitions, times and topics; at least once through kills; what cannot be written."""
import contextlib
import glob
import json
import os
import re
import signal
import sys
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kafka_kit import Kafka  # noqa: E402
from recovery_test import cluster_with, kill as kill_jobmanager  # noqa: E402
from weir_test import BUILD, Cluster, main, run, wait_for  # noqa: E402

JOB = os.path.join(BUILD, "tests", "jobs", "kafka_sink.so")
CHECKPOINTS = {"execution.checkpointing.interval": "200 ms", "restart-strategy.fixed-delay.delay": "100 ms",
               "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1000"}


def murmur2(key):
    """As the Java client has it."""
    m, mask = 0x5bd1e995, 0xffffffff
    h = (0x9747b28c ^ len(key)) & mask
    for i in range(0, len(key) - 3, 4):
        k = int.from_bytes(key[i:i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    rest = key[len(key) & ~3:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7fffffff


def submit(cluster, topic, to, *more, options=()):
    return cluster.submit(JOB, "--topic", topic, "--brokers", kafka.brokers, "--to", to, *more, options=options)


def fill(topic, partitions, first, count):
    kafka.produce(topic, ((i % partitions, f"k{i % 7}", json.dumps({"id": i, "text": "t"})) for i in range(first, first + count)))


def kill_executors(cluster):
    for pid in cluster.executor_pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def values(topic, **how):
    return {p: [json.loads(m.value()) for m in messages] for p, messages in kafka.read(topic, **how).items()}


def test_keys_partitions_times_and_topics():
    with Cluster(slots=2) as cluster:
        kafka.create("in", 2)
        kafka.create("out", 5)
        kafka.create("other", 1)
        kafka.produce("in", [(i % 2, f"key{i}" if i % 3 else None,
                              json.dumps({"id": i, "p": 3 if i % 4 == 0 else None, "place": "other" if i % 10 == 7 else None, "text": "t"}).replace('"p": 3', '"p": 0' if i % 10 == 7 else '"p": 3'),
                              1700000000000 + i) for i in range(1000)])
        cluster.wait_state(submit(cluster, "in", "out", "--stop", "latest-offset", options=("-p", "2")), "FINISHED")
        out, other = kafka.read("out"), kafka.read("other")[0]
        seen = set()
        for message in [m for messages in out.values() for m in messages] + other:
            row = json.loads(message.value())
            i = row["id"]
            seen.add(i)
            assert row == {"id": i, "text": "t"}, row
            assert message.key() == (f"key{i}".encode() if i % 3 else None), (i, message.key())
            assert message.timestamp()[1] == 1700000000000 + i, (i, message.timestamp())
            assert message.topic() == ("other" if i % 10 == 7 else "out"), i
            if i % 10 != 7 and i % 4 == 0:
                assert message.partition() == 3, (i, message.partition())
            elif i % 10 != 7 and i % 3:
                assert message.partition() == murmur2(message.key()) % 5, (i, message.partition())
        assert len(seen) == 1000 and len(other) == 100
        # Keys of columns, and the other partitioners.
        kafka.create("by-key", 3)
        cluster.wait_state(submit(cluster, "in", "by-key", "--stop", "latest-offset", "--kind", "key", "--key-format", "json",
                                  "--include", "except-key", "--key", "id"), "FINISHED")
        for messages in kafka.read("by-key").values():
            for message in messages:
                assert json.loads(message.value()) == {"text": "t"} and set(json.loads(message.key())) == {"id"}, (message.key(), message.value())
        # Round robin leaves out a partition whose broker the client does not have yet, so its first rows may be spread unevenly.
        kafka.create("robin-in", 2)
        kafka.create("robin", 4)
        job = submit(cluster, "robin-in", "robin", "--kind", "key", "--partitioner", "round-robin")
        counts = [[0] * 4]
        for at in (0, 1000):
            fill("robin-in", 2, at, 1000)
            counts.append([len(m) for m in kafka.read("robin", until=at + 1000).values()])
        assert sum(counts[2]) == 2000 and all(after - before == 250 for before, after in zip(*counts[1:])), counts
        cluster.weir("cancel", job)
        kafka.create("fixed", 4)
        cluster.wait_state(submit(cluster, "in", "fixed", "--stop", "latest-offset", "--kind", "key", "--partitioner", "fixed"), "FINISHED")
        assert sorted(len(m) for m in kafka.read("fixed").values()) == [0, 0, 0, 1000]


def test_headers():
    """Column to header by both ways of writing; what cannot be one is a bad row."""
    with Cluster(slots=1, config=dict(CHECKPOINTS, **{"restart-strategy.type": "none"})) as cluster:
        kafka.create("headers", 1)
        sets = [[], [("a", b"1"), ("b", None), ("empty", b"")], [("\u00e4", b"\x00\xff" * 1000)], [("twice", b"1"), ("other", b"x"), ("twice", b"2")]]
        kafka.produce("headers", [(0, None, json.dumps({"id": i}), i, sets[i % 4]) for i in range(2000)])
        for guarantee in ("at-least-once", "exactly-once"):
            kafka.create(guarantee, 1)
            cluster.wait_state(submit(cluster, "headers", guarantee, "--stop", "latest-offset", "--guarantee", guarantee), "FINISHED")
            messages = kafka.read(guarantee)[0]
            assert len(messages) == 2000
            for message in messages:
                i = json.loads(message.value())["id"]
                assert dict(message.headers() or []) == dict(sets[i % 4]) and len(message.headers() or []) == len(dict(sets[i % 4])), (i, message.headers())
        # As text; what is none, or no name, is a bad row.
        kafka.create("text-headers", 1)
        kafka.produce("text-headers", [(0, None, json.dumps({"id": i}), i, h) for i, h in enumerate([[("a", "\u00e4")], [("a", b"\xff")], [("a", None)]])])
        kafka.create("text-out", 1)
        why = failed_with(cluster, "text-headers", "text-out", "--stop", "latest-offset", "--headers", "MAP<STRING, STRING NOT NULL>")
        assert "text-headers, partition 0, offset 1" in why and "header 'a' is not valid UTF-8" in why, why
        for kind, wanted in (("MAP<INT, BYTES>", "a message's headers are MAP<STRING, BYTES>"), ("STRING", "a message's headers are MAP<STRING, BYTES>")):
            done = run(os.path.join(BUILD, "bin", "weir"), "info", JOB, "--brokers", "b:1", "--topic", "x", "--to", "y", "--headers", kind)
            assert done.returncode != 0 and wanted in done.stderr, (kind, done.stderr)


def test_at_least_once_through_kills():
    with Cluster(slots=4, config=CHECKPOINTS) as cluster:
        kafka.create("kill-in", 4)
        kafka.create("kill-out", 3)
        job = submit(cluster, "kill-in", "kill-out", options=("-p", "2"))
        at = 0
        for _ in range(4):
            fill("kill-in", 4, at, 3000)
            at += 3000
            wait_for("rows", lambda: len({r["id"] for rs in values("kill-out").values() for r in rs}) > at - 2500)
            kill_executors(cluster)
        wait_for("all rows", lambda: len({r["id"] for rs in values("kill-out").values() for r in rs}) == at)
        assert cluster.weir("stop", job, "--savepoint", cluster.path("sp")).returncode == 0
        found = values("kill-out")
        assert {r["id"] for rs in found.values() for r in rs} == set(range(at))


def numbers(cluster, job):
    """{operator: ({metric: value}, [partition])}"""
    done = cluster.weir("metrics", job, "-o", "json")
    assert done.returncode == 0, done.stderr
    found = {o["op"]: (o["metrics"], o["partitions"]) for v in json.loads(done.stdout)["vertices"] for o in v["operators"]}
    return found or {"source": ({}, []), "sink": ({}, [])} # nothing has been heard of it yet


def exported(cluster):
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.port}/metrics") as reply:
        page = reply.read().decode()
    return {(name, part): float(value) for name, part, value in re.findall(r'^(\w+){.*?(?:partition="(\d+)")?} (\S+)$', page, re.M)}


def test_numbers_of_source_and_sink():
    """What was read, written and committed; a sink that stands still, whose source says how much is waiting."""
    with Cluster(slots=2, config=dict(CHECKPOINTS, **{"metrics.flink-names": "true"})) as cluster:
        kafka.create("numbers", 2)
        kafka.create("numbers-once", 1)
        fill("numbers", 2, 0, 1000)
        job = submit(cluster, "numbers", "numbers-once", "--guarantee", "exactly-once", "--group", "numbers")
        wait_for("its rows", lambda: sum(map(len, values("numbers-once").values())) == 1000)

        def all_told():
            source, partitions = numbers(cluster, job)["source"]
            sink = numbers(cluster, job)["sink"][0]
            return source.get("pendingRecords") == 0 and source.get("records-consumed-total") == 1000 and source["bytes-consumed-total"] > 1000 * 12 \
                and source.get("commitsSucceeded", 0) > 0 and source["commitsFailed"] == 0 and source["sourceIdleTime"] > 0 and "fetch-latency-avg" in source \
                and "currentEmitEventTimeLag" in source and sorted((p["partition"], p["current-offset"], p["committed-offset"], p["lag"]) for p in partitions) \
                == [(0, 500, 500, 0), (1, 500, 500, 0)] and sink.get("numRecordsSend") == 1000 and sink["transactionsCommitted"] > 0 \
                and sink["transactionsAborted"] >= 0 and "currentTransactionTime" in sink and sink["numBytesSend"] > 12 * 1000
        wait_for("numbers of it all", all_told, told=lambda: numbers(cluster, job))
        page = exported(cluster)
        assert page["weir_operator_partition_current_offset", "1"] == 500 and page["weir_operator_partition_committed_offset", "0"] == 500, page
        assert page["flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_currentOffset", "1"] == 500
        assert page["weir_operator_num_records_bad_by_code_total", ""] == page["flink_taskmanager_job_task_operator_numRecordsBadPerSecond", ""] == 0, page
        assert page["weir_operator_num_records_send_total", ""] == 1000 and page["flink_taskmanager_job_task_operator_pendingRecords", ""] == 0
        done = cluster.weir("metrics", job)
        assert "records-consumed-total=1000" in done.stdout and "transactionsCommitted=" in done.stdout, done.stdout
        assert cluster.weir("cancel", job).returncode == 0
        # A sink that gives nothing away: the source stands, and what is written meanwhile waits.
        kafka.create("stuck", 1)
        job = submit(cluster, "numbers", "stuck", "--queue", "100", "--linger", "250000", "--group", "stuck")
        wait_for("a sink without room", lambda: 0 < numbers(cluster, job)["source"][0].get("records-consumed-total", 0) <= 1000)
        fill("numbers", 2, 1000, 200000)

        def the_lag():
            source, partitions = numbers(cluster, job)["source"]
            return source.get("pendingRecords", 0) > 150000 and source["records-lag-max"] == max(p["lag"] for p in partitions) > 50000 \
                and exported(cluster).get(("weir_operator_partition_records_lag", "0"), 0) > 50000
        wait_for("the lag", the_lag, 60, told=lambda: numbers(cluster, job))
        assert cluster.weir("cancel", job).returncode == 0


def check_identity(topic, count):
    """None lost, none doubled, a key's in order (a row's key and partition say its place in the input)."""
    found = values(topic)
    rows = [r["id"] for rs in found.values() for r in rs]
    assert len(rows) == len(set(rows)), "repeated: " + str(sorted(i for i in set(rows) if rows.count(i) > 1)[:20])
    assert set(rows) <= set(range(count)), "never written"
    for list in found.values():
        last = {}
        for row in list:
            key = (row["id"] % 7, row["id"] % 4)
            assert last.get(key, -1) < row["id"], (last[key], row["id"])
            last[key] = row["id"]
    return len(rows) == count


def all_come(topic, count, timeout_s=60):
    wait_for(f"{count} rows", lambda: check_identity(topic, count), timeout_s, told=lambda: len([r for rs in values(topic).values() for r in rs]))


def rows_through_kills(cluster, start_jobmanager, job, source, sink):
    """How many; kills, and another parallelism, while they are on their way."""
    at = 0
    for turn in range(8):
        fill(source, 4, at, 2000)
        at += 2000
        if turn % 2:
            all_come(sink, at)
        if turn in (1, 2, 5):
            kill_executors(cluster)
        elif turn == 3:
            kill_jobmanager(cluster)
            start_jobmanager()
        elif turn == 4:
            os.kill(cluster.taskmanager_pid(1), signal.SIGKILL)
        elif turn == 6:
            assert cluster.weir("rescale", job, "--parallelism", "3").returncode == 0
    return at


def test_exactly_once_through_kills():
    """Executors, TaskManagers and the JobManager die; a stop, another parallelism; what was in flight is there once, in order."""
    with cluster_with(slots=3, taskmanagers=2, **CHECKPOINTS) as (cluster, start_jobmanager):
        kafka.create("once-in", 4)
        kafka.create("once-out", 3)
        job = submit(cluster, "once-in", "once-out", "--guarantee", "exactly-once", options=("-p", "2"))
        at = rows_through_kills(cluster, start_jobmanager, job, "once-in", "once-out")
        assert cluster.weir("stop", job, "--savepoint", cluster.path("sp")).returncode == 0
        assert check_identity("once-out", at)
        # Only the savepoint's state goes on elsewhere: nothing is published twice.
        fill("once-in", 4, at, 500)
        at += 500
        job = submit(cluster, "once-in", "once-out", "--guarantee", "exactly-once", options=("-s", glob.glob(cluster.path("sp", "*"))[0]))
        all_come("once-out", at)


def written(cluster, job):
    return sum(v["metrics"]["write-records"] for v in cluster.rest(f"/jobs/{job}")[1]["vertices"])


def test_output_that_waits_in_a_savepoint():
    """Its job publishes it, and so may the one that begins with the savepoint: it is there once, whoever does, and whatever the user says of readers."""
    slow = dict(CHECKPOINTS, **{"execution.checkpointing.interval": "1 h", "pipeline.operator-chaining.enabled": "false"})
    with cluster_with(slots=2, taskmanagers=1, **slow) as (cluster, _):
        kafka.create("wait-in", 1)
        kafka.create("wait-out", 1)
        at = 0
        place = ()
        for turn in range(3):
            fill("wait-in", 1, at, 500)
            at += 500
            job = submit(cluster, "wait-in", "wait-out", "--guarantee", "exactly-once", "--isolation", "read_uncommitted", options=place)
            wait_for("the rows to be taken", lambda: written(cluster, job) >= 500)
            if turn == 1: # it goes on: both know the same output
                assert cluster.weir("savepoint", job, cluster.path("turn1")).returncode == 0
                assert cluster.weir("cancel", job).returncode == 0
                cluster.wait_state(job, "CANCELED")
            else:
                assert cluster.weir("stop", job, "--savepoint", cluster.path(f"turn{turn}")).returncode == 0
            place = ("-s", glob.glob(cluster.path(f"turn{turn}", "*"))[0])
        job = submit(cluster, "wait-in", "wait-out", "--guarantee", "exactly-once", options=place)
        fill("wait-in", 1, at, 10)
        wait_for("the rows to be taken", lambda: written(cluster, job) >= 10)
        assert cluster.weir("stop", job, "--savepoint", cluster.path("last")).returncode == 0
        rows = [r["id"] for r in values("wait-out")[0]]
        assert rows == list(range(at + 10)), (len(rows), len(set(rows)))


def failed_with(cluster, topic, to, *arguments):
    job = submit(cluster, topic, to, *arguments)
    cluster.wait_state(job, "FAILED", timeout_s=120)
    return cluster.root_cause(job)["stacktrace"]


def test_what_cannot_be_written():
    with Cluster(slots=1, config={"restart-strategy.type": "none"}) as cluster:
        kafka.create("large-in", 1)
        kafka.create("large-out", 1, max_message_bytes=2000000)
        kafka.produce("large-in", [(0, None, json.dumps({"id": i, "text": "x" * (900000 if i < 1 else 10)})) for i in range(3)])
        kafka.create("small-out", 1, max_message_bytes=1000)
        why = failed_with(cluster, "large-in", "small-out", "--stop", "latest-offset")
        assert "small-out" in why and "too large" in why.lower(), why
        why = failed_with(cluster, "large-in", "no-such-topic-here", "--stop", "latest-offset")
        assert "no-such-topic-here" in why and "nknown topic" in why, why
        why = failed_with(cluster, "large-in", "small-out", "--to-brokers", "127.0.0.1:1")
        assert "127.0.0.1:1" in why and "refused" in why, why
        for arguments, wanted in ((("--kind", "key"), "'topic' is missing"), (("--kind", "key", "--to", "t", "--key", "nope"), "no column 'nope'"),
                                  (("--kind", "key", "--to", "t", "--key-format", "json"), "needs 'key.fields'"),
                                  (("--kind", "key", "--to", "t", "--key", "id;text"), "'key.fields'"),
                                  (("--to", "t", "--guarantee", "sometimes"), "at-least-once")):
            done = run(os.path.join(BUILD, "bin", "weir"), "info", JOB, "--brokers", "b:1", "--topic", "x", *arguments)
            assert done.returncode != 0 and wanted in done.stderr, (arguments, done.stderr)


if __name__ == "__main__":
    with Kafka(extra="auto.create.topics.enable=false") as kafka:
        main(globals())
