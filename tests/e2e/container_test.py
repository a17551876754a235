#!/usr/bin/env python3
"""The image, built and run: its size and user; the cluster of deploy/kubernetes in containers, by the manifests' own command lines,
environment, mounts, limits and probes; the compose file. Skipped where no container can be started.

WEIR_TEST_WHOLE_IMAGE=1 builds the image's first stage as well (as make check-containers does); else this tree's binaries take its place.
"""
import functools
import json
import os
import re
import shutil
import tempfile
import time
import urllib.request

from deploy_kit import (COMPOSE, arguments_of, build_image, call, find, need_containers, pod_of, podman, quantity,
                        size_of, tool)
from weir_test import JOBS, WEIR, free_port, main, run, wait_for

SUBNET = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}" # of a network that the test makes
LAYERS_MAX = 60 << 20
FINISHED = 1092


@functools.cache
def image():
    """Built once; a Skip is remembered as well as a failure."""
    base = need_containers()
    return base, build_image(base, whole=os.environ.get("WEIR_TEST_WHOLE_IMAGE") == "1")


def test_image_is_small_and_not_root():
    base, name = image()
    layers = size_of(name) - size_of(base)
    print(f"# {layers / 1e6:.1f} MB over a base of {size_of(base) / 1e6:.1f} MB")
    assert 0 < layers < LAYERS_MAX, f"{layers} bytes over the base"
    config = json.loads(podman("image", "inspect", name).stdout)[0]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"]), config["User"]
    assert config["Healthcheck"]["Test"] == ["CMD", "weir", "health"], config.get("Healthcheck")
    assert "8081/tcp" in config["Config"]["ExposedPorts"]
    script = ("set -e; weir --version; weir-jobmanager --version; weir-taskmanager --version; ls /usr/share/doc/weir/LICENSE; "
              "ldd /usr/bin/weir* /usr/lib/libweir.so.*; id -u")
    done = podman("run", "--rm", "--no-healthcheck", "--network=none", "--read-only", name, "sh", "-c", script)
    assert "not found" not in done.stdout and done.stdout.splitlines()[-1] == "10001", done.stdout
    for forbidden in ("gcc", "make", "python3"):
        assert podman("run", "--rm", "--no-healthcheck", "--network=none", name, "sh", "-c", f"command -v {forbidden}",
                      check=False).returncode != 0, f"{forbidden} has no place in the image"


