#!/usr/bin/env python3
"""Formats through Kafka with a real schema registry: writers that go on to other schemas, what the registry refuses or does not know, a registry behind TLS and
a login, and what is no record, of every format that is no text. The records of Avro are fastavro's."""
import base64
import collections
import contextlib
import http.server
import io
import itertools
import json
import os
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kafka_kit import Kafka, Registry  # noqa: E402
from weir_test import BUILD, PATIENCE, Cluster, free_port, main, read_rows, wait_for  # noqa: E402

import fastavro  # noqa: E402

numbers = itertools.count()
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
    output = cluster.path(f"out-{next(numbers)}")
    where = () if "--to" in more else ("--output", output)
    registered = ("--url", registry.url) if "--url" not in more and (form.endswith("-confluent") or "--to" in more) else ()
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


def bad_records():
    """{format: (options, a good record, [(what, code, bad record, what the message says)])}"""
    def ids(kind, **schemas):
        return [registry.ask(f"/subjects/{kind}-{name}/versions", {"schema": schema if kind == "PROTOBUF" else json.dumps(schema), "schemaType": kind})["id"]
                for name, schema in schemas.items()]

    def behind(schema_id, record):
        return struct.pack(">bI", 0, schema_id) + record
    unknown, poison = 99999, b"\xff" * 40
    first, strange = ids("AVRO", first=FIRST, strange=STRANGE)
    avro = framed(first, FIRST, {"id": 1, "name": "a", "gone": None})[5:]
    row, other = ids("PROTOBUF", row="syntax = 'proto3'; message Row { int64 id = 1; string name = 2; }", other="syntax = 'proto3'; message Row { string id = 1; }")
    protobuf = b"\x08\x01\x12\x01a"
    integer, text = ids("JSON", integer={"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
                        text={"type": "object", "properties": {"id": {"type": "string"}}})
    framing = [("no framing", "MALFORMED", b'{"id": 1}', "begins with byte 0x7b"), ("four bytes", "MALFORMED", b"\0\0\0\0", "the record has 4 bytes")]
    no_avro = [("cut off", "MALFORMED", avro[:-2], "is cut off"), ("poison", "MALFORMED", poison, "is cut off"), ("longer", "MALFORMED", avro + b"\0", "goes on behind")]
    no_protobuf = [("cut off", "MALFORMED", b"\x08\x01\x12\x05a", "malformed at byte"), ("poison", "MALFORMED", poison, "malformed at byte"),
                   ("no text", "INVALID_VALUE", b"\x08\x01\x12\x01\xff", "column 'name' (STRING)")]
    return {
        "avro": (("--schema", json.dumps(FIRST)), avro, no_avro),
        "avro-confluent": ((), behind(first, avro), framing + [(what, code, behind(first, record), says) for what, code, record, says in no_avro] + [
            ("unknown id", "SCHEMA", behind(unknown, avro), "does not know schema id 99999"),
            ("other schema", "SCHEMA", framed(strange, STRANGE, {"id": "x", "name": "a"}), "column 'id' (BIGINT NOT NULL) cannot be read from string")]),
        "protobuf": (("--schema", "syntax = 'proto3'; message Row { int64 id = 1; string name = 2; }"), protobuf, no_protobuf),
        "protobuf-confluent": ((), behind(row, b"\0" + protobuf), framing + [(what, code, behind(row, b"\0" + record), says) for what, code, record, says in no_protobuf] + [
            ("unknown id", "SCHEMA", behind(unknown, b"\0" + protobuf), "does not know schema id 99999"),
            ("other schema", "SCHEMA", behind(other, b"\0\x0a\x01x"), "column 'id' (BIGINT NOT NULL)"),
            ("no such message", "SCHEMA", behind(row, b"\x02\x0c" + protobuf), "name a message that is not in its schema"),
            ("no message", "MALFORMED", behind(row, b"\xff"), "cut off or malformed")]),
        "json-confluent": ((), behind(integer, b'{"id":1,"name":"a"}'), framing + [
            ("unknown id", "SCHEMA", behind(unknown, b'{"id":1}'), "does not know schema id 99999"),
            ("other schema", "INVALID_VALUE", behind(text, b'{"id":"x"}'), "column 'id' (BIGINT NOT NULL)"),
            ("breaks its schema", "INVALID_VALUE", behind(integer, b'{"name":"a"}'), "breaks its schema"),
            ("poison", "MALFORMED", behind(integer, poison), "the record")]),
    }


def test_each_outcome_for_each_bad_record():
    """Corrupt framing, an unknown id, a schema that goes on to one that does not fit, poison, in all formats: it fails and says where and why, is skipped, or is put
    aside as it was; what is around it comes through."""
    columns = "id BIGINT NOT NULL, name STRING"
    with Cluster(slots=12, config={"restart-strategy.type": "none"}) as cluster:
        for form, (options, good, bad) in bad_records().items():
            topics = {f"{form}-{what.replace(' ', '-')}": (code, record, says) for what, code, record, says in bad}
            for topic, (_, record, _) in topics.items():
                kafka.create(topic)
                kafka.produce(topic, [(0, None, value) for value in (good, record, good)])
            failing = {topic: submit(cluster, topic, *options, columns=columns, form=form)[0] for topic in topics}
            dead = cluster.path("dead-" + form)
            (skips, skipped), (puts, kept) = [submit(cluster, ";".join(topics), *options, *more, columns=columns, form=form)
                                              for more in (("--on-error", "skip"), ("--on-error", "dead-letter", "--dead-path", dead))]
            for topic, job in failing.items():
                cluster.wait_state(job, "FAILED")
                said = why(cluster, job)
                assert f"bad record at {topic}, partition 0, offset 1" in said and topics[topic][2] in said, (topic, said)
            cluster.wait_state(skips, "FINISHED")
            cluster.wait_state(puts, "FINISHED")
            assert len(read_rows(skipped)) == len(read_rows(kept)) == 2 * len(topics)
            found = {letter["topic"]: (letter["code"], base64.b64decode(letter["value"]), letter["offset"]) for letter in read_rows(dead)}
            assert found == {topic: (code, record, 1) for topic, (code, record, _) in topics.items()}, found
            source = json.loads(cluster.weir("metrics", skips, "-o", "json").stdout)["vertices"][0]["operators"][0]
            counted = {name[14:]: value for name, value in source["metrics"].items() if name.startswith("numRecordsBad.") and value}
            assert source["records-bad"] == len(topics) and counted == collections.Counter(code for code, _, _ in topics.values()), source


def test_registry_that_is_down():
    """The job waits, fails and is started again, until the registry is there; nothing is lost, whatever on-error says: no record is bad."""
    port = free_port()
    first = registry.register("down-value", FIRST)
    kafka.create("down")
    kafka.produce("down", [(0, None, framed(first, FIRST, {"id": i, "name": "x", "gone": None})) for i in range(50)])
    proxy = None
    with Cluster(config=RESTARTS) as cluster:
        output = cluster.path("out-down")
        url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
        job = cluster.submit(JOB, "--topic", "down", "--brokers", kafka.brokers, "--output", output, "--format", "avro-confluent", "--columns", COLUMNS,
                             "--url", url, "--timeout", "500 ms", "--on-error", "skip")
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
                                      (0, None, struct.pack(">bI", 0, other) + b"\4\0\0\x10\x33")]) # First.In
            job, output = submit(cluster, topic, columns=columns.replace("tags ARRAY<STRING> NOT NULL", "tags ARRAY<STRING>"), form=form)
            cluster.wait_state(job, "FINISHED")
            more = [{"id": 50, "name": "x", "tags": None, "at": None}, {"id": 51, "name": None, "tags": None, "at": None}] if form[0] == "p" else []
            assert sorted(read_rows(output), key=lambda r: r["id"]) == rows + more, sorted(read_rows(output), key=lambda r: r["id"])[-3:]



