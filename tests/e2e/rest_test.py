#!/usr/bin/env python3
"""REST against recorded replies of Apache Flink 1.20: for running, finished, failed and cancelled jobs every field that a client may
read is there, of the same JSON type; errors have the same status and form; uploads; /metrics.

The recordings are looked for in $WEIR_TEST_RECORDED, else beside the checkout (../shared/reference/rest-recorded).
"""
import glob
import http.client
import json
import os
import re
import tempfile

from weir_test import JOBS, ROOT, Cluster, Skip, main, wait_for

FAULTS = os.path.join(JOBS, "faults.so")
MISTAKES = os.path.join(JOBS, "mistakes.so")
RECORDED = os.environ.get("WEIR_TEST_RECORDED", os.path.join(ROOT, "..", "shared", "reference", "rest-recorded"))
ROWS = 20000

# Paths that come with later issues (metrics by REST, profiling): 404 with an error body until then. One that
# is served must leave this list.
NOT_YET = (r"/metrics(\?|$)", r"/backpressure", r"/flamegraph", r"/thread-dump", r"/stdout$",
           r"/profiler", r"/subtasks/0/attempts/", r"/jobs/\w+/jobmanager/", r"/clientHeartbeat",
           r"/jm-operator-metrics")
# Of a job without checkpoints the contract has 404; the recorded cluster tells of one that makes none by itself.
OFF = re.compile(r"/jobs/\w+/checkpoints(/config)?$")
# Served, where the recorded cluster's default scheduler refuses.
MORE = (r"/resource-requirements", r"/rescaling")
# Places whose content is not comparable: maps with names of their own, lists of a JVM, what our jobs do not have.
FREE = {"user-config", "options", "classpath", "status-duration", "resources", "extendedResources", "allocatedSlots", "garbageCollectors",
        "failureLabels", "concurrentExceptions", "serialized-user-task-accumulators", "optimizer_properties"}
# Java objects, serialized: clients get on without, and no other program can read them.
LEFT_OUT = {"failure-cause"}
KINDS = {dict: "object", list: "list", str: "text", bool: "boolean", int: "whole number", float: "number", type(None): "null"}


def exchanges(folder):
    if not os.path.isdir(RECORDED):
        if "WEIR_TEST_RECORDED" in os.environ:
            raise AssertionError(f"WEIR_TEST_RECORDED is {RECORDED}, which is not there")
        raise Skip("no recorded replies beside this checkout (WEIR_TEST_RECORDED)")
    found = [json.load(open(path)) for path in sorted(glob.glob(os.path.join(RECORDED, folder, "*.json")))]
    assert found, f"no recordings in {folder}"
    return found


def differences(recorded, ours, at=""):
    """What a client that reads `recorded` would miss in `ours`."""
    if recorded is None or (recorded == "NaN" and isinstance(ours, (int, float))): # where we have counted
        return []
    if isinstance(recorded, float) and isinstance(ours, (int, float)) and not isinstance(ours, bool):
        return []
    if type(recorded) is not type(ours):
        return [f"{at or '/'} is {KINDS[type(ours)]}, not {KINDS[type(recorded)]}"]
    result = []
    if isinstance(recorded, dict) and recorded and all(re.fullmatch("[0-9a-f]{32}", key) for key in recorded): # by vertex
        if not ours:
            result.append(f"{at} is empty")
        for key, value in ours.items():
            result += differences(next(iter(recorded.values())), value, f"{at}/{key}")
    elif isinstance(recorded, dict):
        for key, value in recorded.items():
            if key in LEFT_OUT:
                continue
            if key not in ours:
                result.append(f"{at}/{key} is missing")
            elif key not in FREE and not (at == "/latest" and ours[key] is None): # null: there was none
                result += differences(value, ours[key], f"{at}/{key}")
    elif isinstance(recorded, list) and recorded and isinstance(recorded[0], dict):
        common = {key: value for key, value in recorded[0].items() if all(key in other for other in recorded)}
        if not ours:
            result.append(f"{at} is empty")
        for i, element in enumerate(ours):
            result += differences(common, element, f"{at}[{i}]")
    return result


def is_error(status, reply):
    return status >= 400 and isinstance(reply, dict) and set(reply) == {"errors"} and all(reply["errors"])


