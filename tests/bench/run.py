#!/usr/bin/env python3
"""The speed figures: `PASS|MISS|INVALID name value bound` a line; exit 1 on a MISS or INVALID. Input from a seed, medians of five, ratios against a baseline
measured in the same run. usage: tests/bench/run.py [name ...]"""
import datetime
import json
import os
import re
import resource
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build")))
WEIR = os.path.join(BUILD, "bin", "weir")
RUNS = int(os.environ.get("WEIR_BENCH_RUNS", "5"))
failures = 0


def job(name):
    return os.path.join(BUILD, "bench", "jobs", name + ".so")


def bench(name):
    return os.path.join(BUILD, "bench", name)


def measure(command, env=None):
    """(CPU seconds with children, wall seconds, output) of one run."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300,
                          env=dict(os.environ, **(env or {})))
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, done.stdout


def median(values):
    return statistics.median(values)


def figure(name, value, bound, ok, invalid=False, unit=""):
    global failures
    verdict = "INVALID" if invalid else "PASS" if ok else "MISS"
    failures += verdict != "PASS"
    print(f"{verdict} {name} {value:.4g}{unit} {bound}", flush=True)


def at_most(name, value, bound, **more):
    figure(name, value, f"<= {bound:g}", value <= bound, **more)


def at_least(name, value, bound, **more):
    figure(name, value, f">= {bound:g}", value >= bound, **more)


def numbers(pattern, text):
    match = re.search(pattern, text)
    if not match:
        raise SystemExit(f"no '{pattern}' in: {text}")
    return [float(g) for g in match.groups()]


def bench_window_count():
    rows = 40_000_000
    cpu, loop = [], []
    for _ in range(RUNS):
        cpu.append(measure([WEIR, "run", "--local", "-p", 1, job("window_count"), "--rows", rows])[0] / rows * 1e6)
        output = measure([bench("window_bench"), 20, 100000])[2]
        generator, = numbers(r"generator\s+([\d.]+)", output)
        direct, = numbers(r"direct array\s+([\d.]+)", output)
        table, = numbers(r"loop, hash table\s+([\d.]+)", output)
        loop.append((table, generator, direct))
    ns = median(cpu) * 1000
    loop_ns = median([l[0] for l in loop])
    invalid = median([l[0] - l[1] for l in loop]) > 1000 / 90
    print(f"# one core: weir {ns:.1f} ns a row; loop with a hash table {loop_ns:.1f}, with a direct array {median([l[2] for l in loop]):.1f}, generating alone {median([l[1] for l in loop]):.1f}")
    at_most("window-count-cpu-s-per-mrow", median(cpu), 0.06)
    at_most("window-count-against-loop", ns / loop_ns, 3, invalid=invalid)


def bench_state_checkpoints():
    """A state of 1 GB, 5 % of its keys changed a second, a checkpoint a second: what the worker notices, and what is written."""
    output = measure([bench("state_checkpoint_bench"), 5, 15])[2]
    print("# " + output.rstrip().replace("\n", "\n# "))
    p99, most, at_work = numbers(r"\ngap: p99 ([\d.]+) ms, most ([\d.]+) ms, at work p99 [\d.]+ ms, most ([\d.]+) ms", output)
    at_most("state-checkpoint-gap-p99-ms", p99, 10)
    at_most("state-checkpoint-gap-most-ms", most, 50)
    at_most("state-checkpoint-gap-at-work-ms", at_work, 10)
    at_least("state-checkpoint-throughput-percent", numbers(r"with: ([\d.]+) %", output)[0], 90)
    at_most("state-checkpoint-written-per-changed-byte", numbers(r"written: ([\d.]+) bytes", output)[0], 1.2)


def bench_json_window():
    rows = 6_000_000 # so many that the start of the processes, a figure of its own, is a few per cent
    directory = tempfile.mkdtemp(prefix="weir-bench-")
    try:
        file = os.path.join(directory, "readings.jsonl")
        measure([os.path.join(BUILD, "examples", "gpu-temperature-publisher"), "--devices", 10000, "--interval", "1 s", "--seed", 3,
                 "--count", rows, "--output", file])
        cpu, walk = [], []
        for _ in range(RUNS):
            cpu.append(measure([WEIR, "run", "--local", "-p", 1, job("json_window"), "--input", file])[0] / rows * 1e6)
            walk.append(numbers(r"([\d.]+) CPU s", measure([bench("walk_file"), file])[2])[0])
        size = os.path.getsize(file)
        rate = size / rows / median(walk) # MB/s
        print(f"# {size / rows:.0f} bytes a row; simdjson alone {rate:.0f} MB/s; CPU s per million rows: weir {median(cpu):.3f}, simdjson {median(walk):.3f}")
        at_most("json-window-cpu-s-per-mrow", median(cpu), 0.4)
        at_least("json-window-speed-of-simdjson", median(walk) / median(cpu), 0.6, invalid=rate < 900)
    finally:
        shutil.rmtree(directory)


def chain_rate(steps, rows):
    """Rows a second of CPU for ten steps, the cost of the same job without them taken off."""
    with_steps = measure([WEIR, "run", "--local", "-p", 1, job("chains"), "--rows", rows, "--steps", steps])[0]
    without = measure([WEIR, "run", "--local", "-p", 1, job("chains"), "--rows", rows, "--steps", steps, "--depth", 0])[0]
    return rows / max(with_steps - without, 1e-9), rows / with_steps


def bench_chains():
    rates, whole, loops = [], [], []
    for _ in range(RUNS):
        rate, all_in = chain_rate("functions", 20_000_000)
        rates.append(rate)
        whole.append(all_in)
        loops.append(numbers(r"(\d+) rows/s", measure([bench("calls_bench"), 20])[2])[0])
    print(f"# ten C functions: {median(rates) / 1e6:.1f} M rows/s, {median(whole) / 1e6:.1f} with source and sink; bare loop {median(loops) / 1e6:.1f} M rows/s")
    at_least("ten-functions-against-loop", median(rates) / median(loops), 0.6, invalid=median(loops) < 21e6)
    rates = [chain_rate("expressions", 60_000_000) for _ in range(RUNS)]
    print(f"# ten expressions: {median([r[1] for r in rates]) / 1e6:.1f} M rows/s with source and sink")
    at_least("ten-expressions-mrows-per-s", median([r[0] for r in rates]) / 1e6, 60)


class Cluster:
    def __init__(self, taskmanagers, slots, options=()):
        self.home = tempfile.mkdtemp(prefix="weir-bench-")
        self.env = {"WEIR_HOME": self.home, "WEIR_REST": ""}
        self.start = time.monotonic()
        measure([WEIR, "cluster", "start", "--taskmanagers", taskmanagers, "--slots", slots, "-D", "rest.port=0", "-D", "jobmanager.rpc.port=0", *options], self.env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([WEIR, "cluster", "stop"], env=dict(os.environ, **self.env), stdout=subprocess.DEVNULL)
        shutil.rmtree(self.home, ignore_errors=True)

    def run(self, *arguments):
        return measure([WEIR, "run", *arguments], self.env)

    def pids(self):
        directory = os.path.join(self.home, "run")
        return [json.load(open(os.path.join(directory, n)))["pid"] for n in os.listdir(directory) if n.endswith(".json")]


def bench_protobuf():
    """Protobuf and Avro, two of ten columns, a record at a time as Kafka's source gives them, beside JSON of the same rows."""
    names = [f"{name}-two-columns-of-json" for name in ("protobuf", "avro")]
    ratios = {name: [] for name in names}
    for _ in range(RUNS):
        output = measure([bench("protobuf_bench")])[2]
        for name in names:
            ratios[name].append(numbers(name + r" ([\d.]+)", output)[0])
    print("\n".join(line for line in output.split("\n") if line.startswith("#")))
    for name in names:
        at_least(name, median(ratios[name]), 3)


