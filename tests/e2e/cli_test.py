#!/usr/bin/env python3
"""The `weir` command as scripts and people use it: exit codes, JSON, hints, jobs by id, prefix and name, Ctrl-C, clusters on one host."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

from weir_test import EXAMPLES, JOBS, PATIENCE, ROOT, WEIR, Cluster, free_port, main, run, wait_for

FAULTS = os.path.join(JOBS, "faults.so")
MISTAKES = os.path.join(JOBS, "mistakes.so")
ENDLESS = ("--rows", "1000000000", "--rate", "1000")
DONE, FAILED, USAGE, UNREACHABLE, NOT_FOUND = range(5)


@contextlib.contextmanager
def home():
    """A WEIR_HOME of its own; whatever runs there is stopped."""
    directory = tempfile.mkdtemp(prefix="weir-e2e-home-")
    try:
        yield directory
    finally:
        run(WEIR, "cluster", "stop", env={"WEIR_HOME": directory})
        shutil.rmtree(directory, ignore_errors=True)


def weir(*arguments, home="/nonexistent", **more):
    return run(WEIR, *arguments, env={"WEIR_HOME": home, "WEIR_REST": "", **more})


def expect(done, code, *texts):
    """The exit code, and every text in what it said; the error as one readable message."""
    said = done.stdout + done.stderr
    assert done.returncode == code, f"exit code {done.returncode}, expected {code}: {said}"
    for text in texts:
        assert text in said, f"no {text!r} in: {said}"
    return said


def processes_of(directory):
    """Pids of processes that have the directory in their environment or command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            seen = open(f"/proc/{pid}/environ", "rb").read() + open(f"/proc/{pid}/cmdline", "rb").read()
            if directory.encode() in seen and open(f"/proc/{pid}/stat").read().split(") ")[1][0] != "Z":
                found.append(int(pid))
    return found


def thread_names(pid):
    with contextlib.suppress(OSError):
        return " ".join(open(f"/proc/{pid}/task/{thread}/comm").read() for thread in os.listdir(f"/proc/{pid}/task"))
    return ""


@contextlib.contextmanager
def started(*arguments, **env):
    """In the background; gone at the end, whatever happens."""
    process = subprocess.Popen([WEIR, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               stdin=subprocess.DEVNULL, env=dict(os.environ, WEIR_REST="", **env))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def end_of(process, timeout_s=30):
    """Its output and exit code, like run()."""
    try:
        out, err = process.communicate(timeout=timeout_s * PATIENCE)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"no end within {timeout_s * PATIENCE:.0f} s") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


# --- Usage

def test_help_and_version():
    said = expect(weir("--version"), DONE)
    assert re.fullmatch(r"weir \d+\.\d+\.\d+\n", said), said
    said = expect(weir("help"), DONE, "Exit codes")
    for command in ("run", "info", "list", "cancel", "exceptions", "logs", "taskmanagers", "config", "cluster"):
        assert re.search(rf"^  {command} ", said, re.M), command
        expect(weir("help", command), DONE, f"usage: weir {command}")
        assert weir(command, "--help").stdout == weir("help", command).stdout
    expect(weir(), USAGE, "usage")


def test_what_is_mistyped_is_named_with_the_nearest_right_one():
    for arguments, *texts in (
            (("lsit",), "'lsit'", "'list'"),
            (("help", "clutser"), "'clutser'", "'cluster'"),
            (("cluster", "strat"), "'strat'", "'start'"),
            (("run", "--detatched", FAULTS), "--detatched", "'--detached'", "weir help run"),
            (("list", "--al"), "--al", "'--all'"),
            (("cluster", "start", "-D", "rest.prot=0"), "rest.prot", "'rest.port'"),
            (("cluster", "start", "-D", "rest.port=many"), "rest.port", "many"),
            (("cluster", "start", "--slots", "none"), "--slots", "none"),
            (("run", "-p"), "-p", "N"),
            (("run", "-p", "0", FAULTS), "-p", "'0'"),
            (("run", "-D", "novalue", FAULTS), "-D", "novalue"),
            (("list", "-o", "yaml"), "json", "yaml"),
            (("cancel",), "usage: weir cancel"),
            (("cancel", "a", "b"), "usage: weir cancel"),
            (("logs", "taskmanager"), "weir logs taskmanager ID")):
        done = weir(*arguments)
        expect(done, USAGE, *texts)
        assert done.stdout == "" and len(done.stderr.splitlines()) <= 2, done


