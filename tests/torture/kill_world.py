"""A cluster whose processes may die: daemons that are started again when they do (as a service manager does it), fault points, the job
tests/jobs/identity.c on it, and the checks of oracle.py at its end."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "e2e"), os.path.join(os.path.dirname(HERE), "s3"), HERE]
import oracle  # noqa: E402
from s3_kit import KEYS, S3, Proxy  # noqa: E402,F401 (for those who use this)
from weir_test import BUILD, JOBS, PATIENCE, Skip, free_port, look_for_reports, main, run, wait_for  # noqa: E402,F401

IDENTITY = os.path.join(JOBS, "identity.so")
CONFIG = {"testing.fault-points": "true", "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1000000",
          "restart-strategy.fixed-delay.delay": "50 ms", "execution.checkpointing.interval": "100 ms", "execution.checkpointing.timeout": "10 s",
          "execution.checkpointing.tolerable-failed-checkpoints": "1000000", "execution.checkpointing.num-retained": "2", "execution.checkpointing.gc-grace": "300 ms",
          "heartbeat.interval": f"{int(300 * PATIENCE)} ms", "heartbeat.timeout": f"{int(1500 * PATIENCE)} ms"}


class World:
    """with World(taskmanagers=2) as world: ... `root`: the directory that holds the objects; None: that of `dir`, a path."""

    def __init__(self, taskmanagers=2, slots=2, config=None, env=None, dir=None, root=None, partitions=2, rate=2000, keys=5000, parallelism=2, place=None):
        self.home = tempfile.mkdtemp(prefix="weir-kill-", dir=place)
        self.partitions, self.rate, self.keys, self.parallelism = partitions, rate, keys, parallelism
        self.dir = dir or self.path("checkpoints")
        self.root = root or self.dir
        self.rest_port = free_port()
        self.config = {"rest.port": self.rest_port, "jobmanager.rpc.port": free_port(), "taskmanager.numberOfTaskSlots": slots,
                       "execution.checkpointing.dir": self.dir, **CONFIG, **(config or {})}
        self.env = {**os.environ, "WEIR_HOME": self.home, **(env or {})}
        self.daemons = {name: None for name in ["jobmanager"] + [f"taskmanager-{i + 1}" for i in range(taskmanagers)]}
        self.lock, self.stopping, self.restarts = threading.Lock(), False, 0
        self.log_at, self.complete = 0, 0

    # --- Processes

    def __enter__(self):
        for directory in ("logs", "run"):
            os.makedirs(self.path(directory))
        for name in self.daemons:
            self.start(name)
        self.keeper = threading.Thread(target=self.keep, daemon=True)
        self.keeper.start()
        try:
            wait_for("a cluster", lambda: len(self.rest("/taskmanagers", {}).get("taskmanagers", [])) == len(self.daemons) - 1)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def start(self, name):
        options = [o for k, v in {**self.config, "log.file": self.path("logs", name + ".log")}.items() for o in ("-D", f"{k}={v}")]
        with open(self.path("logs", name + ".err"), "a") as err:
            self.daemons[name] = subprocess.Popen([os.path.join(BUILD, "bin", "weir-" + name.split("-")[0]), "--name", name, *options],
                                                  env=self.env, stderr=err, stdout=err, stdin=subprocess.DEVNULL)

    def keep(self):
        while not self.stopping:
            with self.lock:
                for name, process in self.daemons.items():
                    if not self.stopping and process.poll() is not None:
                        self.restarts += 1
                        self.start(name)
            time.sleep(0.05)

    def __exit__(self, kind, value, trace):
        with self.lock:
            self.stopping = True
        for pid in self.executor_pids():
            self.signal(pid, signal.SIGCONT)
        for sign in (signal.SIGCONT, signal.SIGTERM):
            for process in self.daemons.values():
                if process and process.poll() is None:
                    process.send_signal(sign)
        for process in self.daemons.values():
            try:
                process.wait(15 * PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self.executor_pids():
            self.signal(pid, signal.SIGKILL)
        for name in sorted(os.listdir(self.path("logs"))):
            text = open(self.path("logs", name), errors="replace").read()
            look_for_reports(name, text)
            if kind:
                print(f"# --- {name}\n" + "\n".join("# " + line[:250] for line in text.splitlines()[-int(os.environ.get("WEIR_TEST_LINES", "12")):]))
        if kind and os.environ.get("WEIR_TEST_KEEP"):
            print("# files kept in", self.home)
        else:
            shutil.rmtree(self.home, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.home, *parts)

    @staticmethod
    def signal(pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def executor_pids(self):
        directory, pids = self.path("run", "executors"), []
        for name in os.listdir(directory) if os.path.isdir(directory) else []:
            try:
                pids.append(int(open(os.path.join(directory, name)).read().split()[0]))
            except (OSError, IndexError, ValueError):
                pass
        return pids

    # --- The JobManager, which may be dead at any moment

    def rest(self, path, fallback=None, method="GET", body=None):
        """The parsed answer; `fallback` when there is none. A refusal is raised where there is no fallback."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest_port}{path}", method=method,
                                         data=json.dumps(body).encode() if body is not None else None)
        try:
            with urllib.request.urlopen(request, timeout=5 * PATIENCE) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            if fallback is None:
                raise AssertionError(f"{method} {path}: {error.code} {error.read()[:500]}") from None
        except (OSError, ValueError):
            pass
        return fallback

    def weir(self, *arguments, **more):
        return run(os.path.join(BUILD, "bin", "weir"), "-m", f"127.0.0.1:{self.rest_port}", *arguments, env=self.env, **more)

    def points(self):
        return {p["name"]: p for p in self.rest("/weir/faults", {}).get("points", []) if not p["taskmanager"]}

    def arm(self, point, action):
        wait_for(f"a JobManager that arms {point}", lambda: self.rest("/weir/faults", {"no": 1}, "POST", {"point": point, "action": action}) == {})

    def completed(self):
        """Checkpoints that are complete, by the JobManager's log, over all its lives."""
        with open(self.path("logs", "jobmanager.log"), "rb") as file:
            file.seek(self.log_at)
            text = file.read()
        text = text[:text.rfind(b"\n") + 1]
        self.log_at += len(text)
        self.complete += text.count(b" is complete: ")
        return self.complete

    # --- The job

    def submit(self, *options, output=True):
        self.began_ms = int(time.time() * 1000)
        self.rows = [self.path("rows-a"), self.path("rows-b")]
        self.windows, self.pairs = self.path("windows"), self.path("pairs")
        done = self.weir("run", "-d", "-p", self.parallelism, *options, IDENTITY, "--rows-a", output and self.rows[0] or "", "--rows-b",
                         output and self.rows[1] or "", "--windows", output and self.windows or "",
                         "--pairs", output and self.pairs or "", "--partitions", self.partitions, "--rate", self.rate, "--keys", self.keys,
                         "--start", self.began_ms, "--end", self.path("end"))
        assert done.returncode == 0, done.stderr
        self.job = done.stdout.strip()
        self.watcher = oracle.Watcher(*self.rows, self.windows, self.pairs)
        return self.job

    def state(self):
        return self.rest(f"/jobs/{self.job}", {}).get("state")

    def why(self):
        entries = self.rest(f"/jobs/{self.job}/exceptions", {}).get("exceptionHistory", {}).get("entries", [])
        return entries[0].get("stacktrace", "")[:1000] if entries else ""

    def wait_checkpoints(self, more, what, timeout_s=40):
        target = self.completed() + more

        def there():
            if self.completed() >= target:
                return True
            state = self.state()
            assert state not in ("FAILED", "CANCELED", "FINISHED"), f"{what}: the job is {state}: {self.why()}"
            return False
        wait_for(f"{more} more checkpoints {what}", there, timeout_s)

    def finish(self, margin_s=1.5):
        """Ends the input and waits for the end of the job."""
        end = int((time.time() + margin_s - self.began_ms / 1000) * self.rate)
        with open(self.path("end.part"), "w") as file:
            file.write(f"{end}\n")
        os.rename(self.path("end.part"), self.path("end"))
        state = wait_for("the end of the job", lambda: (s := self.state()) in ("FINISHED", "FAILED", "CANCELED") and s, 120)
        assert state == "FINISHED", f"the job is {state}: {self.why()}"
        return end

    def findings(self, end):
        parts = range(2 * self.partitions)
        found = self.watcher.stop()
        found += oracle.check_records(self.rows, parts, end, self.watcher.order)
        found += oracle.check_windows(self.windows, parts, end, self.keys)
        found += oracle.check_pairs(self.pairs, self.partitions, end)
        found += oracle.left_hidden(*self.rows, self.windows, self.pairs)
        storage, reached = oracle.check_storage(self.root, self.job)
        found += storage
        # Garbage goes at leisure, and nothing may be left of it.
        deadline = time.monotonic() + 2 * PATIENCE
        while (orphans := oracle.check_orphans(self.root, self.job, reached)) and time.monotonic() < deadline:
            time.sleep(0.3)
            reached = oracle.check_storage(self.root, self.job, closely=False)[1]
        return found + orphans
