#!/usr/bin/env python3
"""Clusters whose checkpoints are on S3: what is refused at the start, in words, and a clock that is wrong. (Exactly once on S3, with kills: tests/torture.)"""
import collections
import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from s3_kit import KEYS, S3, Proxy  # noqa: E402
from weir_test import BUILD, JOBS, PATIENCE, Cluster, free_port, main, read_rows, wait_for  # noqa: E402

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
#define SKEW 7200
int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, t);
    if (id == CLOCK_REALTIME)
        t->tv_sec += SKEW;
    return failed;
}
time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}
int gettimeofday(struct timeval *out, void *zone)
{
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    out->tv_sec = t.tv_sec;
    out->tv_usec = t.tv_nsec / 1000;
    return 0;
}
"""


def refused(endpoint, dir="s3://weir-test/state", config=None, **env):
    """What a JobManager says that does not start."""
    with tempfile.TemporaryDirectory() as home:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        options = [o for k, v in {"rest.port": "0", "jobmanager.rpc.port": free_port(), "execution.checkpointing.dir": dir, "s3.endpoint": endpoint,
                                  "s3.attempts": "2", **(config or {})}.items() for o in ("-D", f"{k}={v}")]
        done = subprocess.run([os.path.join(BUILD, "bin", "weir-jobmanager"), *options], timeout=90 * PATIENCE, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              env={**clean, "WEIR_HOME": home, "HOME": home, "AWS_EC2_METADATA_DISABLED": "true", **env})
        assert done.returncode in (1, 2), done
        said = [line for line in done.stderr.splitlines() if line.startswith("weir-jobmanager: ")]
        assert len(said) == 1 and "execution.checkpointing.dir" in said[0], done.stderr
        return said[0]


def test_refused_at_the_start():
    with S3() as s3:
        keys = {k: v for k, v in KEYS.items() if k.startswith("AWS_A") or k.startswith("AWS_S")}
        for want, arguments, env in (
                (("there is no bucket 'none'",), {"dir": "s3://none/state"}, keys),
                (("SignatureDoesNotMatch", "the environment"), {}, {**keys, "AWS_SECRET_ACCESS_KEY": "wrong"}),
                (("the access key 'stranger...' from the environment is not known",), {}, {**keys, "AWS_ACCESS_KEY_ID": "stranger"}),
                (("no credentials for S3 were found",), {}, {}),
                (("s3://BUCKET/PREFIX",), {"dir": "gs://weir-test/x"}, keys)):
            said = refused(s3.endpoint, **arguments, **env)
            assert all(part in said for part in want) and "wrong" not in said, (want, said)
        said = refused(f"http://127.0.0.1:{free_port()}", **keys)
        assert "refused" in said.lower() or "connect" in said.lower(), said


class Careless(http.server.BaseHTTPRequestHandler):
    """A store that takes every write, whatever its conditions say."""
    protocol_version = "HTTP/1.1"
    objects = {}

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "PUT":
            self.objects[self.path] = body
        self.send_response(200 if self.command != "DELETE" else 204)
        self.send_header("ETag", f'"{len(self.objects)}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer


def test_a_store_that_cannot_compare_and_swap():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    said = refused(f"http://127.0.0.1:{server.server_address[1]}", **KEYS)
    server.shutdown()
    assert "does not refuse a second write with If-None-Match" in said and "Use a store with conditional writes" in said, said


def test_a_clock_two_hours_ahead():
    """S3 refuses what is signed at another time; the store's Date says by how much. Checkpoints go on, and every row comes out once."""
    with S3() as s3, tempfile.TemporaryDirectory() as directory:
        source, shim = os.path.join(directory, "clock.c"), os.path.join(directory, "clock.so")
        with open(source, "w") as file:
            file.write(CLOCK)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", source, "-o", shim, "-ldl"], check=True)
        config = {"execution.checkpointing.dir": "s3://weir-test/state", "s3.endpoint": s3.endpoint, "execution.checkpointing.interval": "100 ms"}
        os.environ.update(KEYS, LD_PRELOAD=shim)
        try:
            with Cluster(config=config) as cluster:
                del os.environ["LD_PRELOAD"]
                job = cluster.submit(os.path.join(JOBS, "once.so"), "--output", cluster.path("o"), "--rows-output", cluster.path("r"), "--rows", "20000", "--rate", "20000")
                cluster.wait_state(job, "FINISHED")
                ids = collections.Counter(row["id"] for row in read_rows(cluster.path("r")))
                assert len(ids) == 20000 and set(ids.values()) == {1}, (len(ids), set(ids.values()))
                log = open(cluster.path("logs", "jobmanager.log")).read()
                assert log.count("is complete") > 2 and "clock" in log, log[-3000:]
        finally:
            os.environ.pop("LD_PRELOAD", None)
            for key in KEYS:
                os.environ.pop(key, None)


