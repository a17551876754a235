"""A cluster whose processes may die: daemons that are started again when they do (as a service manager does it), fault points, the job
tests/jobs/identity.c on it, and the checks of oracle.py at its end."""
import glob
import itertools
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
from s3_kit import KEYS, KIND, S3, Proxy  # noqa: E402,F401 (for those who use this)
from weir_test import BUILD, JOBS, PATIENCE, WAITS, Skip, free_port, look_for_reports, main, run, wait_for  # noqa: E402,F401

IDENTITY = os.path.join(JOBS, "identity.so")
CONFIG = {"testing.fault-points": "true", "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1000000",
          "restart-strategy.fixed-delay.delay": "50 ms", "execution.checkpointing.interval": "100 ms", "execution.checkpointing.timeout": f"{int(10 * PATIENCE)} s",
          "execution.checkpointing.tolerable-failed-checkpoints": "1000000", "execution.checkpointing.num-retained": "2", "execution.checkpointing.gc-grace": "300 ms",
          "execution.checkpointing.gc-sweep-interval": "2 s",
          "heartbeat.interval": f"{int(300 * PATIENCE)} ms", "heartbeat.timeout": f"{int(1500 * PATIENCE)} ms"}

OUTPUTS = ("rows-a", "rows-b", "windows", "pairs") # of the job, a directory each


def link_all(source, target):
    """Files that are there now, under another name too, where that is free."""
    for directory, _, names in os.walk(source):
        there = os.path.join(target, os.path.relpath(directory, source))
        os.makedirs(there, exist_ok=True)
        for name in names:
            try:
                os.link(os.path.join(directory, name), os.path.join(there, name))
            except (FileNotFoundError, FileExistsError):
                pass


