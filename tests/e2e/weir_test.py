"""End-to-end tests: real processes, driven by the `weir` command and REST as a user would.

A test file defines functions test_*(); `main()` runs them and prints TAP. Every wait has a bound. A cluster lives in a directory of
its own (WEIR_HOME) and is stopped, whatever happens. A test fails too when one of its processes, daemon, executor, child or command,
left a sanitizer's report.
"""
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build")))
WEIR = os.path.join(BUILD, "bin", "weir")
EXAMPLES = os.path.join(BUILD, "examples")
JOBS = os.path.join(BUILD, "tests", "jobs")
# Sanitizer builds are slower: every bound is multiplied.
PATIENCE = float(os.environ.get("WEIR_TEST_PATIENCE", "1"))
WAITS = PATIENCE * float(os.environ.get("WEIR_TEST_LONG_WAITS", "1")) # of the tests alone: nothing that a cluster does takes longer for it
# Sanitizers write into files of this directory, whichever process they are in: its standard error may be read by nobody. (UBSan beside
# ASan writes to standard error all the same: commands' outputs and clusters' logs are read for its words.)
REPORTS = tempfile.mkdtemp(prefix="weir-e2e-reports-")
REPORT_WORDS = ("runtime error:", "AddressSanitizer", "ThreadSanitizer", "LeakSanitizer")
said = []


def collect_sanitizer_reports():
    """For all processes started from now on. A crash of a job's code is the executor's to report, by its signal."""
    options = f"log_path={REPORTS}/report:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0"
    # What was freed is held back for a while, to find its uses: little of it, so that a test of memory can tell.
    more = {"ASAN_OPTIONS": "quarantine_size_mb=16:allocator_release_to_os_interval_ms=500",
            "TSAN_OPTIONS": f"suppressions={ROOT}/tests/tsan.supp", "UBSAN_OPTIONS": "print_stacktrace=1"}
    for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
        os.environ[name] = ":".join(filter(None, (options, more.get(name), os.environ.get(name))))


def look_for_reports(name, text):
    """Keeps a report in a process's output for sanitizer_reports()."""
    places = [at for at in (text.find(word) for word in REPORT_WORDS) if at >= 0]
    if places:
        said.append(f"{name}:\n{text[max(0, min(places) - 300):][:8000]}")


def sanitizer_reports():
    """What sanitizers wrote since the last call, with the process ids as the files' names have them."""
    texts = said[:]
    said.clear()
    for path in sorted(glob.glob(os.path.join(REPORTS, "report*"))):
        text = open(path, errors="replace").read()
        os.unlink(path)
        if text.strip():
            texts.append(f"{os.path.basename(path)}:\n{text}")
    return texts


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


def wait_for(what, condition, timeout_s=30, told=None):
    """Polls condition() until it is true and returns its value; fails naming `what`, and what told() says, after timeout_s."""
    deadline = time.monotonic() + timeout_s * WAITS
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"no {what} within {timeout_s * WAITS:.0f} s{': ' + str(told()) if told else ''}"
        time.sleep(0.02)


