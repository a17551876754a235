#!/usr/bin/env python3
"""Runs test programs that print TAP, shows what failed, and ends with `N passed, N failed, N skipped`.

usage: tests/run.py [--timeout S] PROGRAM...

Each program gets CMOCKA_MESSAGE_OUTPUT=TAP and a time limit of its own; one that crashes, hangs, fails without
a TAP line, or prints no test at all counts as a failure. A skipped test must be listed in tests/skips.allowed
("name  # reason" a line, a trailing * matches any rest), else it is a failure.
"""
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


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler) # a shell ignores it in what it starts in the background, and so would the tests' programs
    arguments = sys.argv[1:]
    timeout_s = 300
    if arguments[:1] == ["--timeout"]:
        timeout_s, arguments = int(arguments[1]), arguments[2:]
    allowed = allowed_skips()
    total = [0, 0, 0]
    failures = []
    for program in arguments:
        start = time.monotonic()
        passed, failed, skipped, output = run(program, timeout_s)
        name = os.path.basename(program)
        for skip in skipped:
            test, _, reason = skip.partition("#")
            print(f"skipped: {name}: {test.strip()}: {reason.strip()}")
            if not any(fnmatch.fnmatch(f"{name}: {test.strip()}", pattern) for pattern in allowed):
                failed.append(f"{test.strip()} (skipped, but not in tests/skips.allowed)")
        skipped = [s for s in skipped if not any(s.split("#")[0].strip() in f for f in failed)]
        took = time.monotonic() - start
        print(f"{'FAIL' if failed else 'ok  '} {name}: {len(passed)} passed, {len(failed)} failed, "
              f"{len(skipped)} skipped ({took:.1f} s)", flush=True)
        if failed:
            print("\n".join("    | " + line for line in output.splitlines()[-60:]), flush=True)
            failures += [f"{name}: {test}" for test in failed]
        for i, tests in enumerate((passed, failed, skipped)):
            total[i] += len(tests)
    if failures:
        print("failed:")
        print("\n".join("  " + failure for failure in failures))
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] else 0


sys.exit(main())
