#!/usr/bin/env python3
"""Keys and tokens: who has them works as before, who has not gets nothing and both sides say why."""
import concurrent.futures
import ctypes
import ctypes.util
import http.client
import json
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import time

from weir_test import BUILD, EXAMPLES, ROOT, WEIR, Cluster, PATIENCE, main, read_rows, run, wait_for

TASKMANAGER = os.path.join(BUILD, "bin", "weir-taskmanager")
WEATHER = os.path.join(ROOT, "examples", "gpu-temperature", "readings.jsonl.gz")


class Secured(Cluster):
    """A cluster with keys and tokens, listening beyond loopback."""

    def __init__(self, **arguments):
        config = {"rest.bind-address": "0.0.0.0", "jobmanager.bind-host": "0.0.0.0", **arguments.pop("config", {})}
        super().__init__(config=config, **arguments)
        done = run(WEIR, "security", "init", env=self.env)
        assert done.returncode == 0, done.stderr
        with open(self.path("conf", "weir.yaml"), "w") as file:
            file.write(done.stdout)
        self.tokens = dict(line.split() for line in open(self.path("conf", "security", "rest.token")) if line[0] != "#")

    def __enter__(self):
        super().__enter__()
        self.rpc = json.load(open(self.path("run", "jobmanager.json")))["rpc_port"]
        return self

    def key(self, name):
        return self.path("conf", "security", name)

    def rest(self, path, method="GET", body=None, headers=None, role="admin"):
        return super().rest(path, method, body, {"Authorization": "Bearer " + self.tokens[role], **(headers or {})})

    def secrets(self):
        words = list(self.tokens.values())
        for name in ("jobmanager.key", "taskmanager.key"):
            words += [line.split()[1] for line in open(self.key(name)) if line.startswith("secret")]
        return words

    def log(self, name="jobmanager"):
        return open(self.path("logs", name + ".log"), errors="replace").read()

    def taskmanager(self, name, **keys):
        """One more TaskManager, in the foreground of a process; (process, path of its output)."""
        output = self.path("logs", name + ".out")
        options = [o for k, v in keys.items() for o in ("-D", f"security.curve.{k.replace('_', '-')}={v}")]
        process = subprocess.Popen([TASKMANAGER, "--name", name, "-D", f"jobmanager.rpc.port={self.rpc}", "-D", f"rest.port={self.port}",
                                    *options], env={**os.environ, **self.env}, stdout=open(output, "w"), stderr=subprocess.STDOUT)
        return process, output

    def registered(self):
        return self.rest("/taskmanagers")[1]["taskmanagers"]


def test_init_writes_files_that_only_their_owner_reads():
    with tempfile.TemporaryDirectory() as home:
        env = {"WEIR_HOME": home}
        first = run(WEIR, "security", "init", env=env)
        assert first.returncode == 0, first.stderr
        directory = os.path.join(home, "conf", "security")
        contents = {}
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            contents[name] = open(path).read()
            mode = stat.S_IMODE(os.stat(path).st_mode)
            assert mode == (0o644 if name.endswith(".pub") else 0o600), (name, oct(mode))
        assert sorted(contents) == ["jobmanager.key", "jobmanager.pub", "rest-read.token", "rest.token", "taskmanager.key", "taskmanagers.pub"]
        tokens = re.findall(r"\b[0-9a-f]{64}\b", contents["rest.token"])
        assert len(set(tokens)) == 3, "three tokens of 256 bits"
        for secret in tokens + re.findall(r"secret (\w+)", contents["jobmanager.key"] + contents["taskmanager.key"]):
            assert secret not in first.stdout + first.stderr
        again = run(WEIR, "security", "init", env=env)
        assert again.returncode == 1 and "--force" in again.stderr, again.stderr
        assert contents == {n: open(os.path.join(directory, n)).read() for n in contents}
        forced = run(WEIR, "security", "init", "--force", "-o", "json", env=env)
        assert forced.returncode == 0 and len(json.loads(forced.stdout)["configuration"]) == 5, forced.stderr
        assert contents["rest.token"] != open(os.path.join(directory, "rest.token")).read()
        added = run(WEIR, "security", "add", "rack-7", env=env)
        assert added.returncode == 0 and "rack-7" in open(os.path.join(directory, "taskmanagers.pub")).read(), added.stderr
        assert run(WEIR, "security", "add", "rack-7", env=env).returncode == 1
        assert run(WEIR, "security", "add", "../x", env=env).returncode == 2
        assert run(WEIR, "security", "inti", env=env).returncode == 2