KEYED = os.path.join(BUILD, "tests", "jobs", "keyed.so")


def test_keys_with_a_format_of_their_own():
    """Some columns go out as a key in Avro, under a subject of its own and without their prefix, the others as JSON, and come back; messages without a key, and
    with one that is none."""
    rows = [{"k_id": i % 3, "k_name": None if i % 2 else "é", "id": i, "note": None if i % 5 else "n"} for i in range(50)]
    for topic in ("to-be-keyed", "keyed", "both"):
        kafka.create(topic)
    kafka.produce("to-be-keyed", [(0, None, json.dumps(row)) for row in rows])

    def read(cluster, topic, *more):
        output = cluster.path(f"out-{next(numbers)}")
        return cluster.submit(KEYED, "--topic", topic, "--brokers", kafka.brokers, "--url", registry.url, "--output", output, *more), output

    def rows_of(cluster, topic, *more):
        job, output = read(cluster, topic, *more)
        assert cluster.wait_state(job, "FINISHED", "FAILED") == "FINISHED", why(cluster, job)
        return sorted(read_rows(output), key=lambda r: r["id"])
    with Cluster(slots=2, config={"restart-strategy.type": "none"}) as cluster:
        write = ("--from", "to-be-keyed", "--brokers", kafka.brokers, "--url", registry.url)
        job = cluster.submit(KEYED, "--topic", "keyed", *write)
        assert cluster.wait_state(job, "FINISHED", "FAILED") == "FINISHED", why(cluster, job)
        latest = registry.ask("/subjects/keyed-key/versions/latest")
        schema = fastavro.parse_schema(json.loads(latest["schema"]))
        for message, row in zip(kafka.read("keyed", until=50)[0], rows):
            assert message.key()[:5] == struct.pack(">bI", 0, latest["id"])
            assert fastavro.schemaless_reader(io.BytesIO(message.key()[5:]), schema) == {"id": row["k_id"], "name": row["k_name"]}, message.key()
            assert json.loads(message.value()) == {"id": row["id"], **({"note": "n"} if row["note"] else {})}, message.value()
        assert rows_of(cluster, "keyed") == rows
        # Without a key, and with one that is none; a value that is bad behind a good key.
        good = kafka.read("keyed")[0][0].key()
        kafka.produce("keyed", [(0, None, '{"id":50}'), (0, good, '{"id":"x"}'), (0, "rubbish", '{"id":51}'), (0, good, '{"id":52}')])
        more = [{"k_id": None, "k_name": None, "id": 50, "note": None}, {"k_id": 0, "k_name": "é", "id": 52, "note": None}]
        assert rows_of(cluster, "keyed", "--on-error", "skip") == rows + more
        dead = cluster.path("dead-keys")
        assert rows_of(cluster, "keyed", "--on-error", "dead-letter", "--dead-path", dead) == rows + more
        letters = sorted(read_rows(dead), key=lambda letter: letter["offset"])
        assert [(letter["offset"], letter["code"]) for letter in letters] == [(51, "INVALID_VALUE"), (52, "METADATA")], letters
        assert "the message's key" in letters[1]["error"] and base64.b64decode(letters[1]["key"]) == b"rubbish", letters[1]
        strict = "k_id BIGINT NOT NULL, k_name STRING, id BIGINT NOT NULL, note STRING"
        job, _ = read(cluster, "keyed", "--columns", strict)
        cluster.wait_state(job, "FAILED")
        assert "keyed, partition 0, offset 50" in why(cluster, job) and "column 'id' of the key is NOT NULL, and the message has no key" in why(cluster, job), why(cluster, job)
        # The key's columns in the value, too: of the two the value's come back.
        both = ("--include", "all", "--prefix", "", "--key-format", "json")
        job = cluster.submit(KEYED, "--topic", "both", *write, *both)
        assert cluster.wait_state(job, "FINISHED", "FAILED") == "FINISHED", why(cluster, job)
        message = kafka.read("both", until=50)[0][1]
        assert json.loads(message.key()) == {"k_id": 1, "k_name": None} and json.loads(message.value()) == {"k_id": 1, "id": 1}, (message.key(), message.value())
        kafka.produce("both", [(0, '{"k_id":7,"k_name":"key"}', '{"k_id":8,"id":50}')])
        assert rows_of(cluster, "both", *both) == rows + [{"k_id": 8, "k_name": None, "id": 50, "note": None}]


