#!/usr/bin/env python3
"""TLS and logins to a real broker that demands them, with the librdkafka that the build takes, and with the distribution's."""
import ctypes
import functools
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kafka_kit import Kafka  # noqa: E402
from weir_test import BUILD, main, read_rows, run  # noqa: E402

JOB = os.path.join(BUILD, "tests", "jobs", "kafka_login.so")
CURRENT = os.path.join(BUILD, "lib", "weir", "librdkafka.so.1")
SCRAM_MENDED = (2, 6, 1)


def version_of(library):
    library = ctypes.CDLL(library)
    library.rd_kafka_version_str.restype = ctypes.c_char_p
    return tuple(map(int, re.findall(r"\d+", library.rd_kafka_version_str().decode())[:3]))


@functools.cache
def system_tree():
    """weir beside its own library alone: it finds the distribution's librdkafka."""
    tree = os.path.join(scratch, "tree")
    for name in ("bin/weir", "bin/weir-taskmanager", "lib/libweir.so.0"):
        os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
        shutil.copy(os.path.join(BUILD, name), os.path.join(tree, name))
    return os.path.join(tree, "bin", "weir")


def loaded(program):
    return re.search(r"librdkafka\.so\.1 => (\S+)", run("ldd", program).stdout)[1]


def read(program, mechanism, **more):
    """(what `weir run --local` says, rows)"""
    output = tempfile.mkdtemp(dir=scratch)
    arguments = {"topic": "rows", "brokers": f"localhost:{kafka.port + 100}", "ca": os.path.join(kafka.dir, "ca.pem"), "mechanism": mechanism,
                 "output": output, **more}
    done = run(program, "run", "--local", "-D", "restart-strategy.type=none", JOB, *(f"--{k}={v}" for k, v in arguments.items()))
    return done, sorted(row["id"] for row in read_rows(output))


def test_the_build_takes_the_current_release():
    used = loaded(os.path.join(BUILD, "bin", "weir"))
    assert os.path.samefile(used, CURRENT), f"{used}: `make deps` brings the current one, `make` takes it"
    assert version_of(used) >= SCRAM_MENDED, version_of(used)


def test_every_login_works_with_it():
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        done, ids = read(os.path.join(BUILD, "bin", "weir"), mechanism)
        assert done.returncode == 0 and ids == list(range(100)), done.stderr


def test_with_the_distributions_what_it_can():
    program = system_tree()
    used = loaded(program)
    assert not used.startswith((BUILD, scratch)), used
    done, ids = read(program, "PLAIN")
    assert done.returncode == 0 and ids == list(range(100)), done.stderr
    done, ids = read(program, "SCRAM-SHA-512")
    if version_of(used) >= SCRAM_MENDED:
        assert done.returncode == 0 and ids == list(range(100)), done.stderr
    else:
        assert done.returncode == 1 and ids == [] and "refuse the SCRAM of librdkafka before 2.6.1" in done.stderr, done.stderr
        assert "uthentication failed" in done.stderr, done.stderr


def test_what_is_wrong_is_said():
    program = os.path.join(BUILD, "bin", "weir")
    for more, wanted in (({"password": "wrong"}, "uthentication failed"), ({"protocol": "SSL"}, "security.protocol"), ({"protocol": "PLAINTEXT"}, "security.protocol"),
                         ({"ca": os.path.join(scratch, "none.pem")}, "none.pem"), ({"brokers": f"localhost:{kafka.port}"}, "security.protocol")):
        done, ids = read(program, "SCRAM-SHA-512", **more)
        print("#", more, *done.stderr.splitlines())
        assert done.returncode == 1 and ids == [] and wanted in done.stderr, f"{more}: {done.stderr}"
        assert "alice-secret" not in done.stderr + done.stdout


if __name__ == "__main__":
    scratch = tempfile.mkdtemp(prefix="weir-kafka-login-")
    try:
        with Kafka(sasl=True) as kafka:
            kafka.create("rows")
            kafka.produce("rows", [(0, None, '{"id": %d}' % i) for i in range(100)])
            main(globals())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