def test_a_job_runs_with_keys_and_token():
    with Secured(taskmanagers=2, slots=2) as cluster:
        out = cluster.path("out")
        done = cluster.weir("run", "-p", "4", os.path.join(EXAMPLES, "gpu-temperature.so"), "--input", WEATHER, "--output", out,
                            "--window", "1 d", "--threshold", "80")
        assert done.returncode == 0, done.stderr
        assert [len(read_rows(os.path.join(out, part))) for part in ("windows", "alerts", "bad")] == [1092, 65, 1]
        config = json.dumps(cluster.rest("/jobmanager/config")[1]) + json.dumps(cluster.rest("/config")[1])
        assert cluster.rest("/config")[1]["weir-insecure"] is False
        for process in os.listdir("/proc"):
            if process.isdigit():
                try:
                    config += open(f"/proc/{process}/cmdline", errors="replace").read()
                except OSError:
                    pass
        logs = "".join(cluster.log(name[:-4]) for name in os.listdir(cluster.path("logs")) if name.endswith(".log"))
        for secret in cluster.secrets():
            assert secret not in config and secret not in logs
        limits = open(f"/proc/{cluster.taskmanager_pid(1)}/limits").read()
        assert re.search(r"Max core file size\s+[01]\s", limits), limits # the keys would be in it


