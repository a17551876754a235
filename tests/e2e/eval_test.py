#!/usr/bin/env python3
"""weir eval: its lines, its row, its errors; and Flink's own cases of scalar expressions through it."""
import glob
import json
import os
import re

from weir_test import ROOT, WEIR, Skip, main, run

CASES = os.path.join(os.environ.get("WEIR_CONFORMANCE", os.path.join(ROOT, os.pardir, "shared", "conformance")), "flink-scalar")
DONE, FAILED, USAGE = range(3)


def evaluate(*arguments, stdin=None):
    """The lines as (type, value) pairs, and the exit code."""
    if stdin is not None:
        read, write = os.pipe()
        os.write(write, stdin)
        os.close(write)
        with os.fdopen(read) as file:
            done = run(WEIR, "eval", *arguments, stdin=file)
    else:
        done = run(WEIR, "eval", *arguments)
    return [tuple(line.split("\t", 1)) for line in done.stdout.split("\n")[:-1]], done.returncode


def test_a_line_an_expression():
    lines, code = evaluate("1 + 2", "UPPER('weir')", "CAST(NULL AS INT)", "1 = 2", "CAST(1 AS DOUBLE)", "DATE '2026-01-02'")
    assert code == DONE
    assert lines == [("INT NOT NULL", "3"), ("STRING NOT NULL", "WEIR"), ("INT", "NULL"), ("BOOLEAN NOT NULL", "FALSE"),
                     ("DOUBLE NOT NULL", "1.0"), ("DATE NOT NULL", "2026-01-02")], lines


def test_newline_tab_and_backslash_are_written_so_that_a_line_is_a_line():
    lines, code = evaluate("'a\nb\tc\\d'")
    assert (lines, code) == ([("STRING NOT NULL", "a\\nb\\tc\\\\d")], DONE)


def test_what_fails_says_why_and_the_others_are_done():
    lines, code = evaluate("1 / 0", "2", "foo(1)", "CAST('x' AS INT)", "", "1 +", b"\xff".decode("utf-8", "surrogateescape"))
    assert code == FAILED
    assert [line[0] for line in lines] == ["error", "INT NOT NULL"] + ["error"] * 5, lines
    assert "division by zero" in lines[0][1] and "FOO" in lines[2][1] and "UTF-8" in lines[6][1], lines


def test_without_expressions_lines_of_standard_input_are_them():
    lines, code = evaluate(stdin=b"1 + 1\r\n\n'last'")
    assert code == FAILED and [line[0] for line in lines] == ["INT NOT NULL", "error", "STRING NOT NULL"], lines
    lines, code = evaluate(stdin=b"a\0b\n7\n")
    assert code == FAILED and "NUL" in lines[0][1] and lines[1] == ("INT NOT NULL", "7"), lines
    assert evaluate(stdin=b"") == ([], DONE)


