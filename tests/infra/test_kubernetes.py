"""The manifests, as `kubectl apply -k` sends them: held against the schemas, and against each other."""

from __future__ import annotations

import re
import shutil
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.infra.environment import is_read, ray_constant
from tests.infra.kuberay import SCHEMAS
from tests.infra.test_image import pinned
from tests.infra.test_scripts import NAMES
from tests.infra.tools import INFRA, OVERLAYS, built, pods, tool

KUBERNETES = "1.37.0"
README = INFRA / "README.md"


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    return template["spec"]["containers"] + template["spec"].get("initContainers", [])


def named(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def cluster(overlay: str) -> dict[str, Any]:
    """The spec of the Ray cluster that an overlay has, for good or for one run."""
    objects = built(f"overlays/{overlay}")
    (spec,) = [one["spec"] for one in objects if one["kind"] == "RayCluster"] or [
        one["spec"]["rayClusterSpec"] for one in objects if one["kind"] == "RayJob"
    ]
    return spec


@pytest.fixture(params=OVERLAYS)
def objects(request) -> list[dict[str, Any]]:
    return built(f"overlays/{request.param}")


def test_valid_by_the_schemas():
    import kubernetes_validate

    everything = [one for overlay in OVERLAYS for one in built(f"overlays/{overlay}")]
    templates = [template for overlay in OVERLAYS for template in pods(built(f"overlays/{overlay}")).values()]
    wrapped = [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": one} for one in templates
    ]
    # The overlays have most in common, and reading a schema takes a while.
    for one in {yaml.safe_dump(one): one for one in everything + wrapped}.values():
        if one["apiVersion"].startswith("ray.io/"):
            jsonschema.validate(one, SCHEMAS[one["kind"]])
        else:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_a_misspelled_field_of_kubernetes_is_found():
    import kubernetes_validate

    (one,) = [one for one in built("overlays/kind") if one["kind"] == "Deployment"]
    text = yaml.safe_dump(one).replace("readinessProbe:", "readynessProbe:")
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(yaml.safe_load(text), KUBERNETES, strict=True)


@pytest.mark.parametrize("change", ["workerGroupSpec", "minReplica"])
def test_a_misspelled_field_of_kuberay_is_found(change):
    (one,) = [one for one in built("overlays/kind") if one["kind"] == "RayCluster"]
    text = yaml.safe_dump(one).replace(f"{change}s:", f"{change}z:")
    with pytest.raises(jsonschema.ValidationError, match=f"{change}"):
        jsonschema.validate(yaml.safe_load(text), SCHEMAS["RayCluster"])


def test_everything_is_in_the_namespace(objects):
    assert {one["metadata"].get("namespace") for one in objects if one["kind"] != "Namespace"} == {"gan"}
    labels = named(objects, "Namespace")["gan"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nothing_is_open_to_the_world(objects):
    assert {one["kind"] for one in objects} <= {
        "Namespace", "ServiceAccount", "ConfigMap", "Service", "PersistentVolumeClaim", "StatefulSet", "Deployment",
        "NetworkPolicy", "RayCluster", "RayJob",
    }  # fmt: skip
    assert all(one["spec"].get("type", "ClusterIP") == "ClusterIP" for one in named(objects, "Service").values())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ray_asks_for_a_token(overlay):
    assert cluster(overlay)["authOptions"] == {"mode": "token", "secretName": "ray"}


def test_no_pod_needs_what_the_namespace_refuses(objects):
    """Kubernetes' "restricted" standard, field by field."""
    for name, template in pods(objects).items():
        pod = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        allowed = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
        assert all(set(volume) - {"name"} <= allowed for volume in pod.get("volumes", [])), name
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        for container in containers(template):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
    for one in objects:
        if one["kind"] == "RayCluster":
            assert one["spec"]["autoscalerOptions"]["securityContext"]["allowPrivilegeEscalation"] is False


def test_every_container_asks_for_what_it_needs_and_is_held_to_its_memory(objects):
    for name, template in pods(objects).items():
        for container in containers(template):
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), name
            assert "memory" in resources["limits"], name
            assert size(resources["limits"]["memory"]) >= size(resources["requests"]["memory"]), name


def size(quantity: str) -> int:
    (number, unit) = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


def test_claims_accounts_and_settings_that_pods_name_are_there(objects):
    claims, accounts, settings = (
        set(named(objects, kind)) for kind in ("PersistentVolumeClaim", "ServiceAccount", "ConfigMap")
    )
    for name, template in pods(objects).items():
        pod = template["spec"]
        used = {v["persistentVolumeClaim"]["claimName"] for v in pod.get("volumes", []) if "persistentVolumeClaim" in v}
        assert used <= claims, name
        assert pod.get("serviceAccountName") in {None, *accounts}, name
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        claimed = {"data"} if name == "StatefulSet/postgres" else set()
        for container in containers(template):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes | claimed, name
            assert {one["configMapRef"]["name"] for one in container.get("envFrom", [])} <= settings, name


def secrets_used(objects: list[dict[str, Any]]) -> dict[str, set[str]]:
    """The secrets and their keys that the objects want, none of which are among them."""
    used: dict[str, set[str]] = {"ray": {"auth_token"}}
    for template in pods(objects).values():
        for volume in template["spec"].get("volumes", []):
            sources = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
            for secret in [*sources, *([volume["secret"]] if "secret" in volume else [])]:
                name = secret.get("secretName") or secret["name"]
                used.setdefault(name, set()).update(item["key"] for item in secret["items"])
    return used


def test_every_secret_is_made_by_a_command_of_the_page(objects):
    made: dict[str, set[str]] = {}
    for name, rest in re.findall(r"create secret generic ([\w-]+)((?:[^\n]*\\\n)*[^\n]*)", README.read_text()):
        made[name] = set(re.findall(r"--from-file=(?:(\w+)=)?infra/secrets/(\w+)", rest))
    keys = {name: {key or file for key, file in pairs} for name, pairs in made.items()}
    assert secrets_used(objects) == keys

    assert {file for pairs in made.values() for _, file in pairs} <= NAMES
    assert "Secret" not in {one["kind"] for one in objects}


def reached(objects: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The rules that hold for a pod with these labels: what may come in, and where it may go."""
    rules: dict[str, list[dict[str, Any]]] = {"ingress": [], "egress": []}
    for policy in named(objects, "NetworkPolicy").values():
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        if wanted.items() <= labels.items():
            for way in rules:
                rules[way] += policy["spec"].get(way, [])
    return rules


def allows(rules: list[dict[str, Any]], side: str, other: dict[str, str] | str, port: int) -> bool:
    """Whether a rule lets the pod talk to another by its labels, or to an address that is no pod's."""
    for rule in rules:
        ports = [one["port"] for one in rule.get("ports", [])]
        peers = rule.get(side)
        if ports and port not in ports:
            continue
        if peers is None or any(means(peer, other) for peer in peers):
            return True
    return False


def means(peer: dict[str, Any], other: dict[str, str] | str) -> bool:
    if isinstance(other, str):
        block = peer.get("ipBlock", {"cidr": "0.0.0.0/32"})
        inside = [ip_address(other) in ip_network(cidr) for cidr in (block["cidr"], *block.get("except", []))]
        return inside[0] and not any(inside[1:])
    return "podSelector" in peer and peer["podSelector"].get("matchLabels", {}).items() <= other.items()


HEAD = {"app.kubernetes.io/name": "ray", "ray.io/node-type": "head"}
WORKER = {"app.kubernetes.io/name": "ray", "ray.io/node-type": "worker"}
MLFLOW, POSTGRES, SUBMITTER, STRANGER = (
    {"app.kubernetes.io/name": name} for name in ("mlflow", "postgres", "ray-submitter", "stranger")
)
OPERATOR = {"app.kubernetes.io/component": "kuberay-operator"}
WORLD = "1.2.3.4"
# Who lends a pod the rights of its service account: EKS Pod Identity, and GKE's metadata server. And who gives away the
# node's, unless it is GKE's data plane V2.
LENDERS = (("169.254.170.23", 80), ("169.254.169.252", 987), ("169.254.169.252", 988))
METADATA = "169.254.169.254"


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        (WORKER, HEAD, 6379, True),
        (HEAD, WORKER, 41234, True),
        (WORKER, WORKER, 41234, True),
        (HEAD, MLFLOW, 5000, True),
        (WORKER, MLFLOW, 5000, True),
        (MLFLOW, POSTGRES, 5432, True),
        (SUBMITTER, HEAD, 8265, True),
        (SUBMITTER, HEAD, 6379, False),
        (STRANGER, HEAD, 8265, False),
        (STRANGER, MLFLOW, 5000, False),
        (STRANGER, POSTGRES, 5432, False),
        (WORKER, POSTGRES, 5432, False),
        (MLFLOW, HEAD, 8265, False),
        (WORKER, WORLD, 443, True),
        (WORKER, WORLD, 80, False),
        (WORKER, "10.0.0.1", 443, False),
        (MLFLOW, WORLD, 443, False),
        (POSTGRES, WORLD, 443, False),
        *((pod, address, port, True) for pod in (HEAD, WORKER) for address, port in LENDERS),
        *((pod, address, port, False) for pod in (MLFLOW, SUBMITTER, STRANGER) for address, port in LENDERS),
        *((pod, METADATA, 80, False) for pod in (HEAD, WORKER, MLFLOW, STRANGER)),
    ],
)
def test_who_may_talk_to_whom(objects, source, target, port, allowed):
    out = allows(reached(objects, source)["egress"], "to", target, port)
    into = isinstance(target, str) or allows(reached(objects, target)["ingress"], "from", source, port)
    assert (out and into) == allowed


