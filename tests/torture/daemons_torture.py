#!/usr/bin/env python3
"""Torture of whole processes: the n-th call of a JobManager, a TaskManager, an executor, of `weir run --local`, of the other commands and of
the child that builds a job's graph fails; what comes of it is judged by the job's output and by what is said.

    tests/torture/daemons_torture.py [--faults N] [--common N] [--seed S] [--only ROLE] [--fault ROLE:KIND:N:ERROR] [--keep]

A run without faults counts the calls; then N faults are drawn by seed, evenly over roles and kinds. A dead daemon is started again, as a service
manager would; in the end the cluster must run a job as if nothing had happened. Prints TAP and `N passed, N failed, N skipped`.
"""
import argparse
import concurrent.futures
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from block import WAYS, Block, is_foreign

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build")))
BIN = os.path.join(BUILD, "bin")
JOB = os.path.join(BUILD, "examples", "gpu-temperature.so")
PRELOAD = os.path.join(BUILD, "lib", "torture.so")
PATIENCE = float(os.environ.get("WEIR_TEST_PATIENCE", "1"))
HANG_S = 60 * PATIENCE  # no single step takes a tenth of it
ROLES = ("local", "client", "build-job", "jobmanager", "taskmanager", "executor") # client: client-0, client-1, ... by command
CONFIG = {"rest.port": "0", "jobmanager.rpc.port": "0", "heartbeat.interval": "300 ms", "heartbeat.timeout": "3 s",
          "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "5",
          "restart-strategy.fixed-delay.delay": "50 ms"}
# What stays wrong for a while in real life (a full disk, no descriptors, ...): some faults of these kinds last until the first job has ended,
# or for LASTING_S: some waits are for as long as it takes, with a line in the log.
LASTING_S = 10
LASTING = ("open", "write", "sync", "stdio", "mkdir", "rename", "socket", "thread", "event", "pipe", "spawn")


class Wrong(Exception):
    """What a fault must not lead to."""


