#!/usr/bin/env python3
"""The `weir` command as scripts and people use it: exit codes, JSON, hints, jobs by id, prefix and name, Ctrl-C, clusters on one host."""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

from weir_test import JOBS, PATIENCE, WEIR, Cluster, free_port, main, run, wait_for

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
        expect(cluster.weir("cancel", "first job"), USAGE, "2 jobs")
        common = os.path.commonprefix([first, third])
        expect(cluster.weir("cancel", first[:max(len(common) + 1, 8)]), DONE, first)
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
        expect(cluster.weir("config"), DONE, "heartbeat.interval: 500 ms")
        expect(cluster.weir("info", FAULTS), DONE, "1 slot needed", "fault")
        # A slot is free when the job's executor has ended, which is after the job's own end.
        wait_for("free slots", lambda: cluster.rest("/overview")[1]["slots-available"] == 4)
        expect(cluster.weir("cluster", "status"), DONE, "2 TaskManagers", "4 of 4 slots free")


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
        expect(weir("list", "-a", home=directory), DONE, "no jobs")


def test_a_killed_daemon_does_not_block_the_next_start():
    with home() as directory:
        ports = ("-D", "rest.port=0", "-D", "jobmanager.rpc.port=0")
        expect(weir("cluster", "start", *ports, home=directory), DONE)
        for name in ("jobmanager", "taskmanager-1"):
            os.kill(json.load(open(os.path.join(directory, "run", f"{name}.json")))["pid"], signal.SIGKILL)
        wait_for("their end", lambda: not processes_of(directory))
        expect(weir("cluster", "status", home=directory), UNREACHABLE, "dead")
        expect(weir("cluster", "start", *ports, home=directory), DONE)


if __name__ == "__main__":
    main(globals())