class Paths:
    """Recorded paths with this cluster's ids."""

    def __init__(self, cluster, job=None):
        self.job, self.vertices, self.checkpoint = job, [], None
        self.taskmanager = cluster.rest("/taskmanagers")[1]["taskmanagers"][0]["id"]
        if job:
            self.vertices = [vertex["id"] for vertex in cluster.rest(f"/jobs/{job}")[1]["vertices"]]
            history = cluster.rest(f"/jobs/{job}/checkpoints")[1].get("history", [])
            self.checkpoint = next((c["id"] for c in history if c["status"] == "COMPLETED"), None)
        self.seen = []

    def ours(self, path):
        path = re.sub(r"localhost:\d+-\w+", self.taskmanager, path)
        path = re.sub("flink--standalonesession-0-vm.out", "jobmanager.log", path)
        if self.checkpoint:
            path = re.sub(r"/details/(?!999999)\d+", f"/details/{self.checkpoint}", path)
        if self.job:
            path = re.sub("/jobs/(?!0{32})[0-9a-f]{32}", f"/jobs/{self.job}", path)
        for vertex in re.findall("/(?:vertices|subtasks)/([0-9a-f]{32})", path):
            if vertex not in self.seen:
                self.seen.append(vertex)
            if vertex != "0" * 32:
                path = path.replace(vertex, self.vertices[self.seen.index(vertex) % len(self.vertices)])
        return path


def compare(cluster, folder, job=None):
    """Every recorded GET of the folder."""
    paths, wrong, compared = Paths(cluster, job), [], 0
    for exchange in exchanges(folder):
        request, reply = exchange["request"], exchange["response"]
        if request["method"] != "GET" or (job and "/jobs/" not in request["path"]):
            continue
        path = paths.ours(request["path"])
        status, ours = cluster.rest(path)
        if any(re.search(pattern, path) for pattern in NOT_YET):
            if not is_error(status, ours):
                wrong.append(f"{path}: listed as not yet there, but answered with {status}")
            continue
        compared += 1
        if paths.job and not paths.checkpoint and OFF.search(path):
            wrong += [] if status == 404 and is_error(status, ours) else [f"{path}: {status}, and the job has none"]
        elif any(re.search(pattern, path) for pattern in MORE) and reply["status"] >= 400:
            wrong += [] if status == 200 else [f"{path}: status {status}, not 200"]
        elif status != reply["status"]:
            wrong.append(f"{path}: status {status}, not {reply['status']}")
        elif "json" in reply["headers"].get("content-type", ""):
            wrong += [f"{path}: {difference}" for difference in differences(reply["body"], ours)]
        elif not isinstance(ours, str) or not ours.strip():
            wrong.append(f"{path}: not text")
    assert not wrong, f"{folder}, {len(wrong)} differences:\n" + "\n".join(wrong[:60])
    print(f"# {folder}: {compared} replies compared")
    return compared


# --- Recorded replies

def test_cluster_as_recorded():
    with Cluster(taskmanagers=1, slots=2) as cluster:
        job = cluster.submit(FAULTS, "--rows", str(ROWS))
        cluster.wait_state(job, "FINISHED")
        assert compare(cluster, "cluster") > 10


def test_a_running_job_as_recorded():
    with Cluster(taskmanagers=1, slots=2) as cluster:
        job = cluster.submit(FAULTS, "--rows", "100000000", "--rate", "1000",
                             options=("-p", "2", "-D", "execution.checkpointing.interval=1 s"))
        cluster.wait_state(job, "RUNNING")
        wait_for("a checkpoint", lambda: cluster.rest(f"/jobs/{job}/checkpoints")[1]["latest"]["completed"])
        wait_for("running tasks and their first metrics", lambda: all(
            vertex["tasks"]["RUNNING"] == 2 and cluster.rest(f"/jobs/{job}/vertices/{vertex['id']}/watermarks")[1]
            for vertex in cluster.rest(f"/jobs/{job}")[1]["vertices"][1:]))
        assert compare(cluster, "job_running", job) > 20
        reply = cluster.rest(f"/jobs/{job}")[1]
        assert reply["state"] == "RUNNING" and reply["end-time"] == -1 and reply["duration"] > 0
        assert cluster.rest(f"/jobs/{job}/status")[1] == {"status": "RUNNING"}
        assert cluster.rest(f"/jobs/{job}/execution-result")[1] == {"status": {"id": "IN_PROGRESS"}, "job-execution-result": None} or \
            cluster.rest(f"/jobs/{job}/execution-result")[1]["status"] == {"id": "IN_PROGRESS"}