def test_state_of_a_savepoint_in_a_bucket():
    with S3() as s3:
        config = {"execution.checkpointing.dir": "s3://weir-test/state", "s3.endpoint": s3.endpoint, "execution.checkpointing.interval": "100 ms"}
        os.environ.update(KEYS)
        try:
            with Cluster(slots=2, config=config) as cluster:
                job = cluster.submit(os.path.join(JOBS, "once.so"), "--output", cluster.path("o"), "--rows-output", cluster.path("r"),
                                     "--rows", "1000000", "--count-by", "process", options=("-p", "2"))
                wait_for("three checkpoints", lambda: cluster.rest(f"/jobs/{job}/checkpoints")[1]["counts"]["completed"] >= 3)
                made = cluster.weir("savepoint", job, "s3://weir-test/kept", "-o", "json")
                assert made.returncode == 0, made.stderr
                path = json.loads(made.stdout)["location"]
                keys = ("-D", f"s3.endpoint={s3.endpoint}")
                inspected = cluster.weir("state", "inspect", path, *keys, "-o", "json")
                assert inspected.returncode == 0, inspected.stderr
                offsets = [o for op in json.loads(inspected.stdout)["operators"] for s in op["states"] for o in s.get("offsets", [])]
                given = sorted(i for o in offsets for i in range(o["subtask"], int(o["position"].split()[0]), 2))
                ids = cluster.weir("state", "read", path + "/_metadata", "--operator", "by hand", "--state", "ids", *keys)
                assert sorted(json.loads(line)["value"] for line in ids.stdout.splitlines()) == given and given, ids.stderr
                gone = cluster.weir("state", "inspect", "s3://weir-test/kept/none", *keys)
                assert gone.returncode == 4 and "there is no _metadata" in gone.stderr, gone
                wrong = cluster.weir("state", "inspect", "s3://none/x", *keys)
                assert wrong.returncode != 0 and "there is no bucket 'none'" in wrong.stderr, wrong
        finally:
            for key in KEYS:
                os.environ.pop(key, None)


