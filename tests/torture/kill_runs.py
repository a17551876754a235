"""Long runs of random faults: with a copy of the programs, so that a build meanwhile does them nothing; what came of them in WEIR_BUILD/torture:
results.jsonl (a line a run), WHAT-SEED.log, and of a run that failed failed-WHAT-SEED/.

To be imported before weir_test, which takes WEIR_BUILD as it finds it."""
import json
import os
import shutil
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RESULTS = os.path.join(os.path.abspath(os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build"))), "torture")


def copy_programs():
    """The copy, for whoever removes it."""
    own = tempfile.mkdtemp(prefix="weir-kill-build-")
    for part in ("bin", "lib", "tests/jobs"):
        shutil.copytree(os.path.join(os.path.dirname(RESULTS), part), os.path.join(own, part), symlinks=True, ignore=shutil.ignore_patterns("*.a"))
    os.environ["WEIR_BUILD"] = own
    os.environ.setdefault("WEIR_TEST_LONG_WAITS", "6") # they go on for long, on machines that are busy
    return own


class Twice:
    """Standard output, in a file too."""

    def __init__(self, path):
        self.file, self.out = open(path, "w", buffering=1), sys.stdout

    def write(self, text):
        self.out.write(text)
        self.file.write(text)

    def flush(self):
        self.out.flush()


def one_run(what, seed, body, proved):
    """What came of body(), and of a good one what it `proved`."""
    kept = os.path.join(RESULTS, f"failed-{what}-{seed}")
    shutil.rmtree(kept, ignore_errors=True)
    os.makedirs(kept)
    os.environ["WEIR_TEST_KEEP"] = kept
    log, out, begun = os.path.join(RESULTS, f"{what}-{seed}.log"), sys.stdout, time.time()
    sys.stdout = Twice(log)
    try:
        result = {"what": what, "seed": seed, "ok": True, **body()}
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        result = {"what": what, "seed": seed, "ok": False, "why": str(error)[:500]}
        print(f"# seed {seed} failed; {kept} has what was there, {log} what was done")
    finally:
        sys.stdout = out
    result["seconds"] = round(time.time() - begun)
    with open(os.path.join(RESULTS, "results.jsonl"), "a") as file:
        file.write(json.dumps(result) + "\n")
    if result["ok"]:
        shutil.rmtree(kept)
        print(f"# {what}, seed {seed}: {result['injected']} faults, {len(result['distinct'])} distinct, {proved}, {result['seconds']} s", flush=True)
    return result


def next_seed():
    path = os.path.join(RESULTS, "results.jsonl")
    seeds = [json.loads(line)["seed"] for line in open(path)] if os.path.exists(path) else []
    return max(seeds, default=0) + 1


def runs(what, seeds, body, proved):
    """body(seed) for each; one that fails does not end the others. An exit code."""
    os.makedirs(RESULTS, exist_ok=True)
    done = [one_run(what, seed, lambda: body(seed), proved) for seed in seeds]
    good = [result for result in done if result["ok"]]
    print(f"# {len(done)} runs, {len(done) - len(good)} failed; {sum(r['injected'] for r in good)} faults, "
          f"{len({name for r in good for name in r['distinct']})} distinct")
    return 0 if len(good) == len(done) else 1