def test_a_finished_job_as_recorded_with_real_counters():
    with Cluster(taskmanagers=2, slots=1) as cluster:
        job = cluster.submit(FAULTS, "--rows", str(ROWS), options=("-p", "2", "--name", "counted"))
        cluster.wait_state(job, "FINISHED")
        assert compare(cluster, "job_finished_bounded", job) > 20
        reply = cluster.rest(f"/jobs/{job}")[1]
        source, window = reply["vertices"]
        assert (source["metrics"]["write-records"], window["metrics"]["read-records"]) == (ROWS, ROWS), (source, window)
        assert all(source["metrics"][f"{name}-complete"] is True for name in ("read-bytes", "write-bytes", "read-records", "write-records"))
        assert window["metrics"]["read-bytes"] > 0 and source["metrics"]["write-bytes"] > 0
        assert reply["status-counts"]["FINISHED"] == 2 and source["tasks"]["FINISHED"] == 2 and source["parallelism"] == 2
        assert reply["name"] == "counted" and 0 < reply["start-time"] <= reply["end-time"] <= reply["now"]
        subtasks = cluster.rest(f"/jobs/{job}/vertices/{source['id']}")[1]["subtasks"]
        assert sum(subtask["metrics"]["write-records"] for subtask in subtasks) == ROWS
        assert len({subtask["taskmanager-id"] for subtask in subtasks}) == 2
        result = cluster.rest(f"/jobs/{job}/execution-result")[1]
        assert result["job-execution-result"]["application-status"] == "SUCCEEDED", result
        listed, = cluster.rest("/jobs/overview")[1]["jobs"]
        assert (listed["jid"], listed["state"], listed["tasks"]["total"], listed["tasks"]["finished"]) == (job, "FINISHED", 4, 4)
        assert cluster.rest("/overview")[1]["jobs-finished"] == 1
        assert cluster.rest(f"/jobs/{job}?mode=cancel", "PATCH")[0] == 409


def test_a_failed_job_as_recorded():
    with Cluster(taskmanagers=1, slots=2) as cluster:
        job = cluster.submit(FAULTS, "--fault", "fail", options=("-D", "restart-strategy.type=none"))
        cluster.wait_state(job, "FAILED")
        assert compare(cluster, "job_failed", job) > 20
        reply = cluster.rest(f"/jobs/{job}/exceptions")[1]
        entry, = reply["exceptionHistory"]["entries"]
        assert "not to my taste" in entry["stacktrace"] and "fault" in entry["taskName"], entry
        assert "not to my taste" in reply["root-exception"] and reply["truncated"] is False
        assert cluster.rest(f"/jobs/{job}/execution-result")[1]["job-execution-result"]["application-status"] == "FAILED"
        assert cluster.rest("/overview")[1]["jobs-failed"] == 1


def test_a_cancelled_job_as_recorded():
    with Cluster(taskmanagers=1, slots=1) as cluster:
        for cancel in (lambda job: cluster.rest(f"/jobs/{job}?mode=cancel", "PATCH", b"{}"),
                       lambda job: cluster.rest(f"/jobs/{job}/yarn-cancel")):
            job = cluster.submit(FAULTS, "--rows", "100000000", "--rate", "1000")
            cluster.wait_state(job, "RUNNING")
            assert cancel(job) == (202, {})
            cluster.wait_state(job, "CANCELED")
            compare(cluster, "job_cancel", job)
            assert cluster.rest(f"/jobs/{job}/execution-result")[1]["job-execution-result"]["application-status"] == "CANCELED"
        assert cluster.rest("/overview")[1]["jobs-cancelled"] == 2


