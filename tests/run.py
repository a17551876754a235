#!/usr/bin/env python3
"""Runs test programs that print TAP, shows what failed, and ends with `N passed, N failed, N skipped`.

usage: tests/run.py [--timeout S] [--at-once N] PROGRAM...

Several run side by side, in this order: one more than there are processors, since most of them wait for something (--at-once or WEIR_TEST_AT_ONCE:
so many). Each gets CMOCKA_MESSAGE_OUTPUT=TAP and a time limit of its own; one that crashes, hangs, fails without a TAP line, or prints no test at
all counts as a failure. A skipped test must be listed in tests/skips.allowed ("name  # reason" a line, a trailing * matches any rest), else it is
a failure.
"""
import argparse
import concurrent.futures
import fnmatch
import os
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TAP = re.compile(r"^\s*(not ok|ok)\b(?:\s+\d+)?(?:\s+-)?\s*(.*)$")


def allowed_skips():
    path = os.path.join(HERE, "skips.allowed")
    lines = open(path).read().splitlines() if os.path.exists(path) else []
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def run(program, timeout_s):
    """Returns (passed, failed, skipped) as lists of names, and the output."""
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    try:
        done = subprocess.run([program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout_s, env=environment)
        output, code = done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        return [], [f"(no end within {timeout_s} s)"], [], output
    except OSError as error: # it is not there, or cannot be run
        return [], [f"({error})"], [], ""
    passed, failed, skipped = [], [], []
    for line in output.splitlines():
        match = TAP.match(line)
        if not match:
            continue
        text = match.group(2)
        skip = re.match(r"(.*?)#\s*skip\b\s*(.*)$", text, re.I)
        if skip: # cmocka puts the test's name where a reason belongs
            skipped.append(text if skip.group(1).strip() else f"{skip.group(2)} # its own output says why")
        elif match.group(1) == "ok":
            passed.append(text)
        else:
            failed.append(text)
    if code != 0 and not failed:
        failed.append(f"(exit status {code})")
    if not passed and not failed and not skipped:
        failed.append("(no test was run)")
    return passed, failed, skipped, output


class Count:
    """What came of the programs, printed one by one as they end."""

    def __init__(self):
        self.allowed, self.passed, self.failures, self.skipped, self.times = allowed_skips(), 0, [], 0, []

    def take(self, program, took_s, passed, failed, skipped, output):
        name = os.path.basename(program)
        for skip in skipped:
            test, _, reason = skip.partition("#")
            print(f"skipped: {name}: {test.strip()}: {reason.strip()}")
            if not any(fnmatch.fnmatch(f"{name}: {test.strip()}", pattern) for pattern in self.allowed):
                failed.append(f"{test.strip()} (skipped, but not in tests/skips.allowed)")
        skipped = [s for s in skipped if not any(s.split("#")[0].strip() in f for f in failed)]
        print(f"{'FAIL' if failed else 'ok  '} {name}: {len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped ({took_s:.1f} s)", flush=True)
        if failed:
            print("\n".join("    | " + line for line in output.splitlines()[-60:]), flush=True)
        self.passed += len(passed)
        self.failures += [f"{name}: {test}" for test in failed]
        self.skipped += len(skipped)
        self.times.append((took_s, name))

    def end(self, took_s):
        """The exit status."""
        if len(self.times) > 10:
            print("slowest: " + ", ".join(f"{name} {s:.0f} s" for s, name in sorted(self.times, reverse=True)[:10]))
            print(f"{sum(s for s, _ in self.times):.0f} s of tests in {took_s:.0f} s")
        if self.failures:
            print("failed:")
            print("\n".join("  " + failure for failure in self.failures))
        print(f"{self.passed} passed, {len(self.failures)} failed, {self.skipped} skipped")
        return 1 if self.failures else 0


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler) # a shell ignores it in what it starts in the background, and so would the tests' programs
    parser = argparse.ArgumentParser(usage="tests/run.py [--timeout S] [--at-once N] PROGRAM...")
    parser.add_argument("--timeout", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=int(os.environ.get("WEIR_TEST_AT_ONCE") or min(os.cpu_count() + 1, 8)))
    parser.add_argument("programs", nargs="+")
    arguments = parser.parse_args()
    count, begun = Count(), time.monotonic()

    def timed(program):
        start = time.monotonic()
        found = run(program, arguments.timeout)
        return program, time.monotonic() - start, *found
    with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
        try:
            for done in concurrent.futures.as_completed([pool.submit(timed, program) for program in arguments.programs]):
                count.take(*done.result())
        except BaseException: # what runs was interrupted, too
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return count.end(time.monotonic() - begun)


sys.exit(main())