def test_a_jobs_arguments_are_listed_and_checked():
    expect(weir("run", "--local", FAULTS, "--rosw", "10"), FAILED, "--rosw", "--rows?")
    expect(weir("info", FAULTS, "--rosw", "10"), FAILED, "--rosw", "--rows?")
    said = expect(weir("run", "--local", FAULTS, "--help"), DONE)
    for name in ("--fault", "--rows", "--rate", "--output"):
        assert name in said, said


def test_without_a_cluster():
    port = free_port()
    for arguments in (("list",), ("cancel", "x"), ("taskmanagers",), ("config",), ("logs", "x"), ("exceptions", "x"), ("run", FAULTS)):
        expect(weir(*arguments[:1], "-m", f"127.0.0.1:{port}", *arguments[1:]), UNREACHABLE, f"127.0.0.1:{port}",
               "weir cluster start")
    expect(weir("list", WEIR_REST=f"127.0.0.1:{port}"), UNREACHABLE, str(port))
    with home() as directory:
        expect(weir("cluster", "status", home=directory), UNREACHABLE, "no cluster", directory)
        expect(weir("cluster", "stop", home=directory), DONE, "no cluster")
    expect(weir("run", "/nonexistent/job.so"), NOT_FOUND, "/nonexistent/job.so")
    expect(weir("run", "--local", "/nonexistent/job.so"), NOT_FOUND, "/nonexistent/job.so")
    expect(weir("info", "/nonexistent/job.so"), NOT_FOUND, "/nonexistent/job.so")


def test_options_before_the_command_and_glued_to_their_values():
    for arguments in (("-m", "127.0.0.1:1", "list"), ("list", "-m127.0.0.1:1"), ("--jobmanager=127.0.0.1:1", "list", "-o=json"),
                      ("list", "--jobmanager", "127.0.0.1:1")):
        if "-o=json" in arguments:
            expect(weir(*arguments), USAGE, "-o")
        else:
            expect(weir(*arguments), UNREACHABLE, "127.0.0.1:1")
    said = expect(weir("-o", "json", "--version"), DONE)
    assert re.fullmatch(r'\{"version": "\d+\.\d+\.\d+"\}\n', said), said
    expect(weir("--frob", "list"), USAGE, "--frob")
    expect(weir("list", "--all=yes"), USAGE, "--all takes no value")
    expect(weir("run", "--local", "-d", FAULTS), USAGE, "-d does not go with it")
    expect(weir("run", "--config", "x", FAULTS), USAGE, "--config goes with --local")
    expect(weir("cluster", "stop", "--slots", "2"), USAGE, "--slots", "cluster stop")


def test_errors_are_json_where_output_is():
    for arguments, code, name in ((("lits", "-o", "json"), USAGE, "USAGE"), (("-o", "json", "list", "--frob"), USAGE, "USAGE"),
                                  (("list", "-o", "json", "-m", "127.0.0.1:1"), UNREACHABLE, "UNREACHABLE"),
                                  (("run", "--output=json", "/nonexistent.so"), NOT_FOUND, "NOT_FOUND"),
                                  (("run", "--local", "-ojson", "/nonexistent.so"), NOT_FOUND, "NOT_FOUND"),
                                  (("info", "-o", "json", FAULTS, "--rosw", "1"), FAILED, "FAILED"),
                                  (("new", "-o", "json", "9"), USAGE, "USAGE")):
        done = weir(*arguments)
        assert done.returncode == code and done.stdout == "", (arguments, done)
        error = json.loads(done.stderr)["error"]
        assert error["code"] == name and error["exit-code"] == code and error["message"], (arguments, error)
        assert done.stderr.count("\n") == 1, done.stderr
    # What follows the job is the job's.
    done = weir("run", "--local", FAULTS, "-o", "json")
    assert done.returncode == FAILED and done.stderr.startswith("weir: "), done