def replay(cluster, folder, paths, ids, wrong):
    """The recorded exchanges in their order, with the ids and directories of this cluster; a request is waited for until it is COMPLETED."""
    for exchange in exchanges(folder):
        request, reply = exchange["request"], exchange["response"]
        path, body = paths.ours(request["path"]), request["body"] or None
        for recorded, ours in ids.items():
            path = path.replace(recorded, ours)
        if any(re.search(pattern, path) for pattern in NOT_YET):
            continue
        text = json.dumps(body).replace("file:///var/flink", "file://" + cluster.path("savepoints")).encode() if body is not None else None
        ask = lambda: cluster.rest(path, request["method"], text, {"Content-Type": "application/json"} if text else {})
        if isinstance(reply["body"], dict) and reply["body"].get("status") == {"id": "COMPLETED"}:
            wait_for(f"the end of {path}", lambda: ask()[1].get("status") == {"id": "COMPLETED"})
        status, got = ask()
        if "request-id" in (reply["body"] or {}) and status == 202:
            ids[reply["body"]["request-id"]] = got["request-id"]
        if any(re.search(pattern, path) for pattern in MORE) and reply["status"] >= 400:
            continue
        if status != reply["status"]:
            wrong.append(f"{request['method']} {path}: {status} {got}, not {reply['status']}")
        elif status < 400:
            wrong += [f"{request['method']} {path}: {difference}" for difference in differences(reply["body"], got)]
            failure = lambda answer: isinstance(answer, dict) and "failure-cause" in (answer.get("operation") or {})
            if failure(reply["body"]) != failure(got):
                wrong.append(f"{path}: {got}, and a failure was recorded" if failure(reply["body"]) else f"{path}: {got}")


SAVEPOINTS = {"execution.checkpointing.savepoint-dir": f"file://{tempfile.gettempdir()}/weir-rest-test-{os.getpid()}"}


def test_savepoints_and_stop_as_recorded():
    with Cluster(taskmanagers=1, slots=2, config=SAVEPOINTS) as cluster:
        job = cluster.submit(FAULTS, "--rows", "100000000", "--rate", "1000", options=("-D", "execution.checkpointing.interval=1 s"))
        wait_for("a checkpoint", lambda: cluster.rest(f"/jobs/{job}/checkpoints")[1]["latest"]["completed"])
        paths, ids, wrong = Paths(cluster, job), {}, []
        replay(cluster, "savepoints", paths, ids, wrong)
        assert cluster.rest(f"/jobs/{job}/checkpoints")[1]["latest"]["savepoint"]["is_savepoint"] is True
        replay(cluster, "job_stop", paths, ids, wrong)
        assert not wrong, "\n".join(wrong)
        assert len(ids) >= 5 and cluster.state(job) == "FINISHED"


def test_errors_as_recorded():
    with Cluster(taskmanagers=1, slots=1, config=SAVEPOINTS) as cluster:
        job = cluster.submit(FAULTS, "--rows", "1000")
        cluster.wait_state(job, "FINISHED")
        paths, compared = Paths(cluster, job), 0
        jar = upload(cluster, FAULTS)
        for exchange in exchanges("errors"):
            request, reply = exchange["request"], exchange["response"]
            path = re.sub("/jars/[0-9a-f-]{36}_jobs.jar", f"/jars/{jar}", paths.ours(request["path"]))
            if any(re.search(pattern, path) for pattern in NOT_YET):
                continue
            body = request["body"] if isinstance(request["body"], str) else json.dumps(request["body"])
            status, ours = cluster.rest(path, request["method"], body.encode() or None, {"Content-Type": "application/json"} if body else {})
            # What an unknown name does is 404 here, also where the original says "Internal server error".
            expected = 404 if reply["status"] == 500 else reply["status"]
            if request["method"] == "POST" and path.endswith("/run") and reply["status"] == 200:
                expected = 200
            assert status == expected, f"{request['method']} {path}: {status} {ours}, not {expected}"
            if expected >= 400 and request["method"] != "HEAD":
                assert is_error(status, ours), (path, ours)
            compared += 1
        assert compared > 20, compared


# --- What no recording shows

def upload(cluster, path, name=None, field="jarfile"):
    status, reply = send_upload(cluster, open(path, "rb").read(), name or os.path.basename(path), field)
    assert status == 200 and reply["status"] == "success", reply
    return reply["filename"].rsplit("/", 1)[1]


def send_upload(cluster, content, name, field="jarfile"):
    body = (f'--weir-test\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
            "Content-Type: application/x-java-archive\r\n\r\n").encode() + content + b"\r\n--weir-test--\r\n"
    return cluster.rest("/jars/upload", "POST", body, {"Content-Type": "multipart/form-data; boundary=weir-test"})


def post(cluster, path, body):
    return cluster.rest(path, "POST", json.dumps(body).encode(), {"Content-Type": "application/json"})


