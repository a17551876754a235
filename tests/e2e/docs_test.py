#!/usr/bin/env python3
"""The documents are true: their commands run, their links and names resolve, what is generated is fresh, what must be complete is.

Fences in README.md, docs/, examples/*/README.md, deploy/**/README.md, CONTRIBUTING.md and SECURITY.md:
    ```sh                   run, in order, in one shell for each document, in a directory that looks like the tree (its entries are links);
                            `weir` and the SDK are found as if installed, the cluster is one of the test's own
    ```text                 behind an `sh` block: its standard output. A line `...` stands for any lines, `...` in a line for any text
    ```sh skip=REASON       not run, and why: printed by the test
    ```c file=NAME          (any language) a file that the commands use; `part=2` and so on behind it: more of the same file
    ```c                    all of a document together are compiled
Indented blocks are for text that is neither.
"""
import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request

from weir_test import BUILD, EXAMPLES, PATIENCE, ROOT, WEIR, Cluster, free_port, main, run, wait_for

FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.S | re.M)
TIMEOUT_S = 120


def read(*parts):
    return open(os.path.join(ROOT, *parts), encoding="utf-8").read()


def tracked():
    done = run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard")
    if done.returncode == 0:
        return [f for f in done.stdout.split("\n") if f and os.path.exists(os.path.join(ROOT, f))]
    return [os.path.relpath(os.path.join(d, f), ROOT) for d, _, files in os.walk(ROOT) for f in files]


def documents():
    return [f for f in tracked() if re.fullmatch(r"[A-Z]+\.md|docs/.*\.md|examples/[^/]+/README\.md|deploy/(.*/)?README\.md", f)]


def all_documents():
    return [f for f in tracked() if f.endswith(".md")]


# --- Commands

def blocks(text):
    """(language, attributes, body) of every fence; attributes as a dictionary."""
    found = []
    for language, rest, body in FENCE.findall(text):
        attributes = {"skip": rest.strip()[5:]} if rest.strip().startswith("skip=") else dict(
            word.partition("=")[::2] for word in rest.split())
        found.append((language, attributes, body))
    return found


def blocks_of_readme(language):
    return [body for found, _, body in blocks(read("README.md")) if found == language]


def matches(expected, output):
    pattern = "".join("(?:.*\n)*" if line.strip() == "..." else
                      ".*".join(re.escape(part) for part in line.rstrip().split("...")) + "\n"
                      for line in expected.splitlines())
    text = "".join(line.rstrip() + "\n" for line in output.splitlines())
    return re.fullmatch(pattern, text) is not None


def scratch_tree(directory):
    for name in os.listdir(ROOT):
        if name not in (".git", "build") and not name.startswith("build-"):
            os.symlink(os.path.join(ROOT, name), os.path.join(directory, name))
    os.symlink(BUILD, os.path.join(directory, "build"))


def script_of(commands, logs, ports):
    lines = ["set -e", "cleanup() { status=$?; set +e; for job in $(jobs -p); do kill $job; done; weir cluster stop; exit $status; }",
             f"trap 'cleanup >{logs}/cleanup 2>&1' EXIT"]
    for number, command in enumerate(commands):
        for standard, own in ports.items():
            command = re.sub(rf"\b{standard}\b", str(own), command)
        lines += [f"echo {number} >{logs}/at", "{", command, f"}} >{logs}/{number}.out 2>{logs}/{number}.err"]
    lines += [f"echo end >{logs}/at"]
    return "\n".join(lines) + "\n"