class World:
    """with World(taskmanagers=2) as world: ... `root`: the directory that holds the objects, once refresh() was called; None: that of `dir`, a path."""

    def __init__(self, taskmanagers=2, slots=2, config=None, env=None, dir=None, root=None, refresh=lambda: None, partitions=2, rate=1000, keys=5000, parallelism=2,
                 sleep_us=0, place=None, output=None):
        """`output`: where the job's output goes, and the directory in which that is to be read; None: into the world's own."""
        self.home = tempfile.mkdtemp(prefix="weir-kill-", dir=place)
        self.partitions, self.rate, self.keys, self.parallelism, self.sleep_us = partitions, rate, keys, parallelism, sleep_us
        self.dir = dir or self.path("checkpoints")
        self.root, self.refresh = root or self.dir, refresh
        self.output_to, self.output_in = output or (self.home, self.home)
        self.rest_port = free_port()
        self.at = ["-m", f"127.0.0.1:{self.rest_port}"]
        self.config = {"rest.port": self.rest_port, "jobmanager.rpc.port": free_port(), "taskmanager.numberOfTaskSlots": slots,
                       "execution.checkpointing.dir": self.dir, **CONFIG, **(config or {})}
        self.env = {**os.environ, "WEIR_HOME": self.home, **(env or {})}
        self.daemons = {name: None for name in ["jobmanager"] + [f"taskmanager-{i + 1}" for i in range(taskmanagers)]}
        self.lock, self.stopping, self.restarts = threading.Lock(), False, 0
        self.log_at, self.complete = 0, 0
        self.jobs, self.savepoints, self.states_read = [], 0, 0
        self.most = {} # of what was seen now and then: how much at most

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
                process.wait(15 * WAITS)
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
        keep = kind and os.environ.get("WEIR_TEST_KEEP") # a directory, or 1: where they are
        if keep and "/" in keep:
            for socket in glob.glob(self.path("run", "*.sock")): # none can be copied to another disk
                os.unlink(socket)
            print("# files kept in", shutil.move(self.home, keep))
        elif keep:
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

    def unaligned(self):
        return self.config.get("execution.checkpointing.unaligned.enabled") == "true"

    def keeps_copies(self):
        return self.config.get("state.backend.local-recovery", "auto") in ["true"] + ["auto"] * self.dir.startswith("s3:")

    def local_copies(self):
        """Files of the TaskManagers' local copies of checkpoints."""
        return [os.path.join(root, name) for root, _, names in os.walk(self.path("data", "local")) for name in names if not name.startswith(".")]

    def look_around(self):
        """What happens besides: bytes of state on disk, bytes that barriers overtook, checkpoints under way at once."""
        on_disk = 0
        for root, _, names in os.walk(self.path("data", "state")):
            for name in names:
                try:
                    on_disk += name.endswith(".sst") and os.path.getsize(os.path.join(root, name))
                except OSError:
                    pass
        about = self.rest(f"/jobs/{self.job}/checkpoints", {})
        overtaken = [entry.get("persisted_data", 0) for entry in about.get("history", [])]
        now = {"bytes of state on disk": on_disk, "bytes overtaken by a checkpoint": max(overtaken, default=0),
               "checkpoints at once": about.get("counts", {}).get("in_progress", 0)}
        for name, value in now.items():
            self.most[name] = max(self.most.get(name, 0), value)

    # --- The JobManager, which may be dead at any moment

    def rest(self, path, fallback=None, method="GET", body=None):
        """The parsed answer; `fallback` when there is none. A refusal is raised where there is no fallback."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest_port}{path}", method=method,
                                         data=json.dumps(body).encode() if body is not None else None)
        try:
            with urllib.request.urlopen(request, timeout=5 * WAITS) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            if fallback is None:
                raise AssertionError(f"{method} {path}: {error.code} {error.read()[:500]}") from None
        except (OSError, ValueError):
            pass
        return fallback

    def weir(self, *arguments, **more):
        return run(os.path.join(BUILD, "bin", "weir"), *self.at, *arguments, env=self.env, **more)

    def begin(self, *arguments):
        """A command that is not waited for."""
        return subprocess.Popen([os.path.join(BUILD, "bin", "weir"), *self.at, *[str(a) for a in arguments]], env=self.env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)

    def pids(self):
        return [process.pid for process in self.daemons.values()] + self.executor_pids()

    def points(self):
        return {p["name"]: p for p in self.rest("/weir/faults", {}).get("points", []) if not p["taskmanager"]}

    def arm(self, point, action):
        wait_for(f"a JobManager that arms {point}", lambda: self.rest("/weir/faults", {"no": 1}, "POST", {"point": point, "action": action}) == {})

    def disarm(self):
        wait_for("a JobManager that disarms", lambda: self.weir("fault", "reset").returncode == 0)

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

    def run_arguments(self, *options, output=True):
        where = [part for name in OUTPUTS for part in (f"--{name}", f"{self.output_to}/{name}" if output else "")]
        return ["run", "-d", "-p", self.parallelism, *options, IDENTITY, *where, "--partitions", self.partitions, "--rate", self.rate, "--keys", self.keys,
                "--sleep", self.sleep_us,
                "--window", f"{oracle.WINDOW_MS} ms", "--start", self.began_ms, "--end", self.path("end")]

    def submit(self, *options, output=True):
        self.began_ms = int(time.time() * 1000)
        *self.rows, self.windows, self.pairs = [os.path.join(self.output_in, name) for name in OUTPUTS]
        done = self.weir(*self.run_arguments(*options, output=output))
        assert done.returncode == 0, done.stderr
        self.is_now(done.stdout.strip())
        self.watcher = oracle.Watcher(*self.rows, self.windows, self.pairs)
        return self.job

    def is_now(self, job):
        """The job that goes on; those before it have been stopped."""
        self.job = job
        self.jobs.append(job)

    def listed(self):
        return [job["jid"] for job in self.rest("/jobs/overview", {}).get("jobs", [])]

    def stored(self):
        """Jobs that have a HEAD."""
        self.refresh()
        directory = os.path.join(self.root, "jobs")
        return [job for job in os.listdir(directory) if os.path.exists(os.path.join(directory, job, "HEAD"))]

    def new_savepoint(self):
        """A directory for one, that nobody has used."""
        self.savepoints += 1
        return f"{os.path.dirname(self.dir)}/savepoints-{os.path.basename(self.home)}/{self.savepoints}"

    def savepoints_in(self, directory):
        """The complete ones."""
        self.refresh()
        local = os.path.join(os.path.dirname(self.root), directory[len(os.path.dirname(self.dir)) + 1:])
        return [os.path.join(local, name) for name in (os.listdir(local) if os.path.isdir(local) else []) if os.path.exists(os.path.join(local, name, "_metadata"))]

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
        wait_for("the end of the job", self.ended, 120)
        return end

    def ended(self):
        """Whether the job has ended, as it should: FINISHED."""
        state = self.state()
        assert state not in ("FAILED", "CANCELED"), f"the job is {state}: {self.why()}"
        return state == "FINISHED"

    def read_state(self, path):
        """What oracle.check_state takes, by the command; ValueError: it cannot be read."""
        def read(*arguments):
            done = run(os.path.join(BUILD, "bin", "weir"), "state", *arguments, env=self.env)
            if done.returncode != 0 and "has no state" not in done.stderr: # of an operator all of whose keys are gone
                raise ValueError(done.stderr)
            return done.stdout
        return [json.loads(read("inspect", "-o", "json", path))] + [
            [json.loads(line) for line in read("read", path, "--operator", operator, "--state", name).splitlines()]
            for operator, name in (("totals", "total_of"), ("pairs", "waits"), ("windows", "windows"))]

    def check_state(self, path, drained=False):
        """O3 of a snapshot; {partition: records that it has}. ValueError: it cannot be read."""
        found, offsets = oracle.check_state(*self.read_state(path), self.partitions, self.keys, drained)
        assert not found, f"{path}: {oracle.summary(found)}"
        self.states_read += 1
        return offsets

    def check_newest_state(self):
        """O3 of the newest checkpoint, while the job goes on."""
        def look():
            self.refresh()
            with tempfile.TemporaryDirectory(dir=os.path.dirname(self.root)) as copy:
                try:
                    retained = oracle.read_head(self.root, self.job)["retained"]
                    link_all(os.path.join(self.root, "jobs", self.job), os.path.join(copy, "jobs", self.job)) # before it is garbage
                    return retained and self.check_state(f"{copy}/jobs/{self.job}/chk-{retained[-1]['id']}")
                except (OSError, ValueError, IndexError) as why:
                    self.unread = str(why)
                    return None
        try:
            wait_for("a checkpoint whose state can be read", look)
        except AssertionError as why:
            raise AssertionError(f"{why}: {self.unread}") from None

    def findings(self, end, collected_s=20 * WAITS):
        """`end`: of every partition, or {partition: records}. `collected_s`: what nothing refers to may be there for so long: a grace, the leases of
        executors that are cut off, a search and one more."""
        ends = end if isinstance(end, dict) else dict.fromkeys(range(2 * self.partitions), end)
        found = self.watcher.stop()
        found += oracle.check_records(self.rows, ends, self.watcher.order)
        found += oracle.check_windows(self.windows, ends, self.keys)
        found += oracle.check_pairs(self.pairs, self.partitions, ends)
        found += oracle.left_hidden(*self.rows, self.windows, self.pairs)
        orphans = []
        self.refresh()
        for job in self.jobs:
            storage, reached = oracle.check_storage(self.root, job)
            found += storage
            deadline = time.monotonic() + collected_s
            while (more := oracle.check_orphans(self.root, job, reached)) and time.monotonic() < deadline:
                time.sleep(0.3)
                self.refresh()
                reached = oracle.check_storage(self.root, job, closely=False)[1]
            orphans += more
        return found + orphans


numbers = itertools.count(1)


def s3_world(s3, proxy, output=False, **more):
    """A world whose store is S3, in a directory of its own: a job in it that the world does not know is too many. `output`: the job's, too."""
    name = f"state-{next(numbers)}"
    if output and KIND == "versitygw": # its objects are seen at once, as files
        more["output"] = f"s3://weir-test/output-of-{name}", os.path.join(s3.bucket(), f"output-of-{name}")
    config = {"s3.endpoint": proxy.endpoint, "s3.attempts": "4", **more.pop("config", {})}
    return World(dir=f"s3://weir-test/{name}", root=os.path.join(s3.bucket(), name), refresh=s3.refresh, env={**KEYS, "WEIR_S3_ENDPOINT": proxy.endpoint}, config=config, **more)