def test_addresses():
    for address in ("", "x y", "host:99999", "host:0", ":80", "http://", "[::1", "::1", "a/b:1"):
        expect(weir("list", "-m", address), USAGE, "-m wants HOST:PORT")
    expect(weir("list", WEIR_REST="a b"), USAGE, "WEIR_REST wants HOST:PORT")
    port = free_port()
    for address in (f"localhost:{port}", f"http://127.0.0.1:{port}/", f"[::1]:{port}"):
        expect(weir("list", "-m", address), UNREACHABLE, str(port), "from -m")
    with home() as directory:
        os.makedirs(os.path.join(directory, "run"))
        open(os.path.join(directory, "run", "jobmanager.json"), "w").write('{"pid": 1, "rest_port": %d, "rest_address": "0.0.0.0"}' % port)
        expect(weir("list", home=directory), UNREACHABLE, f"127.0.0.1:{port}", f"from the cluster of {directory}")
        expect(weir("list", home=directory, WEIR_REST=f"localhost:{port}"), UNREACHABLE, "from WEIR_REST")


def test_output_that_does_not_arrive_is_a_failure():
    for command in ("help", "config --local", "config --local -o json", "eval 1", "completion bash"):
        for where in (">/dev/full", ">&-"):
            done = run("bash", "-c", f"exec {WEIR} {command} {where}", env={"WEIR_HOME": "/nonexistent"})
            assert done.returncode == FAILED and "cannot write to standard output" in done.stderr, (command, where, done)
    done = run("bash", "-c", f"set -o pipefail; {WEIR} help | head -1")
    assert done.stdout.startswith("weir ") and done.stderr == "", done
    # What a job prints must not end up in whatever file or socket got the closed descriptor's number.
    telemetry = os.path.join(EXAMPLES, "host-telemetry.so")
    done = run("bash", "-c", f"exec {WEIR} run --local -D restart-strategy.type=none {telemetry} --samples 2 --window '1 s' >&-")
    assert done.returncode == FAILED and "cannot print to standard output: Bad file descriptor" in done.stderr, done
    done = run("bash", "-c", f"exec {WEIR} lits 2>&-")
    assert done.returncode == USAGE, done
    done = run("bash", "-c", f"exec {WEIR} eval 1 <&-")
    assert (done.returncode, done.stdout) == (DONE, "INT NOT NULL\t1\n"), done


def test_what_is_not_text_is_refused_and_what_is_long_is_cut():
    bad, long = b"\xff".decode("utf-8", "surrogateescape"), "x" * 100000
    for arguments in (("run", FAULTS, "--output", bad), ("run", "--local", FAULTS, "--output", bad), ("run", "--name", bad, FAULTS),
                      ("run", "-D", "jobmanager.rpc.address=" + bad, FAULTS)):
        expect(weir(*arguments), USAGE, "not UTF-8")
    for arguments in ((long,), ("list", "--" + long), ("list", "-o", long), ("cluster", long), ("new", long), ("completion", long),
                      ("config", "--local", long), ("run", "-p", long, FAULTS), ("list", "-m", long)):
        done = weir(*arguments)
        assert done.returncode == USAGE and 0 < len(done.stderr) < 1000, (done.returncode, done.stderr[:300])


def test_configuration_says_where_values_are_from():
    with home() as directory:
        path = os.path.join(directory, "conf", "weir.yaml")
        os.makedirs(os.path.dirname(path))
        open(path, "w").write("rest.port: 1234\nparallelism.default: 2\nstate.backend: hashmap\n")
        def origins(*arguments, **env):
            done = weir("config", "-o", "json", "--local", *arguments, home=directory, **env)
            return {entry["key"]: (entry["value"], entry["origin"]) for entry in json.loads(expect(done, DONE))}
        values = origins("-D", "heartbeat.interval=2 s", WEIR_PARALLELISM_DEFAULT="3")
        assert values["rest.port"] == ("1234", f"{path}:1") and values["parallelism.default"] == ("3", "environment"), values
        assert values["heartbeat.interval"] == ("2 s", "-D") and values["log.level"] == ("info", "default"), values
        said = expect(weir("config", "--local", "rest.", home=directory), DONE, f"rest.port: 1234  # {path}:1", "an older spelling of 'state.backend.type'")
        assert "parallelism" not in said
        other = os.path.join(directory, "other.yaml")
        open(other, "w").write("rest.port: 1\n\nrset.port: 2\n")
        expect(weir("config", "--config", other, home=directory), USAGE, f"{other}:3", "'rset.port'", "'rest.port'")
        expect(weir("config", "--local", home=directory, WEIR_CONF=other), USAGE, f"{other}:3")
        open(other, "w").write("state.backend: hashmap\nstate.backend.type: hashmap\n") # the same key by two names
        expect(weir("config", "--config", other, home=directory), USAGE, f"{other}:2", "twice", f"{other}:1")
        expect(weir("config", "--config", "/nonexistent.yaml"), USAGE, "/nonexistent.yaml")
        expect(weir("config", "--local", "rest.prot"), USAGE, "'rest.port'")
        expect(weir("config", "--local", home=directory, WEIR_REST_PROT="1"), USAGE, "WEIR_REST_PORT")