def test_upload_list_plan_run_delete():
    with Cluster(taskmanagers=1, slots=2) as cluster:
        jar = upload(cluster, FAULTS)
        other = upload(cluster, MISTAKES, field="x")
        assert re.fullmatch(r"[0-9a-f-]{36}_faults\.so", jar), jar
        listed = cluster.rest("/jars")[1]
        assert {file["id"] for file in listed["files"]} == {jar, other} and {file["name"] for file in listed["files"]} == \
            {"faults.so", "mistakes.so"}, listed
        if os.path.isdir(RECORDED):
            for exchange in exchanges("jars"):
                path, body = exchange["request"]["path"], exchange["response"]["body"]
                if path == "/jars":
                    assert differences(body, listed) == []
                elif "/plan" in path and exchange["response"]["status"] == 200:
                    for plan in (cluster.rest(f"/jars/{jar}/plan"), post(cluster, f"/jars/{jar}/plan", {"programArgsList": ["--rows", "5"]})):
                        assert plan[0] == 200 and differences(body, plan[1]) == [], (plan, differences(body, plan[1]))
        plan = post(cluster, f"/jars/{jar}/plan", {"parallelism": 2, "programArgsList": ["--rows", "5"]})[1]["plan"]
        assert [node["parallelism"] for node in plan["nodes"]] == [2, 2], plan
        assert cluster.rest("/jobs")[1] == {"jobs": []}, "a plan runs nothing"

        status, reply = post(cluster, f"/jars/{jar}/run", {"programArgsList": ["--rows", "1000"], "parallelism": 2, "jobName": "named",
                                                           "jobId": "0123456789abcdef0123456789ABCDEF", "unknown": [1]})
        assert (status, reply["jobid"]) == (200, "0123456789abcdef0123456789abcdef"), reply
        job = reply["jobid"]
        status, second = cluster.rest(f"/jars/{jar}/run?programArg=--rows,1000&parallelism=1", "POST")
        assert status == 200, second
        for ended in (job, second["jobid"]):
            cluster.wait_state(ended, "FINISHED")
        assert cluster.rest(f"/jobs/{job}")[1]["name"] == "named"
        status, reply = post(cluster, f"/jars/{jar}/run", {"jobId": job})
        assert is_error(status, reply) and status in (400, 409), (status, reply)
        status, reply = post(cluster, f"/jars/{jar}/run", {"savepointPath": "/x"})
        assert status == 400 and "no savepoint or checkpoint /x" in reply["errors"][0], reply

        long_job = post(cluster, f"/jars/{jar}/run", {"programArgsList": ["--rows", "100000000", "--rate", "1000"]})[1]["jobid"]
        assert cluster.rest(f"/jars/{jar}", "DELETE") == (200, {}) # the job keeps its own copy
        cluster.wait_state(long_job, "RUNNING")
        cluster.rest(f"/jobs/{long_job}?mode=cancel", "PATCH")
        cluster.wait_state(long_job, "CANCELED")
        assert cluster.rest(f"/jars/{jar}", "DELETE")[0] == 400
        assert post(cluster, f"/jars/{jar}/run", {})[0] == 404
        assert [file["id"] for file in cluster.rest("/jars")[1]["files"]] == [other]


def everything_below(directory):
    return sorted(os.path.relpath(os.path.join(at, name), directory) for at, _, names in os.walk(directory) for name in names)


def test_names_that_lead_elsewhere():
    with Cluster(config={"web.submit.enable": "true"}) as cluster:
        before = [name for name in everything_below(cluster.home) if "logs/" not in name]
        for name in ("../../evil.so", "/etc/evil.so", "a/../../b/evil.so", "evil.jar", ".so", "..so", ".hidden.so", "e vil.so", "evil.so\\x00",
                     "%2e%2e%2fevil.so", "x" * 300 + ".so", "", "évil.so", "evil.so;rm", "..\\\\evil.so"):
            status, reply = send_upload(cluster, b"x", name)
            if status == 200: # only the last part of a path counts
                assert reply["filename"].startswith(cluster.path("data", "jars")) and "/" in name, (name, reply)
                assert cluster.rest("/jars/" + reply["filename"].rsplit("/", 1)[1], "DELETE")[0] == 200
            else:
                assert status == 400 and is_error(status, reply), (name, status, reply)
        after = [name for name in everything_below(cluster.home) if "logs/" not in name]
        assert after == before, set(after) ^ set(before)
        escape = "..%2f..%2frun%2fjobmanager.json"
        for method, path in (("GET", f"/jobmanager/logs/{escape}"), ("DELETE", f"/jars/{escape}"), ("POST", f"/jars/{escape}/run"),
                             ("GET", "/weir/code/..%2f..%2fx"), ("GET", "/jobmanager/logs/..%2f"), ("GET", "/jobmanager/logs/%00"),
                             ("GET", "/taskmanagers/..%2f../logs"), ("GET", f"/taskmanagers/{tm(cluster)}/logs/{escape}")):
            status, reply = cluster.rest(path, method)
            assert status in (400, 404) and is_error(status, reply), (method, path, status, reply)
        assert os.path.exists(cluster.path("run", "jobmanager.json"))