def test_rows():
    for schema, row, expressions, expected in (
            ("id BIGINT NOT NULL, name STRING", {"id": 7}, ("id + 1", "name"), [("BIGINT NOT NULL", "8"), ("STRING", "NULL")]),
            ("id BIGINT NOT NULL, name STRING", [7, "x"], ("name",), [("STRING", "x")]),
            ("b BYTES, d DATE, t TIME(3), ts TIMESTAMP(3)", ["0x616263", "2026-01-02", "03:04:05.678", "2026-01-02T03:04:05.678"],
             ("CAST(b AS STRING)", "d", "CAST(t AS STRING)", "ts", "EXTRACT(YEAR FROM ts)"),
             [("STRING", "abc"), ("DATE", "2026-01-02"), ("STRING", "03:04:05.678"), ("TIMESTAMP(3)", "2026-01-02 03:04:05.678"),
              ("BIGINT", "2026")]),
            ("`a b` TINYINT, c CHAR(4), f FLOAT", {"a b": -3, "c": "ab", "f": "NaN"}, ("`a b`", "c || '|'", "f"),
             [("TINYINT", "-3"), ("STRING", "ab  |"), ("FLOAT", "NaN")]),
            ("p DECIMAL(10, 2), a ARRAY<INT>, m MAP<INT, STRING>, r ROW<x INT, y ROW<z DECIMAL(3, 1)>>, l TIMESTAMP_LTZ(3)",
             {"p": "12.5", "a": [1, None], "m": {"$map": [[1, "x"], [2, None]]}, "r": [5, {"z": "1.5"}], "l": "2026-01-02T03:04:05Z"},
             ("p * 2", "a", "a[1]", "m", "m[1]", "r", "r.y.z + 1", "CARDINALITY(m)", "l"),
             [("DECIMAL(21, 2)", "25.00"), ("ARRAY<INT>", "[1, NULL]"), ("INT", "1"), ("MAP<INT, STRING>", "{1=x, 2=NULL}"), ("STRING", "x"),
              ("ROW<`x` INT, `y` ROW<`z` DECIMAL(3, 1)>>", "(5, (1.5))"), ("DECIMAL(12, 1)", "2.5"), ("INT", "2"),
              ("TIMESTAMP_LTZ(3)", "2026-01-02 03:04:05.000")]),
            (None, {"i": 1, "l": 1 << 40, "d": 0.5, "s": "x", "o": True, "n": None}, ("i", "l", "d", "s", "o", "n"),
             [("INT NOT NULL", "1"), ("BIGINT NOT NULL", str(1 << 40)), ("DOUBLE NOT NULL", "0.5"), ("STRING NOT NULL", "x"),
              ("BOOLEAN NOT NULL", "TRUE"), ("STRING", "NULL")]),
            (None, [{"name": "x", "type": "SMALLINT NOT NULL", "value": 5}, {"name": "y", "value": 6}], ("x + y",),
             [("INT NOT NULL", "11")])):
        options = (["--schema", schema] if schema else []) + ["--row", json.dumps(row)]
        lines, code = evaluate(*options, *expressions)
        assert (lines, code) == (expected, DONE), (schema, row, lines)


def test_a_column_that_cannot_be_is_missed_only_by_those_who_use_it():
    lines, code = evaluate("--schema", "a INT, m MULTISET<INT>, t TIMESTAMP(9), big TINYINT, must INT NOT NULL",
                           "--row", '{"a": 1, "m": {"$map": [[1, "x"]]}, "t": "2026-01-01", "big": 1000}',
                           "a + 1", "m", "t", "big", "must")
    assert code == FAILED and lines[0] == ("INT", "2"), lines
    for line, text in zip(lines[1:], ("MULTISET", "TIMESTAMP(9)", "1000 is not", "NOT NULL and has no value")):
        assert line[0] == "error" and text in line[1], (line, text)


def test_bad_rows_and_schemas_are_usage():
    for arguments, *texts in (
            (("--row", "{", "1"), "--row"),
            (("--row", "7", "1"), "--row"),
            (("--row", "[1]", "1"), "entry 0"),
            (("--schema", "a INT", "--row", "[1, 2]", "1"), "2 values for 1 column"),
            (("--schema", "abc INT", "--row", '{"acb": 1}', "1"), "'acb'", "'abc'"),
            (("--schema", "a", "1"), "--schema", "'a'"),
            (("--schema", "a INT, a INT", "1"), "two columns 'a'"),
            (("--scheme", "a INT"), "'--schema'")):
        done = run(WEIR, "eval", *arguments)
        assert done.returncode == USAGE and done.stdout == "" and all(text in done.stderr for text in texts), (arguments, done)


def test_json_lines():
    done = run(WEIR, "eval", "-o", "json", "1", "CAST(NULL AS STRING)", "x")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[:2] == [{"expression": "1", "type": "INT NOT NULL", "value": "1"},
                         {"expression": "CAST(NULL AS STRING)", "type": "STRING", "value": None}], lines
    assert lines[2]["expression"] == "x" and "x" in lines[2]["error"] and done.returncode == FAILED


# --- Flink's cases

def split(sql):
    """At the commas that are outside of everything."""
    parts, depth, quoted, start = [], 0, False, 0
    for i, c in enumerate(sql):
        quoted ^= c == "'"
        depth += (not quoted and c in "([") - (not quoted and c in ")]")
        if c == "," and not quoted and depth <= 0:
            parts.append(sql[start:i])
            start = i + 1
    return parts + [sql[start:]]


def seconds_of(text):
    """A time of a day or a moment, with as many digits as it has: trailing zeros do not count."""
    text = text.replace("T", " ")
    return text.rstrip("0").rstrip(".") if "." in text else text