def serve(answer):
    """A server that answers every request with these bytes (None: with nothing); its port. It ends with the process."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)

    def loop():
        kept = []
        while True:
            with contextlib.suppress(OSError):
                peer, _ = listener.accept()
                if answer is None:
                    kept.append(peer)
                    continue
                peer.recv(65536)
                peer.sendall(answer)
                peer.close()
    threading.Thread(target=loop, daemon=True).start()
    return listener.getsockname()[1]


def test_what_answers_may_be_anything():
    """Another program's port, or one that was attacked: an error, never a crash."""
    def http(body, status="200 OK"):
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    commands = (("list",), ("cancel", "x"), ("metrics", "x"), ("logs", "x"), ("exceptions", "x"), ("taskmanagers",), ("config",),
                ("logs", "taskmanager", "x"), ("cluster", "status"), ("run", "-d", FAULTS))
    for answer in (b"SSH-2.0-OpenSSH_9.2\r\n", b"", http("<html>hello</html>"), http("{}"), http("[]"), http("7"), http("null"), http(""),
                   http('{"jobs": 7, "taskmanagers": "x"}'), http('{"jobs": [1, null, {"jid": 5}], "taskmanagers": [[], {}]}'),
                   http("x" * 100000, "404 Not Found"), http('{"errors": [1, {}]}', "500 Oops"), http("\x01\x1b[2J", "500 Oops")):
        port = serve(answer)
        for command in commands:
            done = weir("-m", f"127.0.0.1:{port}", *command)
            assert done.returncode in (DONE, FAILED, UNREACHABLE, NOT_FOUND), (answer[:80], command, done)
            assert (done.returncode == DONE) == (done.stderr == ""), (answer[:80], command, done)
            assert "\x1b" not in done.stdout + done.stderr, (answer[:80], command, done)


def test_ctrl_c_while_nobody_answers_ends_it():
    port = serve(None)
    with started("run", "-m", f"127.0.0.1:{port}", FAULTS) as process:
        wait_for("the connection", lambda: f":{port:04X} 01 " in open("/proc/net/tcp").read())
        process.send_signal(signal.SIGINT)
        done = end_of(process)
    assert done.returncode == 130 and "weir list" in done.stderr, done


def test_what_is_no_job_is_said():
    with home() as directory:
        for name, text in (("empty.so", b""), ("text.so", b"hello\n"), ("elf.so", b"\x7fELF" + bytes(60))):
            path = os.path.join(directory, name)
            open(path, "wb").write(text)
            for options in (("--local",), ("-m", "127.0.0.1:1")):
                done = weir("run", *options, path)
                assert done.returncode == (FAILED if options[0] == "--local" else UNREACHABLE) and "weir: " in done.stderr, done
        expect(weir("run", "--local", directory), FAILED, directory)
        expect(weir("run", "-m", "127.0.0.1:1", directory), FAILED, "directory")
        expect(weir("info", directory), FAILED, directory)


# --- A cluster

def test_jobs_by_id_prefix_and_name():
    with Cluster(taskmanagers=1, slots=3) as cluster:
        first = cluster.submit(FAULTS, *ENDLESS, options=("--name", "first job"))
        second = cluster.submit(FAULTS, *ENDLESS, options=("--name", "second"))
        assert re.fullmatch("[0-9a-f]{32}", first), first
        said = expect(cluster.weir("list"), DONE, first, second, "first job")
        assert len(said.splitlines()) == 3, said
        cluster.wait_state(second, "RUNNING")

        expect(cluster.weir("cancel", "secnod"), NOT_FOUND, "'secnod'", "'second'", "weir list -a")
        expect(cluster.weir("cancel", "second"), DONE, second)
        cluster.wait_state(second, "CANCELED")
        expect(cluster.weir("cancel", second), DONE) # it is canceled, as wished
        assert second not in expect(cluster.weir("list"), DONE)
        expect(cluster.weir("list", "-a"), DONE, second, "CANCELED")

        third = cluster.submit(FAULTS, *ENDLESS, options=("--name", "first job"))
        expect(cluster.weir("cancel", "first job"), USAGE, "2 jobs", first, third, "RUNNING")
        expect(cluster.weir("cancel", ""), USAGE, "empty")
        common = os.path.commonprefix([first, third])
        expect(cluster.weir("cancel", first[:max(len(common) + 1, 8)].upper()), DONE, first)
        cluster.wait_state(first, "CANCELED")
        expect(cluster.weir("cancel", "first job"), DONE, third) # of two by the name the one that runs
        cluster.wait_state(third, "CANCELED")
        expect(cluster.weir("list"), DONE, "no running jobs")


