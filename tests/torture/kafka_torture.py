#!/usr/bin/env python3
"""Kafka to Kafka, exactly once: three brokers, checkpoints in S3, a job with keyed state, and faults at each step of publishing, of the brokers, of the store,
of rescaling. Whoever reads committed must find every record once, those of a key in order, with the number that the job's state gave it, and nothing
may be left open.

    tests/torture/kafka_torture.py                                 the matrix of `make check`
    tests/torture/kafka_torture.py --faults 300 --seed 7 --runs 2  random ones; what is left of them: kill_runs.py
"""
import argparse
import collections
import json
import os
import random
import shutil
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
import kill_runs  # noqa: E402
OWN = None # the copy
if __name__ == "__main__" and any(argument.startswith("--faults") for argument in sys.argv):
    OWN = kill_runs.copy_programs()
from kafka_kit import Kafka  # noqa: E402
from kafka_matrix import BROKER_FAULTS, OPEN, PUBLISHING, TRANSACTION_S, KafkaMatrix  # noqa: E402
from kafka_oracle import Oracle, Reader  # noqa: E402
from kill_matrix import A_CHECKPOINT, A_DEPLOYMENT, AFTER_A_JOBMANAGER, AT_AN_END, BY_ANOTHER, STORE_KINDS, Trouble  # noqa: E402
from kill_world import JOBS, S3, WAITS, Proxy, main, s3_world, wait_for  # noqa: E402

JOB = os.path.join(JOBS, "kafka_count.so")
PARTITIONS, KEYS = 6, 12 # a key is always written to one partition
NOT_HERE = AT_AN_END + ("supervisor.commit-file", "jobmanager.store-put-mid", "executor.store-put-mid", # steps of files
                        "executor.object-put-", "executor.restore-part") # so little state is in the metadata

MATRIX = [
    *((point, "kill") for point in PUBLISHING), *((point, "error") for point in PUBLISHING[1:6]),
    ("supervisor.kafka-fenced", "kill"), ("supervisor.kafka-produced", "zombie"), ("supervisor.kafka-committed", "both"),
    ("executor.output-synced", "error"), ("executor.report-send", "kill"), ("executor.restore-begun", "kill"),
    ("jobmanager.head-put-done", "kill"), ("jobmanager.commit-sent", "kill"), ("jobmanager.commit-done", "stop"),
]
RESCALES = [("supervisor.kafka-produced", "kill"), ("executor.restore-begun", "kill"), ("jobmanager.head-put-done", "kill")]
BROKERS = [("coordinator", "kill"), ("leader", "stop")]
seen = collections.Counter()


class Feeder(threading.Thread):
    """Writes records of rising numbers, some hundred a second, until it is told to end."""

    def __init__(self, kafka):
        super().__init__(daemon=True)
        self.producer, self.count, self.failed, self.stopping = kafka.producer(enable_idempotence=True), 0, [], False

    def run(self):
        while not self.stopping:
            for _ in range(20):
                self.write(self.count)
                self.count += 1
            self.producer.poll(0)
            time.sleep(0.04)

    def write(self, i):
        while True:
            try:
                return self.producer.produce("in", json.dumps({"id": i}), f"k{i % KEYS}", i % KEYS % PARTITIONS,
                                             on_delivery=lambda why, _: why and self.failed.append(why))
            except BufferError: # the brokers are away
                self.producer.poll(0.1)

    def end(self):
        self.stopping = True
        self.join()
        assert self.producer.flush(60 * WAITS) == 0 and not self.failed, self.failed


