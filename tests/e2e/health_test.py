#!/usr/bin/env python3
"""weir health, and the first process of a container: what probes see and what the init of a namespace owes."""
import json
import os
import shutil
import signal
import subprocess
import tempfile

from weir_test import BUILD, Cluster, Skip, free_port, main, run, wait_for, WEIR


def health(cluster, *arguments):
    done = cluster.weir("health", "-o", "json", *arguments)
    reply = json.loads(done.stdout)
    return done.returncode, {d["name"]: (d["live"], d["ready"]) for d in reply["daemons"]}


def test_health_says_who_is_well():
    with Cluster(taskmanagers=2) as cluster:
        everybody = (0, {"jobmanager": (True, True), "taskmanager-1": (True, True), "taskmanager-2": (True, True)})
        wait_for("everybody well", lambda: health(cluster) == everybody, told=lambda: health(cluster))
        stuck = cluster.taskmanager_pid(2)
        os.kill(stuck, signal.SIGSTOP)
        assert health(cluster, "taskmanager-2") == (1, {"taskmanager-2": (False, False)})
        assert health(cluster, "taskmanager-1")[0] == 0
        os.kill(stuck, signal.SIGCONT)
        os.kill(json.load(open(cluster.path("run", "jobmanager.json")))["pid"], signal.SIGKILL)
        wait_for("loss of the JobManager to show", lambda: health(cluster, "taskmanager-1")[0] == 1)
        assert health(cluster, "taskmanager-1") == (1, {"taskmanager-1": (True, False)})
        assert health(cluster, "--live", "taskmanager-1")[0] == 0
        assert health(cluster, "jobmanager") == (1, {"jobmanager": (False, False)})


def test_health_without_daemons():
    home = tempfile.mkdtemp(prefix="weir-e2e-")
    done = run(WEIR, "health", env={"WEIR_HOME": home})
    assert done.returncode == 3 and home in done.stderr, done
    shutil.rmtree(home)


def test_the_status_socket_of_a_long_home():
    home = os.path.join(tempfile.mkdtemp(prefix="weir-e2e-"), "d" * 100)
    port = free_port()
    daemon = subprocess.Popen([os.path.join(BUILD, "bin", "weir-taskmanager"), "-D", f"jobmanager.rpc.port={port}"],
                              env=dict(os.environ, WEIR_HOME=home), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("an answer", lambda: run(WEIR, "health", "--live", env={"WEIR_HOME": home}).returncode == 0)
        assert run(WEIR, "health", env={"WEIR_HOME": home}).returncode == 1  # no JobManager
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
        assert os.listdir(os.path.join(home, "run")) == []
    finally:
        daemon.kill()
        shutil.rmtree(os.path.dirname(home))


def zombies_below(pid):
    """Processes that have ended and were not waited for by `pid`."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) == pid:
            found.append(int(name))
    return found


def children_of(pid):
    return [int(p) for p in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def test_as_process_1_it_waits_for_orphans_and_passes_signals_on():
    if subprocess.run(["unshare", "--pid", "--fork", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip("no PID namespace can be made here (needs root)")
    home = tempfile.mkdtemp(prefix="weir-e2e-")
    # Processes of the namespace whose parent ends: they fall to process 1; one ends before that is a JobManager, one a moment later.
    script = '(sleep 0.1 & ); (sleep 1 & ) ; exec python3 -c "import os, sys, time; time.sleep(0.5); os.execv(sys.argv[1], sys.argv[1:])" ' \
             f'{BUILD}/bin/weir-jobmanager -D rest.port=0 -D jobmanager.rpc.port=0'
    outer = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script],
                             env=dict(os.environ, WEIR_HOME=home), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ready = os.path.join(home, "run", "jobmanager.json")
        wait_for("the JobManager", lambda: os.path.exists(ready))
        first, = children_of(outer.pid)
        wait_for(f"the end of the orphans (children {children_of(first)})", lambda: len(children_of(first)) == 1)
        assert zombies_below(first) == []
        daemon, = children_of(first)
        assert open(f"/proc/{daemon}/comm").read().startswith("weir-jobmanager")
        os.kill(first, signal.SIGTERM)
        assert outer.wait(30) == 0, "SIGTERM to process 1 must end the JobManager cleanly"
        assert not os.path.exists(ready)
    finally:
        outer.kill()
        shutil.rmtree(home)


def test_as_process_1_it_tells_how_the_daemon_ended():
    if subprocess.run(["unshare", "--pid", "--fork", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip("no PID namespace can be made here (needs root)")
    home = tempfile.mkdtemp(prefix="weir-e2e-")
    command = ["unshare", "--pid", "--fork", "--kill-child", os.path.join(BUILD, "bin", "weir-taskmanager")]
    done = run(*command, "-D", "no.such.key=1", env={"WEIR_HOME": home})
    assert done.returncode == 2 and "no.such.key" in done.stderr, done
    outer = subprocess.Popen(command, env=dict(os.environ, WEIR_HOME=home), stdin=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    try:
        wait_for("a live TaskManager", lambda: run(WEIR, "health", "--live", env={"WEIR_HOME": home}).returncode == 0)
        first, = children_of(outer.pid)
        daemon, = children_of(first)
        os.kill(daemon, signal.SIGKILL)
        assert outer.wait(30) == 128 + signal.SIGKILL
    finally:
        outer.kill()
        shutil.rmtree(home)


if __name__ == "__main__":
    main(globals())