def test_run_follows_to_the_end_and_its_exit_code_tells():
    with Cluster(taskmanagers=1, slots=1) as cluster:
        said = expect(cluster.weir("run", FAULTS, "--rows", "1000"), DONE, "FINISHED")
        expect(cluster.weir("cancel", re.search("[0-9a-f]{32}", said).group()), FAILED, "FINISHED")
        said = expect(cluster.weir("run", "-D", "restart-strategy.type=none", FAULTS, "--fault", "fail"), FAILED, "FAILED",
                      "not to my taste")
        job = re.search("[0-9a-f]{32}", said).group()
        expect(cluster.weir("exceptions", job), DONE, "not to my taste", "fault")
        entries = json.loads(expect(cluster.weir("exceptions", "-o", "json", job), DONE))["exceptionHistory"]["entries"]
        assert len(entries) == 1 and "not to my taste" in json.dumps(entries)
        expect(cluster.weir("logs", job), DONE, job)
        expect(cluster.weir("run", MISTAKES, "--how", "column"), FAILED, "kex")
        assert json.loads(cluster.weir("list", "-o", "json").stdout) == []


def test_json_everywhere():
    with Cluster(taskmanagers=2, slots=2) as cluster:
        def parsed(*arguments):
            return json.loads(expect(cluster.weir(*arguments[:1], *arguments[1:], "-o", "json"), DONE))

        job = json.loads(expect(cluster.weir("run", "-d", "-o", "json", FAULTS, *ENDLESS), DONE))["jobid"]
        cluster.wait_state(job, "RUNNING")
        jobs = parsed("list")
        assert [entry["jid"] for entry in jobs] == [job] and jobs[0]["state"] == "RUNNING"
        taskmanagers = parsed("taskmanagers")
        assert len(taskmanagers) == 2 and sum(t["freeSlots"] for t in taskmanagers) == 3
        keys = {entry["key"]: entry["value"] for entry in parsed("config")}
        assert keys["heartbeat.interval"] == "500 ms" and "rest.port" in keys
        status = json.loads(expect(cluster.weir("cluster", "status", "-o", "json"), DONE))
        assert sorted(p["name"] for p in status["processes"]) == ["jobmanager", "taskmanager-1", "taskmanager-2"]
        assert all(p["running"] for p in status["processes"]) and status["overview"]["slots-total"] == 4
        plan = json.loads(expect(cluster.weir("info", "-o", "json", FAULTS), DONE))
        assert plan["nodes"] and all(len(node["id"]) == 32 for node in plan["nodes"])
        assert parsed("exceptions", job)["exceptionHistory"]["entries"] == []
        parsed("cancel", job)
        cluster.wait_state(job, "CANCELED")

        said = expect(cluster.weir("taskmanagers"), DONE)
        assert all(t["id"] in said for t in taskmanagers)
        expect(cluster.weir("logs", "taskmanager", taskmanagers[0]["id"]), DONE, "registered")
        expect(cluster.weir("logs", "taskmanager", "nobody"), NOT_FOUND, "nobody")
        expect(cluster.weir("logs", "taskmanager", "127.0.0.1"), USAGE, *(t["id"] for t in taskmanagers))
        expect(cluster.weir("config"), DONE, "heartbeat.interval: 500 ms")
        expect(cluster.weir("info", FAULTS), DONE, "1 slot needed", "fault")
        # A slot is free when the job's executor has ended, which is after the job's own end.
        wait_for("free slots", lambda: cluster.rest("/overview")[1]["slots-available"] == 4)
        expect(cluster.weir("cluster", "status"), DONE, "2 TaskManagers", "4 of 4 slots free")


