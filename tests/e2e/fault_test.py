#!/usr/bin/env python3
"""Fault points: off by default, armed by the command over the control line, counted by those who pass them, also when they die of it."""
import json
import os
import signal
import subprocess
import tempfile

from weir_test import JOBS, PATIENCE, WEIR, Cluster, main, wait_for

ON = {"testing.fault-points": "true", "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1000",
      "restart-strategy.fixed-delay.delay": "50 ms", "execution.checkpointing.interval": "100 ms"}


def points(cluster):
    done = cluster.weir("fault", "list", "-a", "-o", "json")
    assert done.returncode == 0, done.stderr
    return {(p["name"], p["taskmanager"]): p for p in json.loads(done.stdout)}


def start(cluster):
    return cluster.submit(os.path.join(JOBS, "once.so"), "--output", cluster.path("o"), "--rows-output", cluster.path("r"),
                          "--rows", "100000000", "--rate", "1000")


def refused(cluster, *arguments):
    done = cluster.weir("fault", *arguments)
    assert done.returncode != 0, arguments
    return done.stderr


def test_off_by_default():
    with Cluster() as cluster:
        assert "testing.fault-points=true" in refused(cluster, "arm", "executor.report-send", "kill")
        assert "testing.fault-points=true" in refused(cluster, "reset")
        assert all(p["passes"] == 0 for p in points(cluster).values())
        assert "fault points are off" in cluster.weir("fault", "list").stderr
        assert not os.path.exists(cluster.path("run", "fault-points"))


def test_armed_counted_and_acting_once():
    with Cluster(config=ON) as cluster:
        for wrong, say in ((("arm", "executor.report-sned", "kill"), "do you mean 'executor.report-sen"), (("arm", "executor.report-send", "explode"), "not 'explode'"),
                           (("arm", "executor.report-send:0", "kill"), "from 1"), (("arm", "executor.report-send", "error"), "nothing can fail"),
                           (("arm", "executor.report-send"), "weir fault arm POINT"), (("disarm",), "reset")):
            assert say in refused(cluster, *wrong), (wrong, refused(cluster, *wrong))
        status, body = cluster.rest("/weir/faults", "POST", b"{\"point\": 1}")
        assert status == 400 and "action" in body["errors"][0], body
        job = start(cluster)
        assert cluster.weir("fault", "arm", "executor.report-send:2", "kill").returncode == 0
        wait_for("the executor's death", lambda: points(cluster)[("executor.report-send", "")]["acted"] == 1)
        dead = points(cluster)[("executor.report-send", "")]["pid"]
        wait_for("another executor", lambda: (p := cluster.executor_pids()) and dead not in p)
        before = points(cluster)[("executor.report-send", "")]["passes"]
        wait_for("more passes", lambda: points(cluster)[("executor.report-send", "")]["passes"] > before + 1)
        after = points(cluster)[("executor.report-send", "")]
        assert after["acted"] == 1 and after["armed"] is None and dead not in cluster.executor_pids()
        logs = "".join(open(cluster.path("logs", name), errors="replace").read() for name in os.listdir(cluster.path("logs")))
        assert "fault point executor.report-send: kill" in logs
        assert cluster.weir("fault", "arm", "supervisor.trigger-received", "stop").returncode == 0
        stopped = wait_for("a stop", lambda: (p := points(cluster)[("supervisor.trigger-received", "")])["acted"] and p["pid"])
        assert stopped == cluster.taskmanager_pid(1)
        os.kill(stopped, signal.SIGCONT)
        assert cluster.weir("fault", "arm", "executor.restore-begun", "kill").returncode == 0
        assert cluster.weir("fault", "reset").returncode == 0
        assert points(cluster)[("executor.restore-begun", "")]["armed"] is None
        assert cluster.weir("cancel", job).returncode == 0


def test_a_taskmanager_with_a_home_of_its_own():
    """As on another host: its arms and counts come and go over the control line."""
    with Cluster(config=ON) as cluster, tempfile.TemporaryDirectory() as home:
        os.kill(cluster.taskmanager_pid(1), signal.SIGTERM)
        wait_for("no TaskManager", lambda: not cluster.rest("/taskmanagers")[1]["taskmanagers"])
        port = json.load(open(cluster.path("run", "jobmanager.json")))["rpc_port"]
        assert cluster.weir("fault", "arm", "executor.report-sent:3", "kill").returncode == 0 # before it is there
        options = [o for k, v in {**ON, "jobmanager.rpc.port": port, "rest.port": cluster.port}.items() for o in ("-D", f"{k}={v}")]
        other = subprocess.Popen([os.path.join(os.path.dirname(WEIR), "weir-taskmanager"), *options], env={**os.environ, "WEIR_HOME": home},
                                 stderr=subprocess.DEVNULL)
        try:
            start(cluster)
            point = wait_for("a count from there", lambda: next((p for (name, where), p in points(cluster).items()
                                                                 if where and name == "executor.report-sent" and p["acted"] == 1), None))
            assert point["pid"] > 0 and points(cluster)[("executor.report-sent", "")]["passes"] == 0
        finally:
            other.terminate()
            other.wait(30 * PATIENCE)


if __name__ == "__main__":
    main(globals())
