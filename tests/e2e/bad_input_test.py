#!/usr/bin/env python3
"""Bad input is answered with a sentence (what, where, what to do): never a crash, a hang or a silent loss. Each test prints what is said."""
import contextlib
import gzip
import json
import os
import shutil
import socket
import subprocess
import tempfile

from cli_test import expect, home, processes_of, weir
from weir_test import BUILD, JOBS, PATIENCE, WEIR, Cluster, Skip, main, read_rows, run, wait_for

STREAMS = os.path.join(JOBS, "streams.so")
MISTAKES = os.path.join(JOBS, "mistakes.so")
UNRESOLVED = os.path.join(JOBS, "unresolved.so")
NEWER_ABI = os.path.join(JOBS, "newer_abi.so")
FAULTS = os.path.join(JOBS, "faults.so")
NO_RESTART = ("-D", "restart-strategy.type=none")
SANITIZED = PATIENCE > 1


@contextlib.contextmanager
def directory():
    path = tempfile.mkdtemp(prefix="weir-e2e-bad-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def show(said):
    """The message, in the test's output; the last lines of a long one are its summary."""
    print("\n".join("#   " + line[:240] for line in said.strip().splitlines()[:6]))
    return said


def local(*arguments, **more):
    return run(WEIR, "run", "--local", *NO_RESTART, *arguments, env={"WEIR_HOME": "/nonexistent", "WEIR_REST": ""}, **more)


def fails_everywhere(cluster, *arguments, texts):
    """The same words in one process and on a cluster, where the job ends as FAILED."""
    show(expect(local(*arguments), 1, *texts))
    expect(cluster.weir("run", *NO_RESTART, *arguments), 1, "FAILED", *texts)
    wait_for("all slots", lambda: (o := cluster.rest("/overview")[1])["slots-available"] == o["slots-total"])


def refused_everywhere(cluster, job, *arguments, texts, options=()):
    """Before it runs: by info, in one process and by the JobManager, which goes on and has no such job."""
    jobs = len(cluster.rest("/jobs")[1]["jobs"])
    show(expect(weir("info", *options, job, *arguments), 1, *texts))
    expect(local(*options, job, *arguments), 1, *texts)
    expect(cluster.weir("run", *options, job, *arguments), 1, *texts)
    assert len(cluster.rest("/jobs")[1]["jobs"]) == jobs


def event(i, **more):
    return json.dumps({"id": i, "key": f"k{i % 3}", "value": i, "ts": "2024-01-01T00:00:00Z", **more}).encode() + b"\n"


# --- Input

def test_missing_input():
    with directory() as d, Cluster(slots=2) as cluster:
        fails_everywhere(cluster, STREAMS, "--input", f"{d}/nothing.json", texts=(f"{d}/nothing.json", "No such file", "events"))
        fails_everywhere(cluster, STREAMS, "--input", f"{d}/*.json", texts=(f"no file matches '{d}/*.json'",))


def test_unreadable_directory_and_file():
    with directory() as d:
        os.mkdir(f"{d}/closed")
        open(f"{d}/closed.json", "wb").write(event(1))
        # The system's manager may read everything: without that right for this command.
        mind = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        if mind and run(*mind, "true").returncode != 0:
            raise Skip("root, and setpriv cannot take the right to read everything away")
        for name in ("closed", "closed.json"):
            os.chmod(f"{d}/{name}", 0)
            done = run(*mind, WEIR, "run", "--local", *NO_RESTART, STREAMS, "--input", f"{d}/{name}", env={"WEIR_HOME": "/nonexistent"})
            show(expect(done, 1, f"{d}/{name}", "Permission denied"))
            os.chmod(f"{d}/{name}", 0o700)


def test_truncated_gz():
    with directory() as d, Cluster(slots=2) as cluster:
        whole = gzip.compress(b"".join(event(i) for i in range(20000)))
        open(f"{d}/cut.json.gz", "wb").write(whole[:len(whole) // 2])
        open(f"{d}/no.json.gz", "wb").write(b"this is no gzip data\n")
        open(f"{d}/flipped.json.gz", "wb").write(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
        fails_everywhere(cluster, STREAMS, "--input", f"{d}/cut.json.gz", "--output", f"{d}/out",
                         texts=(f"{d}/cut.json.gz", "truncated", f"byte {len(whole) // 2}"))
        fails_everywhere(cluster, STREAMS, "--input", f"{d}/no.json.gz", texts=(f"{d}/no.json.gz", "gzip"))
        fails_everywhere(cluster, STREAMS, "--input", f"{d}/flipped.json.gz", texts=(f"{d}/flipped.json.gz", "gzip"))
        wait_for("the removal of what the failed jobs had written", lambda: not os.listdir(f"{d}/out"))


BAD_RECORDS = {
    "not JSON": (b'{"id": 5, "key"\n', ()),
    "an array": (b"[1, 2]\n", ()),
    "wrong type": (event(5, id="five"), ("id",)),
    "a number out of range": (event(5, value=1 << 40), ("value",)),
    "a field that may not be NULL": (event(5, key=None), ("key",)),
    "no field that may not be NULL": (b'{"id": 5, "value": 1, "ts": "2024-01-01T00:00:00Z"}\n', ("key",)),
    "no time": (event(5, ts="yesterday"), ("ts",)),
    "invalid UTF-8": (event(5, key="@").replace(b"@", b"a\xff\xfeb"), ("UTF-8",)),
    "too long": (event(5, key="x" * 3000), ("record.size-max", "2048")),
}


def test_a_bad_record_fails_the_job_and_its_place_is_named():
    with directory() as d, Cluster(slots=2) as cluster:
        for n, (what, (record, texts)) in enumerate(BAD_RECORDS.items()):
            path = f"{d}/{n}.json"
            open(path, "wb").write(b"".join(event(i) for i in range(4)) + record + event(6))
            print(f"# {what}:")
            arguments = (STREAMS, "--input", path, "--output", f"{d}/out", "--record-size-max", "2048 bytes")
            place = f"{path}, byte {sum(len(event(i)) for i in range(4))}:"
            show(expect(local(*arguments), 1, place, "events", "on-error", *texts))
            if n in (0, len(BAD_RECORDS) - 1):
                expect(cluster.weir("run", *NO_RESTART, *arguments), 1, place, *texts)
            assert read_rows(f"{d}/out") == []


def test_bad_records_are_counted_or_put_aside():
    with directory() as d, Cluster(slots=2) as cluster:
        good = [event(i) for i in range(1000)]
        bad = [record for record, _ in BAD_RECORDS.values()]
        mixed = good[:]
        for n, record in enumerate(bad):
            mixed.insert(n * 100 + 7, record)
        open(f"{d}/in.json", "wb").write(b"".join(mixed))
        for where, runner in (("local", local), ("cluster", lambda *a: cluster.weir("run", *a))):
            for parallelism in (1, 2):
                out, dead = f"{d}/out-{where}-{parallelism}", f"{d}/dead-{where}-{parallelism}"
                arguments = ("-p", parallelism, STREAMS, "--input", f"{d}/in.json", "--output", out, "--record-size-max", "2048 bytes",
                             "--split-size", "20 kb")
                said = expect(runner(*arguments, "--on-error", "skip"), 0)
                assert sorted(row["id"] for row in read_rows(out)) == list(range(1000))
                if where == "local":
                    assert f"{len(bad)} bad" in show(said), said
                shutil.rmtree(out)
                expect(runner(*arguments, "--dead-letter", dead), 0)
                assert sorted(row["id"] for row in read_rows(out)) == list(range(1000))
                rows = read_rows(dead)
                assert len(rows) == len(bad), rows
                text = json.dumps(rows)
                assert "five" in text and f"{d}/in.json" in text, text
        show(json.dumps(rows[0]))
        job = cluster.rest("/jobs/overview")[1]["jobs"][0]["jid"]
        counted = [v["metrics"].get("bad-records", 0) for v in cluster.rest(f"/jobs/{job}")[1]["vertices"]]
        assert sum(counted) == len(bad), counted


# --- Shared objects

def test_broken_shared_objects():
    with directory() as d, Cluster() as cluster:
        good = open(STREAMS, "rb").read()
        files = {
            "text.so": (b"#!/bin/sh\necho no\n", "not a shared object"),
            "empty.so": (b"", "empty"),
            "cut.so": (good[:len(good) // 2], "cut off"),
            "short.so": (good[:30], "cut off"),
            "arm.so": (good[:18] + b"\xb7\x00" + good[20:], "built for another machine: arm64"),
            "s390.so": (good[:5] + b"\x02" + good[6:], "another machine"),
            "32bit.so": (good[:4] + b"\x01" + good[5:], "32 bit"),
            "zeros.so": (good[:64] + bytes(len(good) - 64), "zeros.so"),
        }
        if os.uname().machine == "aarch64":
            files["arm.so"] = (good[:18] + b"\x3e\x00" + good[20:], "built for another machine: x86-64")
        for name, (content, text) in files.items():
            open(f"{d}/{name}", "wb").write(content)
            refused_everywhere(cluster, f"{d}/{name}", texts=(name, text))
        shutil.copy(os.path.join(BUILD, "lib", "libweir.so"), f"{d}/library.so")
        refused_everywhere(cluster, f"{d}/library.so", texts=("library.so", "WEIR_JOB"))
        refused_everywhere(cluster, UNRESOLVED, texts=("unresolved.so", "'nobody_defines_this'", "link"))
        refused_everywhere(cluster, NEWER_ABI, texts=("newer_abi.so", "1.99", "1.2", "update"))
        done = local(NEWER_ABI)
        assert "code of the newer job ran" not in done.stdout + done.stderr
        shutil.copy(STREAMS, f"{d}/name with blanks.so")
        show(expect(cluster.weir("run", f"{d}/name with blanks.so"), 1, "name with blanks.so", ".so"))


def test_a_job_that_loops_crashes_or_ends_while_it_is_built():
    with Cluster(config={"job.build.timeout": f"{int(PATIENCE)} s"}) as cluster:
        limit = ("-D", f"job.build.timeout={int(PATIENCE)} s")
        refused_everywhere(cluster, MISTAKES, "--how", "loop", options=limit, texts=("took longer than",))
        signal = () if SANITIZED else ("SIGSEGV",) # a sanitizer ends the process itself
        refused_everywhere(cluster, MISTAKES, "--how", "crash", texts=("mistakes.so", *signal, "while building the graph"))
        refused_everywhere(cluster, MISTAKES, "--how", "exit", texts=("mistakes.so", "ended the process while building the graph"))
        if not SANITIZED: # their allocators have limits of their own
            refused_everywhere(cluster, MISTAKES, "--how", "memory", texts=("mistakes.so", "SIGSEGV", "1024 MiB"))
        wait_for("the end of the children", lambda: not [p for p in processes_of(cluster.home) if "build-job" in command_of(p)])


def command_of(pid):
    with contextlib.suppress(OSError):
        return open(f"/proc/{pid}/cmdline").read()
    return ""


# --- Graphs

def test_mistakes_in_the_graph_name_operator_and_source_line():
    with Cluster() as cluster:
        for how, *texts in (("column", "hot", "kex", "key"), ("syntax", "hot", "AND"), ("expression-type", "hot", "column 5", "CONCAT"),
                            ("row-type", "warm", "key", "STRING", "DOUBLE"), ("union-type", "all", "key", "STRING", "BIGINT"),
                            ("option", "'row'", "'rows'"), ("connector", "filesytem", "filesystem")):
            print(f"# {how}:")
            refused_everywhere(cluster, MISTAKES, "--how", how, texts=("mistakes.c:", *texts))
        refused_everywhere(cluster, MISTAKES, "--how", "two", texts=("idd", "kez", "first", "third")) # all at once
        refused_everywhere(cluster, MISTAKES, options=("-p", "200"), texts=("200", "128", "pipeline.max-parallelism"))


def field(number, value):
    """One field in protobuf's wire format: int as a varint, bytes and text with their size."""
    def varint(n):
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def vertex(id, op, *options, name=None):
    return field(3, field(1, id) + field(2, op) + field(3, name or op) + field(6, field(1, field(1, "id") + field(2, "BIGINT NOT NULL"))) +
                 b"".join(field(5, field(1, key) + field(2, value)) for key, value in options))


def edge(source, target, input=0):
    return field(4, field(1, source) + field(2, target) + field(4, input))


def graph(*parts, version=1):
    return field(1, version) + field(2, "by hand") + b"".join(parts)


SOURCE = vertex(1, "source", ("connector", "datagen"), ("rows", "10"))
SINK = vertex(9, "sink", ("connector", "blackhole"))


def test_job_graphs_by_hand():
    octets = {"Content-Type": "application/octet-stream"}
    good = graph(SOURCE, SINK, edge(1, 9))
    condition = ("condition", "id > 3")
    cycle = graph(SOURCE, vertex(2, "union"), vertex(3, "filter", condition), SINK, edge(1, 2), edge(3, 2, 1), edge(2, 3), edge(3, 9))
    cases = {
        "a cycle": (cycle, "cycle"),
        "a cycle of one": (graph(SOURCE, vertex(2, "union"), SINK, edge(1, 2), edge(2, 2, 1), edge(2, 9)), "cycle"),
        "nothing but a cycle": (graph(vertex(2, "filter", condition), vertex(3, "filter", condition), edge(2, 3), edge(3, 2)), "cycle"),
        "not a graph": (b"\xff\xff\xff\xff no protobuf", "JobGraph"),
        "nothing": (b"", "empty"),
        "half a graph": (good[:-3], "JobGraph"),
        "another version": (graph(SOURCE, SINK, edge(1, 9), version=7), "version 7"),
        "an edge to nowhere": (graph(SOURCE, SINK, edge(1, 9), edge(1, 77)), "77"),
        "no sink": (graph(SOURCE), "sink"),
        "an unknown operator": (graph(SOURCE, vertex(2, "filtr", condition), SINK, edge(1, 2), edge(2, 9)), "filtr"),
        "a bad expression": (graph(SOURCE, vertex(2, "filter", ("condition", "idd > 3")), SINK, edge(1, 2), edge(2, 9)), "idd"),
    }
    with Cluster() as cluster:
        for what, (data, text) in cases.items():
            status, reply = cluster.rest("/jobs", "POST", data, octets)
            assert status in (400, 413) and text in reply["errors"][0], (what, status, reply)
            print(f"# {what}:")
            show(reply["errors"][0])
        assert cluster.rest("/jobs")[1] == {"jobs": []}
        status, reply = cluster.rest("/jobs", "POST", good, octets)
        assert status == 202, reply
        cluster.wait_state(reply["jobid"], "FINISHED")
        status, reply = cluster.rest("/jobs", "POST", b"{}", {"Content-Type": "application/json"})
        assert status == 400 and "octet-stream" in show(reply["errors"][0]), reply


def test_too_few_slots():
    with Cluster(slots=1) as cluster:
        job = cluster.submit(FAULTS, options=("-p", "3"))
        status = show(wait_for("a status", lambda: cluster.rest(f"/jobs/{job}")[1].get("status")))
        assert "3" in status and "1" in status and "slot" in status, status
        assert cluster.state(job) in ("CREATED", "RUNNING")
        expect(cluster.weir("cancel", job), 0)
        cluster.wait_state(job, "CANCELED")


# --- Sinks

def test_full_disk_in_a_sink():
    with directory() as d:
        open(f"{d}/in.json", "wb").write(b"".join(event(i, key="x" * 200) for i in range(20000)))
        with open("/dev/full", "w") as full:
            done = subprocess.run([WEIR, "run", "--local", *NO_RESTART, STREAMS, "--input", f"{d}/in.json", "--output", "-"], text=True,
                                  stdout=full, stderr=subprocess.PIPE, timeout=60 * PATIENCE, env=dict(os.environ, WEIR_HOME="/nonexistent"))
            done.stdout = ""
            show(expect(done, 1, "No space left on device"))
        os.mkdir(f"{d}/small")
        if run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", f"{d}/small").returncode != 0:
            raise Skip("a small disk is a tmpfs, and this user may not mount one (print to /dev/full was tested)")
        try:
            with Cluster(slots=2) as cluster:
                fails_everywhere(cluster, STREAMS, "--input", f"{d}/in.json", "--output", f"{d}/small/out",
                                 texts=(f"{d}/small/out", "No space left on device"))
            assert read_rows(f"{d}/small/out") == []
        finally:
            run("umount", f"{d}/small")


def test_an_output_directory_that_cannot_be():
    with directory() as d, Cluster(slots=2) as cluster:
        open(f"{d}/in.json", "wb").write(event(1))
        fails_everywhere(cluster, STREAMS, "--input", f"{d}/in.json", "--output", f"{d}/in.json", texts=(f"{d}/in.json", "not a directory"))
        fails_everywhere(cluster, STREAMS, "--input", f"{d}/in.json", "--output", "/proc/no/such", texts=("/proc/no",))


# --- Daemons and configuration

def test_port_in_use():
    for key in ("rest.port", "jobmanager.rpc.port"):
        other = "jobmanager.rpc.port" if key == "rest.port" else "rest.port"
        with socket.socket() as taken, home() as d:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            show(expect(weir("cluster", "start", "-D", f"{key}={port}", "-D", f"{other}=0", home=d), 1, str(port), "in use"))
            wait_for("the end of the daemons", lambda: not processes_of(d))
            assert os.listdir(os.path.join(d, "run")) == []


def test_bind_beyond_loopback_is_refused():
    for key in ("rest.bind-address", "jobmanager.bind-host", "taskmanager.bind-host"):
        with home() as d:
            ports = ("-D", "rest.port=0", "-D", "jobmanager.rpc.port=0")
            show(expect(weir("cluster", "start", *ports, "-D", f"{key}=0.0.0.0", home=d), 1, key, "0.0.0.0", "security.insecure"))
            assert not processes_of(d)
    with Cluster(config={"rest.bind-address": "0.0.0.0", "security.insecure": "true"}) as cluster:
        assert cluster.rest("/config")[1]["weir-insecure"] is True
        assert "insecure" in open(cluster.path("logs", "jobmanager.log")).read()


def test_wrong_configuration():
    with home() as d:
        os.mkdir(f"{d}/conf")
        file = f"{d}/conf/weir.yaml"
        for line, *texts in (("rest.prot: 8081", "'rest.prot'", "'rest.port'"), ("rest.port: many", "rest.port", "many"),
                             ("heartbeat.interval: 5 parsecs", "heartbeat.interval", "parsecs"), ("rest.port: 99999", "65535"),
                             ("log.format: loud", "log.format", "json"), ("rest:", "rest"), ("rest.port 1", "key: value"),
                             ("log.level: warn", "twice", "weir.yaml:2")):
            open(file, "w").write(f"# what a cluster needs\nlog.level: info\n\n{line}\n")
            show(expect(weir("cluster", "start", home=d), 2, f"{file}:4", *texts))
        assert not processes_of(d)
        open(file, "w").write("log.level: info\n")
        expect(weir("cluster", "start", home=d, WEIR_REST_PROT="1"), 2, "WEIR_REST_PROT", "WEIR_REST_PORT")
        expect(weir("run", "--local", "-D", "restart-strategy.tpye=none", FAULTS, home=d), 2, "restart-strategy.tpye", "restart-strategy.type")
    with Cluster() as cluster:
        show(expect(cluster.weir("run", "-D", "restart-strategy.tpye=none", FAULTS), 2, "restart-strategy.tpye", "restart-strategy.type"))
        expect(cluster.weir("run", "-D", "restart-strategy.type=never", FAULTS), 2, "restart-strategy.type", "never", "fixed-delay")


# --- REST

def test_rest_bodies_that_are_not_json():
    with Cluster() as cluster:
        with open(FAULTS, "rb") as file:
            body = (b'--BB\r\nContent-Disposition: form-data; name="jarfile"; filename="faults.so"\r\n\r\n' + file.read() + b"\r\n--BB--\r\n")
        status, reply = cluster.rest("/jars/upload", "POST", body, {"Content-Type": "multipart/form-data; boundary=BB"})
        assert status == 200, reply
        jar = reply["filename"].rsplit("/", 1)[1]
        for body in (b"{nope", b"[1]", b"\xff\xfe", b"{" * 100000, b'{"parallelism": "x"}', b'{"parallelism": -1}', b'{"programArgsList": 3}',
                     b'{"flinkConfiguration": []}', b'{"a": 1e999}', b'"text"', b'{"a": "\\ud800"}'):
            status, reply = cluster.rest(f"/jars/{jar}/run", "POST", body, {"Content-Type": "application/json"})
            assert status == 400 and set(reply) == {"errors"} and reply["errors"][0], (body[:40], status, reply)
            show(body[:20].decode(errors="replace") + "  ->  " + reply["errors"][0])
        for body, kind in ((b"no parts", "text/plain"), (b"--BB--\r\n", "multipart/form-data; boundary=BB"), (b"x", "multipart/form-data")):
            status, reply = cluster.rest("/jars/upload", "POST", body, {"Content-Type": kind})
            assert status == 400 and reply["errors"], (status, reply)
        assert cluster.rest("/jobs")[1] == {"jobs": []}


def send_until_refused(port, head, size, chunked=False):
    """Sends `size` bytes behind the head as long as they are taken; (status, bytes that were)."""
    block, sent = b"x" * 65536, 0
    frame = b"%x\r\n%s\r\n" % (len(block), block) if chunked else block
    with socket.create_connection(("127.0.0.1", port), timeout=30 * PATIENCE) as s:
        s.sendall(head)
        s.settimeout(5 * PATIENCE)
        with contextlib.suppress(OSError):
            while sent < size:
                s.settimeout(0.001)
                with contextlib.suppress(TimeoutError, BlockingIOError):
                    if s.recv(1, socket.MSG_PEEK):
                        break
                s.settimeout(5 * PATIENCE)
                s.sendall(frame)
                sent += len(block)
        s.settimeout(30 * PATIENCE)
        reply = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in reply and (more := s.recv(65536)):
                reply += more
    return (int(reply.split()[1]) if reply else None), sent


def peak_mb(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def test_a_body_of_10_gb():
    with Cluster(config={"rest.upload-max-size": "4 mb"}) as cluster:
        pid = json.load(open(cluster.path("run", "jobmanager.json")))["pid"]
        before = peak_mb(pid)
        for path, kind in (("/jars/upload", "multipart/form-data; boundary=BB"), ("/jobs", "application/octet-stream"),
                           ("/jars/00000000-0000-0000-0000-000000000000_x.so/run", "application/json")):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            part = '--BB\r\nContent-Disposition: form-data; name="jarfile"; filename="x.so"\r\n\r\n' if "B" in kind else ""
            status, sent = send_until_refused(cluster.port, f"{head}Content-Length: {10 << 30}\r\n\r\n{part}".encode(), 10 << 30)
            assert status == 413 and sent < 64 << 20, (path, status, sent)
            # Without a size said before: when it has become too much it is refused, and soon the connection is closed.
            first = f"{len(part):x}\r\n{part}\r\n" if part else ""
            status, sent = send_until_refused(cluster.port, f"{head}Transfer-Encoding: chunked\r\n\r\n{first}".encode(), 10 << 30, True)
            assert status in (413, None) and sent < 128 << 20, (path, "chunked", status, sent)
            print(f"#   {path}: 413")
        assert peak_mb(pid) < before + 32 * PATIENCE, (before, peak_mb(pid))
        print(f"#   the JobManager's memory at its peak: {peak_mb(pid):.0f} MB, {before:.0f} before")
        assert cluster.rest("/overview")[0] == 200
        left = [os.path.join(at, name) for at, _, names in os.walk(cluster.path("data", "jars")) for name in names]
        assert left == [], left


def test_requests_that_are_not_http():
    with Cluster(config={"rest.server.timeout": f"{int(PATIENCE)} s"}) as cluster:
        for request in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                        b"GET /overview HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n", b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
                        b"GET /jobmanager/logs/..%2f..%2fconf HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /jobs HTTP/1.1\r\nContent-Length: -5\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", cluster.port), timeout=30 * PATIENCE) as s:
                reply = b""
                with contextlib.suppress(OSError):
                    s.sendall(request)
                    s.shutdown(socket.SHUT_WR)
                    while more := s.recv(65536):
                        reply += more
                assert not reply or 400 <= int(reply.split()[1]) < 500, (request[:40], reply[:100])
        assert cluster.rest("/overview")[1]["taskmanagers"] == 1


if __name__ == "__main__":
    main(globals())