# --- A registry that is reached by TLS only, and asks who comes

def make_certificates(directory):
    """An authority, a server's certificate for 127.0.0.1, and a client's with its key, which has a password, in one file."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    openssl("req", "-x509", *key, "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=weir test authority", "-days", "2")
    open(os.path.join(directory, "server.ext"), "w").write("subjectAltName=IP:127.0.0.1")
    for name, how, more in (("server", ("-nodes",), ("-extfile", "server.ext")), ("client", ("-passout", "pass:geheim"), ())):
        openssl("req", *key, *how, "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=" + name)
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", name + ".crt", *more)
    with open(os.path.join(directory, "client.pem"), "w") as both:
        both.write(open(os.path.join(directory, "client.crt")).read() + open(os.path.join(directory, "client.key")).read())


class Guard(http.server.BaseHTTPRequestHandler):
    """Passes on to the registry what a client with a certificate and a login asks."""
    protocol_version = "HTTP/1.1"
    logins = {"Basic " + base64.b64encode(b"anna:geheim").decode(), "Bearer t0ken"}
    seen = set()

    def do_GET(self, body=None):
        login = self.headers.get("Authorization")
        status, answer = 401, b'{"error_code": 40101, "message": "Unauthorized"}'
        if login in self.logins:
            self.seen.add((login.split()[0], dict(pair for (pair,) in self.connection.getpeercert()["subject"])["commonName"], self.command))
            request = urllib.request.Request(f"http://127.0.0.1:{registry.port}{self.path}", body, {name: value for name, value in self.headers.items() if name == "Content-Type"})
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30 * PATIENCE) as reply:
                    status, answer = reply.status, reply.read()
            except urllib.error.HTTPError as error:
                status, answer = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self):
        self.do_GET(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def guarded(directory):
    """The URL of the registry behind TLS."""
    make_certificates(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "server.crt"), os.path.join(directory, "server.key"))
    context.load_verify_locations(os.path.join(directory, "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    server.handle_error = lambda *_: None # those whom TLS turns away
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/apis/ccompat/v7"
    finally:
        server.shutdown()
        server.server_close()


def test_registry_behind_tls_and_a_login():
    """Its own authority, a client's certificate, a password or a token, for readers and writers; a schema with references; what each refusal says."""
    kafka.create("guarded")
    registry.register("point", record(("x", "int"), ("y", "int"), name="Point"))
    line = record(("id", "long"), ("from", "test.Point"), ("to", "test.Point"), name="Line")
    schema_id = registry.register("guarded-value", line, [{"name": "test.Point", "subject": "point", "version": 1}])
    kafka.produce("guarded", [(0, None, struct.pack(">bI", 0, schema_id) + bytes([2 * i, 2, 4, 6, 8])) for i in range(50)])
    columns = "id BIGINT NOT NULL, `from` ROW<x INT, y INT>, `to` ROW<y INT>"
    rows = [{"id": i, "from": {"x": 1, "y": 2}, "to": {"y": 4}} for i in range(50)]
    with tempfile.TemporaryDirectory() as directory, guarded(directory) as url, Cluster(slots=10, config={"restart-strategy.type": "none"}) as cluster:
        known = {"url": url, "timeout": f"{int(4 * PATIENCE)} s", "ca": os.path.join(directory, "ca.pem"), "certificate": os.path.join(directory, "client.pem"),
                 "certificate-password": "geheim", "user-info": "anna:geheim"}

        def read(*more, **other):
            options = [text for name, value in {**known, **other}.items() for text in (f"--{name}", value)]
            return submit(cluster, "guarded", *options, *more, columns=columns)
        good = [read(), read(**{"user-info": "", "token": "t0ken"})]
        kafka.create("guarded-out")
        writer, _ = read("--to", "guarded-out")
        bad = [(read(**other)[0], says) for other, says in (
            ({"ca": ""}, "certificate"),
            ({"ca": known["certificate"]}, "certificate"),
            ({"ca": "/nowhere.pem"}, "/nowhere.pem"),
            ({"certificate": "", "certificate-password": ""}, "certificate"),
            ({"certificate-password": "other"}, "ssl.keystore"),
            ({"user-info": "anna:other"}, "refuses us (HTTP 401, Unauthorized): check basic-auth.user-info"),
            ({"user-info": "", "token": "other"}, "refuses us (HTTP 401, Unauthorized): check bearer-auth.token"),
            ({"url": url.replace("https", "http")}, "schema registry"))]
        for job, output in good:
            assert cluster.wait_state(job, "FINISHED", "FAILED") == "FINISHED", why(cluster, job)
            assert sorted(read_rows(output), key=lambda r: r["id"]) == rows, read_rows(output)[:3]
        cluster.wait_state(writer, "FINISHED")
        assert len(kafka.read("guarded-out")[0]) == 50 and registry.ask("/subjects/guarded-out-value/versions/latest")["version"] == 1
        for job, says in bad:
            cluster.wait_state(job, "FAILED")
            said = why(cluster, job)
            print("#", says, "->", said.splitlines()[0][:300])
            assert says in said and "geheim" not in said and "t0ken" not in said, (says, said)
        assert Guard.seen == {("Basic", "client", "GET"), ("Basic", "client", "POST"), ("Bearer", "client", "GET")}, Guard.seen


if __name__ == "__main__":
    with Kafka() as kafka, Registry() as registry:
        main(globals())
