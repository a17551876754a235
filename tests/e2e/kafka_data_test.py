#!/usr/bin/env python3
"""Real data: every line of the sets in WEIR_DATA goes into Kafka as typed records (by confluent-kafka and fastavro, with no line in a string), and what weir
reads back through each format equals the source value by value, NULLs included. WEIR_TEST_FORMATS="json csv": only these."""
import csv
import datetime
import gzip
import io
import json
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kafka_kit import Kafka, Registry  # noqa: E402
from weir_test import BUILD, ROOT, Cluster, Skip, main, read_rows  # noqa: E402

import fastavro  # noqa: E402

JOB = os.path.join(BUILD, "tests", "jobs", "formats.so")
DATA = os.environ.get("WEIR_DATA", os.path.join(os.path.dirname(ROOT), "shared", "data"))
FORMATS = os.environ.get("WEIR_TEST_FORMATS", "json csv avro-confluent protobuf").split()
NULL = "\\N"
UTC = datetime.timezone.utc
TYPES = {bool: ("BOOLEAN", "boolean"), int: ("BIGINT", "long"), float: ("DOUBLE", "double"), str: ("STRING", "string"),
         datetime.datetime: ("TIMESTAMP(3)", {"type": "long", "logicalType": "timestamp-millis"})}


def time_of(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


def lines_of(*path):
    file = os.path.join(DATA, *path)
    if not os.path.exists(file):
        assert "WEIR_DATA" not in os.environ, f"no {file}"
        raise Skip("the data sets are not here (WEIR_DATA)")
    with (gzip.open if file.endswith(".gz") else open)(file, "rt", encoding="utf-8", newline="") as opened:
        yield from opened


def as_float(value):
    return None if value is None or value == "NA" else float(value)


def readings():
    for row in map(json.loads, lines_of("nyc-weather", "readings.jsonl.gz")):
        yield {**row, "temperature": as_float(row["temperature"]), "timestamp": time_of(row["timestamp"])}


def weather():
    whole = {"year", "month", "day", "hour"}
    for row in csv.DictReader(lines_of("nyc-weather", "weather.csv.gz")):
        yield {k: v if k == "origin" else time_of(v) if k == "time_hour" else int(v) if k in whole else as_float(v) for k, v in row.items()}


def edits():
    for row in map(json.loads, lines_of("wikipedia-edits", "edits.jsonl.gz")):
        yield {**row, "time": time_of(row["time"])}


def machine():
    for row in csv.DictReader(lines_of("machine-temperature", "machine_temperature_system_failure.csv")):
        yield {"timestamp": time_of(row["timestamp"]), "value": float(row["value"])}


def types_of(rows):
    """The type of each field: that of its first value."""
    found = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                found.setdefault(name, type(value))
    return {name: found[name] for name in rows[0]}


def iso(value):
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z" if isinstance(value, datetime.datetime) else value


# --- Protobuf's wire, by hand: a field is its number and wire type, then the value.
PROTO = {bool: "bool", int: "int64", float: "double", str: "string", datetime.datetime: "google.protobuf.Timestamp"}


def proto_schema(types):
    return "syntax = 'proto3'; import 'google/protobuf/timestamp.proto'; message Row { " + \
        " ".join(f"optional {PROTO[kind]} {name} = {n};" for n, (name, kind) in enumerate(types.items(), 1)) + " }"


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def proto_field(number, value):
    if isinstance(value, datetime.datetime):
        ms = round(value.timestamp() * 1000)
        value = proto_field(1, ms // 1000) + proto_field(2, ms % 1000 * 1000000)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(int(value))
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def to_protobuf(row):
    return b"".join(proto_field(n, value) for n, value in enumerate(row.values(), 1) if value is not None)


def encoder(form, topic, types):
    if form == "protobuf":
        return to_protobuf
    if form == "json":
        return lambda row: json.dumps({k: iso(v) for k, v in row.items()}, ensure_ascii=False).encode()
    if form == "csv":
        def to_csv(row):
            out = io.StringIO()
            csv.writer(out, lineterminator="").writerow([NULL if v is None else str(v).lower() if isinstance(v, bool) else iso(v) for v in row.values()])
            return out.getvalue().encode()
        return to_csv
    schema = {"type": "record", "name": "Row", "fields": [{"name": name, "type": ["null", TYPES[kind][1]], "default": None} for name, kind in types.items()]}
    head, parsed = struct.pack(">bI", 0, registry.register(topic + "-value", schema)), fastavro.parse_schema(schema)

    def to_avro(row):
        out = io.BytesIO(head)
        out.seek(len(head))
        fastavro.schemaless_writer(out, parsed, row)
        return out.getvalue()
    return to_avro


def through(name, rows):
    rows = [{"line_number": n, **row} for n, row in enumerate(rows)]
    types = types_of(rows)
    columns = ", ".join(f"`{column}` {TYPES[kind][0]}" for column, kind in types.items())
    with Cluster(config={"restart-strategy.type": "none"}) as cluster:
        for form in FORMATS:
            topic = f"{name}-{form}"
            kafka.create(topic)
            encode = encoder(form, topic, types)
            kafka.produce(topic, ((0, None, encode(row)) for row in rows))
            output = cluster.path("out-" + form)
            more = ("--url", registry.url) if form == "avro-confluent" else ("--schema", proto_schema(types)) if form == "protobuf" else ()
            job = cluster.submit(JOB, "--topic", topic, "--brokers", kafka.brokers, "--format", form, "--columns", columns, "--output", output, *more)
            cluster.wait_state(job, "FINISHED")
            got = sorted(read_rows(output), key=lambda r: r["line_number"])
            assert len(got) == len(rows), f"{topic}: {len(got)} rows of {len(rows)}"
            times = [column for column, kind in types.items() if kind is datetime.datetime]
            for row, read in zip(rows, got):
                read.update({column: time_of(read[column]) for column in times if read[column] is not None})
                assert row == read and [type(v) for v in row.values()] == [type(read[c]) for c in row], f"{topic}:\n{row}\n{read}"
        print(f"# {name}: {len(rows)} lines, {len(types)} columns, each equal through {', '.join(FORMATS)}")


def test_readings():
    through("readings", readings())


def test_weather():
    through("weather", weather())


def test_edits():
    through("edits", edits())


def test_machine():
    through("machine", machine())


if __name__ == "__main__":
    with Kafka() as kafka, Registry() as registry:
        main(globals())