def text_of(value):
    """A recorded value as the text of its CAST to STRING."""
    if isinstance(value, dict):
        if "$map" in value:
            return "{" + ", ".join(f"{text_of(k)}={text_of(v)}" for k, v in value["$map"]) + "}"
        return "(" + ", ".join(map(text_of, value["f"])) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(text_of, value)) + "]"
    return "NULL" if value is None else str(value).upper() if isinstance(value, bool) else str(value)


def same(wanted, type_, got):
    if wanted is None:
        return got == "NULL"
    if type_.startswith("MAP<"): # Java's hash order
        return sorted(text_of(wanted)) == sorted(got)
    if isinstance(wanted, (list, dict)):
        return text_of(wanted) == got
    if isinstance(wanted, bool):
        return got == str(wanted).upper()
    if isinstance(wanted, (int, float)):
        return re.fullmatch(r"-?[0-9.E+-]+|-?Infinity|NaN", got) and abs(float(got) - wanted) <= 1e-6 * abs(wanted)
    if type_.startswith(("TIMESTAMP", "TIME(")):
        wanted = wanted.removesuffix("Z")
        pad = lambda text: text + ":00" if re.search(r"(^|[T ])\d\d:\d\d$", text) else text
        return seconds_of(pad(wanted)) == seconds_of(pad(got))
    if type_.startswith(("BYTES", "VARBINARY", "BINARY")):
        return bytes.fromhex(wanted[2:]).decode(errors="replace").replace("\\", "\\\\") == got
    return got == wanted.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def kind(type_):
    """Without lengths and precisions; CHAR and BINARY are the variable ones' kin."""
    base = re.sub(r"\([^)]*\)", "", type_)
    for name, others in (("STRING", ("VARCHAR", "CHAR")), ("BYTES", ("VARBINARY", "BINARY"))):
        for other in others:
            base = re.sub(rf"^{other}\b", name, base)
    return base


def cases():
    """(file, fields, [(expression, results | None: refused, type | None)])"""
    for path in sorted(glob.glob(os.path.join(CASES, "*.json"))):
        data = json.load(open(path))
        for group in data.get("sets", []):
            tests = []
            for test in group["tests"]:
                for i, part in enumerate(split(test["sql"])):
                    types, results = test.get("types", []), test.get("results")
                    if results is not None and i < len(results):
                        tests.append((part, (results[i],), types[i] if i < len(types) else None))
                    elif results is None:
                        tests.append((part, None, None))
            yield os.path.basename(path), group["fields"], tests


def test_flinks_cases():
    if not os.path.isdir(CASES):
        assert "WEIR_CONFORMANCE" not in os.environ, f"{CASES} is not there"
        raise Skip("there is no folder of Flink's cases (set WEIR_CONFORMANCE)")
    passed, refused, missing, wrong = 0, 0, {}, []
    for name, fields, tests in cases():
        row = [{key: field[key] for key in ("name", "type", "value") if field.get(key) is not None or key == "value"} for field in fields]
        zone = ("-D", "table.local-time-zone=-08:00") if name.startswith("ComparisonFunction") else () # recorded in Los Angeles, in winter
        lines, _ = evaluate(*zone, "--row", json.dumps(row), "--", *(part for part, _, _ in tests))
        assert len(lines) == len(tests), (name, len(lines), len(tests))
        for (part, results, type_), (got_type, got) in zip(tests, lines):
            if results is None:
                refused += got_type == "error" # a set's other expressions may be fine
            elif got_type == "error":
                why = re.sub(r"'[^']*'|\b[0-9]+", "..", got.split("; column ")[-1])[:70]
                missing[why] = missing.get(why, 0) + 1
            elif same(results[0], got_type, got) and (type_ is None or kind(type_) == kind(got_type)):
                passed += 1
            else:
                wrong.append(f"{name}: {part.strip()} gives {got_type} {got}, Flink: {type_} {results[0]}")
    print(f"# {passed} as Flink, {refused} refused as Flink does, {sum(missing.values())} of what is not here yet:")
    for why, count in sorted(missing.items(), key=lambda item: -item[1])[:12]:
        print(f"#   {count} {why}")
    assert not wrong, "\n".join(wrong)
    assert passed > 150 and refused > 100, (passed, refused)


if __name__ == "__main__":
    main(globals())
