#!/usr/bin/env python3
"""Input over TCP that can be read again: the publisher's log, and the temperature job on it while its executor is killed with -9. Windows
and alerts are held against the log: every reading is counted once."""
import collections
import datetime
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading

from weir_test import Cluster, EXAMPLES, PATIENCE, free_port, main, read_rows, wait_for

JOB = os.path.join(EXAMPLES, "gpu-temperature.so")
PUBLISHER = os.path.join(EXAMPLES, "gpu-temperature-publisher")
CONFIG = {"execution.checkpointing.interval": "200 ms", "restart-strategy.type": "fixed-delay",
          "restart-strategy.fixed-delay.attempts": "100", "restart-strategy.fixed-delay.delay": "100 ms"}


class Publisher:
    """with Publisher(log, ...): listens on port."""

    def __init__(self, log, *options):
        self.port = free_port()
        self.arguments = [PUBLISHER, "--seed", "5", "--output", f"tcp://127.0.0.1:{self.port}", "--log", log, *options]

    def __enter__(self):
        self.process = subprocess.Popen(self.arguments, stderr=subprocess.PIPE, text=True)
        wait_for("a listening publisher", self.listens)
        return self

    def listens(self):
        held = f":{self.port:04X} "
        return any(held in line[:24] and line.split()[3] == "0A" for line in open("/proc/net/tcp"))

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def ask(self, request=None):
        """All that the publisher says to one reader, up to the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60 * PATIENCE) as reader:
            if request:
                reader.sendall(request)
            parts = []
            while part := reader.recv(65536):
                parts.append(part)
        return b"".join(parts)


def completed(cluster, job):
    return cluster.rest(f"/jobs/{job}/checkpoints")[1]["counts"]["completed"]


def check_windows(log, output, window_s):
    published, bad = collections.Counter(), 0
    for line in open(log):
        reading = json.loads(line)
        if reading["temperature"] is None:
            bad += 1
            continue
        moment = datetime.datetime.fromisoformat(reading["timestamp"].replace("Z", "+00:00")).timestamp()
        published[reading["device_id"], int(moment // window_s)] += 1
    counted = collections.Counter()
    rows = read_rows(os.path.join(output, "windows"))
    for row in rows:
        start = datetime.datetime.fromisoformat(row["window_start"].replace("Z", "+00:00")).timestamp()
        counted[row["device_id"], int(start // window_s)] += row["readings"]
    assert len(rows) == len(counted), f"{len(rows) - len(counted)} windows more than once"
    assert counted == published, f"lost {sum((published - counted).values())}, repeated {sum((counted - published).values())}"
    alerts = sorted((row["device_id"], row["window_start"]) for row in read_rows(os.path.join(output, "alerts")))
    assert alerts == sorted((row["device_id"], row["window_start"]) for row in rows if row["mean"] > 75) and alerts
    assert bad > 0 and len(read_rows(os.path.join(output, "bad"))) == bad


def kill_and_check(replay, count, interval, *options):
    """The executor is killed after each two checkpoints, three times."""
    with tempfile.TemporaryDirectory() as directory, Cluster(taskmanagers=1, slots=2, config=CONFIG) as cluster:
        log, output = os.path.join(directory, "published"), cluster.path("output")
        with Publisher(log, "--devices", "10", "--interval", interval, "--count", str(count), "--out-of-order", "200 ms",
                       "--bad", "1", "--linger", "60 s", *options) as publisher:
            job = cluster.submit(JOB, "--input", f"tcp://127.0.0.1:{publisher.port}", "--output", output, "--window", "1 s",
                                 "--lateness", "1 s", "--threshold", "75", "--replay", replay, options=("-p", "2"))
            for kill in range(3):
                before = completed(cluster, job)
                wait_for("two more checkpoints", lambda: completed(cluster, job) >= before + 2)
                pids = cluster.executor_pids()
                assert pids and cluster.state(job) == "RUNNING", f"the job was {cluster.state(job)} after {kill} kills"
                os.kill(pids[0], signal.SIGKILL)
                wait_for("another executor", lambda: (p := cluster.executor_pids()) and p != pids)
            cluster.wait_state(job, "FINISHED", timeout_s=90)
            publisher.process.terminate()
            assert publisher.process.wait(timeout=30 * PATIENCE) == 0
        check_windows(log, output, 1)


def test_kill_9_loses_and_repeats_nothing():
    kill_and_check("auto", 8000, "10 ms")


def test_kill_9_while_the_log_is_read_from_disk():
    """More at once than a connection's buffers hold: a kill meets readings that were sent and not read."""
    kill_and_check("required", 40000, "2 ms")