def test_metrics_of_a_running_and_of_an_ended_job():
    with Cluster(slots=1) as cluster:
        job = cluster.submit(FAULTS, "--rows", "1000000000", "--rate", "20000", options=("--name", "counted"))
        def source(metrics): # operators are there once a heartbeat has brought their counters
            return [o for v in metrics["vertices"] for o in v["operators"] if o["op"] == "source"]
        def measured():
            metrics = json.loads(expect(cluster.weir("metrics", "-o", "json", "counted"), DONE))
            return source(metrics) and source(metrics)[0]["records-out-per-second"] > 0 and metrics
        metrics = wait_for("a rate", measured)
        assert metrics["jobid"] == job and metrics["state"] == "RUNNING", metrics
        for vertex in metrics["vertices"]:
            assert 0 <= vertex["busy"] <= 1 and abs(vertex["busy"] + vertex["idle"] + vertex["backpressured"] - 1) < 0.01, vertex
        expect(cluster.weir("metrics", job[:8]), DONE, "RUNNING", "datagen", "1970-01-01")
        expect(cluster.weir("cancel", job), DONE)
        ended = cluster.submit(FAULTS, "--rows", "5000")
        cluster.wait_state(ended, "FINISHED")
        assert source(json.loads(cluster.weir("metrics", "-o", "json", ended).stdout))[0]["records-out"] == 5000
        expect(cluster.weir("metrics", ended), DONE, "5,000", "FINISHED")
        expect(cluster.weir("metrics", "nobody"), NOT_FOUND)


def test_logs_are_followed_to_the_jobs_end():
    with Cluster(slots=1) as cluster:
        job = cluster.submit(FAULTS, *ENDLESS)
        cluster.wait_state(job, "RUNNING")
        with started("logs", "-f", job, **cluster.env) as process:
            lines = []
            while "is RUNNING" not in "".join(lines):
                lines.append(process.stdout.readline())
                assert lines[-1], lines
            expect(cluster.weir("cancel", job), DONE)
            done = end_of(process)
        assert done.returncode == DONE and "CANCELED" in done.stdout, done
        text = "".join(lines) + done.stdout
        assert len(set(text.splitlines())) == len(text.splitlines()), text # none twice
        taskmanager = cluster.rest("/taskmanagers")[1]["taskmanagers"][0]["id"]
        with started("logs", "taskmanager", taskmanager[:-1], "--follow", "-o", "json", **cluster.env) as process:
            line = json.loads(process.stdout.readline())
            assert line["file"].startswith("taskmanager-1") and line["line"], line
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30 * PATIENCE)
        expect(cluster.weir("logs", "taskmanger", taskmanager), USAGE, "'taskmanager'")
        expect(cluster.weir("logs", "taskmanager", taskmanager[:-1] + "x"), NOT_FOUND, taskmanager)


def test_ctrl_c_detaches_and_says_how_to_cancel():
    with Cluster(taskmanagers=1, slots=2) as cluster:
        for option, state in ((None, "RUNNING"), ("--cancel-on-interrupt", "CANCELED")):
            with started("run", *([option] if option else []), FAULTS, *ENDLESS, **cluster.env) as process:
                job = wait_for("the job", lambda: (j := running(cluster)) and j[0])
                cluster.wait_state(job, "RUNNING")
                process.send_signal(signal.SIGINT)
                done = end_of(process)
            if option:
                expect(done, FAILED, "CANCELED")
            else:
                expect(done, DONE, f"weir cancel {job}")
            assert cluster.wait_state(job, state) == state
            cluster.weir("cancel", job)
            cluster.wait_state(job, "CANCELED")


def running(cluster):
    return [entry["jid"] for entry in json.loads(cluster.weir("list", "-o", "json").stdout)]


def test_local_ctrl_c_cancels():
    with home() as directory, started("run", "--local", FAULTS, *ENDLESS, WEIR_HOME=directory) as process:
        wait_for("a running task", lambda: process.poll() is not None or "worker" in thread_names(process.pid))
        process.send_signal(signal.SIGINT)
        expect(end_of(process), FAILED, "CANCELED")
        wait_for("the end of all its processes", lambda: not processes_of(directory))
        assert os.listdir(directory) == [], os.listdir(directory)


# --- Clusters on one host