def run_commands(commands):
    """[(stdout, stderr)] of each, and where it ended."""
    directory = tempfile.mkdtemp(prefix="weir-docs-")
    logs = os.path.join(directory, ".logs")
    try:
        scratch_tree(directory)
        for sub in ("", "/home/conf"):
            os.makedirs(logs + sub, exist_ok=True)
        ports = {8081: free_port(), 6123: free_port()}
        open(logs + "/home/conf/weir.yaml", "w").write(f"rest.port: {ports[8081]}\njobmanager.rpc.port: {ports[6123]}\n")
        for name, text in commands["files"]:
            open(os.path.join(directory, name), "a").write(text) # part=2 and so on are added
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
        environment.update(PATH=os.path.join(BUILD, "bin") + ":" + environment["PATH"], WEIR_HOME=logs + "/home",
                           PKG_CONFIG_PATH=os.path.join(BUILD, "lib", "pkgconfig"), BUILD=BUILD)
        shell = subprocess.Popen(["bash", "-c", script_of(commands["run"], logs, ports)], cwd=directory, env=environment,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 start_new_session=True)
        try:
            code = shell.wait(TIMEOUT_S * PATIENCE)
        except subprocess.TimeoutExpired:
            code = f"no end within {TIMEOUT_S * PATIENCE:.0f} s"
            os.killpg(shell.pid, signal.SIGKILL)
            run(WEIR, "cluster", "stop", env=environment)
        output = []
        for number in range(len(commands["run"])):
            texts = [os.path.join(logs, f"{number}.{kind}") for kind in ("out", "err")]
            said = [open(t, errors="replace").read() if os.path.exists(t) else "" for t in texts]
            for standard, own in ports.items():
                said = [re.sub(rf"\b{own}\b", str(standard), text) for text in said]
            output.append(said)
        return code, open(logs + "/at").read().strip() if os.path.exists(logs + "/at") else "", output
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def check_document(path):
    commands = {"run": [], "files": []}
    expected = {}
    previous = None
    for language, attributes, body in blocks(read(path)):
        if language == "sh" and "skip" in attributes:
            assert len(attributes["skip"]) > 10, f"{path}: skip without a reason"
            print(f"# {path}: not run ({attributes['skip']}): {body.splitlines()[0]}")
        elif language == "sh":
            assert not attributes, f"{path}: what is {attributes}?"
            commands["run"].append(body)
        elif language == "text" and previous == "sh":
            expected[len(commands["run"]) - 1] = body
        elif "file" in attributes:
            commands["files"].append((attributes["file"], body))
        previous = language if "skip" not in attributes else None
    if not commands["run"]:
        return
    code, at, output = run_commands(commands)
    said = "" if at == "end" else f"block {at}:\n{commands['run'][int(at or 0)]}\n" + "\n".join(output[int(at or 0)])
    assert code == 0 and at == "end", f"{path}: exit code {code} at {said}"
    for number, text in expected.items():
        assert matches(text, output[number][0]), \
            f"{path}: block {number} printed\n{output[number][0]}\n--- where the document says\n{text}\n{output[number][1]}"


def document_test(path):
    def test():
        check_document(path)
    return test


for document in documents():
    if any(language == "sh" for language, _, _ in blocks(read(document))):
        globals()["test_commands_of_" + re.sub(r"\W", "_", document[:-3])] = document_test(document)


def test_no_commands_in_indented_blocks():
    """They would not be run."""
    for path in documents():
        text = FENCE.sub("", read(path))
        for line in re.findall(r"^(?: {4}|\t)(.*)$", text, re.M):
            assert not re.match(r"(\$ )?(make|weir|sudo|cc|curl|build/bin/\S+|systemctl|docker|podman|kubectl|export) ", line + " "), \
                f"{path}: a command in an indented block is not run by this test; use a fence: {line}"


def test_c_blocks_compile():
    for path in documents():
        parts = [body for language, attributes, body in blocks(read(path)) if language == "c" and "file" not in attributes]
        if not parts:
            continue
        with tempfile.TemporaryDirectory() as directory:
            source = os.path.join(directory, "document.c")
            open(source, "w").write("#include <stdlib.h>\n#include <weir/connector.h>\n#include <weir/weir.h>\n" + "\n".join(parts))
            done = run("cc", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-variable", "-I",
                       os.path.join(ROOT, "include"), source)
            assert done.returncode == 0, f"{path}:\n{done.stderr}"


def test_the_tutorial_is_the_example():
    """Its parts, one after the other, are examples/connector-tutorial, but for comments."""
    def code(text):
        return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", text, flags=re.S)).strip()
    parts = blocks(read("docs", "connector-tutorial.md"))
    for name in ("connectors.c", "job.c"):
        told = "".join(body for _, attributes, body in parts if attributes.get("file") == name)
        assert code(told) == code(read("examples", "connector-tutorial", name)), f"docs/connector-tutorial.md and {name} differ"


# --- Links and names

def anchors(text):
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_resolve():
    wrong = []
    for path in all_documents():
        text = FENCE.sub("", read(path))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
            if not os.path.exists(os.path.join(ROOT, file)):
                wrong.append(f"{path}: {target}")
            elif anchor and file.endswith(".md") and anchor not in anchors(read(file)):
                wrong.append(f"{path}: {target}: no such heading")
    assert not wrong, "\n".join(wrong)


def spans(path):
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", read(path)))


