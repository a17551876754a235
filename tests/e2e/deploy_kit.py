"""What the tests of deploy/ share: the manifests and the compose file as data, a pod's container as an engine's arguments, images.

Python packages (YAML, kubernetes-validate, podman-compose, hadolint) are in a virtual environment that scripts/deps.sh makes."""
import glob
import json
import os
import subprocess
import sys
import tempfile
import zlib

from weir_test import BUILD, ROOT, PATIENCE, Skip

PARTS = os.environ.get("WEIR_PARTS") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "weir-parts")
VENV = os.path.join(PARTS, "venv")
sys.path += glob.glob(os.path.join(VENV, "lib", "python3*", "site-packages"))

KUBERNETES = os.path.join(ROOT, "deploy", "kubernetes")
COMPOSE = os.path.join(ROOT, "deploy", "compose")
CONTAINERFILE = os.path.join(ROOT, "deploy", "docker", "Containerfile")
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
IMAGE = f"localhost/weir-test:{zlib.crc32(ROOT.encode()):08x}" # one for each checkout


def tool(name):
    path = os.path.join(VENV, "bin", name)
    assert os.path.exists(path), f"{path} is not there: run scripts/deps.sh"
    return path


def load_yaml(path):
    import yaml
    with open(path) as file:
        return [document for document in yaml.safe_load_all(file) if document]


def manifests():
    """(file name, document) of everything but the kustomization."""
    return [(name, document) for name in sorted(os.listdir(KUBERNETES)) if name.endswith(".yaml")
            and name != "kustomization.yaml" for document in load_yaml(os.path.join(KUBERNETES, name))]


def find(kind, name):
    found = [d for _, d in manifests() if d["kind"] == kind and d["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} documents {kind} {name}"
    return found[0]


def pod_of(kind, name):
    return find(kind, name)["spec"]["template"]["spec"]


def compose_file():
    return load_yaml(os.path.join(COMPOSE, "compose.yaml"))[0]


# --- Engine

def environment():
    """As scripts/containers/env.sh sets it."""
    text = subprocess.check_output(["bash", "-c", '. "$0" && env -0', os.path.join(ROOT, "scripts/containers/env.sh")],
                                   text=True)
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)


def call(*command, timeout_s=120, check=True, stdin=None):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", timeout=timeout_s * PATIENCE, env=environment(), stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr[-3000:]}{done.stdout[-1000:]}"
    return done


def podman(*arguments, **options):
    return call("podman", *arguments, **options)


def need_containers():
    """Skips where the kernel or the rights for containers are missing; returns the base image's name."""
    if os.geteuid() != 0:
        raise Skip("containers in the tests are started as root")
    base = call(os.path.join(ROOT, "scripts/containers/base.sh"), timeout_s=600).stdout.strip()
    network = f"weir-probe-{os.getpid()}"
    podman("network", "create", network)
    done = podman("run", "--rm", "--no-healthcheck", "--network", network, "--memory", "64m", base, "true", check=False)
    podman("network", "rm", "-f", network)
    if done.returncode != 0:
        raise Skip(f"no container can be started here: {done.stderr.strip().splitlines()[-1:]}")
    return base


def build_image(base, whole=False):
    """deploy/docker/Containerfile on `base`: with this tree's binaries in place of its first stage, or `whole`."""
    command = ["buildah", "bud", "--isolation", "chroot", "--network", "host", "--format", "docker", "--layers",
               "--build-arg", f"BASE={base}", "-f", CONTAINERFILE, "-t", IMAGE]
    with tempfile.TemporaryDirectory(prefix="weir-stage-") as directory:
        if not whole:
            call(os.path.join(ROOT, "deploy/docker/stage.sh"), BUILD, os.path.join(directory, "stage"))
            command += ["--build-context", f"build={directory}"]
        elif os.path.exists(AUTHORITIES): # this machine may reach PyPI through an authority of its own
            with open(os.path.join(directory, "pip.conf"), "w") as file:
                file.write("[global]\ncert = /etc/pip-authorities.crt\n")
            command += ["--volume", f"{directory}/pip.conf:/etc/pip.conf:ro", "--volume", f"{AUTHORITIES}:/etc/pip-authorities.crt:ro"]
        call(*command, ROOT, timeout_s=1800)
    return IMAGE


def size_of(image):
    return json.loads(podman("image", "inspect", image).stdout)[0]["Size"]


def quantity(text):
    """"512Mi" in bytes."""
    units = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
    return int(text[:-2]) * units[text[-2:]]


def cpus(text):
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def arguments_of(pod, directory, pod_ip):
    """A pod's one container as arguments of `podman run`: what the manifest asks for, by the engine's own means. Configuration is written
    below `directory`, where secrets/ holds what `weir security init` made."""
    container, = pod["containers"]
    security, context = container["securityContext"], pod["securityContext"]
    user = f"{context['runAsUser']}:{context['runAsGroup']}"
    limits = container["resources"]["limits"]
    out = ["--user", user, "--memory", str(quantity(limits["memory"])), "--cpus", str(cpus(limits["cpu"])),
           "--ip", pod_ip, "--no-healthcheck"]
    out += ["--read-only", "--read-only-tmpfs=false"] if security["readOnlyRootFilesystem"] else []
    out += [f"--cap-drop={name}" for name in security["capabilities"]["drop"]]
    out += [] if security["allowPrivilegeEscalation"] else ["--security-opt=no-new-privileges"]
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        assert "value" in variable or source == "status.podIP", variable
        out += ["--env", f"{variable['name']}={variable.get('value', pod_ip)}"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "emptyDir" in volume:
            out += ["--tmpfs", f"{mount['mountPath']}:rw,exec,mode=1777"]
            continue
        if "persistentVolumeClaim" in volume:
            source = os.path.join(directory, find("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])["metadata"]["name"])
            os.makedirs(source, exist_ok=True)
            os.chmod(source, 0o1777)
            out += ["--volume", f"{source}:{mount['mountPath']}"]
            continue
        source = tempfile.mkdtemp(dir=directory, prefix=mount["name"])
        os.chmod(source, 0o755)
        if "configMap" in volume:
            files = {name: (text, 0o644) for name, text in find("ConfigMap", volume["configMap"]["name"])["data"].items()}
        else:
            assert find("Secret", volume["secret"]["secretName"])
            mode = volume["secret"]["defaultMode"]
            files = {item["path"]: (open(os.path.join(directory, "secrets", item["key"])).read(), mode)
                     for item in volume["secret"]["items"]}
        for name, (text, mode) in files.items():
            path = os.path.join(source, name)
            with open(path, "w") as out_file:
                out_file.write(text)
            os.chmod(path, mode)
            os.chown(path, 0, context["fsGroup"])
        out += ["--volume", f"{source}:{mount['mountPath']}:ro"]
    return out, container["command"] + container.get("args", [])