def test_two_clusters_do_not_disturb_each_other():
    config = {"heartbeat.interval": "500 ms", "heartbeat.timeout": "3 s"}
    with Cluster(config=config) as one, Cluster(config=config) as two:
        assert one.port != two.port
        first, second = one.submit(FAULTS, *ENDLESS), two.submit(FAULTS, *ENDLESS)
        assert running(one) == [first] and running(two) == [second]
        expect(one.weir("cancel", second), NOT_FOUND)
        expect(two.weir("list", "-m", f"127.0.0.1:{one.port}"), DONE, first)
        expect(run(WEIR, "list", env={**two.env, "WEIR_REST": f"127.0.0.1:{one.port}"}), DONE, first)
        expect(one.weir("cluster", "stop"), DONE, "stopped 2 processes")
        two.wait_state(second, "RUNNING")
        assert processes_of(one.home) == []
        expect(one.weir("list"), UNREACHABLE)


def test_default_ports_are_replaced_when_another_cluster_has_them():
    with home() as first, home() as second:
        ports = set()
        for directory in (first, second):
            said = expect(weir("cluster", "start", "-o", "json", home=directory), DONE)
            ports.add(json.loads(said)["rest"])
            expect(weir("cluster", "status", home=directory), DONE, "1 TaskManager,")
        assert len(ports) == 2, ports


def test_cluster_start_twice_stop_twice_and_nothing_is_left():
    with home() as directory:
        ports = ("-D", "rest.port=0", "-D", "jobmanager.rpc.port=0")
        expect(weir("cluster", "start", *ports, "--taskmanagers", "2", home=directory), DONE, "2 TaskManagers", directory)
        said = expect(weir("cluster", "start", *ports, home=directory), FAILED, "already running", "weir cluster stop")
        assert directory in said
        job = expect(weir("run", "-d", FAULTS, *ENDLESS, home=directory), DONE).strip()
        wait_for("an executor", lambda: len(processes_of(directory)) == 4)
        expect(weir("cluster", "stop", home=directory), DONE, "stopped 3 processes")
        assert processes_of(directory) == [], job
        left = [os.path.join(at, name) for at, _, names in os.walk(os.path.join(directory, "run")) for name in names]
        assert left == [], left
        expect(weir("cluster", "stop", home=directory), DONE, "no cluster")
        expect(weir("cluster", "stop", "-o", "json", home=directory), DONE, '"stopped": 0')
        expect(weir("cluster", "start", *ports, home=directory), DONE)
        expect(weir("list", home=directory), DONE, "no running jobs")
        said = expect(weir("list", "-a", home=directory), DONE, job) # without a checkpoint it is not begun anew
        assert said.count("FAILED") == 1, said


def test_slots_are_those_of_the_configuration_unless_given():
    ports = ("-D", "rest.port=0", "-D", "jobmanager.rpc.port=0")
    with home() as directory:
        expect(weir("cluster", "start", *ports, "-D", "taskmanager.numberOfTaskSlots=3", home=directory), DONE, "3 slots")
        expect(weir("cluster", "status", home=directory), DONE, "3 of 3 slots")
    with home() as directory:
        path = os.path.join(directory, "weir.yaml")
        open(path, "w").write("taskmanager.numberOfTaskSlots: 3\nrest.port: 0\njobmanager.rpc.port: 0\n")
        expect(weir("cluster", "start", "--config", path, "--slots", "2", home=directory), DONE, "2 slots")
        expect(weir("config", "rest.port", home=directory), DONE, f"rest.port: 0  # {path}:2")


def test_a_start_that_fails_says_why_and_leaves_nothing():
    with home() as directory, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        open(os.path.join(directory, "words"), "w").close()
        for key in ("rest.port", "jobmanager.rpc.port"):
            other = "jobmanager.rpc.port" if key == "rest.port" else "rest.port"
            said = expect(weir("cluster", "start", "-D", f"{key}={port}", "-D", f"{other}=0", home=directory), FAILED, "jobmanager",
                          "exit code 1", f"{directory}/logs/jobmanager.log", str(port), "in use")
            assert said.count("weir-jobmanager:") == 1, said # the last start's words alone
        # A TaskManager that cannot start: the JobManager, which did, ends too.
        expect(weir("cluster", "start", "-D", "rest.port=0", "-D", "jobmanager.rpc.port=0", "-D", f"taskmanager.data.port={port}",
                    "-D", "taskmanager.bind-host=192.0.2.1", home=directory), FAILED, "taskmanager-1", "192.0.2.1")
        assert processes_of(directory) == []
        assert [name for name in os.listdir(os.path.join(directory, "run")) if name.endswith(".json")] == []
        open(os.path.join(directory, "file"), "w").close()
        for place in ("/proc/nothing", os.path.join(directory, "file")):
            expect(weir("cluster", "start", home=place), FAILED, place, "set WEIR_HOME")


