#!/usr/bin/env python3
"""Connectors outside the tree: examples/connector-tutorial, built by its own command against the installed headers only, in one process and
on a cluster; a crash, a cancellation; and connector tables that cannot be used."""
import os
import re
import shutil
import signal
import tempfile

from weir_test import BUILD, ROOT, WEIR, Cluster, main, run, wait_for

EXAMPLE = os.path.join(ROOT, "examples", "connector-tutorial")
CC = "cc -shared -fPIC {sources} -o {out} $(pkg-config --cflags --libs weir)"


def build(directory, name, *sources):
    out = os.path.join(directory, name)
    done = run("sh", "-ec", CC.format(sources=" ".join(sources), out=out),
               env={"PKG_CONFIG_PATH": os.path.join(BUILD, "lib", "pkgconfig")})
    assert done.returncode == 0, done.stderr
    return out


def tutorial(directory):
    return build(directory, "primes.so", os.path.join(EXAMPLE, "job.c"), os.path.join(EXAMPLE, "connectors.c"))


def primes_to(last):
    sieve = bytearray([1]) * (last + 1)
    sieve[:2] = b"\0\0"
    for n in range(2, int(last ** 0.5) + 1):
        if sieve[n]:
            sieve[n * n::n] = bytes(len(range(n * n, last + 1, n)))
    return [n for n in range(last + 1) if sieve[n]]


def numbers_in(directory):
    """Of all files that are visible."""
    numbers = []
    for name in sorted(os.listdir(directory)):
        if not name.startswith("."):
            numbers += [int(line) for line in open(os.path.join(directory, name))]
    return sorted(numbers)


def test_in_one_process():
    with tempfile.TemporaryDirectory(prefix="weir-e2e-") as directory:
        job, output = tutorial(directory), os.path.join(directory, "out")
        for parallelism in (1, 3):
            done = run(WEIR, "run", "--local", "-p", parallelism, job, "--to", 5000, "--output", output)
            assert done.returncode == 0, done.stderr
            assert sorted(os.listdir(output)) == [f"report-{i}" for i in range(parallelism)], os.listdir(output)
            assert numbers_in(output) == primes_to(5000)
            shutil.rmtree(output)


def test_on_a_cluster():
    with tempfile.TemporaryDirectory(prefix="weir-e2e-") as directory, Cluster(taskmanagers=2, slots=1) as cluster:
        job, output = tutorial(directory), os.path.join(directory, "out")
        done = cluster.weir("run", "-p", 2, job, "--to", 20000, "--output", output)
        assert done.returncode == 0, done.stdout + done.stderr
        assert sorted(os.listdir(output)) == ["report-0", "report-1"], os.listdir(output)
        assert numbers_in(output) == primes_to(20000)


def running_job(cluster, job, output, to):
    job_id = cluster.submit(job, "--to", to, "--split", 1000, "--output", output, options=("-p", 1))
    wait_for("a hidden file of the sink", lambda: os.path.isdir(output) and
             any(name.startswith(".report") for name in os.listdir(output)))
    return job_id


def test_a_crash_and_a_cancellation():
    with tempfile.TemporaryDirectory(prefix="weir-e2e-") as directory, Cluster(
            config={"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "5",
                    "restart-strategy.fixed-delay.delay": "100 ms"}) as cluster:
        job = tutorial(directory)
        output = os.path.join(directory, "killed")
        job_id = running_job(cluster, job, output, 3000000)
        pid, = wait_for("the executor", cluster.executor_pids)
        os.kill(pid, signal.SIGKILL)
        cluster.wait_state(job_id, "FINISHED")
        assert "signal 9" in str(cluster.root_cause(job_id)), cluster.root_cause(job_id)
        assert os.listdir(output) == ["report-0"], os.listdir(output)
        assert numbers_in(output) == primes_to(3000000)

        output = os.path.join(directory, "cancelled")
        job_id = running_job(cluster, job, output, 900000000)
        assert cluster.weir("cancel", job_id).returncode == 0
        cluster.wait_state(job_id, "CANCELED")
        wait_for("abort() to have removed the hidden file", lambda: os.listdir(output) == [])