def tm(cluster):
    return cluster.rest("/taskmanagers")[1]["taskmanagers"][0]["id"]


def test_v1_page_and_foreign_origins():
    with Cluster() as cluster:
        for path in ("/overview", "/jobs", "/config", "/jars"):
            assert cluster.rest("/v1" + path)[0] == 200 and cluster.rest("/v1" + path)[1].keys() == cluster.rest(path)[1].keys()
        assert cluster.rest("/config")[1]["flink-version"] == "1.20" and cluster.rest("/config")[1]["weir-version"]
        status, page = cluster.rest("/")
        assert status == 200 and "<html" in page and "weir" in page
        assert not re.search(r'(src|href)="(https?:)?//', page), "the page loads something from elsewhere"
        # A page of another site in someone's browser must not run code here.
        status, reply = cluster.rest("/jars/upload", "POST", b"x", {"Origin": "https://elsewhere.example", "Content-Type": "text/plain"})
        assert status == 403 and is_error(status, reply), (status, reply)
        # As Flink's command line asks: a GET with a body, and the connection is closed.
        connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=30)
        connection.request("GET", "/v1/jobs/overview", b"{}", {"Connection": "close", "Content-Type": "application/json"})
        reply = connection.getresponse()
        assert reply.status == 200 and reply.getheader("Content-Type") == "application/json; charset=UTF-8"
        assert json.load(reply) == {"jobs": []}
    with Cluster(config={"web.submit.enable": "false"}) as cluster:
        status, reply = send_upload(cluster, b"x", "x.so")
        assert status == 403 and "web.submit.enable" in reply["errors"][0]


SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)$')


def parse_metrics(text):
    """{name: {labels text: value}} and the types; strict."""
    assert text.endswith("\n")
    types, samples = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in types and kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            types[name] = kind
        elif line and not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, f"no sample: {line!r}"
            name, labels, value = match.groups()
            family = name if name in types else re.sub("_(bucket|sum|count)$", "", name)
            assert family in types, f"a sample without a type before it: {line!r}"
            assert labels not in samples.setdefault(name, {}), f"twice: {line!r}"
            samples[name][labels] = float(value.replace("Inf", "inf"))
    return types, samples


def test_prometheus_metrics():
    with Cluster(taskmanagers=1, slots=2, config={"metrics.flink-names": "true"}) as cluster:
        done = cluster.submit(FAULTS, "--rows", str(ROWS), options=("--name", 'a "quoted\\" name'))
        cluster.wait_state(done, "FINISHED")
        job = cluster.submit(FAULTS, "--rows", "100000000", "--rate", "10000")
        cluster.wait_state(job, "RUNNING")

        def rows():
            _, samples = parse_metrics(cluster.rest("/metrics")[1])
            return sum(value for name in samples for labels, value in samples[name].items()
                       if name.startswith("weir_") and "records_out" in name.lower() and labels and job in labels)
        first = wait_for("rows of the running job", rows)
        wait_for("more of them", lambda: rows() > first)
        types, samples = parse_metrics(cluster.rest("/metrics")[1])
        assert any(name.startswith("flink_jobmanager_") for name in types) and any(name.startswith("flink_taskmanager_job_task_") for name in types)
        assert samples["flink_jobmanager_numRunningJobs"] and samples["flink_jobmanager_taskSlotsTotal"]
        assert list(samples["flink_jobmanager_taskSlotsTotal"].values()) == [2], samples["flink_jobmanager_taskSlotsTotal"]
        assert list(samples["flink_jobmanager_numRegisteredTaskManagers"].values()) == [1]


if __name__ == "__main__":
    main(globals())