def bench_exchange():
    if not os.path.exists(bench("exchange_bench")):
        raise SystemExit("exchange_bench is not built")
    rates = [numbers(r"([\d.]+) M rows/s per sending core", measure([bench("exchange_bench")])[2])[0] for _ in range(RUNS)]
    at_least("key-by-between-processes-mrows-per-s", median(rates), 5)


def bench_latency():
    p50, p99 = [], []
    for _ in range(RUNS):
        with Cluster(2, 1) as cluster:
            file = os.path.join(cluster.home, "latency.bin")
            cluster.run("-p", 2, job("latency"), "--rows", 40000, "--rate", 10000, "--output", file)
            data = open(file, "rb").read()
            delays = list(struct.unpack(f"{len(data) // 8}q", data))
            delays = sorted(delays[len(delays) // 4:]) # the first second is warm-up
            p50.append(delays[len(delays) // 2] / 1e6)
            p99.append(delays[len(delays) * 99 // 100] / 1e6)
    at_most("latency-p50-ms", median(p50), 1)
    at_most("latency-p99-ms", median(p99), 5)


def rss_mb(pid):
    pages = int(open(f"/proc/{pid}/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def bench_footprint():
    memory, first_output = [], []
    for _ in range(RUNS):
        with Cluster(1, 1) as cluster:
            out = os.path.join(cluster.home, "logs", "taskmanager-1.out")
            cluster.run("-d", job("first_output"))
            while not (os.path.exists(out) and os.path.getsize(out)):
                if time.monotonic() - cluster.start > 30:
                    raise SystemExit("no output")
                time.sleep(0.002)
            first_output.append(time.monotonic() - cluster.start)
        with Cluster(1, 1) as cluster:
            time.sleep(1)
            memory.append(sum(map(rss_mb, cluster.pids())))
    at_most("idle-jobmanager-and-taskmanager-mb", median(memory), 64)
    at_most("cluster-start-to-first-output-s", median(first_output), 1)


def bench_local_start():
    wall = [measure([WEIR, "run", "--local", job("first_output"), "--rows", 1000])[1] for _ in range(RUNS)]
    at_most("local-run-of-1000-rows-ms", median(wall) * 1000, 150)


def backed_memory(held=[]):
    """For benches that write GB of objects and copies: see backed_memory.py. Until the end."""
    if held:
        return
    with open("/proc/meminfo") as file:
        available = int(re.search(r"MemAvailable: *(\d+)", file.read())[1]) / (1 << 20)
    held.append(subprocess.Popen([os.path.join(ROOT, "tests", "bench", "backed_memory.py"), f"{min(8, available / 2):.1f}"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    print("#", held[0].stdout.readline().strip(), flush=True)


class Notes:
    """What tests/bench/jobs/recovery.c says of its output."""
    ATTEMPTS, SUBTASKS, GAPS = 64, 16, 1 << 18

    def __init__(self, path):
        self.path = path

    def head(self):
        size = 8 * (self.ATTEMPTS + self.SUBTASKS + 2)
        data = open(self.path, "rb").read(size) if os.path.exists(self.path) else b""
        return struct.unpack(f"{size // 8}q", data) if len(data) == size else (0,) * (size // 8)

    def first_outputs(self):
        return self.head()[:self.ATTEMPTS]

    def rows(self):
        return sum(self.head()[self.ATTEMPTS:self.ATTEMPTS + self.SUBTASKS])

    def gaps(self):
        """(end, length, of it others ran), seconds, oldest first."""
        count = min(self.head()[-1], self.GAPS)
        with open(self.path, "rb") as file:
            file.seek(8 * (self.ATTEMPTS + self.SUBTASKS + 2))
            return sorted(tuple(n / 1e9 for n in g) for g in struct.iter_unpack("3q", file.read(24 * count)))


class StateJob:
    """The recovery job with a gigabyte of state, its checkpoints on an S3 server of this host."""
    KEYS, PAYLOAD = int(os.environ.get("WEIR_BENCH_KEYS", "8000000")), 120 # and 8 of the key: what a key counts where bytes changed are counted

    def __init__(self, taskmanagers, slots, interval, rate, parallelism=2):
        sys.path.insert(0, os.path.join(ROOT, "tests", "s3"))
        from s3_kit import KEYS, S3
        os.environ.update(KEYS)
        self.server = S3()
        self.taskmanagers, self.slots, self.interval, self.rate, self.parallelism = taskmanagers, slots, interval, rate, parallelism

    def __enter__(self):
        backed_memory()
        self.server.__enter__()
        options = {"s3.endpoint": self.server.endpoint, "s3.path-style-access": "true", "execution.checkpointing.dir": "s3://weir-test/bench",
                   "execution.checkpointing.interval": self.interval, "execution.checkpointing.externalized-checkpoint-retention": "DELETE_ON_CANCELLATION",
                   "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1000", "restart-strategy.fixed-delay.delay": "0 ms",
                   "state.memory.size": "4 gb"}
        self.cluster = None
        try:
            self.cluster = Cluster(self.taskmanagers, self.slots, [o for k, v in options.items() for o in ("-D", f"{k}={v}")])
            self.begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def begin(self):
        self.directory = os.path.join(self.cluster.home, "run")
        self.port = json.load(open(os.path.join(self.directory, "jobmanager.json")))["rest_port"]
        self.notes = Notes(os.path.join(self.cluster.home, "notes"))
        self.id = self.cluster.run("-d", "-p", self.parallelism, job("recovery"), "--keys", self.KEYS, "--payload", self.PAYLOAD, "--rate", self.rate,
                                   "--output", self.notes.path)[2].strip()
        self.wait("all keys", lambda: self.notes.rows() > self.KEYS * 1.05, 300)

    def __exit__(self, *what):
        if self.cluster:
            self.cluster.__exit__()
        self.server.__exit__(*what)
        shutil.rmtree(sys.modules["weir_test"].REPORTS, ignore_errors=True)

    def wait(self, what, condition, timeout_s=120):
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                log = os.path.join(self.cluster.home, "logs", "jobmanager.log")
                raise SystemExit(f"no {what} within {timeout_s} s\n" + "".join(open(log).readlines()[-20:]))
            time.sleep(0.01)

    def rest(self, path, body=None):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/jobs/{self.id}{path}", data=body, timeout=60) as reply:
            return json.load(reply)

    def completed(self):
        return self.rest("/checkpoints")["counts"]["completed"]

    def checkpoint(self):
        """One, now; the time until it is complete."""
        done, start = self.completed(), time.monotonic()
        subprocess.run([WEIR, "checkpoint", self.id], env=dict(os.environ, **self.cluster.env), stdout=subprocess.DEVNULL, check=True)
        self.wait("checkpoint", lambda: self.completed() > done)
        return time.monotonic() - start

    def some_checkpoints(self, count):
        done = self.completed()
        self.wait(f"{count} checkpoints", lambda: self.completed() >= done + count)

    def executors(self):
        directory = os.path.join(self.directory, "executors")
        return [int(open(os.path.join(directory, n)).read().split()[0]) for n in os.listdir(directory)]

    def worker_cpu(self):
        """Seconds, of all worker threads."""
        total = 0
        for pid in self.executors():
            for task in os.listdir(f"/proc/{pid}/task"):
                if open(f"/proc/{pid}/task/{task}/comm").read().startswith("worker"):
                    total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0]) / 1e9
        return total

    def first_output_after(self, action):
        """Seconds from the begin of action() to the first row of a new attempt."""
        before, start = self.notes.first_outputs(), time.time()
        action()
        self.wait("output", lambda: self.notes.first_outputs() != before, 60)
        return next(new / 1e9 - start for new, old in zip(self.notes.first_outputs(), before) if new != old)

    def log_time(self, pattern, after):
        """Seconds from `after` to the first later line of the JobManager that fits."""
        for line in open(os.path.join(self.cluster.home, "logs", "jobmanager.log")):
            at = datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp() if line[:2] == "20" else 0
            if at > after - 0.002 and re.search(pattern, line):
                return at - after
        raise SystemExit(f"no '{pattern}' in the JobManager's log")


def longest_gaps(gaps, spans):
    """Of each span of time the longest gap, by the clock and without what others ran meanwhile, ms."""
    wall = [max([g for end, g, _ in gaps if a <= end - g <= b] or [0]) * 1e3 for a, b in spans]
    own = [max([g - o for end, g, o in gaps if a <= end - g <= b] or [0]) * 1e3 for a, b in spans]
    return wall, own


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(len(values) * q))]


def bench_checkpoint_gaps():
    """1 GB of state, 5 % of its keys changed a second, a checkpoint a second to S3: gaps in the output while one is under way."""
    seconds = 110 # as many checkpoints: the 99th of a hundred is not yet the worst
    with StateJob(1, 2, "1 s", StateJob.KEYS // 20) as run:
        run.some_checkpoints(8)
        start, seen, spans, rows = time.time(), set(), [], []
        while time.time() < start + seconds:
            for _ in range(100):
                rows.append((time.time(), run.notes.rows()))
                time.sleep(0.02)
            for c in run.rest("/checkpoints")["history"]:
                if c["id"] not in seen and c["status"] == "COMPLETED" and c["trigger_timestamp"] > start * 1000:
                    seen.add(c["id"])
                    spans.append((c["trigger_timestamp"] / 1e3, (c["trigger_timestamp"] + c["end_to_end_duration"]) / 1e3, c["checkpointed_size"], c["state_size"]))
        spans.sort()
        wall, own = longest_gaps(run.notes.gaps(), [s[:2] for s in spans])
        # Each checkpoint brings the keys that were met since the one before: as many as rows, at this rate.
        at = [next((n for at, n in rows if at >= s[0]), rows[-1][1]) for s in spans]
        changed = [(b - a) * (run.PAYLOAD + 8) for a, b in zip(at, at[1:])]
        written = [s[2] for s in spans[1:]]
        print(f"# {len(spans)} checkpoints of {statistics.mean(s[1] - s[0] for s in spans):.2f} s, {median(written) / 1e6:.1f} MB each (in full: {spans[-1][3] / 1e6:.0f} MB at most); longest gap of each "
              f"p50 {median(wall):.2f} ms, {sum(w < 10 for w in wall)} below 10 ms; without what other processes ran meanwhile p50 {median(own):.2f} ms, p99 {quantile(own, 0.99):.2f} ms")
        at_most("checkpoint-output-gap-p99-ms", quantile(wall, 0.99), 10)
        at_most("checkpoint-output-gap-most-ms", max(wall), 50)
        at_most("checkpoint-uploaded-per-changed-byte", median([w / c for w, c in zip(written, changed)]), 1.2)
        at_most("checkpoint-uploaded-with-consolidation", sum(written) / sum(changed), 3)


def bench_checkpoint_throughput():
    """The same as fast as one core goes, without checkpoints and with one each second; what is written goes through the other core. By the clock,
    and by the worker's own time, which others on the machine do not change. What changed while there were none is written before those that are
    measured: only a twentieth changes in a second. Long enough that all of the state is written anew some time."""
    def turn(run, seconds, checkpoints):
        took, start = [], time.monotonic()
        rows, cpu = run.notes.rows(), run.worker_cpu()
        while time.monotonic() < start + seconds:
            begin = time.monotonic()
            if checkpoints:
                took.append(run.checkpoint())
            time.sleep(max(0, min(begin + 1, start + seconds) - time.monotonic()))
        rows, cpu = run.notes.rows() - rows, run.worker_cpu() - cpu
        return rows / (time.monotonic() - start), rows / cpu, took

    with StateJob(1, 1, "1 d", 0, parallelism=1) as run:
        without = [turn(run, 10, False)]
        for _ in range(60):
            if run.checkpoint() < 1.5:
                break
        with_them = turn(run, 40, True)
        without.append(turn(run, 10, False))
        wall, own = (statistics.mean(w[i] for w in without) for i in (0, 1))
        print(f"# M rows/s: {without[0][0] / 1e6:.2f} and {without[1][0] / 1e6:.2f} without checkpoints, {with_them[0] / 1e6:.2f} with one a second (of "
              f"{median(with_them[2]):.2f} s, at most {max(with_them[2]):.2f} s); per second of the worker {own / 1e6:.2f} and {with_them[1] / 1e6:.2f}")
        at_least("checkpoint-throughput-percent", 100 * with_them[0] / wall, 90)
        at_least("checkpoint-throughput-per-worker-second-percent", 100 * with_them[1] / own, 90)


def bench_recovery():
    """1 GB of state: an executor is killed; a whole TaskManager is, with another's slots free; 2 -> 4."""
    executor, taskmanager, detected, rescaled = [], [], [], []
    for _ in range(min(RUNS, 3)):
        with StateJob(3, 2, "1 s", StateJob.KEYS // 20) as run:
            run.some_checkpoints(3)
            executor.append(run.first_output_after(lambda: os.kill(run.executors()[0], signal.SIGKILL)))
            run.some_checkpoints(3)
            pid = run.executors()[0]
            supervisor = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
            start = time.time()
            taskmanager.append(run.first_output_after(lambda: [os.kill(p, signal.SIGKILL) for p in (supervisor, pid)]))
            detected.append(run.log_time("TaskManager .* broke", start))
            run.some_checkpoints(3)
            start = time.time()
            subprocess.run([WEIR, "rescale", run.id, "--parallelism", "4"], env=dict(os.environ, **run.cluster.env), stdout=subprocess.DEVNULL, check=True)
            run.some_checkpoints(1)
            rescaled.append(max(g for end, g, _ in run.notes.gaps() if end > start))
    at_most("killed-executor-to-first-output-s", median(executor), 1)
    at_most("killed-taskmanager-to-detection-ms", median(detected) * 1e3, 200)
    at_most("killed-taskmanager-to-first-output-s", median(taskmanager), 4)
    at_most("rescale-2-to-4-without-output-s", median(rescaled), 3)


def bench_keyed_count():
    """10 M uniform keys: all in memory, and with a quarter of that memory beside a loop that gets and puts each row in the same RocksDB."""
    output = measure([bench("spill_bench"), 10, 40, 2])[2]
    memory, = numbers(r"memory (\d+)", output)
    beyond, = numbers(r"beyond (\d+)", output)
    loop, = numbers(r"loop (\d+)", output)
    print(f"# rows per CPU second: in memory {memory:.0f}, with a quarter of it {beyond:.0f}, a loop over RocksDB {loop:.0f}")
    at_least("keyed-count-mrows-per-cpu-s", memory / 1e6, 5)
    at_least("keyed-count-beyond-memory-against-loop", beyond / loop, 2)


class KafkaLatency:
    """A broker, and a job from one topic to another with a checkpoint each 100 ms; kafka_bench writes 50 k rows a second and reads them again."""
    RATE, WARM_S, SECONDS = 50_000, 8, 12

    def __init__(self):
        sys.path[:0] = [os.path.join(ROOT, "tests", "e2e"), os.path.join(ROOT, "tests", "s3")]
        from kafka_kit import Kafka
        # As Kafka's own scripts have it: the small collector that tests take stops a broker for 20 to 30 ms each two seconds at this rate.
        os.environ.update({"KAFKA_HEAP": "1g", "KAFKA_GC": "-XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35"})
        self.kafka, self.count = Kafka(), 0

    def __enter__(self):
        self.kafka.__enter__()
        return self

    def __exit__(self, *what):
        self.kafka.__exit__(*what)
        shutil.rmtree(sys.modules["weir_test"].REPORTS, ignore_errors=True)

    def run(self, guarantee, isolation, options=None, transaction="commit"):
        """(p50, p99, p99.9, most), ms."""
        self.count += 1
        names = [f"{way}{self.count}" for way in ("in", "out")]
        for name in names:
            self.kafka.create(name, 4)
        options = {"execution.checkpointing.interval": "100 ms", **(options or {})}
        with Cluster(1, 2, [o for k, v in options.items() for o in ("-D", f"{k}={v}")]) as cluster:
            cluster.run("-d", "-p", 2, job("kafka_latency"), "--brokers", self.kafka.brokers, "--input", names[0], "--output", names[1], "--guarantee", guarantee,
                        "--transaction", transaction)
            said = measure([bench("kafka_bench"), "latency", self.kafka.brokers, *names, self.RATE, self.WARM_S, self.SECONDS, isolation])[2]
        print(f"# {guarantee}{' in open transactions' * (transaction == 'open')}: {said.strip()}", flush=True)
        lost, doubled, *times = numbers(r"lost (\d+) doubled (\d+) p50 (\S+) p99 (\S+) p99.9 (\S+) most (\S+)", said)
        if lost or doubled:
            raise SystemExit(f"kafka_latency: {lost:.0f} rows are lost, {doubled:.0f} doubled")
        return times


def bench_kafka_latency():
    """From when a row is due at the producer until a consumer has it, broker, job and both on this machine: with checkpoints in files, and in S3."""
    with KafkaLatency() as run:
        from s3_kit import KEYS, S3
        os.environ.update(KEYS)
        found = {"exactly-once": [], "exactly-once-s3": [], "exactly-once-open": [], "exactly-once-open-s3": [], "at-least-once": []}
        with S3() as s3:
            def storage(): # each cluster's own: with another's it would go on with that one's job
                return {"s3.endpoint": s3.endpoint, "s3.path-style-access": "true", "execution.checkpointing.dir": f"s3://weir-test/bench-{run.count}"}
            for _ in range(min(RUNS, 3)):
                found["exactly-once"].append(run.run("exactly-once", "read_committed"))
                found["exactly-once-s3"].append(run.run("exactly-once", "read_committed", storage()))
                found["exactly-once-open"].append(run.run("exactly-once", "read_committed", transaction="open"))
                found["exactly-once-open-s3"].append(run.run("exactly-once", "read_committed", storage(), transaction="open"))
                found["at-least-once"].append(run.run("at-least-once", "read_uncommitted"))
        for name, bound in (("exactly-once", 300), ("exactly-once-s3", 300), ("exactly-once-open", 300), ("exactly-once-open-s3", 300), ("at-least-once", 10)):
            at_most(f"kafka-{name}-latency-p99-ms", median([times[1] for times in found[name]]), bound)


class KafkaMemory:
    """50 partitions with a backlog, two slots: what supervisor and executor hold, by what messages are like."""
    TEXTS = {"200 bytes, 3 to 1": (200, 200, 512), "1 to 10 kB, 3 to 1": (1000, 10000, 512), "1 to 10 kB, 130 to 1": (1000, 10000, 1)}
    SIZE_MB, STALL_S = 1000, 60

    def __init__(self):
        sys.path[:0] = [os.path.join(ROOT, "tests", "e2e")]
        from kafka_kit import Kafka
        self.source, self.sink, self.count = Kafka(), Kafka(), 0

    def __enter__(self):
        self.source.__enter__()
        self.sink.__enter__()
        for topic, text in enumerate(self.TEXTS.values()):
            self.source.create(f"in{topic}", 50)
            measure([bench("kafka_bench"), "texts", self.source.brokers, f"in{topic}", self.SIZE_MB, *text])
        return self

    def __exit__(self, *what):
        self.sink.__exit__(*what)
        self.source.__exit__(*what)
        shutil.rmtree(sys.modules["weir_test"].REPORTS, ignore_errors=True)

    def run(self, topic, *arguments, stall=False):
        """(most MB that were resident, seconds) of a job to its end, or of one whose sink's broker stands still for a minute."""
        with Cluster(1, 2, ["-D", "execution.checkpointing.interval=1 s"]) as cluster:
            directory = os.path.join(cluster.home, "run")
            port, supervisor = (json.load(open(os.path.join(directory, n)))[k] for n, k in (("jobmanager.json", "rest_port"), ("taskmanager-1.json", "pid")))
            job_id = cluster.run("-d", "-p", 2, job("kafka_memory"), "--brokers", self.source.brokers, "--input", topic, *arguments)[2].strip()
            start, most, stalled = time.monotonic(), 0, False
            while time.monotonic() < start + self.STALL_S + 60:
                held = rss_mb(supervisor)
                for child in open(f"/proc/{supervisor}/task/{supervisor}/children").read().split():
                    try:
                        held += rss_mb(child)
                    except OSError: # it has just ended
                        pass
                most = max(most, held)
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/jobs/{job_id}", timeout=60) as reply:
                    state = json.load(reply)["state"]
                if state not in ("CREATED", "RUNNING") or (stall and time.monotonic() > start + self.STALL_S):
                    break
                if stall and not stalled and time.monotonic() > start + 2:
                    self.sink.signal(1, "STOP")
                    stalled = True
                time.sleep(0.02)
            if stalled:
                self.sink.signal(1, "CONT")
            if state != ("RUNNING" if stall else "FINISHED"):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/jobs/{job_id}/exceptions", timeout=60) as reply:
                    raise SystemExit(f"kafka_memory: the job is {state}: {json.load(reply)['root-exception']}")
            return most, time.monotonic() - start


def bench_kafka_memory():
    """A TaskManager (supervisor and executor) that reads 50 partitions as fast as it can; and while the broker that it writes to stands still."""
    with KafkaMemory() as run:
        speed, stalled = [], []
        for topic, text in enumerate(run.TEXTS):
            speed.append(run.run(f"in{topic}"))
            for guarantee in ("at-least-once", "exactly-once"):
                run.count += 1
                run.sink.create(f"out{run.count}", 4)
                stalled.append(run.run(f"in{topic}", "--to", run.sink.brokers, "--output", f"out{run.count}", "--guarantee", guarantee, stall=True)[0])
            print(f"# {text}: {speed[-1][0]:.0f} MB at {run.SIZE_MB / speed[-1][1]:.0f} MB of messages a second; sink's broker stopped: {stalled[-2]:.0f} MB at least "
                  f"once, {stalled[-1]:.0f} MB exactly once", flush=True)
        at_most("kafka-50-partitions-taskmanager-mb", max(most for most, _ in speed), 200)
        # What is packed to a hundredth takes more: an answer of a broker comes whole, and is unpacked whole.
        at_most("kafka-50-partitions-stalled-sink-mb", max(stalled[:-2]), 200)


BENCHES = {name[6:]: f for name, f in globals().items() if name.startswith("bench_")}
for name, function in BENCHES.items():
    if len(sys.argv) == 1 or name in sys.argv[1:]:
        function()
print(f"{failures} of the figures are not as they should be" if failures else "all figures pass")
sys.exit(1 if failures else 0)