def test_a_position_that_is_gone_fails_with_a_reason():
    """Another publisher on the same address keeps another log."""
    with tempfile.TemporaryDirectory() as directory, \
            Cluster(taskmanagers=1, slots=1, config={**CONFIG, "restart-strategy.fixed-delay.attempts": "2"}) as cluster:
        options = ("--devices", "10", "--interval", "10 ms", "--count", "0", "--bad", "0")
        with Publisher(os.path.join(directory, "first"), *options) as publisher:
            job = cluster.submit(JOB, "--input", f"tcp://127.0.0.1:{publisher.port}", "--output", cluster.path("output"))
            wait_for("two checkpoints", lambda: completed(cluster, job) >= 2)
            other = Publisher(os.path.join(directory, "second"), *options)
            other.arguments[other.arguments.index("--output") + 1] = f"tcp://127.0.0.1:{publisher.port}"
            other.port = publisher.port
        with other:
            cluster.wait_state(job, "FAILED", timeout_s=60)
        cause = json.dumps(cluster.root_cause(job))
        assert "cannot go on where the source was" in cause and "is gone with the publisher that kept it" in cause, cause


def test_readers_of_the_publisher():
    """Plain ones see lines and nothing else; those that ask get the log from their offset, at any time; what cannot be had is said."""
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "published")
        with Publisher(log, "--devices", "5", "--interval", "10 ms", "--count", "1000", "--linger", "60 s") as publisher:
            said = {}
            plain = threading.Thread(target=lambda: said.update(plain=publisher.ask()))
            plain.start()
            wait_for("the first reading", lambda: os.path.getsize(log) > 0)
            early = publisher.ask(b"weir-replay earliest\n")
            plain.join()
            whole = open(log, "rb").read()
            assert whole.count(b"\n") == 1000 and said["plain"] == whole
            head, rest = early.split(b"\n", 1)
            name = head.split()[2]
            assert head == b"#offset 0 " + name and rest == whole + b"#end %d %s\n" % (len(whole), name)
            for offset in (1, 500, len(whole)):
                answer = publisher.ask(b"weir-replay %d %s\n" % (offset, name))
                assert answer == b"#offset %d %s\n" % (offset, name) + whole[offset:] + b"#end %d %s\n" % (len(whole), name)
            for request, why in ((b"weir-replay %d %s\n" % (len(whole) + 1, name), b"is gone: the log holds 0 to"),
                                 (b"weir-replay 0 other\n", b"is gone with the publisher"), (b"weir-replay x\n", b"is no offset")):
                answer = publisher.ask(request)
                assert answer.startswith(b"#error ") and why in answer and answer.count(b"\n") == 1, answer
            publisher.process.terminate()
            assert publisher.process.wait(timeout=30 * PATIENCE) == 0 and "1000 readings published" in publisher.process.stderr.read()


def test_the_log_of_a_publisher_is_bounded():
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "published")
        with Publisher(log, "--devices", "100", "--interval", "10 ms", "--count", "10000", "--log-size", "100 kb", "--linger", "60 s") as publisher:
            assert b"#error" in publisher.ask(b"weir-replay 0 other\n")  # it stays for those that ask
            # While one reads slowly, nothing that it lacks is given up.
            with socket.create_connection(("127.0.0.1", publisher.port), timeout=60 * PATIENCE) as slow:
                wait_for("a log past its bound", lambda: os.path.getsize(log) > 200000)
                read = b""
                while part := slow.recv(65536):
                    read += part
            assert read.count(b"\n") == 10000, read.count(b"\n")
            early = publisher.ask(b"weir-replay earliest\n")
            first = int(early.split()[1])
            assert first > 0 and early.split(b"\n", 1)[1].startswith(b'{"device_id"') and len(early) < 110000
            assert os.stat(log).st_blocks * 512 < os.path.getsize(log) or os.path.getsize(log) < 200000, "no hole was made"


if __name__ == "__main__":
    main(globals())