class Run:
    """with Run(kafka, world, rng) as it: the job is running, and `it.matrix` takes faults."""

    def __init__(self, kafka, world, rng, transaction="commit"):
        self.kafka, self.world, self.rng, self.transaction = kafka, world, rng, transaction

    def __enter__(self):
        self.kafka.create("in", PARTITIONS)
        self.kafka.create("out", 3)
        world = self.world
        done = world.weir("run", "-d", "-p", "2", JOB, "--topic", "in", "--brokers", self.kafka.brokers, "--to", "out", "--transaction-timeout", TRANSACTION_S * 1000,
                          "--transaction", self.transaction)
        assert done.returncode == 0, done.stderr
        world.is_now(done.stdout.strip())
        self.feeder, self.reader = Feeder(self.kafka), Reader(self.kafka, "out", Oracle(KEYS))
        self.matrix = KafkaMatrix(world, self.rng, self.kafka, self.feeder, self.reader)
        self.feeder.start()
        world.wait_checkpoints(2, "at the beginning")
        self.matrix.all_comes_out("at the beginning")
        return self

    def __exit__(self, *_):
        self.feeder.stopping = True
        self.reader.close()

    def finish(self):
        """Ends the input and judges: what was seen on the way, and what somebody sees who comes now."""
        self.feeder.end()
        self.matrix.all_comes_out("at the end")
        messages = self.kafka.read("out")
        late = Oracle(KEYS, self.matrix.input())
        for partition, list in messages.items():
            for message in list:
                late.take(partition, message.key(), message.value())
        for oracle in (self.reader.oracle, late):
            found = oracle.judge(self.feeder.count)
            assert not found, found[:10]
        done = self.world.weir("cancel", self.world.job)
        assert done.returncode == 0, done.stderr
        wait_for("the end of the job", lambda: self.world.state() == "CANCELED", 60)
        left = self.kafka.open_transactions()
        assert not left, f"transactions are left open: {left}"
        stable, high = self.kafka.ends("out", "read_committed"), self.kafka.ends("out", "read_uncommitted")
        assert stable == high, f"readers of committed messages wait: {stable} of {high}"
        print("#", self.matrix.summary())
        print(f"# {self.feeder.count} records: lost 0, doubled 0, out of order 0, open transactions 0; daemons were started again {self.world.restarts} times")
        seen.update(self.matrix.counted)
        return messages