def raw(port, text, wait_s=5):
    """The answer to bytes of a request, which may be incomplete."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s * PATIENCE) as s:
        s.sendall(text)
        answer = b""
        try:
            while chunk := s.recv(65536):
                answer += chunk
                if b"\r\n\r\n" in answer and b"errors" in answer:
                    break
        except socket.timeout:
            pass
        return answer.decode(errors="replace")


def routes():
    """Every route of the table in the source: (method, path with the parameters filled in, flags)."""
    source = open(os.path.join(ROOT, "jobmanager", "rest", "rest.c")).read()
    found = re.findall(r'\{"([A-Z]+)", "(/[^"]*)", \w+,\s*([^}]*)\}', source)
    assert len(found) > 40
    return [(method, re.sub(r":\w+", "0123456789abcdef0123456789abcdef", path), flags) for method, path, flags in found]


def test_every_route_wants_a_token():
    with Secured() as cluster:
        opened, asked = set(), 0
        for prefix in ("", "/v1"):
            for method, path, flags in routes():
                for token in (None, "0" * 64, cluster.tokens["admin"][:-1], cluster.tokens["admin"] + "0"):
                    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=20 * PATIENCE)
                    connection.request(method, prefix + path, headers={"Authorization": "Bearer " + token} if token else {})
                    reply = connection.getresponse()
                    body = reply.read()
                    connection.close()
                    asked += 1
                    if "WEIR_HTTP_OPEN" in flags:
                        assert reply.status == 200
                        opened.add(path)
                    else:
                        assert reply.status == 401, (method, path, token and token[:4], reply.status, body)
                        assert reply.getheader("WWW-Authenticate") == 'Bearer realm="weir"'
                        assert json.loads(body)["errors"][0].startswith("Unauthorized"), body
        assert opened == {"/", "/index.html", "/weir/health"}, opened
        for path in ("/nothing", "/%2e%2e/x", "/jobs/../config", "/v1/v1/config"): # neither is told what there is
            assert "401 Unauthorized" in raw(cluster.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()), path
        for secret in ("?token=", "?access_token="): # a token in an address counts for nothing
            assert "401" in raw(cluster.port, f"GET /config{secret}{cluster.tokens['admin']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        # Roles: read may look, and neither submit nor cancel, by GET neither.
        job = "0" * 32
        for path, method in (("/jobs/" + job, "PATCH"), ("/jars/x.so", "DELETE"), ("/jars/x.so/run", "POST"), ("/jobs", "POST"),
                             ("/jars/upload", "POST"), (f"/jobs/{job}/yarn-cancel", "GET"), ("/jars/x.so/plan", "GET")):
            assert cluster.rest(path, method, role="read")[0] == 403, path
            assert cluster.rest(path, method, role="submit")[0] not in (401, 403), path
        assert cluster.rest("/overview", role="read")[0] == 200
        assert "refused" in cluster.log() and cluster.tokens["admin"] not in cluster.log()


def test_a_body_is_not_read_without_a_token():
    with Secured() as cluster:
        before = os.listdir(cluster.path("data", "jars"))
        for path in ("/jars/upload", "/jobs", "/jars/x.so/run"):
            for length in ("10", "200000000", "99999999999999"): # announced, and nothing of it sent
                start = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
                assert "401 Unauthorized" in raw(cluster.port, start.encode()), (path, length)
            chunked = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
            assert "401 Unauthorized" in raw(cluster.port, chunked.encode())
        assert os.listdir(cluster.path("data", "jars")) == before
        # The command says what is wrong, whatever the size of the upload.
        big = cluster.path("big.so")
        with open(big, "wb") as file:
            file.truncate(30 << 20)
        for job in (os.path.join(EXAMPLES, "gpu-temperature.so"), big):
            done = run(WEIR, "run", job, env={**cluster.env, "WEIR_REST_TOKEN": "f" * 64})
            assert done.returncode == 1 and "not the right one" in done.stderr, done.stderr


def test_token_of_the_command():
    with Secured() as cluster:
        there = ("-m", f"127.0.0.1:{cluster.port}")
        with tempfile.TemporaryDirectory() as home:
            stranger = {"WEIR_HOME": home}
            done = run(WEIR, "list", *there, env=stranger)
            assert done.returncode == 1 and "WEIR_REST_TOKEN" in done.stderr and "no token was sent" in done.stderr, done.stderr
            assert run(WEIR, "list", *there, env={**stranger, "WEIR_REST_TOKEN": cluster.tokens["read"]}).returncode == 0
            os.makedirs(os.path.join(home, "conf"))
            token = os.path.join(home, "rest.token")
            shutil.copy(cluster.key("rest-read.token"), token)
            with open(os.path.join(home, "conf", "weir.yaml"), "w") as file:
                file.write(f"security.rest.token-file: {token}\n")
            assert run(WEIR, "list", *there, env=stranger).returncode == 0
            os.chmod(token, 0o644)
            done = run(WEIR, "list", *there, env=stranger)
            assert done.returncode == 1 and f"chmod 600 {token}" in done.stderr, done.stderr
        # A new token takes effect without a restart, an old one ends.
        old = cluster.tokens["admin"]
        with open(cluster.key("rest.token"), "w") as file:
            file.write("admin " + "a" * 64 + "\n")
        cluster.tokens["admin"] = "a" * 64
        wait_for("the new token", lambda: cluster.rest("/overview")[0] == 200)
        cluster.tokens["admin"] = old
        assert cluster.rest("/overview")[0] == 401


def make_certificate(directory, *names):
    """A self-signed certificate for these names; (certificate, key)."""
    paths = os.path.join(directory, "rest.crt"), os.path.join(directory, "rest-tls.key")
    done = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=weir",
               "-addext", "subjectAltName=" + ",".join(names), "-out", paths[0], "-keyout", paths[1])
    assert done.returncode == 0, done.stderr
    os.chmod(paths[1], 0o600)
    return paths


def test_rest_over_tls():
    cluster = Secured(taskmanagers=1)
    certificate, key = make_certificate(cluster.home, "IP:127.0.0.1", "DNS:localhost")
    with open(cluster.path("conf", "weir.yaml"), "a") as file:
        file.write(f"security.ssl.rest.enabled: true\nsecurity.ssl.rest.certificate-file: {certificate}\n"
                   f"security.ssl.rest.key-file: {key}\nsecurity.ssl.rest.ca-file: {certificate}\n")
    with cluster:
        out = cluster.path("out") # upload, run and the TaskManager's fetch of the code go over TLS
        done = cluster.weir("run", os.path.join(EXAMPLES, "gpu-temperature.so"), "--input", WEATHER, "--output", out, "--window", "1 d")
        assert done.returncode == 0, done.stderr
        assert len(read_rows(os.path.join(out, "windows"))) == 1092
        assert cluster.weir("health").returncode == 0
        assert "TLS and a token" in cluster.log()
        token = {"WEIR_REST_TOKEN": cluster.tokens["admin"]}
        with tempfile.TemporaryDirectory() as home:
            there = ("list", "-m", f"https://127.0.0.1:{cluster.port}")
            done = run(WEIR, *there, env={"WEIR_HOME": home, **token})
            assert done.returncode == 3 and "certificate" in done.stderr and "ca-file" in done.stderr, done.stderr
            done = run(WEIR, *there, env={"WEIR_HOME": home, "WEIR_SECURITY_SSL_REST_CA_FILE": certificate})
            assert done.returncode == 1 and "token" in done.stderr, done.stderr
            assert run(WEIR, *there, env={"WEIR_HOME": home, "WEIR_SECURITY_SSL_REST_CA_FILE": certificate, **token}).returncode == 0
            done = run(WEIR, "list", "-m", f"http://127.0.0.1:{cluster.port}", env={"WEIR_HOME": home, **token})
            assert done.returncode != 0 and cluster.tokens["admin"] not in done.stderr, done.stderr
    for lines, word in ((f"security.ssl.rest.enabled: true\nsecurity.ssl.rest.certificate-file: {certificate}\n", "key-file"),
                        (f"security.ssl.rest.enabled: true\nsecurity.ssl.rest.certificate-file: {key}\nsecurity.ssl.rest.key-file: {key}\n", "certificate")):
        other = Secured()
        certificate, key = make_certificate(other.home, "IP:127.0.0.1")
        lines = re.sub(r"/\S*rest.crt", certificate, re.sub(r"/\S*rest-tls.key", key, lines))
        with open(other.path("conf", "weir.yaml"), "a") as file:
            file.write(lines)
        started = run(WEIR, "cluster", "start", "-D", "rest.port=0", "-D", "jobmanager.rpc.port=0", env=other.env)
        other.__exit__(None, None, None)
        assert started.returncode == 1 and word in started.stderr, started.stderr


def test_secret_files_that_all_may_read_are_refused():
    for name, daemon in (("jobmanager.key", "jobmanager"), ("taskmanager.key", "taskmanager-1"), ("rest.token", "jobmanager")):
        cluster = Secured()
        os.chmod(cluster.key(name), 0o604)
        started = run(WEIR, "cluster", "start", "-D", "rest.port=0", "-D", "jobmanager.rpc.port=0", env=cluster.env)
        cluster.__exit__(None, None, None)
        assert started.returncode == 1 and f"chmod 600 {cluster.key(name)}" in started.stderr, started.stderr


def test_a_bind_beyond_loopback_wants_all_of_it():
    cluster = Secured()
    lines = open(cluster.path("conf", "weir.yaml")).read().splitlines()
    ports = ("-D", "rest.port=0", "-D", "jobmanager.rpc.port=0")
    for key in ("rest.bind-address", "jobmanager.bind-host", "taskmanager.bind-host"):
        for missing in ("security.rest.token-file", "security.curve.jobmanager-key-file", "security.curve.taskmanager-key-file"):
            if ("taskmanager" in key) != ("taskmanager" in missing) and "token" not in missing:
                continue
            with open(cluster.path("conf", "weir.yaml"), "w") as file:
                file.write("\n".join(line for line in lines if not line.startswith(missing)) + "\n")
            started = run(WEIR, "cluster", "start", *ports, "-D", f"{key}=0.0.0.0", env=cluster.env)
            assert started.returncode == 1 and missing in started.stderr, (key, missing, started.stderr)
            assert "weir security init" in started.stderr
    cluster.__exit__(None, None, None)


# --- Strangers at the ZeroMQ sockets

def greeting(mechanism, as_server=0):
    return b"\xff" + b"\0" * 8 + b"\x7f" + bytes([3, 0]) + mechanism.ljust(20, b"\0") + bytes([as_server]) + b"\0" * 31


def raw_zmtp(port, *parts):
    """What a socket that sends these bytes is answered until the other side ends it; bounded by the handshake's 5 s."""
    with socket.create_connection(("127.0.0.1", port), timeout=10 * PATIENCE) as s:
        answer = b""
        try:
            for part in parts:
                s.sendall(part)
                time.sleep(0.05)
            while chunk := s.recv(65536):
                answer += chunk
        except ConnectionError:
            pass
        return answer


