"""The identity oracle: what the job tests/jobs/identity.c must have left, computed without weir.

O1 Every record (part, seq, crc) of the pass-through branch is published once and in order: findings `lost`, `duplicate`, `non-monotonic`, `damaged`,
   and `aborted-read` for output that was published and then changed or went away.
   A join of the two sources meets every record once: `pair-lost`, `pair-twice`, `pair-wrong`.
O2 Windows equal those of a run without faults, which follow from the records alone.
O3 The state in a checkpoint or savepoint, as `weir state read` gives it, equals what follows from its sources' positions: per key how many records,
   the sum of their numbers and the exclusive or of their checksums (`state-wrong`, `state-lost`, `state-extra`), the open windows, and the records that
   wait in the join.
O4 What HEAD names is there and fits its checksums; nothing else is, but for what the caller's grace period still allows.
Every check returns a list of findings, each a tuple whose first element is its name; the empty list is what is wanted.
"""
import collections
import functools
import glob
import hashlib
import json
import os
import threading
import time
import zlib

WINDOW_MS = 2000


# --- Output

def published(directory):
    """Files that readers see: hidden ones are not output yet."""
    if not os.path.isdir(directory):
        return []
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if not name.startswith((".", "_"))]


class Watcher:
    """In which order files were published, and whether one of them changed afterwards: objects may be put again, with the same bytes. A thread of its
    own; stop() gives the findings."""

    def __init__(self, *directories):
        self.directories, self.round, self.seen, self.findings = directories, 0, {}, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def look(self, closely=False):
        """What is new, what is gone; `closely`: what has changed, too."""
        self.round += 1
        now = {path for directory in self.directories for path in published(directory)}
        for path in now if closely else now - set(self.seen):
            try:
                what = hashlib.sha256(open(path, "rb").read()).digest()
            except OSError:
                continue # the next look misses it
            if path not in self.seen:
                self.seen[path] = (self.round, what)
            elif self.seen[path][1] != what:
                self.findings.append(("aborted-read", path, "changed after it was published"))
        gone = set(self.seen) - now
        if gone:
            time.sleep(0.1) # versitygw removes an object that is put again, for a moment
        for path in (path for path in gone if not os.path.exists(path)):
            self.findings.append(("aborted-read", path, "was published and is gone"))
            del self.seen[path]

    def run(self):
        while not self.stopping.wait(0.1):
            self.look()

    def stop(self):
        self.stopping.set()
        self.thread.join()
        self.look(closely=True)
        return self.findings

    def order(self, path):
        return self.seen[path][0] if path in self.seen else self.round


def check_records(directories, ends, order=None):
    """O1. `ends`: of each partition's number, how many records it has: [0, end). `order(path)`: when a file was published, equal for files at once."""
    seen = {part: bytearray(end) for part, end in ends.items()}
    findings, spans = [], collections.defaultdict(list)
    for path in (p for d in directories for p in published(d)):
        last, low = {}, {}
        for number, line in enumerate(open(path), 1):
            try:
                row = json.loads(line)
                part, seq = row["part"], row["seq"]
            except (ValueError, KeyError):
                findings.append(("damaged", f"{path}:{number}", line[:100]))
                continue
            if row["crc"] != zlib.crc32(f"{part}:{seq}".encode()) or part not in seen or not 0 <= seq < ends[part]:
                findings.append(("damaged", f"{path}:{number}", line[:100]))
                continue
            if seen[part][seq]:
                findings.append(("duplicate", part, seq))
            seen[part][seq] = 1
            if seq <= last.get(part, -1):
                findings.append(("non-monotonic", part, seq, f"{path}:{number} is behind {last[part]}"))
            last[part] = seq
            low.setdefault(part, seq)
        for part, seq in last.items():
            spans[part].append((order(path) if order else 0, low[part], seq, path))
    for part, present in seen.items():
        at = present.find(0)
        while at >= 0:
            findings.append(("lost", part, at))
            at = present.find(0, at + 1)
    for part, files in spans.items() if order else ():
        files.sort()
        for before, after in zip(files, files[1:]):
            if before[0] < after[0] and after[1] < before[2]:
                findings.append(("non-monotonic", part, after[1], f"{after[3]} was published after {before[3]}, which goes to {before[2]}"))
    return findings


def key_of(part, seq, keys):
    return (seq * 7919 + part) % keys


