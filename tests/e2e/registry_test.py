#!/usr/bin/env python3
"""Avro through Kafka with a real schema registry: writers that go on to other schemas, what the registry refuses or does not know, what is no
record. The records are fastavro's."""
import io
import json
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kafka_kit import Kafka, Registry  # noqa: E402
from weir_test import BUILD, Cluster, free_port, main, read_rows, wait_for  # noqa: E402

import fastavro  # noqa: E402

JOB = os.path.join(BUILD, "tests", "jobs", "formats.so")
RESTARTS = {"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.delay": "300 ms", "restart-strategy.fixed-delay.attempts": "1000"}


def record(*fields, name="Reading", **more):
    return {"type": "record", "name": name, "namespace": "test", "fields": [{"name": n, "type": t, **(rest[0] if rest else {})} for n, t, *rest in fields], **more}


def framed(schema_id, schema, value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), value)
    return struct.pack(">bI", 0, schema_id) + out.getvalue()


FIRST = record(("id", "long"), ("name", "string"), ("gone", ["null", "double"]))
SECOND = record(("extra", {"type": "map", "values": "int"}), ("name", ["null", "string"]), ("id", "int"), ("added", ["null", "string"]))
STRANGE = record(("id", "string"), ("name", "string"))
COLUMNS = "id BIGINT NOT NULL, name STRING, added STRING"


def submit(cluster, topic, *more, columns=COLUMNS, form="avro-confluent"):
    output = cluster.path("out-" + str(len(os.listdir(cluster.home))))
    where = () if "--to" in more else ("--output", output)
    registered = ("--url", registry.url) if form.endswith("-confluent") or "--to" in more else ()
    return cluster.submit(JOB, "--topic", topic, "--brokers", kafka.brokers, "--format", form, "--columns", columns, *where, *registered, *more), output


def why(cluster, job):
    cause = cluster.root_cause(job)
    return cause["stacktrace"] if cause else ""


def test_schema_goes_on_under_the_job():
    first, second = registry.register("go-value", FIRST), registry.register("go-value", SECOND)
    kafka.create("go")
    kafka.produce("go", [(0, None, framed(first, FIRST, {"id": i, "name": f"é{i}", "gone": None if i % 2 else 0.5})) for i in range(100)])
    with Cluster(config={"execution.checkpointing.interval": "200 ms", **RESTARTS}) as cluster:
        job, output = submit(cluster, "go", "--stop", "unbounded")
        wait_for("the first schema's rows", lambda: len(read_rows(output)) == 100)
        kafka.produce("go", [(0, None, framed(second, SECOND, {"extra": {"a": 1}, "id": i, "name": None, "added": f"a{i}"})) for i in range(100, 200)])
        kafka.produce("go", [(0, None, framed(first, FIRST, {"id": 200, "name": "back", "gone": None}))])
        wait_for("the second schema's rows", lambda: len(read_rows(output)) == 201)
        rows = sorted(read_rows(output), key=lambda r: r["id"])
        assert rows == [{"id": i, "name": f"é{i}", "added": None} for i in range(100)] + \
            [{"id": i, "name": None, "added": f"a{i}"} for i in range(100, 200)] + [{"id": 200, "name": "back", "added": None}], rows[95:105]
        cluster.weir("cancel", job)


def test_what_is_no_record():
    first, strange = registry.register("bad-value", FIRST), registry.register("strange-value", STRANGE)
    good = framed(first, FIRST, {"id": 1, "name": "a", "gone": None})
    bad = {
        "unknown id": struct.pack(">bI", 0, 99999) + good[5:],
        "incompatible schema": framed(strange, STRANGE, {"id": "x", "name": "a"}),
        "no framing": b'{"id": 1}',
        "four bytes": good[:4],
        "cut off": good[:-2],
        "poison": struct.pack(">bI", 0, first) + b"\xff" * 40,
        "longer": good + b"\x00",
    }
    says = {"unknown id": "does not know schema id 99999", "incompatible schema": "column 'id' (BIGINT NOT NULL) cannot be read from string",
            "no framing": "begins with byte 0x7b", "four bytes": "the record has 4 bytes", "cut off": "is cut off", "poison": "is cut off", "longer": "goes on behind"}
    with Cluster(config={"restart-strategy.type": "none"}) as cluster:
        kafka.create("bad")
        kafka.produce("bad", [(0, None, value) for b in bad.values() for value in (good, b)] + [(0, None, good)])
        job, output = submit(cluster, "bad", "--on-error", "skip")
        cluster.wait_state(job, "FINISHED")
        assert len(read_rows(output)) == len(bad) + 1, read_rows(output)
        for name in ("unknown id", "incompatible schema", "no framing", "poison"):
            topic = "bad-" + name.replace(" ", "-")
            kafka.create(topic)
            kafka.produce(topic, [(0, None, good), (0, None, bad[name])])
            job, output = submit(cluster, topic)
            cluster.wait_state(job, "FAILED")
            assert says[name] in why(cluster, job), (name, why(cluster, job))