def make_input(directory):
    """Two files of readings, a bad line in each: a job with splits, a keyed window, alerts and dead letters."""
    os.makedirs(directory)
    for part in range(2):
        with open(os.path.join(directory, f"part-{part}.json"), "w") as file:
            for i in range(1500):
                second = i // 10
                file.write(json.dumps({"device_id": f"gpu-{i % 7}", "temperature": 60 + (i * 13 + part) % 40,
                                       "is_abnormal": i % 50 == 0,
                                       "timestamp": f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"}) + "\n")
            file.write("this is no reading\n")


def same_in_every_run(line):
    """A row without what a dead letter says of its run."""
    if '"failed_at":' not in line:
        return line
    try:
        return json.dumps({k: v for k, v in json.loads(line).items() if k not in ("failed_at", "job_id")})
    except ValueError:
        return line


def read_output(directory):
    """Published rows by sink, sorted."""
    rows = {}
    for path in glob.glob(os.path.join(directory, "*", "part-*")):
        with open(path, errors="replace") as file:
            rows.setdefault(os.path.basename(os.path.dirname(path)), []).extend(map(same_in_every_run, file.read().splitlines()))
    return {sink: sorted(lines) for sink, lines in rows.items()}


class Place:
    """A directory for one run, with the fault that it is about."""

    def __init__(self, role, fault, shared):
        self.role, self.fault, self.shared = role, fault, shared
        self.home = tempfile.mkdtemp(prefix="weir-torture-")
        self.faults = self.path("faults")
        os.makedirs(self.faults)
        block_role = "weir" if role == "local" or role.startswith("client-") else role
        self.command = int(role[len("client-"):]) if role.startswith("client-") else None
        kind, error, _, _, nth, onward = fault or (None, 0, "", False, 0, False)
        self.block = Block(self.faults, block_role, kind, error, nth, onward)
        self.environment = dict(os.environ, WEIR_HOME=self.path("home"), LD_PRELOAD=PRELOAD, TORTURE_DIR=self.faults)
        self.deaths = []  # (name, exit status, what it said)

    def path(self, *parts):
        return os.path.join(self.home, *parts)

    def close(self, keep):
        self.block.close()
        if not keep:
            shutil.rmtree(self.home, ignore_errors=True)

    def run(self, *command):
        """(exit status, standard output, standard error) of a command; a hang is Wrong."""
        try:
            done = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=HANG_S, text=True, errors="replace")
        except subprocess.TimeoutExpired as late:
            raise Wrong(f"{' '.join(os.path.basename(c) for c in command[:2])} hangs: {(late.stderr or b'')[-500:]}")
        return done.returncode, done.stdout, done.stderr

    def breaks_a_promise(self):
        """libmicrohttpd reads edge-triggered: the kernel promises it that a short read has taken all there was."""
        return self.fault[0] == "recv" and self.fault[2] != "EINTR" and "libmicrohttpd" in self.block.where()[:120]

    def judge_death(self, name, status, said):
        """A process ended by itself: is that how it may end?"""
        soft = self.fault and self.fault[3]
        if self.block.hits() == 0:
            raise Wrong(f"{name} ended with {status} without a fault: {said[-600:]}")
        if status < 0:
            memory = any(word in said for word in ("out of memory", "OUT OF MEMORY", "std::bad_alloc", "Cannot allocate memory"))
            if soft or not (is_foreign(self.block.crash()) or (self.fault[0] == "alloc" and memory)):
                raise Wrong(f"{name} ended by {signal.Signals(-status).name}: {said[-600:]}")
        elif status > 0 and (soft or not said.strip()):
            raise Wrong(f"{name} ended with {status}: {said[-600:] or 'without a word'}")
        elif status == 0:
            raise Wrong(f"{name} ended with 0 though nobody asked it to: {said[-600:]}")


# --- One process

def play_local(place):
    status, _, said = place.run(os.path.join(BIN, "weir"), "run", "--local", "-p", "2", JOB, "--input",
                                place.shared["input"], "--output", place.path("out"))
    if status != 0:
        place.judge_death("weir run --local", status, said)
        return "error"
    if read_output(place.path("out")) != place.shared["expected"]:
        raise Wrong(f"exit code 0 with a wrong output: {said}")
    return "right"


def play_build_job(place):
    status, graph, said = place.run(os.path.join(BIN, "weir-taskmanager"), "build-job", "--", JOB, "--input", "/in",
                                    "--output", "/out")
    said += graph if status else ""
    if status != 0:
        place.judge_death("build-job", status, said)
        return "error"
    if place.shared.setdefault("graph", graph) != graph:
        raise Wrong("exit code 0 with another graph")
    return "right"


COMMANDS = (["list", "-a"], ["list", "-a", "-o", "json"], ["taskmanagers"], ["config"], ["info", JOB, "--input", "/in"],
            ["exceptions", "JOB"], ["logs", "JOB"], ["help"], ["cluster", "status"], ["run", "JOB.so"])


def play_client(place):
    """One of the commands, against a cluster that nothing happens to."""
    cluster = place.shared["cluster"]
    place.environment["WEIR_HOME"] = cluster.place.path("home")
    index = place.command
    command = [place.shared["job"] if part == "JOB" else part for part in COMMANDS[index]]
    if command[0] == "run":
        command = ["run", JOB, "--input", place.shared["input"], "--output", place.path("out")]
    status, said_out, said = place.run(os.path.join(BIN, "weir"), *command)
    place.note = "weir " + " ".join(COMMANDS[index][:1])
    if status != 0:
        place.judge_death(place.note, status, said)
        return "error"
    if command[0] == "run" and read_output(place.path("out")) != place.shared["expected"]:
        raise Wrong(f"{place.note}: exit code 0 with a wrong output: {said}")
    expected = place.shared["said"].setdefault(index, said_out) if command[0] in ("info", "help", "config") else said_out
    if expected != said_out or not (said_out.strip() or command[0] in ("run", "exceptions")):
        raise Wrong(f"{place.note}: exit code 0, and it prints {said_out[:300]!r}; standard error: {said[-300:]}")
    return "right"


# --- A cluster

class Cluster:
    """A JobManager and two TaskManagers of one slot, started again when they end."""

    def __init__(self, place):
        self.place, self.daemons, self.stopping, self.wrong = place, {}, False, None
        self.lock = threading.Lock()
        self.starts = 0
        self.began = time.monotonic()
        self.ports = {}

    def start(self):
        self._start("jobmanager", "weir-jobmanager", dict(CONFIG))
        ready = self._wait_ready("jobmanager")
        self.ports = {"rest.port": str(ready["rest_port"]), "jobmanager.rpc.port": str(ready["rpc_port"])}
        self.daemons["jobmanager"]["config"].update(self.ports)
        for number in (1, 2):
            self._start(f"taskmanager-{number}", "weir-taskmanager", {**CONFIG, **self.ports})
        for number in (1, 2):
            self._wait_ready(f"taskmanager-{number}")

    def _start(self, name, program, config):
        said = self.place.path(f"{name}.said")
        log = self.place.path("home", "logs", f"{name}.log")
        command = [os.path.join(BIN, program), "--name", name, "-D", f"log.file={log}"]
        for key, value in config.items():
            command += ["-D", f"{key}={value}"]
        ready = self.place.path("home", "run", f"{name}.json")
        if os.path.exists(ready):
            os.unlink(ready)
        with open(said, "ab") as file:
            process = subprocess.Popen(command, env=self.place.environment, stdin=subprocess.DEVNULL, stdout=file,
                                       stderr=file, start_new_session=True)
        with self.lock:
            self.daemons[name] = {"process": process, "program": program, "config": config, "said": said}

    def watch(self):
        """Notes what has ended by itself and starts it again."""
        if self.place.fault and self.place.fault[5] and time.monotonic() - self.began > LASTING_S:
            self.place.block.disarm()
        for name, daemon in list(self.daemons.items()):
            status = daemon["process"].poll()
            if status is None or self.stopping:
                continue
            said = open(daemon["said"], errors="replace").read()
            self.place.deaths.append((name, status))
            self.place.judge_death(name, status, said)
            self.starts += 1
            if self.starts > 2:
                self.place.block.disarm()
            if self.starts > 6:
                raise Wrong(f"{name} ends again and again: {said[-600:]}")
            self._start(name, daemon["program"], daemon["config"])

    def _wait_ready(self, name):
        path = self.place.path("home", "run", f"{name}.json")
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline:
            self.watch()
            try:
                return json.load(open(path))
            except (OSError, ValueError):
                time.sleep(0.01)
        raise Wrong(f"{name} does not become ready")

    def rest(self, path):
        """The answer, or None where there is none in order."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['rest.port']}{path}", timeout=HANG_S / 2) as reply:
                return json.loads(reply.read())
        except (OSError, ValueError):
            return None

    def wait(self, what, condition):
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline:
            self.watch()
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        raise Wrong(f"no {what} within {HANG_S:.0f} s: {self.rest('/overview')} {self.rest('/jobs/overview')}")

    def run_job(self, output):
        """`weir run`, beside the watch; (exit status, standard error)."""
        command = [os.path.join(BIN, "weir"), "run", "-m", f"127.0.0.1:{self.ports['rest.port']}", "-p", "2", JOB,
                   "--input", self.place.shared["input"], "--output", output]
        process = subprocess.Popen(command, env=self.place.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        deadline = time.monotonic() + HANG_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                self.watch()
            except Wrong:
                process.kill()
                raise
            time.sleep(0.01)
        if process.poll() is None:
            process.kill()
            said = process.communicate()[1]
            raise Wrong(f"weir run does not end: {said[-500:]} {self.rest('/jobs/overview')}")
        return process.returncode, process.communicate()[1]

    def is_whole(self):
        overview = self.rest("/overview") or {}
        return overview.get("taskmanagers") == 2 and overview.get("slots-available") == 2

    def stop(self):
        """Everything must end when asked to."""
        self.stopping = True
        late = []
        for name in sorted(self.daemons, reverse=True):
            process = self.daemons[name]["process"]
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for name, daemon in self.daemons.items():
            try:
                daemon["process"].wait(HANG_S / 2)
            except subprocess.TimeoutExpired:
                late.append(name)
        self.kill()
        if late:
            raise Wrong(f"{', '.join(late)} does not end on SIGTERM")

    def executors(self):
        pids = []
        for path in glob.glob(self.place.path("home", "run", "executors", "*")):
            try:
                pids.append(int(open(path).read().split()[0]))
            except (OSError, IndexError, ValueError):
                pass
        return [pid for pid in pids if os.path.exists(f"/proc/{pid}/exe")]

    def last_words(self):
        """The ends of all logs."""
        text = ""
        for path in sorted(glob.glob(self.place.path("*.said")) + glob.glob(self.place.path("home", "logs", "*"))):
            lines = open(path, errors="replace").read().splitlines()
            if lines:
                text += f"--- {os.path.basename(path)}\n" + "\n".join(line[:300] for line in lines[-12:]) + "\n"
        return text

    def kill(self):
        for daemon in self.daemons.values():
            if daemon["process"].poll() is None:
                daemon["process"].kill()
                daemon["process"].wait()
        for pid in self.executors():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


def judge_job(cluster, status, said, output):
    """A right result, or a failure with its reason."""
    place = cluster.place
    if status == 0:
        if read_output(output) != place.shared["expected"]:
            raise Wrong(f"the job is FINISHED and its output is wrong: {said[-500:]}")
        return "right"
    if not said.strip():
        raise Wrong(f"weir run ends with {status} without a word")
    if place.fault is None or (place.fault[3] and not place.breaks_a_promise()):
        raise Wrong(f"the job fails, though nothing was lost: {said[-800:]}")
    cluster.watch()
    submitted = re.search(r"job ([0-9a-f]{32}) submitted", said)
    if not submitted or any(name == "jobmanager" for name, _ in place.deaths):
        return "error"
    job = submitted.group(1)

    def end():
        state = (cluster.rest(f"/jobs/{job}") or {}).get("state")
        lost = any(name == "jobmanager" for name, _ in place.deaths)  # and its jobs with it
        return state if state in ("FINISHED", "FAILED", "CANCELED") else "LOST" if lost else None

    state = cluster.wait("end of the job", end)
    if state == "FINISHED" and read_output(output) != place.shared["expected"] and status == 1:
        raise Wrong("the job is FINISHED and its output is wrong")
    if state == "FAILED":
        entries = (cluster.rest(f"/jobs/{job}/exceptions") or {}).get("exceptionHistory", {}).get("entries", [])
        if not entries or not entries[0]["stacktrace"].strip():
            raise Wrong(f"the job is FAILED without a reason: {said[-500:]}")
    return "error"


def play_cluster(place):
    cluster = Cluster(place)
    try:
        cluster.start()
        outcomes = []
        for number in range(3):
            lasting = place.fault is not None and place.fault[5]
            if number > 0 and lasting:
                place.block.disarm()
            cluster.wait("whole cluster", cluster.is_whole)
            struck = place.block.hits() > 0 and (number > 0 or not lasting)
            output = place.path(f"out-{number}")
            status, said = cluster.run_job(output)
            outcomes.append(judge_job(cluster, status, said, output))
            if struck and outcomes[-1] != "right":  # the dead started again, the cluster is as good as new
                raise Wrong(f"a job after the fault fails: {said[-800:]}")
            for path in ("/jobs/overview", "/taskmanagers", "/jobmanager/config", "/jobmanager/metrics"):
                cluster.rest(path)
            if number > 0 and outcomes[-1] == "right":
                break
        cluster.stop()
        if place.deaths:
            outcomes.append("restarted " + ", ".join(name for name, _ in place.deaths))
        return " ".join(outcomes)
    except Wrong as wrong:
        raise Wrong(f"{wrong}\n{cluster.last_words()}")
    finally:
        cluster.stopping = True
        cluster.kill()


# --- All of it

PLAYS = {"local": play_local, "client": play_client, "build-job": play_build_job, "jobmanager": play_cluster,
         "taskmanager": play_cluster, "executor": play_cluster}


def symbols(frames):
    """"module+0xoffset" frames as functions and lines."""
    out = []
    for frame in frames.split():
        module, _, offset = frame.rpartition("+")
        path = next((p for p in (os.path.join(BIN, module), os.path.join(BUILD, "lib", module)) if os.path.exists(p)), None)
        if not path:
            out.append(frame)
            continue
        done = subprocess.run(["addr2line", "-fse", path, offset], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True).stdout.split()
        out.append(f"{done[0]} ({done[1]})" if len(done) > 1 else frame)
    return " < ".join(out)


def play(role, fault, shared, keep):
    """(name, outcome or None, what is wrong)"""
    place = Place(role, fault, shared)
    name = f"{role} {fault[0]} {fault[4]}{'+' if fault[5] else ''} {fault[2]}" if fault else role
    wrong, outcome = None, None
    try:
        outcome = PLAYS[role.split("-")[0] if place.command is not None else role](place)
        if fault and not place.block.hits():
            outcome += " (not reached)"
    except Wrong as error:
        wrong = f"{error}\nfault at: {symbols(place.block.where())}"
        if place.block.crash():
            wrong += f"\ncrash at: {symbols(place.block.crash())}"
    counts = place.block.counts()
    if getattr(place, "note", None):
        name += f" ({place.note})"
    if wrong and keep:
        wrong += f"\nfiles kept in {place.home}"
    place.close(keep and wrong)
    return name, outcome, wrong, counts


def draw(roles, counts, number, rng):
    """`number` faults, evenly over roles, then over the kinds that a role calls."""
    faults = []
    ways = {role: [way for way in WAYS if counts[role].get(way[0])] for role in counts}
    for i in range(number):
        role = roles[i % len(roles)]
        if role == "client":
            role = f"client-{rng.randrange(len(COMMANDS))}"
        way = rng.choice(ways[role] + [w for w in ways[role] if w[0] == "alloc"] * 3)
        count = counts[role][way[0]]
        # Starts are short and many-sided, the rest is long and alike: half of the faults for each.
        most = count if rng.random() < 0.5 else max(1, count // 4)
        onward = way[0] in LASTING and rng.random() < 0.4
        faults.append((role, (*way, rng.randint(1, most), onward)))
    return faults


def torture_common(faults, seed):
    """(passed, failed, not reached)"""
    program = os.path.join(BUILD, "tests", "torture", "common_torture")
    done = subprocess.run([program, "--faults", str(faults), "--seed", str(seed), "--list"], stdout=subprocess.PIPE,
                          text=True, errors="replace", cwd=ROOT, env=dict(os.environ, WEIR_BUILD=BUILD))
    print(done.stdout, end="", flush=True)
    totals = [0, 0, 0]
    for played, unreached, wrong in re.findall(r": (\d+) of \d+ faults: .* (\d+) not reached, (\d+) wrong", done.stdout):
        totals = [totals[0] + int(played) - int(wrong), totals[1] + int(wrong), totals[2] + int(unreached)]
    if done.returncode and not totals[1]:
        totals[1] = 1
    return totals


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--fault", action="append", default=[], help="ROLE:KIND:N:ERROR, N+ for this and all later calls")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--common", type=int, default=0, help="so many faults over the scenarios of common_torture beside")
    options = parser.parse_args()
    roles = [role for role in ROLES if not options.only or role in options.only.split(",")]
    home = tempfile.mkdtemp(prefix="weir-torture-shared-")
    shared = {"input": os.path.join(home, "input"), "said": {}}
    make_input(shared["input"])
    bystander = None
    passed, failed, not_reached = torture_common(options.common, options.seed) if options.common else (0, 0, 0)
    try:
        place = Place("none", None, shared)
        status, _, said = place.run(os.path.join(BIN, "weir"), "run", "--local", "-p", "2", JOB, "--input",
                                    shared["input"], "--output", place.path("out"))
        shared["expected"] = read_output(place.path("out"))
        assert status == 0 and len(shared["expected"]["bad"]) == 2 and shared["expected"]["windows"], said
        place.close(False)
        wanted = [text.split(":") for text in options.fault]
        roles = [role for role in roles if not wanted or any(w[0].startswith(role) for w in wanted)]
        if "client" in roles:
            bystander = Cluster(Place("none", None, shared))
            bystander.start()
            bystander.place.run(os.path.join(BIN, "weir"), "run", "-d", JOB, "--input", shared["input"], "--output",
                                os.path.join(home, "out"))
            shared["cluster"], shared["job"] = bystander, bystander.rest("/jobs/overview")["jobs"][0]["jid"]
        counts = {}
        for role in roles:
            for command in [f"{role}-{i}" for i in range(len(COMMANDS))] if role == "client" else [role]:
                _, _, wrong, counts[command] = play(command, None, shared, options.keep)
                assert not wrong, f"without a fault: {command}: {wrong}"
        if wanted:
            faults = [(role, (*next(w for w in WAYS if w[0] == kind and w[2] == error), int(n.strip("+")), "+" in n))
                      for role, kind, n, error in wanted]
        else:
            faults = draw(roles, counts, options.faults, random.Random(options.seed))
        print(f"1..{len(faults)}", flush=True)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            runs = [pool.submit(play, role, fault, shared, options.keep) for role, fault in faults]
            for number, done in enumerate(runs, 1):
                name, outcome, wrong, _ = done.result()
                failed += bool(wrong)
                passed += not wrong
                not_reached += bool(outcome and "(not reached)" in outcome)
                print(f"{'not ok' if wrong else 'ok'} {number} - {name}" + (f": {outcome}" if outcome else ""), flush=True)
                if wrong:
                    print("\n".join("#   " + line for line in wrong.splitlines()), flush=True)
    finally:
        if bystander:
            bystander.stopping = True
            bystander.stop()
            bystander.place.close(False)
        shutil.rmtree(home, ignore_errors=True)
    print(f"# seed {options.seed}; {not_reached} faults were not reached: those runs made fewer calls")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