def test_on_googles_second_data_plane_ray_asks_for_its_rights_at_another_address(tmp_path):
    objects = with_component("google", tmp_path)
    for pod, reaches in ((HEAD, True), (WORKER, True), (MLFLOW, False), (STRANGER, False)):
        assert allows(reached(objects, pod)["egress"], "to", METADATA, 80) == reaches
        assert not allows(reached(objects, pod)["egress"], "to", WORLD, 80)


def test_all_of_ray_has_the_account_that_rights_hang_on_and_only_the_head_its_token(objects):
    for name, template in pods(objects).items():
        if template["metadata"]["labels"]["app.kubernetes.io/name"] == "ray":
            assert template["spec"]["serviceAccountName"] == "ray", name
            assert name.endswith("/head") == template["spec"].get("automountServiceAccountToken", True), name


def test_the_operator_reaches_the_head_from_its_namespace(objects):
    assert allows(reached(objects, HEAD)["ingress"], "from", OPERATOR, 8265)
    assert not allows(reached(objects, HEAD)["ingress"], "from", OPERATOR, 6379)
    assert "ray.io/node-type: head" in (INFRA / "kubernetes/base/network.yaml").read_text()


def test_all_else_is_refused(objects):
    policy = named(objects, "NetworkPolicy")["nothing"]["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_services_and_policies_name_the_ports_that_listen(objects):
    listening: dict[str, dict[str, int]] = {}
    for template in pods(objects).values():
        name = template["metadata"]["labels"]["app.kubernetes.io/name"]
        for container in containers(template):
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            listening.setdefault(name, {}).update(ports)
    assert listening["ray"]["dashboard"] == ray_constant("DEFAULT_DASHBOARD_PORT")
    assert listening["ray"]["gcs-server"] == ray_constant("DEFAULT_PORT")
    settings = next(one["data"] for one in objects if one["kind"] == "ConfigMap")
    assert int(settings["MLFLOW_PORT"]) == listening["mlflow"]["http"] == 5000
    for name, service in named(objects, "Service").items():
        of = listening[service["spec"]["selector"]["app.kubernetes.io/name"]]
        for port in service["spec"]["ports"]:
            assert of[port["targetPort"]] == port["port"], name
    open_ports = {port for ports in listening.values() for port in ports.values()}
    for name, policy in named(objects, "NetworkPolicy").items():
        for rule in policy["spec"].get("ingress", []):
            assert {port["port"] for port in rule.get("ports", [])} <= open_ports, name


def test_addresses_are_those_of_services(objects):
    settings = next(one["data"] for one in objects if one["kind"] == "ConfigMap")
    services = {name: one["spec"]["ports"][0]["port"] for name, one in named(objects, "Service").items()}
    host, port = re.search(r"@([\w-]+):(\d+)/", settings["MLFLOW_BACKEND_STORE_URI"]).groups()
    assert services[host] == int(port)
    for name, template in pods(objects).items():
        for container in containers(template):
            for variable in container.get("env", []):
                if variable["name"] == "MLFLOW_TRACKING_URI":
                    host, port = re.fullmatch(r"http://([\w-]+):(\d+)", variable["value"]).groups()
                    assert services[host] == int(port), name
                    assert f"{host}:{port}" in settings["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


def test_every_variable_is_read_by_somebody(objects):
    for name, template in pods(objects).items():
        variables = [variable["name"] for container in containers(template) for variable in container.get("env", [])]
        assert [variable for variable in variables if not is_read(variable)] == [], name
    assert all(is_read(name) for one in named(objects, "ConfigMap").values() for name in one["data"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_versions_are_those_that_are_pinned(overlay):
    assert cluster(overlay)["rayVersion"] == pinned()["ray"]
    images = {c["image"] for t in pods(built(f"overlays/{overlay}")).values() for c in containers(t)}
    names = {"gan:cpu"} if overlay.startswith("kind") else {f"registry.example.com/gan:{v}" for v in ("cpu", "gpu")}
    assert images == names | {"postgres:17-alpine"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_has_room_for_a_training_and_the_evaluation_beside_it(overlay):
    from pipelines.train import EVALUATION

    for group in cluster(overlay)["workerGroupSpecs"]:
        (worker,) = containers(group["template"])
        gpus = int(worker["resources"]["limits"].get("nvidia.com/gpu", 0))
        assert gpus == (1 if group["groupName"].startswith("gpu") else 0)
        # Ray counts as many CPUs as are asked for; a training takes one a worker (pipelines.train.fit).
        assert int(worker["resources"]["requests"]["cpu"]) >= 1 + EVALUATION["num_cpus"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert cluster(overlay)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_gpus_come_and_go_with_the_work():
    spec = cluster("gpu")
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu", "gpu-spot"}
    assert spec["enableInTreeAutoscaling"] is True
    assert groups["gpu"]["minReplicas"] == groups["gpu-spot"]["minReplicas"] == 0
    for name in ("gpu", "gpu-spot"):
        pod = groups[name]["template"]["spec"]
        assert pod["nodeSelector"] == {"gan/pool": name}
        assert f"gan/pool={name}" in README.read_text()  # in the command that makes the nodes
    spot, own = (groups[name]["template"]["spec"]["tolerations"] for name in ("gpu-spot", "gpu"))
    assert [one for one in spot if one not in own] == [{"key": "gan/pool", "value": "gpu-spot", "effect": "NoSchedule"}]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_has_time_to_leave(overlay):
    for group in cluster(overlay)["workerGroupSpecs"]:
        (worker,) = containers(group["template"])
        command, seconds = worker["lifecycle"]["preStop"]["exec"]["command"]
        assert (INFRA / "image" / command).is_file()
        assert int(seconds) < group["template"]["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("overlay", ["kind", "gpu"])
def test_one_run_has_the_cluster_that_the_overlay_has(overlay):
    assert cluster(f"{overlay}-job") == cluster(overlay)
    kinds = [one["kind"] for one in built(f"overlays/{overlay}-job")]
    assert "RayJob" in kinds
    assert "RayCluster" not in kinds


def test_one_node_may_mount_what_a_laptop_claims():
    assert named(built("overlays/kind"), "PersistentVolumeClaim")["home"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert named(built("overlays/gpu"), "PersistentVolumeClaim")["home"]["spec"]["accessModes"] == ["ReadWriteMany"]


def with_component(name: str, folder: Path) -> list[dict[str, Any]]:
    """What the overlay `gpu` is with a component that its page tells to add."""
    shutil.copytree(INFRA / "kubernetes", folder / "kubernetes")
    overlay = folder / "kubernetes" / "overlays" / "gpu" / "kustomization.yaml"
    overlay.write_text(overlay.read_text() + f"components:\n  - ../../components/{name}\n")
    done = tool("kubectl", "kustomize", overlay.parent)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_artifacts_in_a_bucket_need_no_volume(tmp_path):
    objects = with_component("bucket", tmp_path)
    assert set(named(objects, "PersistentVolumeClaim")) == {"home"}
    template = pods(objects)["Deployment/mlflow"]
    assert [volume["name"] for volume in template["spec"]["volumes"]] == ["secrets"]
    assert [mount["name"] for mount in containers(template)[0]["volumeMounts"]] == ["secrets"]
    (settings,) = named(objects, "ConfigMap").values()
    assert settings["data"]["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://BUCKET/mlflow"
    assert settings["data"]["MLFLOW_PORT"] == "5000"
    assert "annotations" in named(objects, "ServiceAccount")["mlflow"]["metadata"]
    egress = reached(objects, MLFLOW)["egress"]
    assert all(allows(egress, "to", address, port) for address, port in (*LENDERS, (METADATA, 80), (WORLD, 443)))
    assert not allows(egress, "to", WORLD, 80)
