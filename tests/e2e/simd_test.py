#!/usr/bin/env python3
"""No path that only one processor takes is untested: unit tests with each implementation that this one can run, and a job's output by the
best and by the portable code."""
import os
import platform
import re
import tempfile

from weir_test import BUILD, EXAMPLES, ROOT, WEIR, main, read_rows, run

# simdjson's implementations, with what /proc/cpuinfo calls what they need.
IMPLEMENTATIONS = {
    "fallback": "",
    "westmere": "sse4_2 pclmulqdq",
    "haswell": "avx2 bmi1 bmi2 pclmulqdq",
    "icelake": "avx2 bmi1 bmi2 pclmulqdq avx512f avx512dq avx512cd avx512bw avx512vl avx512_vbmi2",
    "arm64": "asimd",
}
UNIT = ("json_test", "json_portable_test", "csv_test")
CHOSEN = ("expr_test", "agg_test", "flink_scalar_test", "base_test", "frame_test", "simd_test", "window_test")


def processor():
    for line in open("/proc/cpuinfo"):
        if line.lower().startswith(("flags", "features")):
            return set(line.split(":")[1].split())
    return set()


def unit(name, env):
    done = run(os.path.join(BUILD, "tests", "ops" if name == "window_test" else "unit", name), env={**env, "CMOCKA_MESSAGE_OUTPUT": "TAP"},
               cwd=ROOT, timeout_s=300)
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{name} with {env}:\n{output[-3000:]}"
    assert re.search(r"^(not )?ok ", output, re.M), output # a skipped one is "not ok 1 # SKIP" in cmocka's words


def test_json_with_every_implementation_of_this_processor():
    able = [name for name, needs in IMPLEMENTATIONS.items() if set(needs.split()) <= processor()]
    assert "fallback" in able and (len(able) > 1 or platform.machine() not in ("x86_64", "aarch64")), able
    print("#", ", ".join(able))
    for implementation in able:
        for name in UNIT:
            unit(name, {"SIMDJSON_FORCE_IMPLEMENTATION": implementation})


def test_units_with_portable_code():
    for name in CHOSEN:
        unit(name, {"WEIR_SIMD": "portable"})


def test_a_job_gives_the_same_by_either():
    with tempfile.TemporaryDirectory(prefix="weir-e2e-simd-") as directory:
        rows = []
        for number, env in enumerate(({}, {"WEIR_SIMD": "portable", "SIMDJSON_FORCE_IMPLEMENTATION": "fallback"})):
            output = os.path.join(directory, str(number))
            done = run(WEIR, "run", "--local", "-p", "2", os.path.join(EXAMPLES, "gpu-temperature.so"), "--input",
                       os.path.join(ROOT, "examples/gpu-temperature/readings.jsonl.gz"), "--window", "1 d", "--lateness", "2 s",
                       "--threshold", "80", "--output", output, env=env)
            assert done.returncode == 0, done.stderr
            rows.append(sorted(map(repr, read_rows(os.path.join(output, "windows")))))
        assert len(rows[0]) == 1092 and rows[0] == rows[1]


def test_a_big_endian_build_is_refused_with_a_reason():
    done = run("cc", "-std=c11", "-D_GNU_SOURCE", "-Icommon", "-Iinclude", "-I.", "-fsyntax-only", "-U__BYTE_ORDER__",
               "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__", "common/data/batch.c", cwd=ROOT)
    assert done.returncode != 0 and "little-endian processors" in done.stderr, done.stderr


if __name__ == "__main__":
    main(globals())