class Dealer:
    """A plain ZeroMQ client, by the library itself; keys as hex or None."""
    zmq = ctypes.CDLL(ctypes.util.find_library("zmq") or "libzmq.so.5")
    zmq.zmq_ctx_new.restype = zmq.zmq_socket.restype = ctypes.c_void_p

    def __init__(self, port, server=None, public=None, secret=None):
        self.context = ctypes.c_void_p(self.zmq.zmq_ctx_new())
        self.socket = ctypes.c_void_p(self.zmq.zmq_socket(self.context, 5))
        for option, key in ((50, server), (48, public), (49, secret)):
            if key:
                assert self.zmq.zmq_setsockopt(self.socket, option, bytes.fromhex(key), 32) == 0
        self.option(17, 0), self.option(27, 1000), self.option(28, 100) # linger, receive and send timeouts
        self.zmq.zmq_setsockopt(self.socket, 5, b"x#1", 3) # its routing id
        self.zmq.zmq_connect(self.socket, f"tcp://127.0.0.1:{port}".encode())

    def option(self, name, value):
        self.zmq.zmq_setsockopt(self.socket, name, ctypes.byref(ctypes.c_int(value)), 4)

    def ask(self, message):
        """An answer within 1 s, or None."""
        self.zmq.zmq_send(self.socket, message, len(message), 0)
        buffer = ctypes.create_string_buffer(65536)
        size = self.zmq.zmq_recv(self.socket, buffer, len(buffer), 0)
        return buffer.raw[:size] if size >= 0 else None

    def close(self):
        self.zmq.zmq_close(self.socket)
        self.zmq.zmq_ctx_term(self.context)


