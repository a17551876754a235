#!/usr/bin/env python3
"""A cluster on several hosts (network namespaces, scripts/netns.sh), with keys and tokens, whose network fails.

Host 1 has the JobManager, hosts 2 and 3 a TaskManager each; this machine is a fourth on the same network, which nothing cuts off, and
asks over REST. Each scenario has hosts of its own, several run at a time. WEIR_NETWORK=all (make check-network) cuts at other moments, too, and
again and again.
"""
import concurrent.futures
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from weir_test import BUILD, EXAMPLES, JOBS, PATIENCE, ROOT, WEIR, Skip, look_for_reports, main, read_rows, run, wait_for

NETNS = os.path.join(ROOT, "scripts", "netns.sh")
WEATHER = os.path.join(ROOT, "examples", "gpu-temperature", "readings.jsonl.gz")
ALL = os.environ.get("WEIR_NETWORK") == "all"
numbers = itertools.count()


def need_namespaces():
    done = run(NETNS, "check")
    if done.returncode != 0:
        raise Skip((done.stdout + done.stderr).strip() or "no network namespaces here")


class Hosts:
    """with Hosts() as hosts: a secured cluster on three of them."""

    def __init__(self, slots=1, config=None):
        number = next(numbers)
        self.env = {"WEIR_NETNS": f"w{os.getpid() % 10000:x}{number:x}", "WEIR_NETNS_NET": str((os.getpid() * 16 + number) % 250 + 1)}
        self.home = tempfile.mkdtemp(prefix="weir-net-")
        self.processes = {}
        self.slots = slots
        self.config = {"heartbeat.interval": "500 ms", "heartbeat.timeout": f"{int(4 * PATIENCE)} s",
                       "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1000",
                       "restart-strategy.fixed-delay.delay": "300 ms", **(config or {})}

    def netns(self, *arguments):
        done = run(NETNS, *arguments, env=self.env)
        assert done.returncode == 0, f"netns.sh {' '.join(map(str, arguments))}: {done.stderr}"
        return done.stdout.strip()

    def path(self, *parts):
        return os.path.join(self.home, *parts)

    def address(self, n):
        return f"10.77.{self.env['WEIR_NETNS_NET']}.{n}"

    def start(self, n, program, name, **options):
        """A daemon on host n, as it would be started there: its own run and log directory, the shared keys."""
        pairs = [o for k, v in {**self.config, **options}.items() for o in ("-D", f"{k}={v}")]
        home = self.path(f"host{n}")
        env = {**os.environ, **self.env, "WEIR_HOME": home, "WEIR_CONF": self.path("conf", "weir.yaml")}
        os.makedirs(os.path.join(home, "logs"), exist_ok=True)
        output = open(os.path.join(home, "logs", name + ".out"), "a")
        self.processes[name] = subprocess.Popen([NETNS, "exec", str(n), os.path.join(BUILD, "bin", program), "--name", name, *pairs],
                                                env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def start_taskmanager(self, n):
        self.start(n, "weir-taskmanager", f"taskmanager-{n}", **{
            "jobmanager.rpc.address": self.address(1), "taskmanager.host": self.address(n), "taskmanager.bind-host": self.address(n),
            "taskmanager.numberOfTaskSlots": self.slots})

    def __enter__(self):
        try:
            self.netns("up")
            done = run(WEIR, "security", "init", "--dir", self.path("conf"))
            assert done.returncode == 0, done.stderr
            open(self.path("conf", "weir.yaml"), "w").write(done.stdout)
            self.token = next(line.split()[1] for line in open(self.path("conf", "rest.token")) if line.startswith("admin"))
            self.start(1, "weir-jobmanager", "jobmanager", **{"jobmanager.bind-host": self.address(1), "rest.bind-address": self.address(1)})
            for n in (2, 3):
                self.start_taskmanager(n)
            wait_for("two TaskManagers", lambda: len(self.taskmanagers()) == 2)
        except BaseException:
            self.__exit__(True, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 15 * PATIENCE
        for process in self.processes.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        run(NETNS, "down", env=self.env)
        for directory, _, names in os.walk(self.home):
            for name in sorted(names):
                if not name.endswith((".log", ".out")):
                    continue
                text = open(os.path.join(directory, name), errors="replace").read()
                look_for_reports(name, text)
                if kind:
                    print(f"# --- {name}\n" + "\n".join("# " + line[:260] for line in text.splitlines()[-25:]))
        if not (kind and os.environ.get("WEIR_TEST_KEEP")):
            shutil.rmtree(self.home, ignore_errors=True)

    def rest(self, path):
        """The answer, or None when there is none."""
        request = urllib.request.Request(f"http://{self.address(1)}:8081{path}", headers={"Authorization": "Bearer " + self.token})
        try:
            with urllib.request.urlopen(request, timeout=10 * PATIENCE) as reply:
                return json.loads(reply.read())
        except (urllib.error.URLError, OSError):
            return None

    def taskmanagers(self):
        """The hosts of those that are registered."""
        reply = self.rest("/taskmanagers") or {"taskmanagers": []}
        return sorted(int(t["weir-host"].rsplit(".", 1)[1]) for t in reply["taskmanagers"])

    def weir(self, n, *arguments, timeout_s=120):
        return run(NETNS, "exec", n, WEIR, *arguments, timeout_s=timeout_s,
                   env={**self.env, "WEIR_HOME": self.path(f"user{n}"), "WEIR_REST": f"{self.address(1)}:8081", "WEIR_REST_TOKEN": self.token})

    def job(self, job):
        return self.rest(f"/jobs/{job}") or {}

    def state(self, job):
        return self.job(job).get("state")

    def wait_state(self, job, *states, timeout_s=90):
        return wait_for(f"{' or '.join(states)} of the job", lambda: (s := self.state(job)) in states and s, timeout_s)

    def failures(self, job):
        reply = self.rest(f"/jobs/{job}/exceptions")
        return [e["stacktrace"] for e in reply["exceptionHistory"]["entries"]] if reply else []

    def flows(self, job):
        """All of its tasks run, and records arrive behind the exchange."""
        reply = self.job(job)
        vertices = reply.get("vertices", [])
        return reply.get("state") == "RUNNING" and all(v["status"] == "RUNNING" for v in vertices) and \
            vertices[-1]["metrics"]["read-records"] > 0

    def submit_paced(self, rows, rate=2000):
        out = self.path("out")
        shutil.rmtree(out, ignore_errors=True)
        done = self.weir(2, "run", "-d", "-p", "2", os.path.join(JOBS, "paced.so"), "--rows", rows, "--rate", rate, "--output", out)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def check_paced(self, rows):
        """Every record is counted once, in one window each, whatever was restarted."""
        counts = read_rows(self.path("out"))
        keys = [(row["key"], row["window_end"]) for row in counts]
        assert len(keys) == len(set(keys)), "a window came twice"
        assert sum(row["n"] for row in counts) == rows


def test_the_weather_job_across_hosts():
    need_namespaces()
    with Hosts(slots=2) as hosts:
        out = hosts.path("out")
        done = hosts.weir(2, "run", "-p", "4", os.path.join(EXAMPLES, "gpu-temperature.so"), "--input", WEATHER, "--output", out,
                          "--window", "1 d", "--threshold", "80")
        assert done.returncode == 0, done.stderr
        assert [len(read_rows(os.path.join(out, part))) for part in ("windows", "alerts", "bad")] == [1092, 65, 1]
        job = hosts.rest("/jobs/overview")["jobs"][0]["jid"]
        places = {s["host"] for v in hosts.job(job)["vertices"] for s in hosts.rest(f"/jobs/{job}/vertices/{v['id']}")["subtasks"]}
        assert len(places) == 2, places
        # A slow network is a slow job, not a failed one.
        hosts.netns("shape", 2, "2mbit")
        hosts.netns("shape", 3, "2mbit")
        job = hosts.submit_paced(20000, 10000)
        hosts.wait_state(job, "FINISHED")
        hosts.check_paced(20000)
        assert hosts.failures(job) == []


# What happens to the network, who is still registered then, and whether the job must be told why.
CUTS = {
    "data, both ways": (("cut", 2, 3), [2, 3]),
    "data, one way": (("cut", 2, 3, "one-way"), [2, 3]),
    "data, the other way": (("cut", 3, 2, "one-way"), [2, 3]),
    "a TaskManager's cable": (("link", 3, "down"), [2]),
    "control, both ways": (("cut", 1, 3), [2]),
    "control, to the TaskManager": (("cut", 1, 3, "one-way"), [2]),
    "control, to the JobManager": (("cut", 3, 1, "one-way"), [2]),
    "the JobManager's cable": (("link", 1, "down"), None),
}


def scenario(what):
    """Cut, see the truth, heal, see the job finish with right results."""
    cut, registered = CUTS[what]
    rows = 16000
    with Hosts() as hosts:
        job = hosts.submit_paced(rows)
        wait_for("records", lambda: hosts.flows(job))
        hosts.netns(*cut)
        if registered is None: # nobody can ask: see afterwards
            time.sleep(8 * PATIENCE)
        else:
            wait_for(f"{what}: the failure in the job's exceptions", lambda: hosts.failures(job), 30)
            wait_for(f"{what}: the truth about the TaskManagers", lambda: hosts.taskmanagers() == registered, 30)
            time.sleep(2 * PATIENCE)
            assert hosts.taskmanagers() == registered
            assert hosts.state(job) in ("RESTARTING", "RUNNING", "FAILING", "CREATED"), hosts.job(job)
            if registered == [2]: # one slot is too few: it waits, and says for what
                assert not hosts.flows(job) and "slot" in hosts.job(job).get("status", ""), hosts.job(job)
            assert not os.path.isdir(hosts.path("out")) or read_rows(hosts.path("out")) == []
            if registered == [2, 3]:
                failures = "\n".join(hosts.failures(job))
                assert f"from tcp://{hosts.address(2)}:" in failures or f"from tcp://{hosts.address(3)}:" in failures, failures
                assert f"at tcp://{hosts.address(2)}:" in failures or f"at tcp://{hosts.address(3)}:" in failures, failures
        hosts.netns("heal")
        wait_for(f"{what}: both TaskManagers again", lambda: hosts.taskmanagers() == [2, 3], 60)
        hosts.wait_state(job, "FINISHED")
        hosts.check_paced(rows)
        assert hosts.failures(job), "nothing was noticed"
    return what


def all_cuts(function):
    with concurrent.futures.ThreadPoolExecutor(len(CUTS) if PATIENCE < 2 else 2) as pool:
        for done in [pool.submit(function, name) for name in CUTS]:
            print("#", done.result())


def test_cuts_are_noticed_told_and_healed():
    need_namespaces()
    all_cuts(scenario)


def flapping(what):
    """Cut and healed again and again, first while the job starts; each time for a little longer."""
    rows = 6000
    with Hosts() as hosts:
        job = hosts.submit_paced(rows)
        for n in range(6):
            hosts.netns(*CUTS[what][0])
            time.sleep(n * PATIENCE)
            hosts.netns("heal")
            time.sleep(1.5 * PATIENCE)
        hosts.wait_state(job, "FINISHED", timeout_s=180)
        hosts.check_paced(rows)
        wait_for(f"{what}: both TaskManagers again", lambda: hosts.taskmanagers() == [2, 3], 60)
    return what


if ALL:  # longer: make check-network
    def test_flapping_networks():
        need_namespaces()
        all_cuts(flapping)


def test_a_cut_that_stays_fails_the_job():
    need_namespaces()
    with Hosts(config={"restart-strategy.fixed-delay.attempts": "1"}) as hosts:
        job = hosts.submit_paced(1000000)
        wait_for("records", lambda: hosts.flows(job))
        hosts.netns("cut", 2, 3)
        hosts.wait_state(job, "FAILED", timeout_s=60)
        cause = hosts.failures(job)[0]
        ends = set(re.findall(r"tcp://(10\.77\.\d+\.\d+):\d+", cause))
        assert ends == {hosts.address(2), hosts.address(3)}, cause
        done = hosts.weir(2, "exceptions", job)
        assert hosts.address(2) in done.stdout and hosts.address(3) in done.stdout, done.stdout
        assert hosts.taskmanagers() == [2, 3]
        # Both are free for the next job, which runs once the network does.
        hosts.netns("heal")
        job = hosts.submit_paced(4000)
        hosts.wait_state(job, "FINISHED")
        hosts.check_paced(4000)


def test_a_stranger_on_the_network_gets_nothing():
    need_namespaces()
    with Hosts() as hosts:
        job = hosts.submit_paced(1000000)
        wait_for("records", lambda: hosts.flows(job))
        stranger = {"WEIR_HOME": hosts.path("stranger")}
        done = run(WEIR, "run", "-m", f"{hosts.address(1)}:8081", os.path.join(JOBS, "paced.so"), "--output", "x", env=stranger)
        assert done.returncode == 1 and "nauthorized" in done.stderr, done.stderr
        # A TaskManager without keys, one with keys of its own.
        run(WEIR, "security", "init", "--dir", hosts.path("theirs"))
        for pairs in ([], ["-D", f"security.curve.taskmanager-key-file={hosts.path('theirs', 'taskmanager.key')}",
                           "-D", f"security.curve.jobmanager-public-key-file={hosts.path('conf', 'jobmanager.pub')}"]):
            process = subprocess.Popen([os.path.join(BUILD, "bin", "weir-taskmanager"), "-D", f"jobmanager.rpc.address={hosts.address(1)}", *pairs],
                                       env={**os.environ, **stranger}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            time.sleep(3)
            process.terminate()
            output = process.communicate()[0]
            assert "registered" not in output and "key" in output, output
        assert hosts.taskmanagers() == [2, 3] and hosts.state(job) == "RUNNING" and hosts.failures(job) == []
        assert hosts.weir(3, "cancel", job).returncode == 0
        log = open(hosts.path("host1", "logs", "jobmanager.out")).read()
        assert "refused a TaskManager at" in log and "refused POST" in log, log


if __name__ == "__main__":
    main(globals())
