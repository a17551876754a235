#!/usr/bin/env python3
"""Records that cannot be used, from a real broker and from files: what becomes of them by on-error; dead letters in a topic, in files, on S3,
exactly as many as bad records, through kills; weir dlq."""
import base64
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "s3"))
from kafka_kit import Kafka  # noqa: E402
from s3_kit import KEYS, S3  # noqa: E402
from weir_test import BUILD, WEIR, Cluster, main, read_rows, wait_for  # noqa: E402

JOB = os.path.join(BUILD, "tests", "jobs", "dead_letters.so")
CHECKPOINTS = {"execution.checkpointing.interval": "200 ms", "restart-strategy.fixed-delay.delay": "100 ms",
               "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1000"}
NO_RESTART = {"restart-strategy.type": "none"}
OWN = [("trace", b"\x00\xff"), ("empty", b""), ("twice", b"1"), ("none", None), ("twice", b"2")]


def submit(cluster, *arguments, options=()):
    output = cluster.path("out-" + str(len(os.listdir(cluster.home))))
    return cluster.submit(JOB, "--output", output, *arguments, options=options), output


def headers(message):
    """The message's own, in their order, and those that say what is known of it."""
    all_of_them = message.headers()
    ours = dict(all_of_them[-sum(name.startswith("weir.") for name, _ in all_of_them):])
    own = int(ours["weir.headers"]) if "weir.headers" in ours else 0
    return all_of_them[:own], {name[5:]: value.decode() for name, value in all_of_them[own:]}


def test_each_outcome_for_each_kind_of_record():
    """A poison record in JSON and CSV, one that is too long, a key that is no text."""
    with Cluster(slots=2, config=NO_RESTART) as cluster:
        for format, code, good, bad, columns, more in (
                ("json", "MALFORMED", [b'{"id":1}', b'{"id":2}'], b'{"id": \xff nonsense', "id BIGINT NOT NULL", ()),
                ("json", "INVALID_VALUE", [b'{"id":1}'], b'{"id":"high"}', "id BIGINT NOT NULL", ()),
                ("csv", "INVALID_VALUE", [b"1,a", b"2,b"], b"one,a", "id BIGINT NOT NULL, t STRING", ()),
                ("csv", "MALFORMED", [b"1,a"], b'1,"a', "id BIGINT NOT NULL, t STRING", ()),
                ("raw", "TOO_LARGE", [b"short"], b"x" * 700000, "t STRING", ("--size-max", "100 kb"))):
            name = f"{format}-{code.lower()}"
            kafka.create(name, 1)
            kafka.create(name + "-dead", 1)
            producer = kafka.producer()
            for value in [good[0], bad, *good[1:]]:
                producer.produce(name, value, b"k\xfe", headers=OWN, timestamp=1700000000123)
            assert producer.flush(30) == 0
            source = ("--topic", name, "--brokers", kafka.brokers, "--stop", "latest-offset", "--format", format, "--columns", columns, *more)
            job, _ = submit(cluster, *source, "--on-error", "fail")
            cluster.wait_state(job, "FAILED")
            why = cluster.root_cause(job)["stacktrace"]
            assert f"bad record at {name}, partition 0, offset 1" in why, why
            job, output = submit(cluster, *source, "--on-error", "skip")
            cluster.wait_state(job, "FINISHED")
            assert len(read_rows(output)) == len(good)
            dead_dir = cluster.path("dead-" + name)
            job, output = submit(cluster, *source, "--dead-topic", name + "-dead")
            cluster.wait_state(job, "FINISHED")
            other, _ = submit(cluster, *source, "--dead-path", dead_dir)
            cluster.wait_state(other, "FINISHED")
            assert len(read_rows(output)) == len(good)
            (message,) = kafka.read(name + "-dead")[0]
            own, said = headers(message)
            assert (message.value(), message.key(), own) == (bad, b"k\xfe", OWN), (message.value()[:80], message.key(), own)
            assert (said["error.code"], said["topic"], said["partition"], said["offset"], said["timestamp"]) == (code, name, "0", "1", "1700000000123"), said
            assert (said["job.id"], said["job.name"], said["operator.name"]) == (job, "dead_letters", "kafka") and said["error.text"] and "path" not in said, said
            (row,) = read_rows(dead_dir)
            assert base64.b64decode(row["value"]) == bad and base64.b64decode(row["key"]) == b"k\xfe" and row["value_size"] == len(bad), row
            assert [(h["name"], h["value"] if h["value"] is None else base64.b64decode(h["value"])) for h in row["headers"]] == OWN, row["headers"]
            assert (row["code"], row["topic"], row["partition"], row["offset"], row["path"], row["job_id"]) == (code, name, 0, 1, None, other), row
            assert row["timestamp"] == "2023-11-14T22:13:20.123Z" and row["failed_at"] > "2024" and row["error"] == said["error.text"], row