def test_paths_that_are_named_exist():
    tops = "client common deploy docs examples include jobmanager mk proto scripts taskmanager tests".split()
    wrong = []
    for path in all_documents():
        for span in spans(path):
            if not re.fullmatch(rf"(?:{'|'.join(tops)})/[\w./*-]+", span):
                continue
            if not any(glob.glob(os.path.join(ROOT, span + ending)) for ending in ("", ".[ch]")):
                wrong.append(f"{path}: {span}")
    assert not wrong, "\n".join(wrong)


def test_make_targets_that_are_named_exist():
    rules = "".join(read(f) for f in ["Makefile"] + [f for f in tracked() if f.startswith("mk/") and f.endswith(".mk")])
    targets = {name for line in re.findall(r"^([a-z][\w -]*):(?!=)", rules, re.M) for name in line.split()}
    for path in documents():
        texts = spans(path) + [line for language, _, body in blocks(read(path)) if language == "sh" for line in body.splitlines()]
        for text in texts:
            command = re.match(r"(?:sudo )?make ((?:[^\s=#]+\s*)*)", text.split("#")[0])
            for word in command.group(1).split() if command else []:
                assert word in targets or word.startswith("-") or word.isupper(), f"{path}: make {word}: there is no such target"


def test_commands_that_are_named_exist():
    known = set(re.findall(r"^  (\w+) ", run(WEIR, "--help").stdout, re.M)) | {"help"}
    for path in documents():
        texts = spans(path) + [line for language, _, body in blocks(read(path)) if language == "sh" for line in body.splitlines()]
        for text in texts:
            command = re.match(r"(?:\w+=\S+ )*weir ([a-z]+)\b", text)
            assert not command or command[1] in known, f"{path}: weir {command[1]}: there is no such command"


def test_configuration_keys_that_are_named_exist():
    known = set(re.findall(r"^\| `([^`]+)`", read("docs", "configuration.md"), re.M))
    known |= set(re.findall(r"^\| `([^`]+)`", read("docs", "connectors.md"), re.M))
    prefixes = {key.split(".")[0] for key in known if "." in key} - {"fields"}
    families = tuple(key for key in known if key.endswith(".")) # of which any name goes on to somebody else
    wrong = []
    for path in documents():
        for span in spans(path):
            key = re.fullmatch(r"(?:-D )?([a-z]\w*(?:-\w+)*(?:\.[\w-]+)+)(?:[:=].*)?", span)
            if key and key[1].split(".")[0] in prefixes and key[1] not in known and not key[1].startswith(families) and \
                    not re.search(r"\.(log|out|json|py|sh|c|h|md|service|yaml|so|html|mk|txt|conf|key|pub|token|crt)$", key[1]):
                wrong.append(f"{path}: {span}")
    assert not wrong, "\n".join(wrong)


# --- Completeness

def test_generated_documents_are_fresh():
    for option, name in (("--print-connectors", "connectors.md"), ("--print-functions", "functions.md")):
        done = run(os.path.join(BUILD, "bin", "weir-taskmanager"), option)
        assert done.returncode == 0, done.stderr
        assert done.stdout == read("docs", name), f"docs/{name} is stale: weir-taskmanager {option} > docs/{name}"


def public_names():
    """Functions and macros of the public headers that a user may write."""
    names = set()
    for header in ("weir.h", "connector.h", "error.h", "testing.h"):
        text = re.sub(r"/\*.*?\*/", "", read("include", "weir", header), flags=re.S)
        names |= {n for n in re.findall(r"^#define (weir_\w+|WEIR_\w+)\(", text, re.M) if not n.endswith("_")}
        names |= {n for n in re.findall(r"\b(weir_\w+)\(", text) if not n.endswith(("_at", "_"))}
    return names - {"weir_build_"} - {n for n in names if n.startswith("WEIR_EACH")}


def test_every_call_is_in_the_guide():
    guide = read("docs", "sdk.md") + read("docs", "connector-tutorial.md")
    names = public_names()
    assert len(names) > 45, names
    missing = sorted(n for n in names if not re.search(rf"\b{n}\b", guide))
    assert not missing, f"neither docs/sdk.md nor docs/connector-tutorial.md says anything of {missing}"


def sources(*folders):
    return [f for f in tracked() if f.endswith(".c") and f.split("/")[0] in folders]


