#!/usr/bin/env python3
"""Operators, formats and inputs against plain Python models, at parallelism 1, 2 and 3, in one process and on a cluster."""
import collections
import csv
import gzip
import json
import os
import random
import shutil
import tempfile
from datetime import datetime, timezone

from weir_test import JOBS, WEIR, Cluster, main, read_rows, run

STREAMS = os.path.join(JOBS, "streams.so")
BASE_MS = 1700000000000
Event = collections.namedtuple("Event", "id key value ts")


def iso(ms, form="%Y-%m-%dT%H:%M:%S"):
    moment = datetime.fromtimestamp(ms // 1000, timezone.utc)
    return f"{moment.strftime(form)}.{ms % 1000:03d}" + ("Z" if "T" in form else "")


def ms_of(text):
    """A time of the output, UTC, to ms, exactly."""
    moment = datetime.fromisoformat(text.replace("Z", "").replace(" ", "T")).replace(tzinfo=timezone.utc)
    delta = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (delta.days * 86400 + delta.seconds) * 1000 + delta.microseconds // 1000


def make_events(count=20000, seed=1, keys=10):
    """About ordered in time: at most a second out of order, and the watermark is three behind."""
    chance = random.Random(seed)
    return [Event(i, f"k{chance.randrange(keys)}", chance.randrange(100),
                  BASE_MS + i * 37 + chance.randrange(-500, 500)) for i in range(count)]


def write_json(path, events):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "wt") as file:
        for event in events:
            file.write(json.dumps(dict(event._asdict(), ts=iso(event.ts))) + "\n")