def key_of(path, kind):
    return next(line.split()[1] for line in open(path) if line.startswith(kind))


# A Control with a Register: version 1, session 1, {taskmanager_id "x", host "h", slots 4, session 1}.
REGISTER = b"\x08\x01\x20\x01" + b"\x5a\x0a" + b"\x0a\x01x" + b"\x12\x01h" + b"\x18\x04" + b"\x58\x01"


def test_strangers_at_the_control_line_get_nothing():
    with Secured() as cluster:
        server = key_of(cluster.key("jobmanager.pub"), "public")
        with tempfile.TemporaryDirectory() as directory:
            run(WEIR, "security", "init", "--dir", directory)
            own = os.path.join(directory, "taskmanager.key")
            stranger = (key_of(own, "public"), key_of(own, "secret"))
        member = (key_of(cluster.key("taskmanager.key"), "public"), key_of(cluster.key("taskmanager.key"), "secret"))
        idle = [socket.create_connection(("127.0.0.1", cluster.rpc)) for _ in range(50)]
        cases = {
            "a plain client": (None, None, None),
            "an unknown key": (server, *stranger),
            "the wrong server key": (stranger[0], *member),
            "a known public key without its secret": (server, member[0], stranger[1]),
        }
        for what, keys in cases.items():
            dealer = Dealer(cluster.rpc, *keys)
            assert dealer.ask(REGISTER) is None, what
            dealer.close()
        dealer = Dealer(cluster.rpc, server, *member) # the same message from a member is answered: the cases above can fail
        assert dealer.ask(REGISTER) is not None
        dealer.close()
        wait_for("the end of that TaskManager", lambda: len(cluster.registered()) == 1)
        garbage = ([b"GET / HTTP/1.1\r\n\r\n"], [os.urandom(200)], [b"\xff" + b"\0" * 8], [greeting(b"NULL"), b"\x04\x05\x05READY"],
                      [greeting(b"PLAIN"), os.urandom(100)], [greeting(b"CURVE"), b"\x04\xc8\x05HELLO" + os.urandom(194)],
                      [greeting(b"CURVE"), struct.pack(">BQ", 6, 1 << 40)])
        with concurrent.futures.ThreadPoolExecutor(len(garbage)) as pool:
            for answer in pool.map(lambda parts: raw_zmtp(cluster.rpc, *parts), garbage):
                assert b"READY" not in answer and len(answer) < 500, answer
        for s in idle: # half-open connections end by themselves
            s.settimeout(20 * PATIENCE)
            while s.recv(1000):
                pass
            s.close()
        assert len(cluster.registered()) == 1
        assert "refused a TaskManager at" in cluster.log() and "turned away" in cluster.log()
        assert re.search(r"^weir_jobmanager_control_refused_total [1-9]", cluster.rest("/metrics")[1], re.M)
        assert "weir_jobmanager_rest_refused_total 0" in cluster.rest("/metrics")[1]