def test_two_starts_at_once_make_one_cluster():
    with home() as directory:
        ports = ("-D", "rest.port=0", "-D", "jobmanager.rpc.port=0")
        with contextlib.ExitStack() as stack:
            starts = [stack.enter_context(started("cluster", "start", *ports, WEIR_HOME=directory)) for _ in range(3)]
            ends = [end_of(process, 60) for process in starts]
        assert sorted(end.returncode for end in ends) == [DONE, FAILED, FAILED], ends
        assert all("at work" in end.stderr or "already running" in end.stderr for end in ends if end.returncode), ends
        assert len(processes_of(directory)) == 2


def test_files_of_others_are_not_taken_for_a_cluster():
    """A recorded pid may be another program's by now, or a daemon's of another home; the file may be anything."""
    ports = ("-D", "rest.port=0", "-D", "jobmanager.rpc.port=0")
    with home() as one, home() as two:
        expect(weir("cluster", "start", *ports, home=one), DONE)
        os.makedirs(os.path.join(two, "run"))
        for name in ("jobmanager", "taskmanager-1"):
            shutil.copy(os.path.join(one, "run", f"{name}.json"), os.path.join(two, "run", f"{name}.json"))
        for name, text in (("taskmanager-2", "rubbish"), ("taskmanager-3", "[]"), ("taskmanager-4", '{"pid": "x"}'),
                           ("taskmanager-5", '{"pid": %d}' % os.getpid()), ("taskmanager-6", '{"pid": -1}')):
            open(os.path.join(two, "run", f"{name}.json"), "w").write(text)
        expect(weir("cluster", "status", home=two), UNREACHABLE, "dead", "no cluster")
        expect(weir("cluster", "stop", home=two), DONE, "no cluster")
        expect(weir("cluster", "status", home=one), DONE, "running")
        expect(weir("cluster", "start", *ports, home=two), DONE)
        relative = os.path.relpath(two, "/tmp") # from elsewhere by another way of writing it
        done = run(WEIR, "cluster", "status", env={"WEIR_HOME": relative, "WEIR_REST": ""}, cwd="/tmp")
        expect(done, DONE, "running", "1 TaskManager,")


def test_without_a_home_directory():
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "WEIR_HOME", "WEIR_REST")}
    done = subprocess.run([WEIR, "config", "--local", "log.level"], env=environment, capture_output=True, text=True, timeout=60)
    expect(done, DONE, "log.level: info")


def test_a_killed_daemon_does_not_block_the_next_start():
    with home() as directory:
        ports = ("-D", "rest.port=0", "-D", "jobmanager.rpc.port=0")
        expect(weir("cluster", "start", *ports, home=directory), DONE)
        for name in ("jobmanager", "taskmanager-1"):
            os.kill(json.load(open(os.path.join(directory, "run", f"{name}.json")))["pid"], signal.SIGKILL)
        wait_for("their end", lambda: not processes_of(directory))
        expect(weir("cluster", "status", home=directory), UNREACHABLE, "dead")
        expect(weir("cluster", "start", *ports, home=directory), DONE)


def test_variables_of_the_tests_are_no_configuration():
    """Those that tests, scripts and make read come down to the daemons that they start, which must not take one for a mistyped key."""
    files = subprocess.run(["git", "-C", ROOT, "ls-files", "tests", "scripts", "mk", "Makefile", ".ci"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    read = r"""(?:environ\.get\(|environ\[|getenv\(|\$[{(]?)["']?(WEIR_[A-Z0-9_]+)"""
    names = {name for file in files for name in re.findall(read, open(os.path.join(ROOT, file), errors="replace").read())}
    assert {"WEIR_TEST_FORMATS", "WEIR_PARTS", "WEIR_FUZZ_MS"} <= names, names
    with home() as directory:
        known = {"WEIR_HOME", "WEIR_CONF"}
        expect(weir("dlq", "list", directory, home=directory, **{name: "1" for name in names - known}), DONE)
        expect(weir("dlq", "list", directory, home=directory, WEIR_LOG_FORMATS="1"), USAGE, "WEIR_LOG_FORMATS is no configuration key")


if __name__ == "__main__":
    main(globals())