def produce_some(topic, first, count):
    """Every seventh is poison."""
    kafka.produce(topic, [(i % 3, f"k{i}", f"poison {i}" if i % 7 == 0 else json.dumps({"id": i})) for i in range(first, first + count)])


def bad_of(texts):
    return sorted(int(text.split()[-1]) for text in texts)


def kill_executors(cluster):
    for pid in cluster.executor_pids():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def s3_settings():
    return {"s3.endpoint": s3.endpoint, "s3.access-key": KEYS["AWS_ACCESS_KEY_ID"], "s3.secret-key": KEYS["AWS_SECRET_ACCESS_KEY"]}


def s3_rows(prefix):
    s3.refresh()
    return read_rows(os.path.join(s3.bucket(), prefix))


def test_as_many_as_bad_records_through_kills():
    """In a topic, in files, and in objects."""
    with Cluster(slots=6, config={**CHECKPOINTS, **s3_settings()}) as cluster:
        for topic in ("kills", "kills-dead"):
            kafka.create(topic, 3)
        source = ("--topic", "kills", "--brokers", kafka.brokers)
        files = cluster.path("dead")
        jobs = [submit(cluster, *source, *where, options=("-p", "2"))[0] for where in (("--dead-topic", "kills-dead"), ("--dead-path", files), ("--dead-path", "s3://weir-test/dead"))]
        places = [lambda: bad_of(m.value().decode() for ms in kafka.read("kills-dead").values() for m in ms),
                  lambda: bad_of(row["record"] for row in read_rows(files)),
                  lambda: bad_of(row["record"] for row in s3_rows("dead"))]
        at = 0
        for _ in range(3):
            produce_some("kills", at, 3000)
            at += 3000
            kill_executors(cluster)
            for place in places:
                wait_for("the dead letters", lambda: len(place()) >= (at + 6) // 7, 60)
            kill_executors(cluster)
        for job in jobs:
            assert cluster.weir("stop", job, "--savepoint", cluster.path("sp")).returncode == 0
        for place in places:
            assert place() == list(range(0, at, 7))


def test_objects_without_checkpoints():
    with Cluster(config={**NO_RESTART, **s3_settings()}) as cluster:
        with open(cluster.path("in.csv"), "w") as file:
            file.writelines(f"{'x' if i % 3 == 0 else i}\n" for i in range(3000))
        job, output = submit(cluster, "--input", cluster.path("in.csv"), "--format", "csv", "--dead-path", "s3://weir-test/files")
        cluster.wait_state(job, "FINISHED")
        rows = s3_rows("files")
        assert len(rows) == 1000 and len(read_rows(output)) == 2000
        assert all(row["path"] == cluster.path("in.csv") and row["headers"] is None and row["topic"] is None for row in rows), rows[0]
        text = open(cluster.path("in.csv"), "rb").read()
        assert all(text[row["offset"]:row["offset"] + row["value_size"]] == base64.b64decode(row["value"]) == b"x" for row in rows), rows[0]
        # No such bucket: said, and the job does not end as if all were well.
        job, _ = submit(cluster, "--input", cluster.path("in.csv"), "--format", "csv", "--dead-path", "s3://nobody/files")
        cluster.wait_state(job, "FAILED")
        assert "there is no bucket 'nobody'" in cluster.root_cause(job)["stacktrace"], cluster.root_cause(job)


def dlq(cluster, *arguments, code=0):
    done = cluster.weir("dlq", *arguments, "-o", "json")
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()] if arguments[0] == "show" else json.loads(done.stdout) if not code else done.stderr


