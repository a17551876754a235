#!/usr/bin/env python3
"""The temperature job against sqlite3, on real measurements and on 5 M seeded readings: every window, every alert."""
import gzip
import math
import os
import shutil
import subprocess
import tempfile

from weir_test import EXAMPLES, ROOT, WEIR, Cluster, main, read_rows, run

JOB = os.path.join(EXAMPLES, "gpu-temperature.so")
PUBLISHER = os.path.join(EXAMPLES, "gpu-temperature-publisher")
WEATHER = os.path.join(ROOT, "examples", "gpu-temperature", "readings.jsonl.gz")
WEATHER_ARGUMENTS = ("--window", "1 d", "--lateness", "2 s", "--threshold", "80")

SQL = """
.mode ascii
.separator "\\001" "\\n"
CREATE TABLE raw(line TEXT);
.import {file} raw
.mode list
.separator "|" "\\n"
CREATE TABLE readings AS SELECT
    json_extract(line, '$.device_id') AS device,
    CAST(json_extract(line, '$.temperature') AS REAL) AS temperature,
    json_extract(line, '$.is_abnormal') AS abnormal,
    CAST(strftime('%s', substr(json_extract(line, '$.timestamp'), 1, 19)) AS INTEGER) * 1000 +
        CASE WHEN substr(json_extract(line, '$.timestamp'), 20, 1) = '.'
             THEN CAST(substr(json_extract(line, '$.timestamp'), 21, 3) AS INTEGER) ELSE 0 END AS ms
    FROM raw WHERE json_extract(line, '$.temperature') IS NOT NULL;
SELECT device, ms - ms % {window_ms}, count(*), printf('%!.17g', min(temperature)), printf('%!.17g', max(temperature)),
    printf('%!.17g', avg(temperature)), sum(abnormal) FROM readings GROUP BY 1, 2 ORDER BY 1, 2;
"""


def expected_windows(file, window_ms):
    done = subprocess.run(["sqlite3", ":memory:"], input=SQL.format(file=file, window_ms=window_ms), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
    assert done.returncode == 0 and not done.stderr, done.stderr
    windows = {}
    for line in done.stdout.splitlines():
        device, start, count, low, high, mean, abnormal = line.split("|")
        windows[device, int(start)] = (int(count), float(low), float(high), float(mean), int(abnormal))
    return windows


def ms_of(text):
    """ISO-8601 UTC to ms, exactly."""
    from datetime import datetime, timezone
    moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    delta = moment - epoch
    return (delta.days * 86400 + delta.seconds) * 1000 + delta.microseconds // 1000


def compare(output, expected, window_ms, threshold, bad):
    rows = read_rows(os.path.join(output, "windows"))
    seen = {}
    for row in rows:
        key = row["device_id"], ms_of(row["window_start"])
        assert key not in seen, f"window twice: {row}"
        seen[key] = row
        assert ms_of(row["window_end"]) == key[1] + window_ms, row
    assert seen.keys() == expected.keys(), \
        f"{len(seen)} windows, expected {len(expected)}; e.g. {sorted(seen.keys() ^ expected.keys())[:3]}"
    for key, (count, low, high, mean, abnormal) in expected.items():
        row = seen[key]
        assert (row["readings"], row["low"], row["high"], row["abnormal"]) == (count, low, high, abnormal), (row, expected[key])
        assert math.isclose(row["mean"], mean, rel_tol=1e-9, abs_tol=1e-9), (row, mean)
    alerts = read_rows(os.path.join(output, "alerts"))
    assert len(alerts) == sum(1 for w in expected.values() if w[3] > threshold)
    assert all(row["mean"] > threshold for row in alerts)
    assert len(read_rows(os.path.join(output, "bad"))) == bad
    return len(rows), len(alerts)


def in_one_process(arguments, parallelism, output):
    done = run(WEIR, "run", "--local", "-p", parallelism, JOB, *arguments, "--output", output, timeout_s=300)
    assert done.returncode == 0, done.stderr


def on_a_cluster(cluster, arguments, parallelism, output):
    done = cluster.weir("run", "-p", parallelism, JOB, *arguments, "--output", output, timeout_s=300)
    assert done.returncode == 0, done.stderr


def check_everywhere(arguments, expected, window_ms, threshold, bad):
    results = set()
    directory = tempfile.mkdtemp(prefix="weir-e2e-out-")
    try:
        for parallelism in (1, 2, 4):
            output = os.path.join(directory, f"local-{parallelism}")
            in_one_process(arguments, parallelism, output)
            results.add(compare(output, expected, window_ms, threshold, bad))
            shutil.rmtree(output)
        with Cluster(taskmanagers=2, slots=2) as cluster:
            for parallelism in (1, 2, 4):
                output = os.path.join(directory, f"cluster-{parallelism}")
                on_a_cluster(cluster, arguments, parallelism, output)
                results.add(compare(output, expected, window_ms, threshold, bad))
                shutil.rmtree(output)
    finally:
        shutil.rmtree(directory)
    assert len(results) == 1
    return results.pop()


def test_weather_at_every_parallelism_equals_sqlite():
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as plain:
        plain.write(gzip.open(WEATHER).read())
        plain.flush()
        expected = expected_windows(plain.name, 86400000)
    windows, alerts = check_everywhere(("--input", WEATHER, *WEATHER_ARGUMENTS), expected, 86400000, 80, bad=1)
    assert (windows, alerts) == (1092, 65)


def test_five_million_seeded_readings_equal_sqlite():
    directory = tempfile.mkdtemp(prefix="weir-e2e-in-")
    try:
        file = os.path.join(directory, "readings.jsonl")
        count = int(os.environ.get("WEIR_TEST_READINGS", "5000000"))
        made = run(PUBLISHER, "--devices", 1000, "--interval", "100 ms", "--seed", 42, "--count", count, "--output", file,
                   timeout_s=300)
        assert made.returncode == 0, made.stderr
        expected = expected_windows(file, 10000)
        assert sum(w[0] for w in expected.values()) == count
        assert 0.04 < sum(w[4] for w in expected.values()) / count < 0.06
        check_everywhere(("--input", file, "--window", "10 s", "--lateness", "2 s", "--threshold", "80"), expected, 10000,
                         80, bad=0)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main(globals())
