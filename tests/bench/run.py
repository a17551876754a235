#!/usr/bin/env python3
"""The speed figures: `PASS|MISS|INVALID name value bound` a line; exit 1 on a MISS or INVALID. Input from a seed, medians of five, ratios against a baseline
measured in the same run. usage: tests/bench/run.py [name ...]"""
import json
import os
import re
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

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


def bench_keyed_count():
    """10 M uniform keys: all in memory, and with a quarter of that memory beside a loop that gets and puts each row in the same RocksDB."""
    output = measure([bench("spill_bench"), 10, 40, 2])[2]
    memory, = numbers(r"memory (\d+)", output)
    beyond, = numbers(r"beyond (\d+)", output)
    loop, = numbers(r"loop (\d+)", output)
    print(f"# rows per CPU second: in memory {memory:.0f}, with a quarter of it {beyond:.0f}, a loop over RocksDB {loop:.0f}")
    at_least("keyed-count-mrows-per-cpu-s", memory / 1e6, 5)
    at_least("keyed-count-beyond-memory-against-loop", beyond / loop, 2)


BENCHES = {name[6:]: f for name, f in globals().items() if name.startswith("bench_")}
for name, function in BENCHES.items():
    if len(sys.argv) == 1 or name in sys.argv[1:]:
        function()
print(f"{failures} of the figures are not as they should be" if failures else "all figures pass")
sys.exit(1 if failures else 0)