def test_replayed_each_once():
    """Bad records of a topic, put aside in a topic and in files, go to their topic again, and a job with a wider schema takes them."""
    with Cluster(slots=2, config=NO_RESTART) as cluster:
        kafka.create("again", 2)
        kafka.create("again-dead", 2)
        bad = [json.dumps({"name": f"n{i}"}).encode() for i in range(20)]
        producer = kafka.producer()
        for i, value in enumerate(bad + [b'{"id":1}', b"nonsense"]):
            producer.produce("again", value, f"k{i}", headers=OWN, timestamp=1700000000000 + i, partition=i % 2)
        assert producer.flush(30) == 0
        source = ("--topic", "again", "--brokers", kafka.brokers, "--stop", "latest-offset")
        files, place = cluster.path("dead"), f"kafka://{kafka.brokers}/again-dead"
        for where in (("--dead-topic", "again-dead"), ("--dead-path", files)):
            cluster.wait_state(submit(cluster, *source, *where)[0], "FINISHED")
        for where in (place, files):
            counts = {group["code"]: (group["count"], group["replayed"]) for group in dlq(cluster, "list", where)}
            assert counts == {"INVALID_VALUE": (20, 0), "MALFORMED": (1, 0)}, counts
            (shown,) = dlq(cluster, "show", where, "--code", "MALFORMED", "--limit", "5")
            assert shown["record"] == "nonsense" and shown["key_text"] == "k21" and shown["topic"] == "again", shown
        only = ("--code", "INVALID_VALUE")
        assert dlq(cluster, "replay", place, *only, "--dry-run") == {"replayed": 20, "replayed-before": 0, "cut": 0, "without-topic": 0, "dry-run": True}
        assert dlq(cluster, "replay", place, *only)["replayed"] == 20
        assert dlq(cluster, "replay", place, *only) == {"replayed": 0, "replayed-before": 20, "cut": 0, "without-topic": 0, "dry-run": False}
        assert {group["code"]: group["replayed"] for group in dlq(cluster, "list", place)} == {"INVALID_VALUE": 20, "MALFORMED": 0}
        found = kafka.read("again")
        for i, value in enumerate(bad):
            first, second = [m for m in found[i % 2] if m.value() == value]
            assert [(m.key(), m.headers(), m.timestamp()) for m in (first, second)] == [(first.key(), OWN, first.timestamp())] * 2, (i, second.headers(), second.timestamp())
        job, output = submit(cluster, *source, "--on-error", "skip", "--columns", "id BIGINT, name STRING")
        cluster.wait_state(job, "FINISHED")
        assert sorted(row["name"] for row in read_rows(output) if row["name"]) == sorted([f"n{i}" for i in range(20)] * 2)
        # From files: into the topic at brokers that are named, into another topic, and as lines.
        assert "--to says where" in dlq(cluster, "replay", files, code=2)
        kafka.create("elsewhere", 1)
        for target in (f"kafka://{kafka.brokers}/elsewhere", cluster.path("lines")):
            os.makedirs(cluster.path("lines"), exist_ok=True)
            assert dlq(cluster, "replay", files, *only, "--to", target, "--again")["replayed"] == 20
            assert dlq(cluster, "replay", files, *only, "--to", target)["replayed-before"] == 20
        assert sorted(m.value() for m in kafka.read("elsewhere")[0]) == sorted(bad)
        (name,) = os.listdir(cluster.path("lines"))
        assert name.startswith("replayed-") and sorted(open(cluster.path("lines", name), "rb").read().splitlines()) == sorted(bad)
        assert "no topic" in dlq(cluster, "list", f"kafka://{kafka.brokers}", code=2) and dlq(cluster, "list", cluster.path("nothing"), code=4)


def test_a_replay_that_is_killed_repeats_nothing():
    with Cluster(slots=1, config=NO_RESTART) as cluster:
        for topic in ("cut-short", "cut-short-dead"):
            kafka.create(topic, 1)
        count = 6000
        kafka.produce("cut-short", [(0, None, f"poison {i}") for i in range(count)])
        job, _ = submit(cluster, "--topic", "cut-short", "--brokers", kafka.brokers, "--stop", "latest-offset", "--dead-topic", "cut-short-dead")
        cluster.wait_state(job, "FINISHED")
        place = f"kafka://{kafka.brokers}/cut-short-dead"
        for turn in range(5):
            replay = subprocess.Popen([WEIR, "dlq", "replay", place], env={**os.environ, **cluster.env}, stdout=subprocess.DEVNULL)
            time.sleep(random.uniform(0.3, 1.5))
            replay.kill()
            replay.wait()
        last = dlq(cluster, "replay", place)
        assert last["replayed"] + last["replayed-before"] == count, last
        found = sorted(m.value() for m in kafka.read("cut-short")[0])
        assert found == sorted([f"poison {i}".encode() for i in range(count)] * 2), len(found)


if __name__ == "__main__":
    with Kafka() as kafka, S3() as s3:
        main(globals())