class Places:
    """A directory for inputs and outputs, a cluster, and all the ways to run a graph."""

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="weir-e2e-jobs-")
        self.cluster = Cluster(taskmanagers=2, slots=3)
        try:
            self.cluster.__enter__()
        except BaseException:
            shutil.rmtree(self.directory)
            raise
        return self

    def __exit__(self, *error):
        self.cluster.__exit__(*error)
        shutil.rmtree(self.directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def everywhere(self, graph, check, arguments=(), parallelisms=(1, 2, 3), options=(), read=read_rows):
        """check(rows, rows of the second output, parallelism) after each run; the rows are sorted, so that order does not count."""
        for parallelism in parallelisms:
            for where in ("one process", "cluster"):
                first, second = self.path("first"), self.path("second")
                command = ("-p", parallelism, *options, STREAMS, "--graph", graph, "--output", first, "--second", second,
                           *arguments)
                if where == "cluster":
                    done = self.cluster.weir("run", *command)
                else:
                    done = run(WEIR, "run", "--local", *command, env={"WEIR_HOME": self.path("home")})
                at = f"{graph} at parallelism {parallelism}, {where}"
                assert done.returncode == 0, f"{at}: {done.stderr}"
                try:
                    check(read(first), read(second), parallelism)
                except Exception as error:
                    raise AssertionError(f"{at}: {error!r}") from error
                for output in (first, second):
                    if os.path.isdir(output):
                        left = [name for name in os.listdir(output) if not name.startswith("part-")]
                        assert left == [], f"{at}: left in {output}: {left}"
                    shutil.rmtree(output, ignore_errors=True)


def equal(rows, expected):
    """The same rows, in any order."""
    def key(row):
        return json.dumps(row, sort_keys=True)
    left, right = collections.Counter(map(key, rows)), collections.Counter(map(key, expected))
    assert left == right, (f"{len(rows)} rows, expected {len(expected)}; too many: {list((left - right).items())[:3]}, "
                           f"missing: {list((right - left).items())[:3]}")


def plain(rows):
    """Times as numbers."""
    return [{name: ms_of(value) if name in ("ts", "window_start", "window_end") else value for name, value in row.items()}
            for row in rows]


def dicts(events):
    return [event._asdict() for event in events]


# --- Models

def aggregate(key, start, end, events):
    values = [event.value for event in events]
    return {"key": key, "window_start": start, "window_end": end, "n": len(values), "total": sum(values), "low": min(values),
            "high": max(values), "even": sum(1 for value in values if value % 2 == 0)}


def sliding_windows(events, size_ms, slide_ms, offset_ms=0):
    windows = collections.defaultdict(list)
    for event in events:
        start = event.ts - (event.ts - offset_ms) % slide_ms
        while start > event.ts - size_ms:
            windows[event.key, start].append(event)
            start -= slide_ms
    return [aggregate(key, start, start + size_ms, rows) for (key, start), rows in windows.items()]


def session_windows(events, gap_ms):
    result, by_key = [], collections.defaultdict(list)
    for event in events:
        by_key[event.key].append(event)
    for key, rows in by_key.items():
        rows.sort(key=lambda event: event.ts)
        session = rows[:1]
        for event in rows[1:] + [None]:
            if event and event.ts <= session[-1].ts + gap_ms: # sessions that touch are one
                session.append(event)
                continue
            result.append(aggregate(key, session[0].ts, session[-1].ts + gap_ms, session))
            session = [event]
    return result


# --- Tests

def test_select_and_filter():
    events = make_events()
    expected = [{"id": e.id, "name": e.key.upper(), "odd": e.value * 2 + 1, "tag": "high" if e.value > 50 else None}
                for e in events if e.value % 3 == 0 and e.key != "k4"]
    with Places() as places:
        write_json(places.path("in.json"), events)
        places.everywhere("select", lambda rows, _, p: equal(rows, expected), ("--input", places.path("in.json")))


def test_union():
    events, others = make_events(), make_events(3000, seed=2)
    expected = dicts([e for e in events if e.value < 50 or e.value >= 90] + others)
    with Places() as places:
        write_json(places.path("in.json"), events)
        write_json(places.path("other.json"), others)
        places.everywhere("union", lambda rows, _, p: equal(plain(rows), expected),
                          ("--input", places.path("in.json"), "--other", places.path("other.json")))


def test_rebalance_gives_every_row_to_one_subtask_and_broadcast_to_all():
    events = make_events()
    ids = [e.id for e in events]

    def rebalanced(rows, _, parallelism):
        assert sorted(row["id"] for row in rows) == list(range(2000))
        assert {row["subtask"] for row in rows} == set(range(parallelism)), "a subtask without a row"

    def broadcast(rows, _, parallelism):
        equal(rows, [{"id": i, "subtask": s, "parallelism": parallelism} for i in ids for s in range(parallelism)])

    with Places() as places:
        write_json(places.path("in.json"), events)
        places.everywhere("rebalance", rebalanced)
        places.everywhere("broadcast", broadcast, ("--input", places.path("in.json")))


def test_flat_map():
    events = make_events() + [Event(20000, "x hidden", 1, BASE_MS + 740000), Event(20001, "", 1, BASE_MS + 740001)]
    letters = collections.defaultdict(list)
    for event in events:
        for letter in "" if event.key.startswith("x") else event.key:
            letters[letter].append(event.id)
    expected = [{"letter": letter, "n": len(ids), "ids": sum(ids)} for letter, ids in letters.items()]
    with Places() as places:
        write_json(places.path("in.json"), events)
        places.everywhere("flat_map", lambda rows, _, p: equal(rows, expected), ("--input", places.path("in.json")))


def test_windows():
    events = make_events()
    models = {"tumbling": sliding_windows(events, 10000, 10000), "offset": sliding_windows(events, 10000, 10000, 3000),
              "sliding": sliding_windows(events, 10000, 4000), "session": session_windows(events, 900)}
    assert len(models["session"]) > 500 and max(row["n"] for row in models["session"]) > 5
    with Places() as places:
        write_json(places.path("in.json"), events)
        for graph, expected in models.items():
            places.everywhere(graph, lambda rows, _, p: equal(plain(rows), expected),
                              ("--input", places.path("in.json"), "--split-size", "300 kb"))


def test_late_rows_go_to_the_side_output_and_nowhere_else():
    events = make_events()
    stragglers = [Event(20000 + i, f"k{i % 3}", i % 100, BASE_MS + i * 1000) for i in range(200)]

    def check(rows, late, parallelism):
        late = plain(late)
        ids = {row["id"] for row in late}
        assert len(ids) == len(late), "a late row twice"
        # What is late depends on how far the watermark is, that is on the readers; that a row is in one of both does not.
        assert ids <= {e.id for e in stragglers}, "a row in time was taken for a late one"
        if parallelism == 1:
            assert ids == {e.id for e in stragglers if e.ts < BASE_MS + 600000}, len(ids)
        equal(late, dicts([e for e in stragglers if e.id in ids]))
        equal(plain(rows), sliding_windows([e for e in events + stragglers if e.id not in ids], 10000, 10000))

    with Places() as places:
        write_json(places.path("in.json"), events + stragglers)
        places.everywhere("late", check, ("--input", places.path("in.json")))


def test_a_window_with_allowed_lateness_gives_its_result_again():
    events = make_events(5000)
    stragglers = [Event(5000 + i, "k0", 1, events[-1].ts - 20000) for i in range(50)]

    def check(rows, late, _):
        assert late == []
        best = {}
        for row in plain(rows):
            key = row["key"], row["window_start"]
            if key not in best or row["n"] > best[key]["n"]:
                best[key] = row
        equal(list(best.values()), sliding_windows(events + stragglers, 10000, 10000))

    with Places() as places:
        write_json(places.path("in.json"), events + stragglers)
        places.everywhere("late", check, ("--input", places.path("in.json"), "--lateness", "1 h"))


def test_chaining_off_and_parallelism_by_operator_change_nothing():
    events = make_events()
    ids = [e.id for e in events if e.value >= 10]

    def same_ids(rows, _, parallelism):
        assert sorted(row["id"] for row in rows) == ids
        assert {row["parallelism"] for row in rows} == {parallelism}

    def on_one(rows, _, parallelism):
        assert sorted(row["id"] for row in rows) == ids
        assert {(row["subtask"], row["parallelism"]) for row in rows} == {(0, 1)}

    with Places() as places:
        write_json(places.path("in.json"), events)
        arguments = ("--input", places.path("in.json"))
        places.everywhere("unchained", same_ids, arguments)
        places.everywhere("unchained", same_ids, arguments, parallelisms=(2,),
                          options=("-D", "pipeline.operator-chaining.enabled=false"))
        places.everywhere("parallelisms", on_one, arguments, parallelisms=(1, 3))
        chained = vertices(places, "copy", arguments)
        assert len(chained) == 2 and len(vertices(places, "unchained", arguments)) == 4, chained
        assert len(vertices(places, "copy", arguments, "-D", "pipeline.operator-chaining.enabled=false")) > len(chained)
        assert sorted(node["parallelism"] for node in vertices(places, "parallelisms", arguments)) == [1, 1, 2, 3]


def vertices(places, graph, arguments, *options):
    """The plan's nodes, from `weir info`."""
    done = places.cluster.weir("info", "-o", "json", "-p", "1", *options, STREAMS, "--graph", graph, *arguments,
                               "--output", places.path("first"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["nodes"]


def read_csv(directory):
    rows = []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        if name.startswith("part-"):
            with open(os.path.join(directory, name), newline="") as file:
                rows += list(csv.reader(file))
    return rows


def test_csv_in_and_out_with_quotes():
    names = ["plain", "with, comma", 'with "quotes"', " blanks ", "ünïcode", ";"]
    events = [Event(i, names[i % len(names)], i % 100, BASE_MS + i) for i in range(5000)]

    def check(rows, _, parallelism):
        back = [(int(r[0]), r[1], int(r[2]), ms_of(r[3])) for r in rows]
        assert sorted(back) == [tuple(e) for e in events], [row for row in rows if row[1] not in names][:3]

    with Places() as places:
        with open(places.path("in.csv"), "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(Event._fields)
            writer.writerows(e._replace(ts=iso(e.ts, "%Y-%m-%d %H:%M:%S")) for e in events)
        places.everywhere("copy", check, ("--input", places.path("in.csv"), "--format", "csv", "--csv-header", "true",
                                          "--output-format", "csv"), read=read_csv)


def read_lines(directory):
    lines = []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        if name.startswith("part-"):
            lines += open(os.path.join(directory, name)).read().splitlines()
    return lines


def test_raw_lines():
    lines = [f"line {i}, as it is: \"{{" for i in range(5000)]
    expected = sorted(line.upper() for line in lines if "7" in line)
    with Places() as places:
        open(places.path("in.txt"), "w").write("\n".join(lines)) # no line end behind the last
        def check(rows, _, parallelism):
            assert sorted(rows) == expected
        places.everywhere("raw", check, ("--input", places.path("in.txt"), "--output-format", "raw"), read=read_lines)


def test_directory_glob_and_gz():
    events = make_events(6000)
    with Places() as places:
        os.makedirs(places.path("in/deeper"))
        for i, name in enumerate(("a.json", "b.json", "c.json.gz", "deeper/d.json", "deeper/e.json.gz", ".hidden.json")):
            write_json(places.path(f"in/{name}"), events[i * 1000:(i + 1) * 1000])
        open(places.path("in/empty.json"), "w").close()
        for path, expected in (("in", events[:5000]), ("in/*.json", events[:2000]), ("in/[bc].json*", events[1000:3000]),
                               ("in/deeper", events[3000:5000]), ("in/c.json.gz", events[2000:3000]), ("in/empty.json", [])):
            places.everywhere("copy", lambda rows, _, p: equal(plain(rows), dicts(expected)), ("--input", places.path(path)),
                              parallelisms=(1, 3) if path == "in" else (2,))


if __name__ == "__main__":
    main(globals())
