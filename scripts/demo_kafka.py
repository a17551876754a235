#!/usr/bin/env python3
"""make demo-kafka: a real broker, a publisher of three kinds of events into three topics, a weir job for each kind (examples/event-platform), their results
and dead letters shown as Kafka's own console consumer reads them (read_committed). On the way a TaskManager and then the broker are killed. At the end Kafka's
console consumer and sqlite3 count what went in and what came out, without a line of weir's. Ends by itself within two minutes; stops what it
started, whatever happens; exit code 0 only when nothing was lost and nothing doubled.

usage: demo_kafka.py [--seconds 30] [--rate 200]"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from demo import BUILD, ROOT, completed, free_port, pid_of, say, wait_state, weir

KINDS = ("content", "creator", "temperature")
RESULTS, LETTERS = [kind + "-results" for kind in KINDS], "dead-letters"
KAFKA = os.path.join(ROOT, "scripts", "kafka", "kafka.sh")
OUTAGE_S, SHOWN_EACH_S, DRAIN_S, READS_MAX = 2, 0.4, 120, 10
# Of each message that went in, how often it came out: as a result or as a dead letter, told by its place in its topic, which both carry.
COUNT = """
CREATE TABLE sent(topic, place); CREATE TABLE came(topic, place);
CREATE TABLE line(topic, partition, position, value);
.mode ascii
.separator "\\t" "\\n"
.import {directory}/sent line
INSERT INTO sent SELECT topic, partition || '/' || position FROM line; DELETE FROM line;
.import {directory}/results line
INSERT INTO came SELECT replace(topic, '-results', ''), json_extract(value, '$.source_partition') || '/' || json_extract(value, '$.source_offset') FROM line;
DELETE FROM line;
.import {directory}/letters line
INSERT INTO came SELECT json_extract(value, '$.topic'), json_extract(value, '$.partition') || '/' || json_extract(value, '$.offset') FROM line;
CREATE INDEX sent_by_place ON sent(topic, place); CREATE INDEX came_by_place ON came(topic, place);
.mode list
.separator " "
SELECT 'in', count(*) FROM sent;
SELECT 'out', count(*) FROM came;
SELECT 'dead', count(*) FROM line;
SELECT 'lost', count(*) FROM sent WHERE NOT EXISTS (SELECT 1 FROM came WHERE came.topic = sent.topic AND came.place = sent.place);
SELECT 'doubled', count(*) - count(DISTINCT topic || ' ' || place) FROM came;
SELECT 'strange', count(*) FROM came WHERE NOT EXISTS (SELECT 1 FROM sent WHERE came.topic = sent.topic AND came.place = sent.place);
"""


class Broker:
    """One, with its data in a directory."""

    def __init__(self, directory):
        self.directory = directory
        os.environ.update(EXTRA="auto.create.topics.enable=true num.partitions=3", KAFKA_HEAP="384m")

    def sh(self, *arguments):
        done = subprocess.run([KAFKA, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise SystemExit(f"kafka.sh {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def start(self):
        for attempt in range(5): # somebody may take the port in between
            port = free_port()
            try:
                if port < 60000:
                    self.address = self.sh("up", self.directory, str(port))
                    return
            except SystemExit:
                self.sh("down", self.directory)
                if attempt == 4:
                    raise

    def kill(self):
        self.sh("signal", self.directory, "1", "KILL")

    def start_again(self):
        self.sh("start", self.directory, "1")

    def stop(self):
        subprocess.run([KAFKA, "down", self.directory], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def consumer(self, group, *arguments):
        """Kafka's console consumer, of committed messages, from where its group is: at first the beginning."""
        return subprocess.Popen([KAFKA, "tool", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", self.address, "--group", group, "--from-beginning",
                                 "--isolation-level", "read_committed", "--command-property", "metadata.max.age.ms=1000", *arguments],
                                text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)

    def read(self, files):
        """All messages of topics, {topic: path}: a line each, topic, partition, offset and value, in the path's file. A consumer that hears nothing for some seconds
        ends, so Kafka's own tool says whether it is at the end, and else it goes on."""
        left = list(files)
        for _ in range(READS_MAX):
            readers = {topic: self.consumer(f"count-{topic}", "--topic", topic, "--timeout-ms", "6000", "--formatter-property", "print.partition=true",
                                            "--formatter-property", "print.offset=true") for topic in left}
            for topic, reader in readers.items():
                with open(files[topic], "a") as file:
                    for line in reader.stdout:
                        partition, offset, value = line.rstrip("\n").split("\t", 2)
                        file.write(f"{topic}\t{partition.split(':')[1]}\t{offset.split(':')[1]}\t{value}\n")
                reader.wait()
            if not (left := self.behind(files)):
                return
        raise SystemExit(f"the console consumer does not reach the end of {', '.join(left)}")

    def behind(self, topics):
        """Those whose end their consumer has not reached."""
        lag = {topic: [] for topic in topics} # of each partition
        for line in self.sh("tool", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", self.address, "--describe", "--all-groups").splitlines():
            words = line.split() # group, topic, partition, offset, end, lag
            if len(words) > 5 and words[0] == f"count-{words[1]}":
                lag[words[1]].append(words[5])
        return [topic for topic, of in lag.items() if not of or set(of) != {"0"}]


class Show(threading.Thread):
    """Prints of what the console consumer reads a line now and then, and keeps count; it may begin again when the broker was away."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.reader, self.lines = broker.consumer("show", "--include", "|".join(RESULTS + [LETTERS])), set()

    def run(self):
        shown = {"DEAD LETTER": 0, "result     ": 0} # when the last one was
        for line in self.reader.stdout:
            before, what = len(self.lines), "DEAD LETTER" if '"error"' in line else "result     "
            self.lines.add(hash(line))
            if len(self.lines) > before and time.monotonic() > shown[what] + SHOWN_EACH_S:
                shown[what] = time.monotonic()
                print("   ", what, line.rstrip("\n")[:150], flush=True)

    def stop(self):
        try:
            os.killpg(self.reader.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def count(directory):
    """What sqlite3 makes of the files sent, results and letters: {"in": .., "out": .., "dead": .., "lost": .., "doubled": .., "strange": ..}."""
    done = subprocess.run(["sqlite3", "-bail", ":memory:"], input=COUNT.format(directory=directory), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0 or done.stderr:
        raise SystemExit(f"sqlite3: {done.stderr}")
    return {name: int(number) for name, number in (line.split() for line in done.stdout.splitlines())}


def submit(home, kind, brokers):
    job = weir(home, "run", "-d", "-p", 2, os.path.join(BUILD, "examples", "event-platform.so"), "--type", kind, "--brokers", brokers)
    print(f"{kind:12} job {job}")
    return job


def kills(home, broker, jobs, seconds):
    """What happens while events come."""
    time.sleep(seconds / 3)
    say(f"kill -9 of TaskManager 1; {sum(completed(home, job) for job in jobs)} checkpoints are complete. The jobs go on, on the other one")
    os.kill(pid_of(home, 1), signal.SIGKILL)
    time.sleep(seconds / 3)
    say(f"kill -9 of the broker; it is started again after {OUTAGE_S} s")
    broker.kill()
    time.sleep(OUTAGE_S)
    broker.start_again()


def end(home, job):
    """The state that a job ends in."""
    weir(home, "stop", job, "--savepoint", os.path.join(home, "savepoints"), check=False)
    state = wait_state(home, job, ["FINISHED", "FAILED", "CANCELED"], 30)
    if state != "FINISHED":
        print(f"job {job} is {state}:\n" + weir(home, "exceptions", job, check=False))
    return state


def demo(home, seconds, rate):
    broker, show, publisher = Broker(os.path.join(home, "kafka")), None, None
    try:
        say("one Kafka broker; one JobManager, two TaskManagers with six slots each")
        broker.start()
        print("Kafka at", broker.address)
        print(weir(home, "cluster", "start", "--taskmanagers", 2, "--slots", 6, "-D", "rest.port=0", "-D", "jobmanager.rpc.port=0", "-D", "restart-strategy.type=fixed-delay",
                   "-D", "restart-strategy.fixed-delay.attempts=100", "-D", "restart-strategy.fixed-delay.delay=500 ms", "-D", "execution.checkpointing.interval=1 s"))
        say(f"a publisher: {rate} content, creator and temperature events a second each, one of a hundred spoilt; a job for each kind")
        publisher = subprocess.Popen([os.path.join(BUILD, "examples", "event-platform-publisher"), "--brokers", broker.address, "--rate", str(rate), "--seconds", str(seconds)],
                                     stdout=subprocess.PIPE, text=True)
        wait_topics(broker)
        jobs = [submit(home, kind, broker.address) for kind in KINDS]
        for job in jobs:
            wait_state(home, job, ["RUNNING"], 30)
        show = Show(broker)
        show.start()
        kills(home, broker, jobs, seconds)
        published = publisher.communicate(timeout=seconds + 150)[0].strip()
        say(f"the publisher has {published}; what is on its way comes out")
        total = sum(int(word) for word in published.split() if word.isdigit())
        deadline = time.monotonic() + DRAIN_S
        while len(show.lines) < total and time.monotonic() < deadline:
            time.sleep(0.2)
        show.stop()
        states = [end(home, job) for job in jobs]
        say(f"the jobs are {', '.join(states)}; Kafka's console consumer reads all topics again, sqlite3 counts")
        broker.read({topic: os.path.join(home, name) for name, topics in (("sent", KINDS), ("results", RESULTS), ("letters", [LETTERS])) for topic in topics})
        found = count(home)
        for name, value in (("in", found["in"]), ("out", found["out"]), ("  results", found["out"] - found["dead"]), ("  dead letters", found["dead"]), ("lost", found["lost"]),
                            ("doubled", found["doubled"] + found["strange"])):
            print(f"    {name:16} {value}")
        good = found["in"] >= total > 0 and found["lost"] == found["doubled"] == found["strange"] == 0
        return 0 if good and set(states) == {"FINISHED"} and publisher.returncode == 0 else 1
    finally:
        if show:
            show.stop()
        if publisher:
            publisher.kill()
        broker.stop()


def wait_topics(broker):
    """Until the publisher's topics are there: a job that finds none fails."""
    deadline = time.monotonic() + 60
    while not set(KINDS) <= set(broker.sh("tool", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.address, "--list").splitlines()):
        if time.monotonic() > deadline:
            raise SystemExit("the publisher's topics are not there after 60 s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=30, help="how long events are published")
    parser.add_argument("--rate", type=int, default=200, help="events a second of each kind")
    options = parser.parse_args()
    home = tempfile.mkdtemp(prefix="weir-demo-")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return demo(home, options.seconds, options.rate)
    finally:
        weir(home, "cluster", "stop", check=False)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
