#!/usr/bin/env python3
"""weir beside Apache Flink: the same jobs on the same input, one after the other on this machine, parallelism 2. Prints a table and a line per figure,
`PASS|MISS|INVALID name value bound`; exit 1 on a MISS or INVALID. INVALID: the two do not give the same results.
usage: run.py FLINK_HOME RIVAL.jar [name ...]        WEIR_RIVAL_SCALE=0.1: a tenth of the rows

CPU is that of the process that runs the tasks (Flink's TaskManager; weir's TaskManager with its executors), user and system, from submission to
the end. Each job runs once to warm up (a third of the rows) and then is measured; Flink has object reuse, state on the heap, and no checkpoints but in the
job from Kafka to Kafka: exactly once, with one a second. The broker's CPU is not counted."""
import calendar
import collections
import http.client
import itertools
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.abspath(os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build")))
WEIR = os.path.join(BUILD, "bin", "weir")
SCALE = float(os.environ.get("WEIR_RIVAL_SCALE", "1"))
PARALLELISM = 2
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
failures = 0


def at_most(name, value, bound, invalid=False):
    global failures
    verdict = "INVALID" if invalid else "PASS" if value <= bound else "MISS"
    failures += verdict != "PASS"
    print(f"{verdict} {name} {value:.4g} <= {bound:g}", flush=True)


def at_least(name, value, bound):
    global failures
    failures += value < bound
    print(f"{'PASS' if value >= bound else 'MISS'} {name} {value:.4g} >= {bound:g}", flush=True)


def wait_for(what, condition, timeout_s=120):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise SystemExit(f"no {what} within {timeout_s} s")


def cpu_s(pid):
    """Of the process and of those of its children that have ended."""
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def rss_mb(pid):
    return int(open(f"/proc/{pid}/statm").read().split()[1]) * PAGE / 2**20


def free_port():
    """Below the range from which the kernel gives others theirs."""
    for port in random.Random().sample(range(20000, 30000), 100):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no port is free")


def children(pid):
    return [c for t in os.listdir(f"/proc/{pid}/task") for c in open(f"/proc/{pid}/task/{t}/children").read().split()]


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return json.load(reply)
    except (OSError, http.client.HTTPException, ValueError):
        return None


class Weir:
    name = "weir"

    def __init__(self, home):
        self.home, self.start = home, time.monotonic()
        self.env = dict(os.environ, WEIR_HOME=home, WEIR_REST="")
        self.weir("cluster", "start", "--taskmanagers", 1, "--slots", PARALLELISM, "-D", "rest.port=0", "-D", "jobmanager.rpc.port=0",
                  "-D", f"execution.checkpointing.dir={home}/checkpoints")
        records = [json.load(open(os.path.join(home, "run", n))) for n in os.listdir(os.path.join(home, "run")) if n.endswith(".json")]
        self.pids = [r["pid"] for r in records]
        self.worker = next(p for p in self.pids if "taskmanager" in open(f"/proc/{p}/cmdline").read().split("\0")[0])
        self.output = os.path.join(home, "logs", "taskmanager-1.out")

    def begin(self):
        pass

    def weir(self, *arguments):
        done = subprocess.run([WEIR, *map(str, arguments)], env=self.env, capture_output=True, text=True, timeout=3600)
        if done.returncode:
            raise SystemExit(f"weir {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")

    def run(self, job, **arguments):
        names = {"maps": "chains", "plus": "chains", "window": "window_count", "json": "json_window", "first": "first_output", "kafka": "kafka_window"}
        more = {"maps": ["--steps", "different"], "plus": ["--steps", "expressions"]}.get(job, [])
        options = ["-D", "execution.checkpointing.interval=1 s"] if job == "kafka" else []
        self.weir("run", *options, "-p", PARALLELISM, os.path.join(BUILD, "bench", "jobs", names[job] + ".so"),
                  *[x for k, v in arguments.items() for x in ("--" + k, v)], *more)
        wait_for("end of the executors", lambda: not children(self.worker))

    def stop(self):
        self.weir("cluster", "stop")


class Flink:
    name = "Flink"

    def __init__(self, home, flink, jar):
        self.home, self.jar, self.start = home, jar, time.monotonic()
        conf = os.path.join(home, "conf")
        shutil.copytree(os.path.join(flink, "conf"), conf)
        java = re.search(r"^env:\n  java:\n    opts:\n      all: (.*)$", open(os.path.join(conf, "config.yaml")).read(), re.M).group(1)
        rest, rpc = free_port(), free_port()
        with open(os.path.join(conf, "config.yaml"), "w") as file:
            for key, value in {
                    "env.java.opts.all": java, "jobmanager.rpc.address": "127.0.0.1", "jobmanager.bind-host": "127.0.0.1",
                    "taskmanager.host": "127.0.0.1", "taskmanager.bind-host": "127.0.0.1", "rest.address": "127.0.0.1",
                    "rest.bind-address": "127.0.0.1", "rest.port": rest, "jobmanager.rpc.port": rpc,
                    "jobmanager.memory.process.size": "1600m", "taskmanager.memory.process.size": "1728m",
                    "taskmanager.numberOfTaskSlots": PARALLELISM, "parallelism.default": PARALLELISM, "pipeline.object-reuse": "true",
                    "io.tmp.dirs": os.path.join(home, "tmp"), "web.upload.dir": os.path.join(home, "upload")}.items():
                file.write(f"{key}: {json.dumps(value)}\n")
        os.mkdir(os.path.join(home, "tmp"))
        self.url = f"http://127.0.0.1:{rest}"
        env = dict(os.environ, FLINK_CONF_DIR=conf, FLINK_LOG_DIR=os.path.join(home, "log"), FLINK_HOME=flink)
        self.output = os.path.join(home, "taskmanager.out")
        self.processes = []
        for what in ("jobmanager", "taskmanager"):
            out = open(os.path.join(home, what + ".out"), "w")
            self.processes.append(subprocess.Popen([os.path.join(flink, "bin", what + ".sh"), "start-foreground"], env=env, stdout=out,
                                                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL))
        self.pids = [p.pid for p in self.processes] # the scripts exec java
        self.worker = self.pids[1]

    def begin(self):
        wait_for("slots", lambda: (get(self.url + "/overview") or {}).get("slots-available") == PARALLELISM)
        self.uploaded = self.upload(self.jar)

    def post(self, path, data, kind):
        request = urllib.request.Request(self.url + path, data=data, headers={"Content-Type": kind}, method="POST")
        with urllib.request.urlopen(request, timeout=300) as reply:
            return json.load(reply)

    def upload(self, jar):
        body = (b'--x\r\nContent-Disposition: form-data; name="jarfile"; filename="rival.jar"\r\nContent-Type: application/x-java-archive\r\n\r\n'
                + open(jar, "rb").read() + b"\r\n--x--\r\n")
        return os.path.basename(self.post("/jars/upload", body, "multipart/form-data; boundary=x")["filename"])

    def run(self, job, **arguments):
        if job == "kafka":
            arguments["checkpoints"] = os.path.join(self.home, "checkpoints")
        command = {"entryClass": "Rival", "programArgsList": [job, *[str(x) for k, v in arguments.items() for x in ("--" + k, v)]]}
        id = self.post(f"/jars/{self.uploaded}/run", json.dumps(command).encode(), "application/json")["jobid"]
        state = wait_for("end of the job", lambda: (lambda s: s if s in ("FINISHED", "FAILED", "CANCELED") else None)(
            (get(f"{self.url}/jobs/{id}") or {}).get("state")), 3600)
        if state != "FINISHED":
            raise SystemExit(f"Flink's {job} is {state}: {(get(f'{self.url}/jobs/{id}/exceptions') or {}).get('root-exception')}")

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def sorted_rows(lines):
    """Rows (key, end of window, numbers ...), sorted; numbers by value, a time as ms."""
    rows = []
    for key, end, *values in lines:
        if not end.isdigit():
            seconds, _, fraction = end.replace("T", " ").rstrip("Z").partition(".")
            at = time.strptime(seconds, "%Y-%m-%d %H:%M:%S")
            end = int(calendar.timegm(at)) * 1000 + int((fraction + "000")[:3])
        rows.append((key, int(end), *map(float, values)))
    return sorted(rows)


def alike(a, b):
    """A mean may differ in its last bits: the order of a sum is nobody's promise."""
    return a[:2] == b[:2] and all(math.isclose(x, y, rel_tol=1e-9) for x, y in zip(a[2:], b[2:]))


def results(directory):
    return sorted_rows(line.rstrip("\n").split(",") for folder, _, names in os.walk(directory) for name in names for line in open(os.path.join(folder, name)))


class Broker:
    """Topics of readings, and the bare loop over one of them."""
    PARTITIONS = 4

    def __init__(self, rows):
        sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
        os.environ["KAFKA_JVM"] = ""
        os.environ["KAFKA_HEAP"] = "1g"
        from kafka_kit import Kafka
        self.kafka = Kafka().__enter__()
        self.brokers, self.count = self.kafka.brokers, 0
        for topic, count in rows.items():
            self.kafka.create(topic, self.PARTITIONS)
            subprocess.run([self.bench(), "fill", self.brokers, topic, str(count)], check=True)

    def bench(self):
        return os.path.join(BUILD, "bench", "kafka_bench")

    def loop(self, topic):
        """(CPU s, wall s) of the better of three."""
        runs = [subprocess.run([self.bench(), "loop", self.brokers, topic], check=True, capture_output=True, text=True).stdout.split() for _ in range(3)]
        return min(float(r[1]) for r in runs), min(float(r[2]) for r in runs)

    def arguments(self, topic):
        """Of a run that reads `topic`; what it writes goes to a topic of its own."""
        self.count += 1
        self.kafka.create(f"out{self.count}", self.PARTITIONS)
        return {"brokers": self.brokers, "input": topic, "output": f"out{self.count}"}

    def results(self, topic):
        rows = []
        for message in itertools.chain(*self.kafka.read(topic).values()):
            row = json.loads(message.value())
            rows.append((row["device_id"], row["window_end"], row["n"], row["mean"], row["high"]))
        return sorted_rows(rows)

    def stop(self):
        self.kafka.__exit__(None, None, None)


def rows_of(count):
    return max(PARALLELISM, int(count * SCALE) // PARALLELISM * PARALLELISM)


def main():
    flink_home, jar, *wanted = sys.argv[1:]
    work = tempfile.mkdtemp(prefix="weir-rival-")
    systems, table, memory, first_s, broker = [], {}, {}, {}, None
    try:
        input_rows, sample_rows, kafka_rows = rows_of(4_000_000), 100_000, rows_of(6_000_000)
        if not wanted or "kafka" in wanted:
            broker = Broker({"whole": kafka_rows, "warm": kafka_rows // 3})
            loop_cpu_s, loop_s = broker.loop("whole")
        files = {}
        for name, rows in (("whole", input_rows), ("warm", input_rows // 3), ("sample", sample_rows)):
            files[name] = os.path.join(work, name + ".jsonl")
            subprocess.run([os.path.join(BUILD, "examples", "gpu-temperature-publisher"), "--devices", "10000", "--interval", "1 s", "--seed", "3",
                            "--count", str(rows), "--output", files[name]], check=True, stderr=subprocess.DEVNULL)
        jobs = { # name -> rows of the measured run, arguments by rows, arguments of the run whose results are compared, bound
            # A chain of maps is what a JIT does best: ten functions cannot cost a tenth when a bare loop over them costs a quarter.
            "maps": (rows_of(60_000_000), lambda r: {"rows": r}, None, 0.6),
            "plus": (rows_of(60_000_000), lambda r: {"rows": r}, None, 0.15),
            "window": (rows_of(30_000_000), lambda r: {"rows": r}, {"rows": sample_rows * 30}, 0.1),
            "json": (input_rows, lambda r: {"input": files["whole" if r == input_rows else "warm"]}, {"input": files["sample"]}, 0.1),
            "kafka": (kafka_rows, lambda r: broker.arguments("whole" if r == kafka_rows else "warm"), None, 0.125),
        }
        jobs = {k: v for k, v in jobs.items() if not wanted or k in wanted}
        outputs = collections.defaultdict(dict)
        for kind, more in ((Weir, ()), (Flink, (flink_home, jar))):
            home = os.path.join(work, kind.name)
            os.mkdir(home)
            system = kind(home, *more)
            systems.append(system)
            try:
                system.begin()
                ready_s = time.monotonic() - system.start
                time.sleep(1)
                memory[kind.name] = sum(map(rss_mb, system.pids))
                started = time.monotonic()
                system.run("first")
                wait_for("output", lambda: os.path.getsize(system.output) > 0)
                first_s[kind.name] = ready_s + time.monotonic() - started
                for name, (rows, arguments, sample, _) in jobs.items():
                    if sample:
                        directory = os.path.join(work, f"{kind.name}-{name}")
                        system.run(name, **sample, output=directory)
                        outputs[name][kind.name] = results(directory)
                    system.run(name, **arguments(rows // 3))
                    given = arguments(rows)
                    before, start = cpu_s(system.worker), time.monotonic()
                    system.run(name, **given)
                    used, wall = cpu_s(system.worker) - before, time.monotonic() - start
                    table[name, kind.name] = used / rows * 1e6, rows / wall / 1e6
                    if name == "kafka": # what was measured is compared, too
                        outputs[name][kind.name] = broker.results(given["output"])
                    print(f"# {kind.name} {name}: {rows} rows, {used:.2f} CPU s, {wall:.2f} s", flush=True)
            finally:
                system.stop()
                systems.remove(system)
        print(f"# {'CPU s per million rows (M rows/s)':36} {'weir':>16} {'Flink 1.20.5':>18}")
        for name in jobs:
            (w, w_rate), (f, f_rate) = table[name, "weir"], table[name, "Flink"]
            print(f"# {name:36} {w:8.4f} ({w_rate:5.1f}) {f:10.3f} ({f_rate:5.2f})")
        print(f"# {'idle memory, MB':36} {memory['weir']:8.1f} {memory['Flink']:18.0f}")
        print(f"# {'start to first output, s':36} {first_s['weir']:8.2f} {first_s['Flink']:18.1f}")
        for name in jobs:
            ours, theirs = outputs[name].get("weir", []), outputs[name].get("Flink", [])
            different = [(a, b) for a, b in itertools.zip_longest(ours, theirs) if not a or not b or not alike(a, b)]
            differ = bool(different)
            if differ:
                print(f"# {name}: the results differ: {len(ours)} rows and {len(theirs)}; weir's and Flink's: {different[:3]}")
            elif ours:
                print(f"# {name}: both give the same {len(ours)} rows{'' if name == 'kafka' else ' on the sample'}")
            at_most(f"rival-{name}-cpu-of-flink", table[name, "weir"][0] / table[name, "Flink"][0], jobs[name][3], differ)
        if broker:
            print(f"# bare loop of librdkafka and simdjson over the topic: {loop_cpu_s / kafka_rows * 1e6:.4f} CPU s per million rows, {kafka_rows / loop_s / 1e6:.2f} M rows/s")
            at_least("kafka-speed-of-bare-loop", loop_cpu_s / kafka_rows * 1e6 / table["kafka", "weir"][0], 0.75)
        at_most("rival-idle-memory-of-flink", memory["weir"] / memory["Flink"], 0.1)
        at_most("rival-first-output-of-flink", first_s["weir"] / first_s["Flink"], 0.1)
    finally:
        for system in systems + ([broker] if broker else []):
            system.stop()
        shutil.rmtree(work, ignore_errors=True)
    print(f"{failures} of the figures are not as they should be" if failures else "all figures pass")
    sys.exit(1 if failures else 0)


main()