def test_wrong_keys_are_named_on_both_sides():
    with Secured(taskmanagers=1) as cluster:
        with tempfile.TemporaryDirectory() as directory:
            run(WEIR, "security", "init", "--dir", directory)
            stranger = os.path.join(directory, "taskmanager.key")
            process, output = cluster.taskmanager("stranger", taskmanager_key_file=stranger)
            try:
                wait_for("its message", lambda: "refused this TaskManager's key" in open(output).read())
                wait_for("the JobManager's", lambda: key_of(stranger, "public") in cluster.log())
                # Its line in the list lets it in, without a restart of anything; without the line it is out again.
                allowed = open(cluster.key("taskmanagers.pub")).read()
                with open(cluster.key("taskmanagers.pub"), "a") as file:
                    file.write(key_of(stranger, "public") + " late\n")
                wait_for("its registration", lambda: len(cluster.registered()) == 2)
                with open(cluster.key("taskmanagers.pub"), "w") as file:
                    file.write(allowed)
                wait_for("its end", lambda: len(cluster.registered()) == 1)
                wait_for("its refusal", lambda: open(output).read().count("refused this TaskManager's key") >= 2)
            finally:
                process.terminate()
                process.wait()


def test_strangers_at_an_executor_get_nothing():
    with Secured(taskmanagers=2, slots=1) as cluster:
        job = cluster.submit(os.path.join(BUILD, "tests", "jobs", "paced.so"), "--rows", "1000000", "--rate", "1000", "--output", cluster.path("out"), options=("-p", "2"))
        cluster.wait_state(job, "RUNNING")
        logs = wait_for("two executors", lambda: (l := [cluster.log(n[:-4]) for n in os.listdir(cluster.path("logs"))
                                                        if "executor" in n and n.endswith(".log")]) and
                        all("data at tcp://" in t for t in l) and len(l) == 2 and l)
        ports = [int(re.search(r"data at tcp://[^ ]*:(\d+)", text).group(1)) for text in logs]
        secret = key_of(cluster.key("taskmanager.key"), "secret")
        member = key_of(cluster.key("taskmanager.key"), "public")
        for port in ports:
            for keys in ((None, None, None), (key_of(cluster.key("jobmanager.pub"), "public"), member, secret)):
                dealer = Dealer(port, *keys)
                assert dealer.ask(b"WFRM" + os.urandom(100)) is None
                dealer.close()
            assert b"READY" not in raw_zmtp(port, greeting(b"NULL"), b"\x04\x05\x05READY")
        assert cluster.state(job) == "RUNNING"
        assert cluster.rest(f"/jobs/{job}/exceptions")[1]["exceptionHistory"]["entries"] == []
        assert cluster.weir("cancel", job).returncode == 0


main(globals())
