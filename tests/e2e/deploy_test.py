#!/usr/bin/env python3
"""deploy/: manifests valid and consistent with the programs, the configuration and the image; no engine, no cluster."""
import json
import os
import re
import tempfile

from deploy_kit import COMPOSE, CONTAINERFILE, KUBERNETES, compose_file, find, load_yaml, manifests, pod_of, tool
from weir_test import BUILD, ROOT, WEIR, main, run

WORKLOADS = (("Deployment", "weir-jobmanager"), ("Deployment", "weir-taskmanager"), ("Job", "weir-weather"))
IMAGE_USER = 10001


def configuration(path, env=None):
    """key -> (value, origin) of a file, as the programs read it; fails with their message."""
    done = run(WEIR, "config", "--local", "--config", path, "-o", "json", env=env)
    assert done.returncode == 0, done.stderr
    return {row["key"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}


def of_the_config_map(env=None):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(find("ConfigMap", "weir-config")["data"]["weir.yaml"])
        file.flush()
        return configuration(file.name, env)


def containers():
    return [(pod, pod["containers"][0]) for pod in (pod_of(*which) for which in WORKLOADS)]


def test_manifests_are_valid_for_every_version():
    import kubernetes_validate
    checked = 0
    for version in ("1.27", "1.30", "1.34"):
        for name, document in manifests():
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except Exception as error:
                raise AssertionError(f"{name}: {document['kind']} with Kubernetes {version}: {error}") from None
            checked += 1
    assert checked >= 3 * 10, checked


def test_kustomization_has_every_manifest():
    kustomization, = load_yaml(os.path.join(KUBERNETES, "kustomization.yaml"))
    files = {name for name, _ in manifests()} - {"weather-job.yaml"}
    assert set(kustomization["resources"]) == files
    assert len({d["metadata"]["name"] + d["kind"] for _, d in manifests()}) == len(manifests()), "a name twice"
    images = {container["image"] for _, container in containers()}
    assert images == {image["name"] for image in kustomization["images"]}, images


def test_configuration_is_what_the_programs_know():
    config = of_the_config_map()
    given = {key for key, (_, origin) in config.items() if ":" in origin}
    lines = [line for line in find("ConfigMap", "weir-config")["data"]["weir.yaml"].splitlines() if not line.startswith("#")]
    assert len(given) == len(lines) > 5, given
    for pod, container in containers():
        for variable in container.get("env", []):
            config = of_the_config_map({variable["name"]: "1.2.3.4"})
            assert ("1.2.3.4", "environment") in config.values(), f"{variable['name']} sets no key"
    given = {k for k, (_, origin) in configuration(os.path.join(COMPOSE, "weir.yaml")).items() if ":" in origin}
    assert "jobmanager.rpc.address" in given


def size_of(text):
    number, unit = re.fullmatch(r"(\d+) ?([kmg]i?b?)", text.lower()).groups()
    return int(number) << {"k": 10, "m": 20, "g": 30}[unit[0]]


def test_state_fits_into_pods_and_containers():
    """State goes to disk before a job is stopped for its memory, and what goes to disk fits there."""
    config = {key: value for key, (value, _) in of_the_config_map().items()}
    slots, state = int(config["taskmanager.numberOfTaskSlots"]), size_of(config["state.memory.size"])
    pod = find("Deployment", "weir-taskmanager")["spec"]["template"]["spec"]
    memory = size_of(pod["containers"][0]["resources"]["limits"]["memory"])
    assert slots * state <= 0.85 * memory * 0.6, f"{slots} slots of {state} bytes of state in {memory}"
    home = next(v for v in pod["volumes"] if v["name"] == "home")["emptyDir"]["sizeLimit"]
    assert 2 * size_of(config["taskmanager.state.local.max-size"]) <= size_of(home), home
    for name in ("weir-jobmanager", "weir-taskmanager"):
        container = find("Deployment", name)["spec"]["template"]["spec"]["containers"][0]
        assert {"secretRef": {"name": "weir-s3", "optional": True}} in container["envFrom"], name
    config = {key: value for key, (value, _) in configuration(os.path.join(COMPOSE, "weir.yaml")).items()}
    text = open(os.path.join(COMPOSE, "compose.yaml")).read()
    memory = size_of(re.search(r"mem_limit: (\w+)", text[text.index("x-taskmanager"):]).group(1))
    assert int(config["taskmanager.numberOfTaskSlots"]) * size_of(config["state.memory.size"]) <= 0.85 * memory * 0.6, memory


def check_command(command, config_path):
    """Program and options are real: said by the program itself."""
    program, arguments = command[0], [config_path if a == "/etc/weir/weir.yaml" else a for a in command[1:]]
    binary = os.path.join(BUILD, "bin", program)
    if program == "weir":
        with tempfile.TemporaryDirectory() as home:
            done = run(binary, *arguments, env={"WEIR_HOME": home, "WEIR_REST": "127.0.0.1:1"})
        assert done.returncode != 2, f"{command}: {done.stderr}"
    else:
        done = run(binary, *arguments, "--version")
        assert done.returncode == 0 and program in done.stdout, f"{command}: {done.stderr}"


def local(command):
    """A submission with paths of this machine, to a cluster that is not there."""
    paths = {"/usr/share/weir/examples/gpu-temperature.so": os.path.join(BUILD, "examples", "gpu-temperature.so"),
             "/usr/share/weir/examples/readings.jsonl.gz": os.path.join(ROOT, "examples/gpu-temperature/readings.jsonl.gz")}
    return [paths.get(a, re.sub(r"^(--jobmanager=).*", r"\g<1>127.0.0.1:1", a)) for a in command]


def test_command_lines_and_probes_are_real():
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(find("ConfigMap", "weir-config")["data"]["weir.yaml"])
        config.flush()
        for pod, container in containers():
            check_command(local(container["command"] + container.get("args", [])), config.name)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert (probe in container) == (container["name"] != "submit"), f"{container['name']}: {probe}"
                if probe in container:
                    check_command(container[probe]["exec"]["command"], config.name)
                    assert container[probe]["timeoutSeconds"] >= 5, "the command itself waits 3 s"
    for name, service in compose_file()["services"].items():
        check_command(local(service["command"]), os.path.join(COMPOSE, "weir.yaml"))


def test_ports_agree():
    config = {key: value for key, (value, _) in of_the_config_map().items()}
    service = find("Service", "weir-jobmanager")
    named = {p["name"]: p["containerPort"] for p in pod_of("Deployment", "weir-jobmanager")["containers"][0]["ports"]}
    assert named == {"rest": int(config["rest.port"]), "rpc": int(config["jobmanager.rpc.port"])}
    assert {p["targetPort"]: p["port"] for p in service["spec"]["ports"]} == named
    assert config["jobmanager.rpc.address"] == service["metadata"]["name"]
    policies = [port for name in ("weir-jobmanager", "weir-taskmanager")
                for rule in find("NetworkPolicy", name)["spec"]["ingress"] for port in rule["ports"]]
    first, last = map(int, config["taskmanager.data.port"].split("-"))
    assert policies == [{"port": named["rpc"]}, {"port": named["rest"]}, {"port": first, "endPort": last}]
    weather = find("Job", "weir-weather")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"--jobmanager={service['metadata']['name']}:{named['rest']}" in weather


def test_selectors_match_their_pods():
    pods = {name: find(kind, name)["spec"]["template"]["metadata"]["labels"] for kind, name in WORKLOADS}

    def matched(selector):
        return {name for name, labels in pods.items() if selector.items() <= labels.items()}

    for kind, name in WORKLOADS[:2]:
        assert matched(find(kind, name)["spec"]["selector"]["matchLabels"]) == {name}
        assert matched(find("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"]) == {name}
    assert matched(find("Service", "weir-jobmanager")["spec"]["selector"]) == {"weir-jobmanager"}
    assert matched(find("PodDisruptionBudget", "weir-taskmanager")["spec"]["selector"]["matchLabels"]) == {"weir-taskmanager"}


def test_pods_have_no_rights_they_do_not_need():
    for pod, container in containers():
        context, security = pod["securityContext"], container["securityContext"]
        assert context["runAsNonRoot"] and context["runAsUser"] == IMAGE_USER
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["readOnlyRootFilesystem"] and security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        assert find("ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"] is False
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys() & container["resources"]["requests"].keys()
        writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
        assert "/var/lib/weir" in writable, "a read-only root needs a WEIR_HOME that can be written"
        for mount in container["volumeMounts"]:
            assert mount["name"] in {v["name"] for v in pod["volumes"]}, mount


def test_containerfile():
    done = run(tool("hadolint"), "--failure-threshold", "style", CONTAINERFILE)
    assert done.returncode == 0, done.stdout
    text = open(CONTAINERFILE).read()
    assert f"USER {IMAGE_USER}:{IMAGE_USER}\n" in text and '\nHEALTHCHECK ' in text and 'CMD ["weir", "health"]' in text
    base = re.search(r"^ARG BASE=(\S+)$", text, re.M)
    assert base and base.group(1).endswith("debian:12-slim")


def test_compose_file():
    compose = compose_file()
    assert {"jobmanager", "taskmanager-1", "taskmanager-2"} <= compose["services"].keys()
    for name, service in compose["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert os.path.exists(os.path.join(COMPOSE, source)), source
            else:
                assert source in compose["volumes"], source
        if "build" in service:
            context = os.path.join(COMPOSE, service["build"]["context"])
            assert os.path.exists(os.path.join(context, service["build"]["dockerfile"]))
    for port in compose["services"]["jobmanager"]["ports"]:
        assert port.startswith("127.0.0.1:"), "without credentials only this host may reach it"


if __name__ == "__main__":
    main(globals())