def test_registry_that_is_down():
    """The job waits, fails and is started again, until the registry is there; nothing is lost."""
    port = free_port()
    first = registry.register("down-value", FIRST)
    kafka.create("down")
    kafka.produce("down", [(0, None, framed(first, FIRST, {"id": i, "name": "x", "gone": None})) for i in range(50)])
    proxy = None
    with Cluster(config=RESTARTS) as cluster:
        output = cluster.path("out-down")
        url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
        job = cluster.submit(JOB, "--topic", "down", "--brokers", kafka.brokers, "--output", output, "--format", "avro-confluent", "--columns", COLUMNS,
                             "--url", url, "--timeout", "500 ms")
        wait_for("a failure that says why", lambda: "is not reachable: Connection refused (asked" in why(cluster, job))
        try:
            proxy = subprocess.Popen([sys.executable, "-c", f"""
import socket, threading
def pump(a, b):
    while True:
        data = a.recv(65536)
        if not data:
            b.shutdown(socket.SHUT_WR)
            return
        b.sendall(data)
listener = socket.create_server(("127.0.0.1", {port}))
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", {registry.port}))
    for a, b in ((client, server), (server, client)):
        threading.Thread(target=pump, args=(a, b), daemon=True).start()
"""])
            cluster.wait_state(job, "FINISHED")
        finally:
            if proxy:
                proxy.kill()
                proxy.wait()
        assert sorted(r["id"] for r in read_rows(output)) == list(range(50))


def test_written_and_read_back():
    """Rows of JSON go out as Avro under a subject, whose schema a Kafka client of another make reads them by."""
    kafka.create("in")
    kafka.create("out")
    kafka.produce("in", [(0, None, json.dumps({"id": i, "name": None if i % 3 == 0 else f"n{i}", "tags": ["a", None], "at": "2013-01-01T06:00:00.123Z"})) for i in range(50)])
    with Cluster(config={"restart-strategy.type": "none"}) as cluster:
        job, _ = submit(cluster, "in", "--to", "out", columns="id BIGINT NOT NULL, name STRING, tags ARRAY<STRING>, at TIMESTAMP(3)", form="json")
        cluster.wait_state(job, "FINISHED")
        latest = registry.ask("/subjects/out-value/versions/latest")
        schema = fastavro.parse_schema(json.loads(latest["schema"]))
        assert schema["name"] == "org.apache.flink.avro.generated.record", schema
        read = []
        for message in kafka.read("out", until=50)[0]:
            assert message.value()[:5] == struct.pack(">bI", 0, latest["id"])
            read.append(fastavro.schemaless_reader(io.BytesIO(message.value()[5:]), schema))
        assert [(r["id"], r["name"], r["tags"], r["at"].isoformat()) for r in read] == \
            [(i, None if i % 3 == 0 else f"n{i}", ["a", None], "2013-01-01T06:00:00.123000+00:00") for i in range(50)], read[:3]
        # What the registry refuses.
        registry.ask("/config/out-value", {"compatibility": "BACKWARD"}, "PUT")
        job, _ = submit(cluster, "in", "--to", "out", columns="id BIGINT NOT NULL, at STRING", form="json")
        cluster.wait_state(job, "FAILED")
        assert "refuses the schema as incompatible with those before it" in why(cluster, job), why(cluster, job)


def test_protobuf_and_json_with_a_registry():
    """Rows of JSON go out as Protobuf and as JSON behind an id, by schemas derived from the columns, and are read back; then another writer's Protobuf comes."""
    columns = "id BIGINT NOT NULL, name STRING, tags ARRAY<STRING> NOT NULL, at TIMESTAMP(3)"
    rows = [{"id": i, "name": None if i % 3 == 0 else f"n{i}", "tags": ["a", "é"], "at": "2013-01-01T06:00:00.123Z"} for i in range(50)]
    kafka.create("rows")
    kafka.produce("rows", [(0, None, json.dumps(row)) for row in rows])
    with Cluster(config={"restart-strategy.type": "none"}) as cluster:
        for form in ("protobuf-confluent", "json-confluent"):
            topic = "as-" + form
            kafka.create(topic)
            job, _ = submit(cluster, "rows", "--to", topic, "--to-format", form, columns=columns, form="json")
            cluster.wait_state(job, "FINISHED")
            latest = registry.ask(f"/subjects/{topic}-value/versions/latest")
            head = struct.pack(">bI", 0, latest["id"]) + (b"\0" if form[0] == "p" else b"")
            assert all(message.value().startswith(head) for message in kafka.read(topic, until=50)[0])
            if form[0] == "p":
                lib = registry.ask("/subjects/lib/versions", {"schema": "syntax = 'proto3'; package lib; message Named { string name = 3; int64 id = 9; }",
                                                              "schemaType": "PROTOBUF"})["id"]
                other = registry.ask(f"/subjects/other-{form}/versions",
                                     {"schema": "syntax = 'proto3'; import 'lib.proto'; message First { lib.Named n = 1; message In { int32 id = 2; } }",
                                      "schemaType": "PROTOBUF", "references": [{"name": "lib.proto", "subject": "lib", "version": 1}]})["id"]
                kafka.produce(topic, [(0, None, struct.pack(">bI", 0, lib) + b"\0\x1a\1x\x48\x32"), # of another schema
                                      (0, None, struct.pack(">bI", 0, other) + b"\4\0\0\x10\x33"), # First.In
                                      (0, None, struct.pack(">bI", 0, other) + b"\4\0\x08\x10\x33"), # a message that is not there
                                      (0, None, head + b"\x08"), # cut off
                                      (0, None, b"rubbish")])
            else:
                kafka.produce(topic, [(0, None, head + b'{"id":"x","tags":[]}'), (0, None, head + b'{"tags":[]}'), (0, None, b"{}")])
            job, output = submit(cluster, topic, "--on-error", "skip", columns=columns.replace("tags ARRAY<STRING> NOT NULL", "tags ARRAY<STRING>"), form=form)
            cluster.wait_state(job, "FINISHED")
            more = [{"id": 50, "name": "x", "tags": None, "at": None}, {"id": 51, "name": None, "tags": None, "at": None}] if form[0] == "p" else []
            assert sorted(read_rows(output), key=lambda r: r["id"]) == rows + more, sorted(read_rows(output), key=lambda r: r["id"])[-3:]


if __name__ == "__main__":
    with Kafka() as kafka, Registry() as registry:
        main(globals())