def test_a_commit_that_fails_or_crashes():
    """The TaskManager outlives it, and the job says why it has failed."""
    source = open(os.path.join(EXAMPLE, "connectors.c")).read()
    body = "static weir_err report_commit(const char *committable, struct weir_error *error)\n{\n"
    assert body in source
    ways = {"it is too late": '    if (committable) return weir_fail(error, WEIR_ERR_IO, "it is too late");\n',
            "crashed with signal": "    if (committable) *(volatile int *)8 = 0;\n",
            "ended its process": "    if (committable) exit(7);\n"}
    with tempfile.TemporaryDirectory(prefix="weir-e2e-") as directory, Cluster() as cluster:
        for number, (expected, line) in enumerate(ways.items()):
            changed = os.path.join(directory, "changed.c")
            open(changed, "w").write(source.replace(body, body + line))
            job = build(directory, f"bad{number}.so", os.path.join(EXAMPLE, "job.c"), changed)
            job_id = cluster.submit(job, "--output", os.path.join(directory, f"out{number}"))
            cluster.wait_state(job_id, "FAILED")
            assert expected in str(cluster.root_cause(job_id)), (expected, cluster.root_cause(job_id))
        done = cluster.weir("run", tutorial(directory), "--output", os.path.join(directory, "good"))
        assert done.returncode == 0, done.stdout + done.stderr


def test_options_are_checked():
    with tempfile.TemporaryDirectory(prefix="weir-e2e-") as directory:
        job = tutorial(directory)
        done = run(WEIR, "run", "--local", job, "--to", "1")
        assert done.returncode == 1 and "to must not be less than from" in done.stderr, done.stderr
        assert re.search(r"job\.c:\d+", done.stderr), done.stderr
        done = run(WEIR, "run", "--local", job, "--to", "many")
        assert done.returncode == 1 and "'many'" in done.stderr, done.stderr
        text = open(os.path.join(EXAMPLE, "job.c")).read()
        for right, wrong, expected in (("split.numbers", "split.number", "split.numbers"),
                                       ('"divisors", "to"', '"divisor", "to"', "did you mean 'divisors'?"),
                                       ('"format", "json", NULL', "NULL", "needs the option 'format'")):
            assert right in text
            changed = os.path.join(directory, "changed.c")
            open(changed, "w").write(text.replace(right, wrong))
            done = run(WEIR, "run", "--local", build(directory, "changed.so", changed,
                                                     os.path.join(EXAMPLE, "connectors.c")))
            assert done.returncode == 1 and expected in done.stderr, done.stderr


def test_tables_that_cannot_be_used():
    source = open(os.path.join(EXAMPLE, "connectors.c")).read()
    job = open(os.path.join(EXAMPLE, "job.c")).read()
    changes = (
        (".read = divisors_read,", "", "needs reader_open, read (or read_messages) and reader_close"),
        (".reader_split = divisors_split,", "", "enumerate needs"),
        ('.name = "report"', '.name = "print"', "there is a connector 'print' already"),
        ('.name = "report"', '.name = "divisors"', "there is a connector 'divisors' already"),
        ('.name = "report",', "", "has no name"),
        (".size = sizeof(struct weir_connector),\n    .name = \"report\"", ".name = \"report\"", "has no .size"),
        (".sink_options = report_options,", "", "neither source_options nor sink_options"),
        (".write = report_write,", "", "needs writer_open, write (or write_messages) and writer_close"),
        ("WEIR_CONNECTORS(&divisors_connector, &report_connector);", "", "there is no connector 'divisors'"),
        ("WEIR_CONNECTORS(&divisors_connector,", "WEIR_CONNECTORS(&divisors_connector, 0,", "has no .size"),
    )
    with tempfile.TemporaryDirectory(prefix="weir-e2e-") as directory:
        for old, new, expected in changes:
            assert (old in source) + (old in job) == 1, old
            paths = [os.path.join(directory, name) for name in ("connectors.c", "job.c")]
            for path, text in zip(paths, (source, job)):
                open(path, "w").write(text.replace(old, new))
            done = run(WEIR, "run", "--local", build(directory, "changed.so", *paths))
            assert done.returncode == 1 and expected in done.stderr, (old, done.returncode, done.stderr)


if __name__ == "__main__":
    main(globals())
