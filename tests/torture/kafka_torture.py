#!/usr/bin/env python3
"""Kafka to Kafka, exactly once, while processes die at each step of publishing, brokers are killed and stopped, and the parallelism changes: every
record is there once for who reads committed, those of a key in order, and no transaction is left open.

make check goes through STEPS once; `--faults N --seed S` takes N of them at random."""
import argparse
import json
import os
import random
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "e2e"), HERE]
from kafka_kit import Kafka  # noqa: E402
from kill_world import BUILD, PATIENCE, World, wait_for  # noqa: E402

JOB = os.path.join(BUILD, "tests", "jobs", "kafka_sink.so")
PUBLISHING = ["supervisor.commit-received", "supervisor.commit-begun", "supervisor.kafka-produced", "supervisor.kafka-commit-begun",
              "supervisor.kafka-committed", "supervisor.commit-done", "supervisor.commit-answered"]
STEPS = [(point, action) for point in PUBLISHING for action in ("kill", "stop")] + \
        [(point, "error") for point in PUBLISHING[1:6]] + \
        [("supervisor.kafka-fenced", "kill"), ("executor.output-synced", "error"), ("executor.report-send", "kill"), ("executor.restore-begun", "kill"),
         ("jobmanager.head-put-done", "kill"), ("jobmanager.commit-send", "kill"), ("jobmanager.commit-sent", "kill"), ("jobmanager.commit-done", "kill"),
         ("broker", "kill"), ("broker", "stop"), ("executors", "kill"), ("rescale", "3"), ("rescale", "1"), ("rescale", "2")]
PARTITIONS, KEYS = 4, 7


class Feeder(threading.Thread):
    """Writes records of rising numbers, some hundred a second, until it is told to end."""

    def __init__(self, kafka):
        super().__init__(daemon=True)
        self.producer, self.count, self.stopping = kafka.producer(), 0, False

    def run(self):
        while not self.stopping:
            for _ in range(20):
                i = self.count
                self.producer.produce("in", json.dumps({"id": i, "text": "t"}), f"k{i % KEYS}", i % PARTITIONS)
                self.count += 1
            self.producer.poll(0)
            time.sleep(0.04)

    def end(self):
        self.stopping = True
        self.join()
        assert self.producer.flush(60 * PATIENCE) == 0


def check(kafka, feeder):
    """How many records are there, what is wrong with them, and which are not there."""
    found, last, wrong = kafka.read("out", timeout_s=60), {}, []
    count, written = feeder.count + 20, feeder.count # one round may be under way
    seen = [0] * count
    for partition, messages in found.items():
        for message in messages:
            i = json.loads(message.value())["id"]
            if i >= count:
                wrong.append(f"{i} was never written")
                continue
            seen[i] += 1
            if last.get((partition, i % PARTITIONS, i % KEYS), -1) >= i:
                wrong.append(f"{i} in partition {partition} comes behind {last[partition, i % PARTITIONS, i % KEYS]}")
            last[partition, i % PARTITIONS, i % KEYS] = i
    doubled = [i for i in range(count) if seen[i] > 1]
    return sum(1 for n in seen if n), [f"doubled: {doubled[:10]}"] * bool(doubled) + wrong[:10], [i for i in range(written) if not seen[i]]


def wake(world):
    for pid in world.pids():
        try:
            if open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1][0] == "T":
                world.signal(pid, signal.SIGCONT)
        except OSError:
            pass


def inject(world, kafka, step, action):
    """True: it happened."""
    if step == "broker":
        kafka.signal(1, "KILL" if action == "kill" else "STOP")
        time.sleep(1)
        if action == "kill":
            kafka.start(1)
        else:
            kafka.signal(1, "CONT")
        return True
    if step == "executors":
        for pid in world.executor_pids():
            world.signal(pid, signal.SIGKILL)
        return True
    if step == "rescale":
        return world.weir("rescale", world.job, "--parallelism", action).returncode == 0
    before = wait_for("fault points", lambda: world.points().get(step))["acted"]
    world.arm(step, action)
    if step in ("executor.restore-begun", "supervisor.kafka-fenced"): # what makes them be passed
        for pid in world.executor_pids() if step.startswith("executor") else [p.pid for n, p in world.daemons.items() if n.startswith("taskmanager")]:
            world.signal(pid, signal.SIGKILL)
    hit = False
    for _ in range(int(100 * PATIENCE)):
        now = world.points().get(step)
        hit = hit or (now is not None and now["acted"] > before)
        if hit:
            break
        time.sleep(0.1)
    if action == "stop":
        time.sleep(2.5 * PATIENCE) # its work goes to others meanwhile
    wake(world)
    world.disarm()
    return hit


def progress(world):
    """A checkpoint that began after now is complete."""
    done = world.completed()
    wait_for("the next checkpoints", lambda: world.completed() >= done + 2, 90)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    steps = STEPS
    if options.faults:
        rng = random.Random(options.seed)
        steps = [rng.choice(STEPS) for _ in range(options.faults)]
    with Kafka(extra="auto.create.topics.enable=false") as kafka:
        kafka.create("in", PARTITIONS)
        kafka.create("out", 3)
        with World(taskmanagers=2, slots=3) as world:
            done = world.weir("run", "-d", "-p", "2", JOB, "--topic", "in", "--brokers", kafka.brokers, "--to", "out", "--guarantee", "exactly-once")
            assert done.returncode == 0, done.stderr
            world.is_now(done.stdout.strip())
            feeder = Feeder(kafka)
            feeder.start()
            counted = set()
            for step, action in steps:
                progress(world)
                if inject(world, kafka, step, action):
                    progress(world)
                    counted.add((step, action))
                    print(f"# {step} {action}: {feeder.count} records so far", flush=True)
                else:
                    print(f"# {step} {action}: it was not reached", flush=True)
                _, wrong, _ = check(kafka, feeder)
                assert not wrong, wrong
            feeder.end()
            wait_for("all records", lambda: check(kafka, feeder)[0] == feeder.count, 60)
            _, wrong, lost = check(kafka, feeder)
            assert not wrong and not lost, (wrong, lost[:10])
            open_ones = [line for line in kafka.tool("TransactionsCommand", "list").splitlines() if "Ongoing" in line]
            time.sleep(2)
            again = [line for line in kafka.tool("TransactionsCommand", "list").splitlines() if "Ongoing" in line]
            assert not set(open_ones) & set(again), again
            print(f"ok 1 - {len(counted)} distinct faults of {len(steps)}, {feeder.count} records: lost 0, doubled 0, out of order 0, open transactions 0")
            assert options.faults or len(counted) >= 25, counted
    print("1..1")


if __name__ == "__main__":
    main()