def run(*command, timeout_s=120, env=None, cwd=None, stdin=None):
    """A command with its output; never hangs."""
    full = dict(os.environ, **(env or {}))
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout_s * WAITS, env=full, cwd=cwd, text=True,
                          stdin=stdin or subprocess.DEVNULL, errors="replace")
    look_for_reports(" ".join(str(c) for c in command), done.stderr)
    return done


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """with Cluster(taskmanagers=2, slots=2) as cluster: ..."""

    def __init__(self, taskmanagers=1, slots=1, config=None):
        self.home = tempfile.mkdtemp(prefix="weir-e2e-")
        self.taskmanagers, self.slots = taskmanagers, slots
        self.config = {"rest.port": "0", "jobmanager.rpc.port": "0", "heartbeat.interval": "500 ms",
                       "heartbeat.timeout": f"{int(3 * PATIENCE)} s", **(config or {})}
        self.env = {"WEIR_HOME": self.home}
        self.jobs = []

    def __enter__(self):
        options = [o for k, v in self.config.items() for o in ("-D", f"{k}={v}")]
        started = run(WEIR, "cluster", "start", "--taskmanagers", self.taskmanagers, "--slots", self.slots, *options,
                      env=self.env)
        if started.returncode != 0:
            self.__exit__(None, None, None)
            raise AssertionError("cluster start: " + started.stderr)
        self.port = json.load(open(self.path("run", "jobmanager.json")))["rest_port"]
        return self

    def __exit__(self, kind, value, trace):
        for name in os.listdir(self.path("run")) if os.path.isdir(self.path("run")) else []:
            if name.endswith(".json"):
                try:
                    os.kill(json.load(open(self.path("run", name)))["pid"], signal.SIGCONT)
                except (OSError, ValueError):
                    pass
        run(WEIR, "cluster", "stop", env=self.env)
        for name in os.listdir(self.path("logs")) if os.path.isdir(self.path("logs")) else []:
            look_for_reports(name, open(self.path("logs", name), errors="replace").read())
        if kind and os.environ.get("WEIR_TEST_KEEP"):
            print("# files kept in", self.home)
        else:
            if kind:
                self.show_logs()
            shutil.rmtree(self.home, ignore_errors=True)

    def show_logs(self):
        for name in sorted(os.listdir(self.path("logs"))):
            lines = open(self.path("logs", name), errors="replace").read().splitlines()
            print(f"# --- {name}")
            print("\n".join("# " + line[:300] for line in lines[-25:]))

    def path(self, *parts):
        return os.path.join(self.home, *parts)

    def weir(self, *arguments, timeout_s=120):
        return run(WEIR, *arguments, env=self.env, timeout_s=timeout_s)

    def rest(self, path, method="GET", body=None, headers=None):
        """(status, parsed body); text where it is not JSON."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, method=method,
                                         headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30 * PATIENCE) as reply:
                status, text = reply.status, reply.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode(errors="replace")
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def submit(self, job, *arguments, options=()):
        """Runs detached; the job's id."""
        done = self.weir("run", "-d", *options, job, *arguments)
        assert done.returncode == 0, f"weir run: {done.stderr}"
        return done.stdout.strip()

    def state(self, job):
        return self.rest(f"/jobs/{job}")[1].get("state")

    def wait_state(self, job, *states, timeout_s=60):
        return wait_for(f"{' or '.join(states)} of job {job} (is {self.state(job)})",
                        lambda: (s := self.state(job)) in states and s, timeout_s)

    def root_cause(self, job):
        entries = self.rest(f"/jobs/{job}/exceptions")[1]["exceptionHistory"]["entries"]
        return entries[0] if entries else None

    def taskmanager_pid(self, number):
        return json.load(open(self.path("run", f"taskmanager-{number}.json")))["pid"]

    def executor_pids(self):
        """Executors of this cluster, by their records."""
        directory = self.path("run", "executors")
        pids = []
        for name in os.listdir(directory) if os.path.isdir(directory) else []:
            try:
                pids.append(int(open(os.path.join(directory, name)).read().split()[0]))
            except (OSError, IndexError, ValueError):
                pass
        return pids


def read_rows(directory, **how):
    """All rows of the part-* files of a filesystem sink's directory; `how` is for json.loads()."""
    rows = []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        if name.startswith("part-"):
            with open(os.path.join(directory, name)) as file:
                rows += [json.loads(line, **how) for line in file]
    return rows


def main(namespace):
    tests = [(name, f) for name, f in namespace.items() if name.startswith("test_") and callable(f)]
    wanted = sys.argv[1:]
    failed = 0
    print(f"1..{len(tests)}")
    collect_sanitizer_reports()
    for number, (name, test) in enumerate(tests, 1):
        if wanted and name not in wanted:
            continue
        start = time.monotonic()
        try:
            test()
            reports = sanitizer_reports()
            assert not reports, f"{len(reports)} processes left a sanitizer's report:\n" + "\n".join(reports)[:20000]
            print(f"ok {number} - {name} ({time.monotonic() - start:.1f} s)")
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}")
        except BaseException as error:
            failed += 1
            print(f"not ok {number} - {name}")
            print("\n".join("# " + line for line in traceback.format_exc().splitlines()))
            print("\n".join("# " + line for text in sanitizer_reports() for line in text.splitlines()))
            if isinstance(error, KeyboardInterrupt):
                raise
        sys.stdout.flush()
    shutil.rmtree(REPORTS, ignore_errors=True)
    sys.exit(1 if failed else 0)
