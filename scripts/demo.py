#!/usr/bin/env python3
"""make demo: a JobManager and two TaskManagers on this host, the temperature job on a live publisher over TCP, a checkpoint each second, the
TaskManager that reads killed on the way, and at the end a summary from the publisher's own log: nothing lost, nothing repeated. Ends by
itself within a minute; stops what it started, whatever happens."""
import collections
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))
WEIR = os.path.join(BUILD, "bin", "weir")
WINDOW_S, DEVICES, INTERVAL_MS, LIVE_S, KILL_AFTER_S, CHECKPOINT_MS = 2, 20, 50, 30, 12, 1000


def say(text):
    print(f"\n=== {text}", flush=True)


def weir(home, *arguments, check=True):
    done = subprocess.run([WEIR, *map(str, arguments)], env=dict(os.environ, WEIR_HOME=home, WEIR_REST=""), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    if check and done.returncode != 0:
        raise SystemExit(f"weir {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout.strip()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Show(threading.Thread):
    """Prints what the job's print sinks print, as it comes: every alert, and a window now and then."""

    def __init__(self, logs):
        super().__init__(daemon=True)
        self.logs, self.offsets, self.windows, self.stop = logs, {}, 0, False

    def run(self):
        while not self.stop:
            for name in sorted(os.listdir(self.logs)):
                if name.endswith(".out"):
                    self.show(os.path.join(self.logs, name))
            time.sleep(0.1)

    def show(self, path):
        with open(path, errors="replace") as file:
            file.seek(self.offsets.get(path, 0))
            for line in file.read().splitlines():
                self.windows += line.startswith("window")
                if line.startswith("ALERT") or self.windows % DEVICES == 1:
                    print("   ", line[:170], flush=True)
            self.offsets[path] = file.tell()


def state_of(home, job):
    jobs = json.loads(weir(home, "list", "-a", "-o", "json"))
    return next(j["state"] for j in jobs if j["jid"] == job)


def wait_state(home, job, states, timeout_s):
    deadline = time.monotonic() + timeout_s
    while (state := state_of(home, job)) not in states:
        if time.monotonic() > deadline:
            raise SystemExit(f"the job is {state} and not {' or '.join(states)} after {timeout_s} s:\n" + weir(home, "exceptions", job, check=False))
        time.sleep(0.2)
    return state


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def rows(directory):
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        if name.startswith("part-"):
            with open(os.path.join(directory, name)) as file:
                yield from map(json.loads, file)


def summary(log, out):
    """Published against counted, window by window, from the publisher's own log."""
    published, bad = collections.Counter(), 0
    for line in open(log):
        reading = json.loads(line)
        if reading["temperature"] is None:
            bad += 1
        else:
            published[reading["device_id"], int(seconds_of(reading["timestamp"]) // WINDOW_S)] += 1
    counted = collections.Counter()
    for row in rows(os.path.join(out, "windows")):
        counted[row["device_id"], int(seconds_of(row["window_start"]) // WINDOW_S)] += row["readings"]
    lost = sum((published - counted).values())
    return {"published": sum(published.values()) + bad, "counted": sum(counted.values()), "bad (published)": bad,
            "bad (put aside)": sum(1 for _ in rows(os.path.join(out, "bad"))),
            "lost": lost, "repeated": sum((counted - published).values()), "alerts": sum(1 for _ in rows(os.path.join(out, "alerts")))}


def rest(home, path):
    port = json.load(open(os.path.join(home, "run", "jobmanager.json")))["rest_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
        return json.load(reply)


def late_records(home, job):
    return sum(v["metrics"].get("late-records", 0) for v in rest(home, f"/jobs/{job}")["vertices"])


def completed(home, job):
    return rest(home, f"/jobs/{job}/checkpoints")["counts"]["completed"]


def pid_of(home, number):
    return json.load(open(os.path.join(home, "run", f"taskmanager-{number}.json")))["pid"]


def reads_from(pid, port):
    """Whether a process that this TaskManager has started holds a connection to the publisher."""
    held = f":{port:04X}"
    inodes = {line.split()[9] for line in open("/proc/net/tcp").read().splitlines()[1:] if line.split()[2].endswith(held)}
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], text=True, stdout=subprocess.PIPE).stdout.split()
    for child in children:
        for fd in os.listdir(f"/proc/{child}/fd") if os.path.isdir(f"/proc/{child}/fd") else []:
            try:
                if os.readlink(f"/proc/{child}/fd/{fd}").strip("socket:[]") in inodes:
                    return True
            except OSError:
                pass
    return False


def demo(home):
    out, log = os.path.join(home, "out"), os.path.join(home, "published.jsonl")
    port = free_port()
    say("one JobManager, two TaskManagers with two slots each")
    print(weir(home, "cluster", "start", "--taskmanagers", 2, "--slots", 2, "-D", "restart-strategy.type=fixed-delay",
               "-D", "restart-strategy.fixed-delay.attempts=3", "-D", "restart-strategy.fixed-delay.delay=500 ms",
               "-D", f"execution.checkpointing.interval={CHECKPOINT_MS} ms"))
    count = LIVE_S * 1000 // INTERVAL_MS * DEVICES
    # After its last reading it stays until the job has finished: what the job lost in a failure is read again from its log.
    publisher = subprocess.Popen([os.path.join(BUILD, "examples", "gpu-temperature-publisher"), "--devices", str(DEVICES),
                                  "--interval", f"{INTERVAL_MS} ms", "--out-of-order", "500 ms", "--bad", "0.1", "--seed", "7", "--count", str(count),
                                  "--output", f"tcp://127.0.0.1:{port}", "--log", log, "--linger", "60 s"],
                                 stderr=subprocess.PIPE, text=True)
    try:
        say(f"the temperature job: {DEVICES} devices, a reading every {INTERVAL_MS} ms each, {WINDOW_S} s windows, alerts above 80 degrees")
        job = weir(home, "run", "-d", "-p", 2, os.path.join(BUILD, "examples", "gpu-temperature.so"), "--input", f"tcp://127.0.0.1:{port}",
                   "--output", out, "--window", f"{WINDOW_S} s", "--lateness", "1 s", "--threshold", "80", "--replay", "required", "--show", "true")
        print("job", job)
        show = Show(os.path.join(home, "logs"))
        show.start()
        wait_state(home, job, ["RUNNING"], 20)
        time.sleep(KILL_AFTER_S)
        number = next((n for n in (1, 2) if reads_from(pid_of(home, n), port)), 1)
        say(f"kill -9 of TaskManager {number}, which reads the input; {completed(home, job)} checkpoints are complete. The job goes on, on the other one,\n"
            "    from the last of them: a window that was shown since may be shown again (standard output cannot be taken back), the files have it once")
        os.kill(pid_of(home, number), signal.SIGKILL)
        wait_state(home, job, ["FINISHED", "FAILED"], 50)
        show.stop = True
        show.join()
        publisher.terminate()
        publisher.wait(timeout=10)
        state = state_of(home, job)
        say(f"the publisher has ended, the job is {state}")
        print(publisher.stderr.read().strip())
        try:
            late = late_records(home, job)
        except Exception:
            late = 0
        result = summary(log, out)
        for name, value in result.items():
            print(f"    {name:16} {value}")
            if name == "bad (put aside)":
                print(f"    {'late':16} {late}")
        print(f"    {'checkpoints':16} {completed(home, job)}")
        return 0 if state == "FINISHED" and result["counted"] > 0 and late == 0 and result["lost"] == result["repeated"] == 0 and \
            result["bad (published)"] == result["bad (put aside)"] else 1
    finally:
        publisher.kill()


def main():
    home = tempfile.mkdtemp(prefix="weir-demo-")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return demo(home)
    finally:
        weir(home, "cluster", "stop", check=False)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
