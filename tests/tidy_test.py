#!/usr/bin/env python3
"""What the house rules say of the sources and a program can see; prints TAP. Runs after a build: what is not used is read from the object
files of WEIR_BUILD. A rule that finds something names file and line."""
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build")))
FILE_LINES_MAX = 1200
FUNCTION_LINES_MAX = 120

os.chdir(ROOT)
TRACKED = subprocess.check_output(["git", "ls-files"], text=True).splitlines()
C = [p for p in TRACKED if re.search(r"\.(c|h|cc|inc)$", p)]
CODE = C + [p for p in TRACKED if p.endswith((".py", ".sh", ".mk")) or os.path.basename(p) == "Makefile"]


def lines_of(path):
    with open(path, errors="replace") as file:
        return file.read().split("\n")


def includes():
    for path in C:
        for number, line in enumerate(lines_of(path), 1):
            match = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
            if match:
                yield path, number, match.group(1)


def check_file_lengths():
    """files end where a thought ends"""
    for path in CODE:
        count = len(lines_of(path)) - 1
        if count > FILE_LINES_MAX:
            yield f"{path}: {count} lines, at most {FILE_LINES_MAX}"


def check_function_lengths():
    """functions can be read at one sitting"""
    for path in C:
        start = None
        for number, line in enumerate(lines_of(path), 1):
            if line == "{":
                start = number
            elif line == "}" and start:
                if number - start > FUNCTION_LINES_MAX:
                    yield f"{path}:{start}: a function of {number - start} lines, at most {FUNCTION_LINES_MAX}"
                start = None