def test_output_of_a_savepoint_follows_what_comes_before():
    """A bucket that takes nothing of a checkpoint's output for a while, and a job that begins with a savepoint of what follows: were that published first, the
    job that it is of would take its own for published, and lose it."""
    held = {"holds": True, "first": None}

    def trouble(method, path):
        if not held["holds"] or method != "PUT" or "/rows/part-" not in path:
            return None
        held["first"] = held["first"] or path
        return 500 if path == held["first"] else None

    with S3() as s3:
        proxy = Proxy(s3.endpoint, trouble)
        config = {"execution.checkpointing.dir": "s3://weir-test/state", "s3.endpoint": proxy.endpoint, "s3.attempts": "2",
                  "execution.checkpointing.interval": "100 ms"}
        os.environ.update(KEYS)
        try:
            with Cluster(slots=2, config=config) as cluster:
                what = (os.path.join(JOBS, "once.so"), "--output", cluster.path("o"), "--rows-output", "s3://weir-test/rows", "--rows", "60000", "--rate", "20000")
                first = cluster.submit(*what)
                wait_for("output that is not taken", lambda: held["first"])
                made = cluster.weir("savepoint", first, cluster.path("kept"), "-o", "json")
                assert made.returncode == 0, made.stderr
                cancelled = cluster.weir("cancel", first)
                assert cancelled.returncode == 0, cancelled.stderr
                second = cluster.submit(*what, options=("-s", json.loads(made.stdout)["location"]))
                wait_for("the second job's output to wait", lambda: "the job that it is of must publish it" in open(cluster.path("logs", "taskmanager-1.log")).read()
                         or cluster.state(second) in ("FINISHED", "FAILED"))
                held["holds"] = False
                cluster.wait_state(second, "FINISHED")
                s3.refresh()
                ids = collections.Counter(row["id"] for row in read_rows(os.path.join(s3.bucket(), "rows")))
                assert len(ids) == 60000 and set(ids.values()) == {1}, (len(ids), min(set(range(60000)) - set(ids), default=None), set(ids.values()))
        finally:
            for key in KEYS:
                os.environ.pop(key, None)


def test_a_late_writer_lowers_no_marker():
    """What a TaskManager wrote of what is published gets to the bucket when that TaskManager is dead, and another has published more: it is refused."""
    held, goes_on, over = {"armed": False, "thread": None, "status": None}, threading.Event(), threading.Event()

    def trouble(method, path):
        if held["armed"] and method == "PUT" and "/rows/_weir/" in path and not held["thread"]:
            held.update(thread=threading.get_ident(), path=path)
            goes_on.wait(120 * PATIENCE)

    def answered(method, path, status):
        if held["thread"] == threading.get_ident() and method == "PUT":
            held["status"] = held["status"] or status
            over.set()

    with S3() as s3:
        proxy = Proxy(s3.endpoint, trouble, answered)
        config = {"execution.checkpointing.dir": "s3://weir-test/state", "s3.endpoint": proxy.endpoint, "execution.checkpointing.interval": "100 ms",
                  "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "100", "restart-strategy.fixed-delay.delay": "100 ms"}
        os.environ.update(KEYS)
        try:
            with Cluster(taskmanagers=2, config=config) as cluster:
                job = cluster.submit(os.path.join(JOBS, "once.so"), "--output", cluster.path("o"), "--rows-output", "s3://weir-test/rows", "--rows", "200000", "--rate", "20000")
                wait_for("two checkpoints", lambda: cluster.rest(f"/jobs/{job}/checkpoints")[1]["counts"]["completed"] >= 2)
                held["armed"] = True
                wait_for("a marker to be held up", lambda: held["thread"])
                before = int(s3.get(held["path"]))
                vertex = cluster.rest(f"/jobs/{job}")[1]["vertices"][0]["id"]
                host = cluster.rest(f"/jobs/{job}/vertices/{vertex}")[1]["subtasks"][0]["taskmanager-id"]
                os.kill(next(pid for pid in map(cluster.taskmanager_pid, (1, 2)) if f"-{pid}-" in host), signal.SIGKILL)
                wait_for("the other one to publish more", lambda: int(s3.get(held["path"])) > before + 2)
                goes_on.set()
                assert over.wait(60 * PATIENCE) and held["status"] == 412, held
                assert int(s3.get(held["path"])) > before + 2
                cluster.wait_state(job, "FINISHED")
                s3.refresh()
                ids = collections.Counter(row["id"] for row in read_rows(os.path.join(s3.bucket(), "rows")))
                assert len(ids) == 200000 and set(ids.values()) == {1}, (len(ids), set(ids.values()))
        finally:
            goes_on.set()
            for key in KEYS:
                os.environ.pop(key, None)


if __name__ == "__main__":
    main(globals())
