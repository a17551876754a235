#!/usr/bin/env python3
"""deploy/kubernetes on a real one-node cluster (scripts/kubernetes): applied as README.md there says, the weather example through the
Service, a lost pod, a scale-up. For make check-kubernetes: the cluster's programs take long to build the first time."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from deploy_kit import KUBERNETES, build_image, call, need_containers, podman, quantity, pod_of  # noqa: E402
from weir_test import PATIENCE, ROOT, WEIR, main, run, wait_for  # noqa: E402

SCRIPTS = os.path.join(ROOT, "scripts", "kubernetes")
DIRECTORY = tempfile.mkdtemp(prefix="weir-kubernetes-")
VOLUME = os.path.join(DIRECTORY, "data")
FINISHED = 1092


def kubectl(*arguments, check=True, timeout_s=180, stdin=None):
    done = subprocess.run([os.path.join(SCRIPTS, "kubectl.sh"), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=timeout_s * PATIENCE, input=stdin or "")
    assert not check or done.returncode == 0, f"kubectl {' '.join(map(str, arguments))}: {done.stderr}{done.stdout}"
    return done.stdout


def weir(*arguments, **options):
    return kubectl("-n", "weir", *arguments, **options)


def rollout():
    for name in ("weir-jobmanager", "weir-taskmanager"):
        weir("rollout", "status", f"deployment/{name}", "--timeout=150s")


def apply(image):
    """The manifests as they are, but for the image's name."""
    overlay = os.path.join(DIRECTORY, "overlay")
    os.makedirs(overlay, exist_ok=True)
    name, tag = image.rsplit(":", 1)
    with open(os.path.join(overlay, "kustomization.yaml"), "w") as file:
        json.dump({"resources": [os.path.relpath(KUBERNETES, overlay)], "images": [{"name": "weir", "newName": name, "newTag": tag}]}, file)
    return weir("apply", "-k", overlay)


def run_weather(image):
    """weather-job.yaml; the rows of its windows."""
    weir("delete", "job", "weir-weather", "--ignore-not-found", "--wait")
    shutil.rmtree(os.path.join(VOLUME, "weather"), ignore_errors=True)
    text = open(os.path.join(KUBERNETES, "weather-job.yaml")).read().replace("image: weir\n", f"image: {image}\n")
    weir("apply", "-f", "-", stdin=text)
    wait_for("end of the submission", lambda: json.loads(weir("get", "job", "weir-weather", "-o", "json")).get("status", {}).get("succeeded"), 150)
    assert "FINISHED" in weir("logs", "job/weir-weather")
    return sum(sum(1 for _ in open(path)) for path in glob.glob(os.path.join(VOLUME, "weather", "windows", "part-*")))


def taskmanagers():
    return json.loads(weir("exec", "deployment/weir-jobmanager", "--", "weir", "taskmanagers", "-o", "json"))


def show():
    print("#", weir("get", "pods", "-o", "wide", check=False).replace("\n", "\n# "))
    print("#", weir("describe", "pods", check=False)[-4000:].replace("\n", "\n# "))
    for name in ("weir-jobmanager", "weir-taskmanager"):
        print("#", weir("logs", f"deployment/{name}", "--tail=20", check=False).replace("\n", "\n# "))


def session():
    image = build_image(need_containers())
    archive = os.path.join(DIRECTORY, "weir.tar")
    podman("save", "-q", "-o", archive, image)
    call(os.path.join(SCRIPTS, "import.sh"), archive)
    os.makedirs(VOLUME)
    os.chmod(DIRECTORY, 0o755)
    os.chmod(VOLUME, 0o1777)
    kubectl("apply", "-f", "-", stdin=json.dumps({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "weir-test"},
        "spec": {"capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": VOLUME}}}))
    # The strictest of the standards for pods must take them.
    kubectl("create", "namespace", "weir")
    kubectl("label", "namespace", "weir", "pod-security.kubernetes.io/enforce=restricted")
    secrets = os.path.join(DIRECTORY, "secrets")
    assert run(WEIR, "security", "init", "--dir", secrets).returncode == 0
    weir("create", "secret", "generic", "weir-secrets", f"--from-file={secrets}")
    apply(image)
    rollout()
    assert len(taskmanagers()) == 2
    limits = pod_of("Deployment", "weir-taskmanager")["containers"][0]["resources"]["limits"]
    assert {t["hardware"]["physicalMemory"] for t in taskmanagers()} == {quantity(limits["memory"])}
    assert run_weather(image) == FINISHED
    # Applied again, nothing changes, and the keys stay.
    again = apply(image)
    assert again.count("deployment.apps/") == 2 and not re.search(r"deployment\S+ configured", again), again
    assert len(json.loads(weir("get", "secret", "weir-secrets", "-o", "json"))["data"]) == 6
    # A lost pod comes back and works.
    lost = weir("get", "pods", "-l", "app.kubernetes.io/component=taskmanager", "-o", "name").split()[0]
    weir("delete", lost, "--grace-period=0", "--force")
    rollout()
    wait_for("two TaskManagers", lambda: len(taskmanagers()) == 2, 60)
    assert run_weather(image) == FINISHED
    # So does a JobManager: TaskManagers find the new one.
    weir("delete", "pod", "-l", "app.kubernetes.io/component=jobmanager")
    rollout()
    wait_for("two TaskManagers", lambda: len(taskmanagers()) == 2, 60)
    weir("scale", "deployment/weir-taskmanager", "--replicas=3")
    rollout()
    assert len(taskmanagers()) == 3
    assert run_weather(image) == FINISHED
    restarts = [s["restartCount"] for pod in json.loads(weir("get", "pods", "-o", "json"))["items"]
                for s in pod["status"]["containerStatuses"]]
    assert sum(restarts) == 0, f"probes or crashes restarted containers: {restarts}"
    kubectl("delete", "namespace", "weir", timeout_s=120)


def test_session_mode_on_a_real_cluster():
    call(os.path.join(SCRIPTS, "build.sh"), timeout_s=5400)
    call(os.path.join(SCRIPTS, "down.sh"))
    try:
        call(os.path.join(SCRIPTS, "up.sh"), timeout_s=400)
        try:
            session()
        except BaseException:
            show()
            raise
    finally:
        call(os.path.join(SCRIPTS, "down.sh"), timeout_s=200)
        shutil.rmtree(DIRECTORY, ignore_errors=True)


if __name__ == "__main__":
    main(globals())