class Session:
    """with Session() as session: the JobManager and two TaskManagers of deploy/kubernetes, each a container."""

    def __init__(self):
        _, self.image = image()
        self.prefix = f"weir-test-{os.getpid()}"
        self.directory = tempfile.mkdtemp(prefix="weir-containers-")
        os.chmod(self.directory, 0o755)
        self.names = {}
        done = run(WEIR, "security", "init", "--dir", os.path.join(self.directory, "secrets"))
        assert done.returncode == 0, done.stderr
        tokens = [line.split() for line in open(os.path.join(self.directory, "secrets", "rest.token")) if line[0] != "#"]
        self.token = next(token for role, token in (t for t in tokens if t) if role == "admin")

    def __enter__(self):
        try:
            podman("network", "create", "--subnet", f"{SUBNET}.0/24", self.prefix)
            self.start("jobmanager", "weir-jobmanager", 10)
            for number in (1, 2):
                self.start(f"taskmanager-{number}", "weir-taskmanager", 20 + number)
        except BaseException:
            self.__exit__(True, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        for name in self.names.values():
            if kind:
                logs = podman("logs", "--tail", "30", name, check=False)
                print(f"# --- {name}", *(logs.stdout + logs.stderr).splitlines(), sep="\n#   ")
            podman("rm", "-f", "-t", "0", name, check=False)
        podman("network", "rm", "-f", self.prefix, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, name, deployment, address):
        """A container like the pods of `deployment`; the JobManager's is known by its Service's name."""
        pod = pod_of("Deployment", deployment)
        arguments, command = arguments_of(pod, self.directory, f"{SUBNET}.{address}")
        self.names[name] = f"{self.prefix}-{name}"
        podman("run", "-d", "--name", self.names[name], "--network", f"{self.prefix}:alias={deployment}", *arguments,
               self.image, *command)

    def probe(self, name, which="readinessProbe"):
        deployment = "weir-jobmanager" if name == "jobmanager" else "weir-taskmanager"
        command = pod_of("Deployment", deployment)["containers"][0][which]["exec"]["command"]
        return podman("exec", self.names[name], *command, check=False).returncode == 0

    def wait_ready(self):
        for name in self.names:
            wait_for(f"ready {name}", lambda: self.probe(name), 60)
            assert self.probe(name, "livenessProbe") and self.probe(name, "startupProbe"), name

    def rest(self, path):
        request = urllib.request.Request(f"http://{SUBNET}.10:8081{path}", headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def submit_weather(self):
        """weather-job.yaml as a container: its own command line, to the Service's name."""
        pod = find("Job", "weir-weather")["spec"]["template"]["spec"]
        arguments, command = arguments_of(pod, self.directory, f"{SUBNET}.30")
        return podman("run", "--rm", "--network", self.prefix, *arguments, self.image, *command, timeout_s=180)

    def windows(self):
        """Rows below /data/weather/windows; then they are removed."""
        return int(podman("exec", self.names["taskmanager-1"], "sh", "-c",
                          "cat /data/weather/windows/part-* | wc -l; rm -rf /data/weather").stdout)


def test_the_manifests_session_runs_the_weather_job_through_a_kill():
    with Session() as session:
        session.wait_ready()
        limits = pod_of("Deployment", "weir-taskmanager")["containers"][0]["resources"]["limits"]
        taskmanagers = session.rest("/taskmanagers")["taskmanagers"]
        assert [t["hardware"]["physicalMemory"] for t in taskmanagers] == [quantity(limits["memory"])] * 2, taskmanagers
        assert all(t["weir-host"].startswith(SUBNET) for t in taskmanagers), taskmanagers
        session.submit_weather()
        assert session.windows() == FINISHED
        # A TaskManager is lost: the JobManager sees it, and with a new one the job runs again.
        podman("kill", "--signal", "KILL", session.names["taskmanager-2"])
        wait_for("loss of the TaskManager", lambda: session.rest("/overview")["taskmanagers"] == 1, 60)
        podman("rm", "-f", session.names.pop("taskmanager-2"))
        session.start("taskmanager-3", "weir-taskmanager", 23)
        session.wait_ready()
        session.submit_weather()
        assert session.windows() == FINISHED
        # The containers' logs have everything, one JSON object a line, executors' lines included.
        logs = podman("logs", session.names["taskmanager-1"]).stderr.splitlines()
        processes = {json.loads(line)["process"] for line in logs if line.startswith("{")}
        assert {"taskmanager", "executor"} <= processes, processes
        # SIGTERM ends all well within the grace period.
        for name in ("taskmanager-1", "taskmanager-3", "jobmanager"):
            begin = time.monotonic()
            podman("stop", "-t", "25", session.names[name])
            took = time.monotonic() - begin
            status = json.loads(podman("inspect", session.names[name]).stdout)[0]["State"]
            assert status["ExitCode"] == 0, f"{name} ended with {status['ExitCode']} after {took:.1f} s"


def test_a_job_over_its_part_of_the_containers_memory_is_stopped_with_a_report():
    with Session() as session:
        session.wait_ready()
        rest = f"{SUBNET}.10:8081"
        done = run(WEIR, "run", "-d", "-m", rest, "-D", "restart-strategy.type=none", os.path.join(JOBS, "faults.so"), "--fault",
                   "leak", env={"WEIR_REST_TOKEN": session.token})
        assert done.returncode == 0, done.stderr
        job = done.stdout.strip()
        wait_for("end of the job", lambda: session.rest(f"/jobs/{job}")["state"] == "FAILED", 120)
        cause = session.rest(f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"][0]
        limits = pod_of("Deployment", "weir-taskmanager")["containers"][0]["resources"]["limits"]
        budget = quantity(limits["memory"]) // 100 * 85 // 2
        assert "MemoryBudgetExceeded" in json.dumps(cause) and f"its limit is {budget >> 20} MB" in json.dumps(cause), cause
        assert session.rest("/overview")["taskmanagers"] == 2
        session.wait_ready()


def ended_well(container):
    """False while it runs or is to be tried again."""
    state = json.loads(podman("inspect", container).stdout)[0]["State"]
    return state["Status"] == "exited" and state["ExitCode"] == 0


def test_compose_file_runs_the_weather_job():
    _, name = image()
    port = free_port()
    project = f"weirtest{os.getpid()}"
    command = ["env", f"WEIR_IMAGE={name}", f"WEIR_REST_PORT={port}", tool("podman-compose"), "-p", project, "-f",
               os.path.join(COMPOSE, "compose.yaml"), "--podman-run-args=--no-healthcheck"]
    try:
        call(*command, "up", "-d", "--no-build", timeout_s=180)
        wait_for("end of the submission", lambda: ended_well(f"{project}_weather_1"), 120)
        rows = podman("exec", f"{project}_jobmanager_1", "sh", "-c", "cat /data/weather/windows/part-* | wc -l").stdout
        assert int(rows) == FINISHED, rows

        def taskmanagers():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/overview", timeout=30) as reply:
                return json.load(reply)["taskmanagers"]
        wait_for("both TaskManagers", lambda: taskmanagers() == 2, 60) # one is enough for the job: the other may come later
    finally:
        call(*command, "down", "-v", "-t", "10", check=False, timeout_s=120)


if __name__ == "__main__":
    main(globals())