def golden_windows(ends, keys, window_ms=WINDOW_MS):
    windows = {}
    for part, end in ends.items():
        for seq in range(end):
            window = windows.setdefault((key_of(part, seq, keys), seq // window_ms * window_ms), [0, 0, 0, seq, seq])
            window[0] += 1
            window[1] += seq
            window[2] += part
            window[3] = min(window[3], seq)
            window[4] = max(window[4], seq)
    return windows


@functools.lru_cache(maxsize=4096)
def time_ms(text):
    """TIMESTAMP(3) as the json format writes it: "1970-01-01T00:00:10" or with a blank, and parts of a second."""
    clock = text.replace("T", " ").split(" ", 1)
    days = (time.mktime(time.strptime(clock[0], "%Y-%m-%d")) - time.mktime(time.strptime("1970-01-01", "%Y-%m-%d"))) // 86400
    hours, minutes, seconds = clock[1].rstrip("Z").split(":")
    return round(((days * 24 + int(hours)) * 60 + int(minutes)) * 60000 + float(seconds) * 1000)


def check_windows(directory, ends, keys, window_ms=WINDOW_MS):
    """O2."""
    want, findings, got = golden_windows(ends, keys, window_ms), [], set()
    for path in published(directory):
        for line in open(path):
            row = json.loads(line)
            window = (row["key"], time_ms(row["window_start"]))
            if window in got:
                findings.append(("window-twice", *window))
            got.add(window)
            values = [row[name] for name in ("n", "seqs", "parts", "low", "high")]
            if want.get(window) != values:
                findings.append(("window-wrong", *window, f"{values}, not {want.get(window)}"))
    findings += [("window-lost", *window) for window in want if window not in got]
    return findings


def check_pairs(directory, count, ends):
    """O1 of the join: each record of a source (which has `count` partitions) met the one of the other that has its number, once."""
    seen, findings = bytearray(max(ends.values()) * count), []
    for path in published(directory):
        for line in open(path):
            row = json.loads(line)
            pair = row["pair"]
            if not 0 <= pair < len(seen) or [row["seq"], row["a"], row["b"]] != [pair // count, pair % count, count + pair % count]:
                findings.append(("pair-wrong", path, line[:100]))
                continue
            if seen[pair]:
                findings.append(("pair-twice", pair))
            seen[pair] = 1
    there = [min(ends[part], ends[count + part]) for part in range(count)]
    return findings + [("pair-lost" if pair // count < there[pair % count] else "pair-wrong", pair) for pair, met in enumerate(seen)
                       if met != (pair // count < there[pair % count])]


# --- State: what `weir state read` says of a snapshot

def golden_totals(offsets, keys):
    totals = {}
    for part, end in offsets.items():
        for seq in range(end):
            total = totals.setdefault(key_of(part, seq, keys), [0, 0, 0])
            total[0] += 1
            total[1] += seq
            total[2] ^= zlib.crc32(f"{part}:{seq}".encode())
    return totals


def golden_waits(offsets, count):
    """Of each pair of which one has come: its partition, or ~partition."""
    waits = {}
    for part in range(count):
        a, b = offsets[part], offsets[count + part]
        for seq in range(min(a, b), max(a, b)):
            waits[seq * count + part] = part if a > b else ~(count + part)
    return waits


def differences(what, got, want):
    return [("state-lost" if key not in got else "state-extra" if key not in want else "state-wrong", what, key, f"{got.get(key)}, not {want.get(key)}")
            for key in got.keys() | want.keys() if got.get(key) != want.get(key)]


def check_state(inspected, totals, waits, windows, count, keys, drained=False):
    """O3, and the sources' positions. `inspected`: the object that `weir state inspect -o json` prints; the others: the rows of three states.
    Windows that the slowest partition has passed may have been given out, `drained` all."""
    offsets = dict.fromkeys(range(2 * count), 0)
    for offset in (o for operator in inspected["operators"] for state in operator["states"] for o in state.get("offsets", [])):
        offsets[int(offset["split"].split()[-1])] = int(offset.get("position") or 0)
    golden = golden_windows(offsets, keys)
    there = {(row["key"], time_ms(row["start"])): [row["value"][name] for name in ("n", "seqs", "parts", "low", "high")] for row in windows}
    found = differences("totals", {row["key"]: [row["value"][name] for name in ("n", "seqs", "bits")] for row in totals}, golden_totals(offsets, keys))
    found += differences("pairs", {row["key"]: row["value"] for row in waits}, golden_waits(offsets, count))
    found += differences("windows", there, {window: golden[window] for window in golden if window in there or window[1] + WINDOW_MS > min(offsets.values()) and not drained})
    if len(there) < len(windows) or len({row["key"] for row in totals}) < len(totals):
        found.append(("state-wrong", "a key is there twice"))
    return found, offsets


def left_hidden(*directories):
    """Files of attempts that nobody published or removed, once the job has ended."""
    return [("hidden", path) for directory in directories for path in glob.glob(os.path.join(directory, "**", ".*"), recursive=True)
            if os.path.isfile(path)]


# --- Storage. A reader of protobuf's wire format: field numbers are those of proto/snapshot.proto.

def fields(data):
    """(field number, value) of a message: ints for varints, bytes for what has a length."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 2:
            size = varint()
            if at + size > len(data):
                raise ValueError("a message is cut off")
            yield tag >> 3, data[at:at + size]
            at += size
        elif tag & 7 in (1, 5):
            size = 8 if tag & 7 == 1 else 4
            yield tag >> 3, data[at:at + size]
            at += size
        else:
            raise ValueError(f"wire type {tag & 7}")


def message(data):
    found = collections.defaultdict(list)
    for number, value in fields(data):
        found[number].append(value)
    return found


CRC32C = []
for _n in range(256):
    for _ in range(8):
        _n = _n >> 1 ^ (_n & 1) * 0x82f63b78
    CRC32C.append(_n)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


def unsealed(data, kind):
    """Without the envelope: "WEIR", four letters, 8 bytes of a hash."""
    if data[:8] != b"WEIR" + kind or len(data) < 16:
        raise ValueError(f"no envelope of {kind.decode()}")
    return data[16:]


def read_head(root, job):
    head = message(unsealed(open(os.path.join(root, "jobs", job, "HEAD"), "rb").read(), b"HEAD"))
    retained = [message(entry) for entry in head[9]]
    return {"state": head[6][0] if head[6] else 0, "committed_upto": head[10][0] if head[10] else 0, "floor": head[11][0] if head[11] else 0, "graph": head[7][0].decode(), "code": head[8][0].decode() if head[8] else "",
            "retained": [{"id": r[1][0], "metadata": r[2][0].decode(), "sha256": r[3][0].decode()} for r in retained]}


def check_part(root, part, findings, who, closely):
    """A StatePart of a Snapshot: its bytes in the metadata or in an object. Returns the object's key."""
    uid, name = part[1][0].decode(), part[2][0].decode()
    size = part[8][0] if part[8] else 0
    want = part[9][0] if part[9] else 0
    key = part[6][0].decode() if part[6] and part[6][0] else None
    if closely and key is None:
        data = part[10][0] if part[10] else b""
        if len(data) != size or crc32c(data) != want:
            findings.append(("corrupt", "inline", f"{who}: {name} of {uid}"))
    elif closely:
        check_bytes(root, key, part[7][0] if part[7] else 0, size, want, findings, f"{who}: {name} of {uid}")
    return key


def check_bytes(root, key, offset, size, want, findings, who):
    try:
        with open(os.path.join(root, key), "rb") as file:
            file.seek(offset)
            data = file.read(size)
    except OSError:
        findings.append(("missing", key, who))
        return
    if len(data) != size or crc32c(data) != want:
        findings.append(("corrupt", key, who))


def check_log(root, committable, findings, who, closely):
    """The segments of a Committable: output that waits in the checkpoint. Returns their keys."""
    keys = []
    for segment in map(message, committable[3]):
        keys.append(segment[1][0].decode())
        if closely:
            check_bytes(root, keys[-1], 0, segment[2][0], segment[3][0] if segment[3] else 0, findings, f"{who}: output")
    return keys


def check_storage(root, job, closely=True):
    """O4, the first half: (findings, keys that HEAD reaches); `closely`: with the parts' checksums. HEAD may move meanwhile: then it is looked
    at again."""
    for _ in range(20):
        head, findings = read_head(root, job), []
        reached = {f"jobs/{job}/HEAD", f"jobs/{job}/graph-{head['graph']}"}
        if head["code"]:
            reached.add(f"jobs/{job}/code-{head['code']}")
        if not os.path.exists(os.path.join(root, "jobs", job, f"graph-{head['graph']}")):
            findings.append(("missing", f"jobs/{job}/graph-{head['graph']}", "HEAD"))
        for entry in head["retained"]:
            reached.add(entry["metadata"])
            try:
                data = unsealed(open(os.path.join(root, entry["metadata"]), "rb").read(), b"META")
            except (OSError, ValueError) as why:
                findings.append(("missing", entry["metadata"], str(why)))
                continue
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                findings.append(("corrupt", entry["metadata"], "SHA-256"))
                continue
            snapshot = message(data)
            for part in snapshot[8]:
                key = check_part(root, message(part), findings, f"checkpoint {entry['id']}", closely)
                if key:
                    reached.add(key)
            for committable in snapshot[9]:
                reached.update(check_log(root, message(committable), findings, f"checkpoint {entry['id']}", closely))
        if not findings or [e["id"] for e in read_head(root, job)["retained"]] == [e["id"] for e in head["retained"]]:
            return findings, reached
    return findings, reached


def check_orphans(root, job, reached, keep=()):
    """O4, the second half, when the job has ended and the grace period is over. `keep`: beginnings of keys that stay with the job."""
    base = os.path.join(root, "jobs", job)
    found = []
    for path in glob.glob(os.path.join(base, "**", "*"), recursive=True) + glob.glob(os.path.join(base, "**", ".*"), recursive=True):
        key = os.path.relpath(path, root)
        if os.path.isfile(path) and key not in reached and os.path.basename(path) != ".lock" and not key.startswith(tuple(f"jobs/{job}/{k}" for k in keep)):
            found.append(("orphan", key))
    return found


def summary(findings, most=5):
    """"lost 3: (0, 17), ..."; what a failed test prints."""
    by_name = collections.defaultdict(list)
    for finding in findings:
        by_name[finding[0]].append(finding[1:])
    return "; ".join(f"{name} {len(items)}: {', '.join(str(i) for i in items[:most])}" for name, items in by_name.items())