def test_every_metric_is_in_operations():
    text = read("docs", "operations.md")
    named = set(re.findall(r"\bweir_\w+", text)) | set(re.findall(r"\bflink_\w+", text))
    for source in sources("jobmanager", "taskmanager", "common"):
        for name in re.findall(r'"((?:weir|flink)_\w+)",\s*"(?:gauge|counter)"', read(source)):
            assert name in named, f"{source} exports {name}, of which docs/operations.md says nothing"
    with Cluster(config={"metrics.flink-names": "true"}) as cluster:
        job = cluster.submit(os.path.join(EXAMPLES, "host-telemetry.so"), "--window", "1 s")
        cluster.wait_state(job, "RUNNING")

        def metrics():
            with urllib.request.urlopen(f"http://127.0.0.1:{cluster.port}/metrics") as reply:
                page = reply.read().decode()
            return "weir_operator_num_records_in_total" in page and page
        exported = set(re.findall(r"^# TYPE (\w+) ", wait_for("metrics of operators", metrics), re.M))
    assert len(exported) > 20, exported
    assert not exported - named, f"docs/operations.md says nothing of {sorted(exported - named)}"
    # Those of sources and sinks that have a broker: kafka_test.py sees them.
    table = read("common", "base", "op_metrics.c")
    others = set(re.findall(r'"(weir_operator_\w+)"', table)) | {"flink_taskmanager_job_task_operator_" + n for n in re.findall(r'(?<!#define )OPERATOR\s+"(\w+)"', table)}
    others |= set(re.findall(r'"((?:weir|flink)_\w+_(?:topic_)?partition_\w+)"', read("jobmanager", "rest", "rest_metrics.c")))
    assert len(others) > 35 and not others - named, f"docs/operations.md says nothing of {sorted(others - named)}"
    exported |= others
    families = {n for n in named if re.match(r"(weir|flink)_(jobmanager|taskmanager|job|task|operator)_", n)}
    assert not families - exported, f"docs/operations.md has metrics that nobody exports: {sorted(families - exported)}"


def test_every_failure_kind_is_in_operations():
    kinds = set()
    patterns = (r'\bkind = (?:\(char \*\))?"(\w+)"', r'char kind\[\] = "(\w+)"', r'\bwhy = "([A-Z]\w+)"', r'\? "([A-Z][a-z]\w+)"',
                r': "([A-Z][a-z]+[A-Z]\w+)"', r'\[WEIR_ERR_\w+\] = "([A-Z][a-z]\w+)"', r'make_failure\(\w+, "(\w+)"')
    for source in sources("jobmanager", "taskmanager"):
        if re.match(r"(jobmanager/(core|io)|taskmanager/(core|io|executor))/", source):
            for pattern in patterns:
                kinds |= set(re.findall(pattern, read(source)))
    assert {"TaskManagerLost", "ExecutorCrashed", "BadRecord", "LeaseExpired", "OutputCommitFailed"} <= kinds, kinds
    known = set(re.findall(r"^\| `(\w+)`", read("docs", "operations.md"), re.M))
    missing = sorted(k for k in kinds if k not in known and re.fullmatch(r"[A-Z][a-z]+([A-Z][a-z]+)+", k))
    assert not missing, f"docs/operations.md has no row for {missing}"


def test_messages_that_are_explained_are_said():
    """What the tables of messages quote stands in the code: the longest part of each between what varies."""
    said = " ".join(read(f) for f in tracked() if re.search(r"^(client|common|jobmanager|taskmanager)/.*\.(c|h)$", f))
    said = re.sub(r'"\s*(?:PRI\w+|)\s*"', "", re.sub(r'"\s*\n\s*"', "", said))
    for path, heading in (("docs/sdk.md", "## When the graph"), ("docs/operations.md", "## Messages")):
        table = read(path).split(heading)[1].split("\n## ")[0]
        for message in re.findall(r"^\| (.*?) \| ", table, re.M):
            for quoted in re.findall(r"`([^`]+)`", message):
                parts = [part.strip() for part in re.split(r"'[^']*'|\.\.\.|[\d.]+|HOST:PORT|VALUE|--\w+", quoted)]
                longest = max(parts, key=len).replace('"', '\\"')
                assert longest in said, f"{path} explains a message that nothing says: {quoted} ({longest})"


def test_examples_show_their_output():
    for directory in sorted(glob.glob(os.path.join(ROOT, "examples", "*", ""))):
        path = os.path.relpath(os.path.join(directory, "README.md"), ROOT)
        assert os.path.exists(os.path.join(ROOT, path)), f"{path} is missing"
        found = blocks(read(path))
        shown = any(a[0] == "sh" and "skip" not in a[1] and b[0] == "text" for a, b in zip(found, found[1:]))
        assert shown, f"{path}: no commands with their output"


def test_documents_are_listed():
    index = read("docs", "README.md")
    for path in documents():
        if path.startswith("docs/") and path != "docs/README.md":
            assert f"({os.path.basename(path)})" in index, f"docs/README.md does not list {path}"


if __name__ == "__main__":
    main(globals())