def check_nothing_is_left_to_do():
    """nothing is left for later in a comment"""
    for path in CODE:
        if path == "tests/tidy_test.py":
            continue
        for number, line in enumerate(lines_of(path), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                yield f"{path}:{number}: {line.strip()}"


def check_programs():
    """each program of the tests may be executed"""
    for path in TRACKED:
        if re.search(r"^tests/.*(_test|_torture)\.(py|sh)$", path) and not os.access(path, os.X_OK):
            yield f"{path}: chmod +x"


def check_readmes():
    """each folder with sources says what lives there and what may not"""
    covered = ("tests/fuzz/", "client/templates/", "tests/bench/") # by the README above them
    for folder in sorted({os.path.dirname(p) for p in C}):
        if not os.path.exists(os.path.join(folder, "README.md")) and not folder.startswith(covered):
            # a connector's or route's folder of one or two files is described by the one above it
            if not (os.path.exists(os.path.join(os.path.dirname(folder), "README.md")) and sum(os.path.dirname(p) == folder for p in TRACKED) <= 2):
                yield f"{folder}: no README.md"


PURE = ("jobmanager/core/", "taskmanager/core/", "taskmanager/executor/exec_core.")
PURE_QUOTED = ("base/assert.h", "base/error.h", "base/hash.h", "base/mem.h", "base/mutant.h", "base/options.h", "base/proto_memory.h", "control.pb-c.h", "graph.pb-c.h",
               "graph/plan.h")
PURE_SYSTEM = {"ctype.h", "inttypes.h", "limits.h", "stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h"}


def check_pure_cores():
    """the cores include no clock, socket, file or thread"""
    for path, number, name in includes():
        if path.startswith(PURE) and name not in PURE_SYSTEM and name not in PURE_QUOTED \
                and not re.match(r"(jobmanager|taskmanager)/core/|executor/exec_core\.h", name):
            yield f"{path}:{number}: includes {name}"
    for path in C:
        if path.startswith(PURE):
            for number, line in enumerate(lines_of(path), 1):
                if re.search(r"\b(fopen|fprintf|printf|getenv|rand|random|time|usleep)\s*\(", re.sub(r'"(\\.|[^"])*"|/\*.*?\*/', "", line)):
                    yield f"{path}:{number}: {line.strip()}"


# Where a library may be seen: behind it everything goes through a header of weir's own.
LIBRARIES = {
    "zmq.h": ("common/net/", "taskmanager/exchange/"),
    "curl/": ("common/http/",),
    "microhttpd.h": ("common/http/",),
    "simdjson.h": ("common/format/",),
    "zlib.h": ("taskmanager/connectors/",),
    "rocksdb/": ("taskmanager/state/",),
}
# Whom a folder may not know: what lies below does not include what lies above, and the daemons do not include each other.
LAYERS = [
    # common/graph/check.c asks each operator's plan(), through tables that it is given: it knows the interface's header, no operator
    ("common/", r"(?!ops/op\.h$)(jobmanager|taskmanager|client|ops|task|exchange|executor|connectors|state)/"),
    ("jobmanager/", r"(taskmanager|client|ops|task|exchange|executor|connectors|state)/"),
    ("taskmanager/", r"(jobmanager|client)/"),
    ("jobmanager/rest/", r"jobmanager/(core|io)/"),
    ("include/", r"(?!weir/)[a-z]+/"),
    ("examples/", r"(?!weir/|sys/|arpa/|netinet/|librdkafka/)[a-z]+/"), # a publisher is a Kafka client as any other
]


def check_libraries_and_layers():
    """libraries are seen where they are wrapped, folders know only what lies below"""
    for path, number, name in includes():
        if path.startswith("tests/"):
            continue
        for library, places in LIBRARIES.items():
            if name.startswith(library) and not path.startswith(places):
                yield f"{path}:{number}: includes {name}; only {', '.join(places)} may"
        for folder, forbidden in LAYERS:
            if path.startswith(folder) and re.match(forbidden, name):
                yield f"{path}:{number}: {folder} does not know {name}"


UNUSED_ALLOWED = {
    "weir_err_class": "the interface of errors", "weir_op_call": "the interface of operators", "weir_op_call_ended": "the same",
}


def check_fault_points():
    """each fault point of the table is in the code, and the code has no other"""
    table = set(re.findall(r'^    X\("([^"]+)"', open("common/base/fault_points.h").read(), re.M))
    steps = {name.split(".", 1)[1] for name in table}
    used = set()
    for path in C:
        if path.startswith(("tests/", "common/base/")):
            continue
        text = open(path, errors="replace").read()
        for call in re.findall(r'\bweir_fault\(([^;{]*?)\)', text):
            names = re.findall(r'"([^"]+)"', call)
            used |= set(names)
            yield from (f"{path}: no fault point '{name}' in the table" for name in names if name not in table)
        for step in re.findall(r'\bweir_fault_here\("([^"]+)"\)', text):
            used |= {name for name in table if name.split(".", 1)[1] == step}
            if step not in steps:
                yield f"{path}: no fault point '*.{step}' in the table"
    yield from (f"common/base/fault_points.h: '{name}' is nowhere" for name in sorted(table - used))


def check_nothing_is_unused():
    """no function is unused, none is public without need (what only tests use counts as used)"""
    defined, used = {}, set()
    for path in glob.glob(os.path.join(BUILD, "obj", "**", "*.o"), recursive=True):
        source = os.path.relpath(path, os.path.join(BUILD, "obj"))[:-2]
        if source not in TRACKED or source.startswith("tests/"):
            continue
        for line in subprocess.check_output(["nm", "-g", path], text=True).splitlines():
            fields = line.split()
            if len(fields) == 3 and fields[1] == "T":
                defined[fields[2]] = source
            elif len(fields) == 2 and fields[0] == "U":
                used.add(fields[1])
    if len(defined) < 500:
        yield f"{BUILD}/obj has no object files: build first"
        return
    known = set(re.findall(r"\bweir_\w+", open("mk/libweir.map.in").read() + open("mk/libweir-testing.map").read())) | {"main"} | set(UNUSED_ALLOWED)
    for path in C: # tests may use what nobody else does; a header's inline functions and macros count as uses, too
        if path.startswith("tests/"):
            known |= set(re.findall(r"\w+", open(path, errors="replace").read()))
    for name, source in sorted(defined.items()):
        if name in used or name in known:
            continue
        files = [p for p in C if p != source and not p.startswith("tests/") and re.search(rf"\b{name}\b", open(p, errors="replace").read())]
        uses = sum(len(re.findall(rf"\b{name}\b", line)) for line in lines_of(source)) - 1
        if uses > 0 and any(p.endswith((".c", ".inc")) for p in files):
            continue
        yield f"{source}: {name}() is " + ("used by its own file only: static" if uses else "not used")


def main():
    checks = [value for name, value in globals().items() if name.startswith("check_")]
    failed = 0
    print(f"1..{len(checks)}")
    for number, check in enumerate(checks, 1):
        found = list(check())
        failed += bool(found)
        print(f"{'not ok' if found else 'ok'} {number} - {check.__doc__}")
        for line in found:
            print("# " + line)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
