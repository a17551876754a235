#!/usr/bin/env python3
"""A hostile client at every port: rubbish, cut-off, repeated, reordered and oversized frames and requests, thousands of idle
connections, slow readers and slow writers. No daemon ends or grows, and those who behave notice nothing: a job runs all the while and
its result is right, and `weir list` answers.
"""
import contextlib
import json
import os
import random
import resource
import shutil
import socket
import struct
import tempfile
import threading
import time

import zmtp
from weir_test import JOBS, PATIENCE, Cluster, main, read_rows, wait_for

FAULTS = os.path.join(JOBS, "faults.so")
PACED = os.path.join(JOBS, "paced.so")
SEED = int(os.environ.get("WEIR_TEST_SEED", "1"))
GROWTH_MAX = 64 << 20  # bytes of resident memory over what there was before
ROWS = 200000  # of the job that runs meanwhile: 10 s

# Thousands of connections are files of this process, too.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))


def resident(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Target:
    """A cluster of two TaskManagers with a job on both, and what is expected of it in the end."""

    def __enter__(self):
        self.random = random.Random(SEED)
        self.out = tempfile.mkdtemp(prefix="weir-e2e-out-")
        self.cluster = Cluster(taskmanagers=2, slots=1, config={"heartbeat.timeout": f"{int(10 * PATIENCE)} s"})
        self.cluster.__enter__()
        state = json.load(open(self.cluster.path("run", "jobmanager.json")))
        self.rest_port, self.rpc_port = state["rest_port"], state["rpc_port"]
        self.job = self.cluster.submit(PACED, "--output", self.out, "--rows", str(ROWS), "--rate", "20000",
                                       options=("-p", "2", "-D", "restart-strategy.type=none"))
        self.cluster.wait_state(self.job, "RUNNING")
        self.executors = wait_for("two executors", lambda: len(self.cluster.executor_pids()) == 2 and
                                  self.cluster.executor_pids())
        self.daemons = {"jobmanager": state["pid"], "taskmanager 1": self.cluster.taskmanager_pid(1),
                        "taskmanager 2": self.cluster.taskmanager_pid(2)}
        self.daemons.update({f"executor {i}": pid for i, pid in enumerate(self.executors, 1)})
        wait_for("executors that listen", lambda: all(listening(pid) for pid in self.executors))
        self.data_ports = [p for pid in self.executors for p in listening(pid)]
        time.sleep(1)  # caches fill: what grows from here on is counted
        self.before = {name: (resident(pid), files(pid)) for name, pid in self.daemons.items()}
        self.stop = threading.Event()
        self.listed, self.list_failed = 0, None
        self.lister = threading.Thread(target=self.keep_listing, daemon=True)
        self.lister.start()
        return self

    def keep_listing(self):
        while not self.stop.is_set():
            done = self.cluster.weir("list", "-a", timeout_s=60)
            if done.returncode != 0 or self.job[:8] not in done.stdout:
                self.list_failed = f"weir list: {done.returncode} {done.stdout} {done.stderr}"
                return
            self.listed += 1
            self.stop.wait(0.2)

    def check_bounds(self):
        """All processes are the ones of the beginning, with no more memory and files than then."""
        for name, pid in self.daemons.items():
            if name.startswith("executor") and self.cluster.state(self.job) != "RUNNING":
                continue  # it was quicker than we: its result counts
            assert os.path.exists(f"/proc/{pid}/status"), f"{name} has ended"
            memory, count = self.before[name]
            wait_for(f"files of {name} given back ({files(pid)}, before {count})",
                     lambda p=pid, c=count: files(p) <= c + 8, 60)
            wait_for(f"memory of {name} given back ({(resident(pid) - memory) >> 20} MB more than before)",
                     lambda p=pid, m=memory: resident(p) - m < GROWTH_MAX * max(1, PATIENCE), 20)

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.check_bounds()
                count = self.listed
                wait_for("more lists after it all", lambda: self.listed > count or self.list_failed, 60)
                self.stop.set()
                self.lister.join()
                assert not self.list_failed, self.list_failed
                self.cluster.wait_state(self.job, "FINISHED", timeout_s=120)
                detail = self.cluster.rest(f"/jobs/{self.job}")[1]
                assert all(v["status"] == "FINISHED" for v in detail["vertices"]), detail
                rows = read_rows(self.out)
                assert sum(row["n"] for row in rows) == ROWS, sum(row["n"] for row in rows)
        except BaseException as error:
            kind = kind or type(error)
            raise
        finally:
            self.stop.set()
            self.cluster.__exit__(kind, value, trace)
            shutil.rmtree(self.out, ignore_errors=True)


def listening(pid):
    """TCP ports that a process listens on."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    ports = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).read().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                ports.append(int(words[1].split(":")[1], 16))
    return ports


def say(port, data, wait_s=2.0, answer_max=1 << 20):
    """Connects, sends, and reads what comes until the other side closes or is silent for wait_s."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.settimeout(wait_s * PATIENCE)
        with contextlib.suppress(OSError):
            s.sendall(data)
        with contextlib.suppress(OSError):
            while len(answer) < answer_max:
                part = s.recv(65536)
                if not part:
                    break
                answer += part
    return answer


def leave(port, data):
    """Connects, sends and goes, without reading."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(data)


def greetings(r):
    """What is no ZMTP, or nearly so."""
    hello, ready = zmtp.greeting(), zmtp.ready()
    yield from (b"", b"\0", b"\xff", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", hello[:9], hello[:11], hello[:63], hello)
    yield b"\x01\x00" * 100  # ZMTP 1.0: an anonymous peer and empty frames
    yield b"\x05\x00hell" + b"\x7e\x00" * 50
    for major, minor in ((0, 0), (1, 0), (2, 0), (3, 0), (3, 255), (255, 255)):
        yield zmtp.greeting(major, minor) + ready + zmtp.frame(b"x" * 10)
    for mechanism in (b"PLAIN", b"CURVE", b"GSSAPI", b"\xff" * 20, b"NULL\x01"):
        yield zmtp.greeting(mechanism=mechanism) + ready
    yield hello + zmtp.frame(b"\x05READY\xff" + b"A" * 10, command=True)
    yield hello + zmtp.frame(b"\x05READY\x0bSocket-Type\xff\xff\xff\xffDEALER", command=True)
    yield hello + zmtp.frame(b"\xffREADY", command=True) + zmtp.frame(b"", command=True)
    yield hello + zmtp.ready(socket_type=b"PUB") + hello + zmtp.ready(identity=b"i" * 70000)
    yield hello + zmtp.ready(identity=b"\0zero") + zmtp.ready(identity=b"i" * 255)
    yield hello + ready + b"\x02" + b"\xff" * 8 + b"x"
    yield hello + ready + b"\x02" + struct.pack(">Q", 1 << 40) + b"x"
    yield hello + ready + b"\x02" + struct.pack(">Q", 1 << 29) + b"x" * 1000
    yield hello + ready + b"\x80\xff\xff" + r.randbytes(300)
    yield hello + ready + zmtp.frame(b"\x04PING", command=True) + zmtp.frame(b"\x04PING\0\0" + b"c" * 17, command=True)
    yield hello + ready + zmtp.frame(b"\x09SUBSCRIBE", command=True) + zmtp.frame(b"part", more=True) * 300
    for _ in range(40):
        yield r.randbytes(r.randrange(1, 400))
        yield hello + ready[:r.randrange(len(ready))] + r.randbytes(r.randrange(100))
        yield hello + ready + r.randbytes(r.randrange(1, 400))


def mutations(r, messages, count):
    """Bytes flipped, cut, doubled, joined."""
    for _ in range(count):
        data = bytearray(r.choice(messages))
        for _ in range(r.randrange(1, 5)):
            at = r.randrange(len(data) + 1)
            what = r.randrange(5)
            if what == 0 and at < len(data):
                data[at] ^= 1 << r.randrange(8)
            elif what == 1:
                del data[at:]
            elif what == 2:
                data[at:at] = r.choice(messages)[:r.randrange(40)]
            elif what == 3:
                data[at:at + 1] = bytes([r.randrange(256)])
            else:
                data += r.choice((b"\xff" * 9, b"\0", bytes(data[at:])))
        yield bytes(data[:100000])


def control_messages(epoch):
    """One of each kind, in both directions. TaskManager ids are such that none of them can register (128 bytes)."""
    task = zmtp.message(f1=0, f2=1, f3=1)
    failure = zmtp.message(f1="UserCodeCrash", f2="no\xff", f3="#0\n" * 100, f6=11, f7=1)
    metrics = zmtp.message(f1="0" * 32, f2=task, f3=1 << 63, f10=1 << 63, f11=[zmtp.message(f1=i) for i in range(5)])
    report = zmtp.message(f1="0" * 32, f2="1" * 32, f3=2, f4="tcp://x:1", f6=failure, f8=[0, 1 << 31])
    bodies = {
        10: zmtp.message(f1=(1 << 64) - 1),
        11: zmtp.message(f1="t" * 128, f2="h" * 1000, f3=1 << 31, f4=70000, f5=-1, f7="/log", f9=[report] * 3, f21=1),
        12: zmtp.message(f1=1, f2="why", f3=-1, f4=-1),
        13: zmtp.message(f1=1, f2=[metrics] * 3, f3=zmtp.message(f1=1 << 60)),
        14: zmtp.message(f1=5),
        15: zmtp.message(f1="0" * 32, f2="1" * 32, f4=b"\xff" * 50, f5="a" * 64, f7=[0, 1, 2]),
        16: zmtp.message(f1="0" * 32, f2=1),
        17: zmtp.message(f1="0" * 32, f2=[task] * 9, f3=[7], f4=[zmtp.message(f1="x", f2="tcp://::")]),
        18: zmtp.message(f1="0" * 32, f2=[task, b""]),
        19: zmtp.message(f1="1" * 32, f2=[zmtp.message(f1="filesystem", f2="/../..\n")]),
        21: zmtp.message(f1="1" * 32, f2=failure),
        22: report,
        23: zmtp.message(f1="0" * 32, f2="1" * 32, f3=task, f4=99, f5=failure),
        25: zmtp.message(f1=zmtp.message(f1="x"), f2="/etc/passwd", f4=1 << 31),
    }
    for version in (1, 0, 2):
        for session in (1, 2, 0):
            for identity in (1, 0, (1 << 64) - 1):
                for field, body in bodies.items():
                    yield zmtp.message(f1=version, f2=epoch, f3=identity, f4=session, **{f"f{field}": body})


def test_rubbish_on_the_control_and_data_ports():
    with Target() as target:
        r = target.random
        for port in [target.rpc_port, *target.data_ports]:
            for data in greetings(r):
                leave(port, data)
            for data in list(greetings(r))[:40]:
                say(port, data, wait_s=0.05)
        messages = list(control_messages(0))
        peer = zmtp.Peer(target.rpc_port, b"stranger")
        for data in messages:
            peer.send(data)
        for data in mutations(r, messages, 3000):
            peer.send(data)
        peer.close()
        # The same again by many, in another order; two at once with one identity; in parts; empty.
        for i in range(100):
            peer = zmtp.Peer(target.rpc_port, b"stranger-%d" % (i // 2))
            for data in r.sample(messages, 5):
                peer.send(data)
            peer.socket.sendall(zmtp.frame(b"a", more=True) + zmtp.frame(r.choice(messages)) + zmtp.frame(b""))
            if i % 3:
                peer.close()
        # What would unfold: 24 MB of empty messages in a heartbeat.
        peer = zmtp.Peer(target.rpc_port, b"unfolds")
        peer.send(zmtp.message(f1=1, f13=b"\x12\x00" * (12 << 20)))
        with contextlib.suppress(OSError):  # and one over the cap: the line is cut
            peer.socket.sendall(b"\x02" + struct.pack(">Q", 33 << 20) + b"\0" * (33 << 20))
        peer.close()
        target.check_bounds()


def test_a_message_with_a_later_leader_epoch_does_not_end_the_jobmanager():
    with Target() as target:
        for epoch in ((1 << 64) - 1, 1 << 63, int(time.time() * 1000) + 1000):
            peer = zmtp.Peer(target.rpc_port, b"later")
            for data in list(control_messages(epoch))[:60]:
                peer.send(data)
            peer.close()
        wait_for("word of it in the log", lambda: "leader epoch" in open(target.cluster.path("logs", "jobmanager.log")).read())


def test_frames_on_the_data_port_that_are_not_the_jobs():
    with Target() as target:
        r = target.random
        tag = zmtp.job_tag(target.job)
        ids = os.listdir(target.cluster.path("run", "executors"))
        good = [zmtp.data_frame(zmtp.BATCH, r.randbytes(100), job=tag, channel=1 << 40, seq=1),
                zmtp.data_frame(zmtp.WATERMARK, b"\0" * 8, job=tag, channel=1 << 20 | 1, seq=2),
                zmtp.data_frame(zmtp.END, job=tag, seq=1), zmtp.data_frame(zmtp.CREDIT, b"\xff" * 16, job=tag),
                zmtp.data_frame(zmtp.OPEN, b"\1\0\0\0", job=tag, channel=99 << 40)]
        bad = [zmtp.data_frame(zmtp.BATCH, b"x" * 64, job=tag, magic=b"MFRW"), zmtp.data_frame(zmtp.BATCH, b"x", version=2),
               zmtp.data_frame(zmtp.BATCH, b"x" * 64, job=tag, crc=0), zmtp.data_frame(99, job=tag),
               zmtp.data_frame(zmtp.BATCH, b"x" * 64, job=tag, length=1 << 31), zmtp.data_frame(zmtp.END, b"x", job=tag),
               b"", b"WFRM", r.randbytes(48), r.randbytes(4096)]
        for port in target.data_ports:
            stranger = zmtp.Peer(port)  # never says HELLO
            for data in good + bad + list(mutations(r, good + bad, 500)):
                stranger.send(data)
            for sender, receiver, job in ((b"0" * 32, b"1" * 32, tag), (b"\xff" * 32, ids[0].encode(), tag + 1), (b"", b"", 0)):
                peer = zmtp.Peer(port)
                peer.send(zmtp.data_frame(zmtp.HELLO, sender.ljust(32, b"\0") + receiver.ljust(32, b"\0"), job=job))
                for data in good:
                    peer.send(data)
                peer.close()
            # It knows the executor's name, as no stranger should: still nothing that it says touches the job's channels.
            for name in ids:
                peer = zmtp.Peer(port)
                peer.send(zmtp.data_frame(zmtp.HELLO, b"f" * 32 + name.encode(), job=tag))
                for data in [good[4]] + [g for g in good if g is not good[0]] + list(mutations(r, [good[4]], 200)):
                    peer.send(data)
                peer.send(b"".join(good))
                peer.close()
            with contextlib.suppress(OSError):
                stranger.socket.sendall(b"\x02" + struct.pack(">Q", 64 << 20) + b"\0" * (64 << 20))
            stranger.close()
        target.check_bounds()


def test_thousands_of_idle_and_half_open_connections():
    with Target() as target:
        ports = [target.rpc_port, target.data_ports[0], target.rest_port]
        held = []
        for i in range(3000):
            port = ports[i % 3]
            with contextlib.suppress(OSError):
                s = socket.create_connection(("127.0.0.1", port), timeout=5)
                # A third says nothing, a third begins, a third shakes hands and is then silent.
                if i % 9 >= 3:
                    s.sendall(b"GET /jobs HTTP/1.1\r\nHost: x\r\n" if port == target.rest_port else
                              zmtp.greeting()[:40] if i % 9 < 6 else zmtp.greeting() + zmtp.ready())
                held.append(s)
        assert len(held) > 1500, len(held)
        count = target.listed
        wait_for("lists among them all", lambda: target.listed > count + 3 or target.list_failed, 60)
        assert not target.list_failed, target.list_failed
        status, _ = target.cluster.rest("/overview")
        assert status == 200
        for s in held:
            s.close()
        target.check_bounds()


def requests(r):
    """What is no HTTP, or not what the server wants."""
    host = b" HTTP/1.1\r\nHost: x\r\n"
    yield from (b"", b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /jobs HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET http://other/ HTTP/1.1\r\n\r\n", b"CONNECT x:80" + host + b"\r\n")
    for method in (b"GET", b"POST", b"PATCH", b"DELETE", b"PUT", b"HEAD", b"OPTIONS", b"TRACE", b"X" * 5000):
        for path in (b"/jobs", b"/jars/upload", b"/nosuch", b"/" + b"a/" * 3000, b"/jobs/%ff%fe", b"*", b"/jobs?" + b"a=b&" * 2000):
            yield method + b" " + path + host + b"\r\n"
    yield b"GET /jobs" + host + b"X: " + b"a" * 100000 + b"\r\n\r\n"
    yield b"GET /jobs" + host + b"X: y\r\n" * 20000 + b"\r\n"
    yield b"GET /jobs" + host + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"
    yield b"POST /jobs" + host + b"Content-Length: -1\r\n\r\n"
    yield b"POST /jobs" + host + b"Content-Length: 99999999999999999999\r\n\r\n"
    yield b"POST /jars/upload" + host + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    yield b"POST /jars/upload" + host + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc"
    yield b"POST /jars/upload" + host + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 50000 + b"\r\nabcde\r\n0\r\n\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="jarfile"; filename="%s"\r\n\r\n%s\r\n'
    for name in (b"../../../tmp/weir-evil.so", b"/tmp/weir-evil.so", b"..", b"a\0b.so", b"%2e%2e%2fx.so", b"x" * 5000 + b".so", b"\\..\\x.so", b""):
        body = part % (name, b"\x7fELF" + r.randbytes(200)) + b"--b--\r\n"
        yield (b"POST /jars/upload" + host + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    yield b"POST /jars/upload" + host + b"Content-Type: multipart/form-data; boundary=" + b"b" * 3000 + b"\r\nContent-Length: 3\r\n\r\n--b"
    many = part % (b"x.so", b"") * 2000 + b"--b--\r\n"
    yield b"POST /jars/upload" + host + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % len(many) + many
    for body in (b"[" * 100000, b'{"a":' * 50000, b'{"programArgsList":[' + b'"x",' * 50000 + b'"x"]}', b"\xff" * 1000, b'{"parallelism":1e999}',
                 b'{"parallelism":-2147483649}', b'{"jobId":"../../x"}', b'{"programArgsList":5}', b"null"):
        yield b"POST /jars/x.so/run" + host + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for _ in range(60):
        yield r.randbytes(r.randrange(1, 500))
        yield b"GET /" + r.randbytes(r.randrange(1, 100)).replace(b"\n", b"") + host + r.randbytes(r.randrange(300)) + b"\r\n\r\n"


TRAVERSALS = ("/jobmanager/logs/..%2f..%2fconf%2fweir.yaml", "/jobmanager/logs/%2fetc%2fpasswd", "/jobmanager/logs/..", "/jobmanager/logs/../../run/jobmanager.json",
              "/jobmanager/logs/....//....//etc/passwd", "/taskmanagers/{tm}/logs/..%2frun%2ftaskmanager-1.json", "/taskmanagers/{tm}/logs/%2e%2e",
              "/taskmanagers/..%2f..%2f/logs", "/jars/..%2f..%2fetc%2fpasswd/plan", "/jars/../../x/run", "/weir/code/..%2f..%2fx", "/weir/code/" + "a" * 64,
              "/jobmanager/logs/.%00", "/jobmanager/logs/link.log")


def test_rubbish_and_traversal_at_rest():
    with Target() as target:
        r = target.random
        tm = target.cluster.rest("/taskmanagers")[1]["taskmanagers"][0]["id"]
        os.symlink("/etc/passwd", target.cluster.path("logs", "link.log"))
        for data in requests(r):
            answer = say(target.rest_port, data, wait_s=0.05)
            assert not answer or answer.startswith(b"HTTP/1."), answer[:200]
            assert b" 200 " not in answer[:15] or b"evil" not in answer, (data[:200], answer[:500])
            leave(target.rest_port, data[:r.randrange(len(data) + 1)])
        assert not os.path.exists("/tmp/weir-evil.so")
        for path in TRAVERSALS:
            method = "POST" if path.endswith("run") else "GET"
            raw = f"{method} {path.format(tm=tm)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            answer = say(target.rest_port, raw)
            assert answer[9:12] in (b"400", b"404", b"405"), (path, answer[:300])
            assert b"root:" not in answer and b"rest_port" not in answer, (path, answer)
        # A thousand requests in one go: as many answers, in order.
        pipelined = b"GET /overview HTTP/1.1\r\nHost: x\r\n\r\n" * 999 + b"GET /overview HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert say(target.rest_port, pipelined, wait_s=20).count(b"HTTP/1.1 200 ") == 1000
        uploads = [name for _, _, names in os.walk(target.cluster.path("data")) for name in names if name.startswith(".upload")]
        wait_for(f"no half uploads left: {uploads}", lambda: not any(
            name.startswith(".upload") for _, _, names in os.walk(target.cluster.path("data")) for name in names), 60)


def trickle(sockets, parts, stop):
    """A byte each, again and again, until the other side has had enough of all of them."""
    alive = dict.fromkeys(sockets, 0)
    while alive and not stop.is_set():
        for s, at in list(alive.items()):
            try:
                s.send(parts[at % len(parts):][:1])
                alive[s] = at + 1
            except OSError:
                del alive[s]
        stop.wait(0.2)


def test_slow_readers_and_slow_writers_at_rest():
    with Target() as target:
        stop = threading.Event()
        connect = lambda: socket.create_connection(("127.0.0.1", target.rest_port), timeout=10)
        headers, bodies, readers = [connect() for _ in range(150)], [connect() for _ in range(150)], [connect() for _ in range(60)]
        for s in headers:
            s.sendall(b"GET /jobs HTTP/1.1\r\nHost: x\r\n")
        for s in bodies:
            with contextlib.suppress(OSError):
                s.sendall(b"POST /jars/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        for s in readers:  # ask for much, read nothing
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                s.sendall(b"GET /jobmanager/config HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
        threads = [threading.Thread(target=trickle, args=(group, text, stop)) for group, text in
                   ((headers, b"X-a: b\r\n"), (bodies, b"x"))]
        for thread in threads:
            thread.start()
        endless = connect()
        endless.sendall(b"POST /jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk, sent = b"100000\r\n" + b" " * 0x100000 + b"\r\n", 0
        with contextlib.suppress(OSError):
            while sent < 1 << 30:
                endless.sendall(chunk)
                sent += len(chunk)
        assert sent < 1 << 30, "a body of a gigabyte was taken"
        endless.close()
        count = target.listed
        wait_for("lists among them all", lambda: target.listed > count + 5 or target.list_failed, 60)
        stop.set()
        for thread in threads:
            thread.join()
        for s in headers + bodies + readers:
            s.close()


def test_a_job_that_writes_into_its_executors_control_line_harms_only_itself():
    with Cluster(taskmanagers=1, slots=2) as cluster, tempfile.TemporaryDirectory() as good, \
            tempfile.TemporaryDirectory() as bad:
        supervisor = cluster.taskmanager_pid(1)
        job = cluster.submit(PACED, "--output", good, "--rows", "100000", "--rate", "20000")
        cluster.wait_state(job, "RUNNING")
        rude = cluster.submit(FAULTS, "--fault", "scribble", "--output", bad, options=("-D", "restart-strategy.type=none"))
        cluster.wait_state(rude, "FAILED")
        cause = cluster.root_cause(rude)
        assert "file descriptor" in cause["stacktrace"], cause
        cluster.wait_state(job, "FINISHED")
        assert sum(row["n"] for row in read_rows(good)) == 100000
        assert cluster.taskmanager_pid(1) == supervisor and os.path.exists(f"/proc/{supervisor}/status")


if __name__ == "__main__":
    main(globals())