def test_the_checker():
    """What is wrong by one record is found."""
    good = [(i % KEYS % 3, f"k{i % KEYS}".encode(), json.dumps({"id": i, "n": i // KEYS + 1}).encode()) for i in range(1000)]
    check_the_checker(good)


def test_what_is_in_the_input_twice():
    """Must be there twice, and is counted twice."""
    lists = collections.defaultdict(list)
    for i in range(900): # what came later is not known
        lists[f"k{i % KEYS}".encode()].extend([i] * (1 + (i in (100, 400))))
    numbers, good = collections.Counter(), []
    for i in range(1000):
        for _ in range(1 + (i in (100, 400))):
            numbers[i % KEYS] += 1
            good.append((i % KEYS % 3, f"k{i % KEYS}".encode(), json.dumps({"id": i, "n": numbers[i % KEYS]}).encode()))

    def judged(messages, lists=lists):
        oracle = Oracle(KEYS, lists)
        for message in messages:
            oracle.take(*message)
        return {finding[0] for finding in oracle.judge(1000)}
    assert judged(good) == set()
    assert "doubled" in judged(good, {})
    assert "not as in the input" in judged([m for at, m in enumerate(good) if at != 101])
    assert judged(good[:880]) == {"lost"}
    assert "not as in the input" in judged(good[:50] + good[38:])
    assert "wrong state" in judged(good[:-1] + [(*good[-1][:2], json.dumps({"id": 999, "n": 1}).encode())])


def check_the_checker(good):
    def judged(change):
        messages, oracle = list(good), Oracle(KEYS)
        change(messages)
        for message in messages:
            oracle.take(*message)
        return {finding[0] for finding in oracle.judge(len(good))}

    def next_of_key(messages, at):
        return next(j for j in range(at + 1, len(messages)) if messages[j][1] == messages[at][1])

    def swap(messages):
        other = next_of_key(messages, 100)
        messages[100], messages[other] = messages[other], messages[100]

    def edit(at, partition=None, key=None, value=None):
        def change(messages):
            old = messages[at]
            messages[at] = (old[0] if partition is None else partition, key or old[1], value(old[2]) if value else old[2])
        return change
    assert judged(lambda messages: None) == set()
    assert judged(lambda messages: messages.pop(100)) == {"lost"}
    assert judged(lambda messages: messages.insert(150, messages[100])) == {"doubled"}
    assert judged(lambda messages: messages.append(messages[100])) == {"doubled"}
    assert judged(swap) == {"out of order"}
    assert judged(edit(100, partition=7)) == {"wrong partition"}
    assert "wrong key" in judged(edit(100, key=b"k"))
    assert judged(edit(100, value=lambda v: json.dumps({**json.loads(v), "n": 0}).encode())) == {"wrong state"}
    assert judged(edit(100, value=lambda v: b"{")) == {"damaged", "lost"}
    assert judged(lambda messages: messages.append((0, b"k0", json.dumps({"id": len(good) + KEYS * 100, "n": 1}).encode()))) >= {"never written"}


def test_the_matrix():
    """Three brokers, S3; at the end the checker is tried on what was read."""
    trouble = Trouble()
    with Kafka(nodes=3) as kafka, S3() as s3:
        proxy = Proxy(s3.endpoint, trouble)
        with s3_world(s3, proxy, slots=3) as world, Run(kafka, world, random.Random(1)) as it:
            matrix = it.matrix
            for point, kind in MATRIX:
                matrix.fault(point, kind)
            for point, kind in RESCALES:
                matrix.rescale(point, kind)
            for which, how in BROKERS:
                matrix.broker(which, how)
            matrix.outlast("supervisor.kafka-commit-begun")
            matrix.store(trouble, proxy, "503")
            matrix.crash_loop(5)
            messages = it.finish()
        proxy.shutdown()
    check_the_checker([(partition, message.key(), message.value()) for partition, list in messages.items() for message in list])


def test_there_were_twenty_five():
    """The list of what was counted above."""
    print_list(seen)
    print(f"# {len(seen)} distinct faults")
    assert len(seen) >= 25, f"only {len(seen)} distinct faults"


def print_list(counted):
    for name, count in sorted(counted.items()):
        print(f"#   {count:3} x {name}")


# --- Random ones

A_WORLD = 110 # faults on one cluster, job and set of brokers
CRASHES = 50, 5 # in a loop: of a run's first cluster, and of others
UNPASSED = (*AFTER_A_JOBMANAGER, *BY_ANOTHER) # steps that a job does not pass before the first fault


def plan(points, rng, count, crashes, steps):
    """Half at the steps of publishing, a quarter at any other, the rest into the brokers, commands and the store; once, crash after crash."""
    def kinds(point):
        role = point.split(".")[0]
        return ["kill", "stop", "delay", "zombie"] + ["error"] * points[point]["can-fail"] + ["both"] * (role == "supervisor")
    publishing = [point for point in points if point in steps + ("supervisor.kafka-fenced",)]
    others = [point for point in points if point not in publishing and not point.startswith(NOT_HERE) and (points[point]["passes"] or point in UNPASSED)]
    loop = rng.randrange(count)
    for i in range(count):
        chance = rng.random()
        if i == loop:
            yield "crash_loop", crashes
        elif chance < 0.12:
            yield "broker", *rng.choice(BROKER_FAULTS)
        elif chance < 0.16:
            yield "outlast", rng.choice([point for point in publishing if "kafka-" in point and "fenced" not in point])
        elif chance < 0.20:
            yield "store", rng.choice(STORE_KINDS)
        elif chance < 0.35:
            point = rng.choice([p for p in A_CHECKPOINT + A_DEPLOYMENT if p in publishing + others])
            yield "rescale", point, rng.choice([kind for kind in kinds(point) if kind != "both"])
        else:
            point = rng.choice(publishing if chance < 0.75 else others)
            yield "fault", point, rng.choice(kinds(point)), rng.randrange(1, 4)


def one_world(rng, s3, proxy, trouble, count, crashes, transaction):
    settings = {"execution.checkpointing.interval": rng.choice(["100 ms", "400 ms"]), "state.backend.type": rng.choice(["rocksdb", "hashmap"]),
                "execution.checkpointing.unaligned.enabled": rng.choice(["true", "false"]), "execution.checkpointing.max-concurrent-checkpoints": rng.choice([1, 3])}
    print(f"# {settings}", flush=True)
    with Kafka(nodes=3) as kafka, s3_world(s3, proxy, slots=3, config=settings) as world, Run(kafka, world, rng, transaction) as it:
        points = wait_for("fault points", world.points)
        for name, *how in plan(points, rng, count, crashes, OPEN if transaction == "open" else PUBLISHING):
            if name == "store":
                how = [trouble, proxy, *how]
            getattr(it.matrix, name)(*how)
        it.finish()
        return it.matrix


def torture(faults, seed, transaction="commit"):
    """One run. What it was, for the results."""
    rng, trouble = random.Random(seed), Trouble()
    total, injected = collections.Counter(), 0
    with S3() as s3:
        proxy = Proxy(s3.endpoint, trouble)
        while injected < faults:
            matrix = one_world(rng, s3, proxy, trouble, min(A_WORLD, faults - injected), CRASHES[injected > 0], transaction)
            total.update(matrix.counted)
            injected += matrix.injected - matrix.missed
        proxy.shutdown()
    print_list(total)
    return {"injected": injected, "distinct": sorted(total)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)) # brokers and servers are stopped
    parser.add_argument("tests", nargs="*")
    parser.add_argument("--faults", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--transaction", choices=["commit", "open"], default="commit")
    arguments = parser.parse_args()
    sys.argv[1:] = arguments.tests
    if OWN:
        try:
            sys.exit(kill_runs.runs("kafka", range(arguments.seed, arguments.seed + arguments.runs), lambda seed: torture(arguments.faults, seed, arguments.transaction),
                                    "none lost, none doubled, none out of order, no wrong state, no transaction open"))
        finally:
            shutil.rmtree(OWN)
    main(globals())
