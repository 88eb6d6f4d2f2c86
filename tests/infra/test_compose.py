"""compose.yaml: read by Docker Compose itself, then held against the image, the secrets and the code."""

from __future__ import annotations

import json
import re

import pytest

from tests.infra.environment import is_read, package, ray_constant
from tests.infra.test_image import DOCKERFILE
from tests.infra.test_scripts import NAMES
from tests.infra.tools import INFRA, tool

OURS = {"head", "worker", "mlflow"}


def configured(*files: str, **environment: str) -> dict:
    given = [word for file in files for word in ("-f", INFRA / file)]
    done = tool("docker-compose", *given, "config", "--format", "json", env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no variable without a value, nothing that it does not know
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole() -> dict:
    return configured("compose.yaml")


@pytest.fixture(scope="module")
def services(whole) -> dict:
    return whole["services"]


def test_parts(services):
    assert set(services) == {"head", "worker", "mlflow", "postgres", "storage"}
    assert services["worker"]["deploy"]["replicas"] == 2


def test_sizes_are_asked_of_the_environment():
    workers = configured("compose.yaml", GAN_WORKERS="5", GAN_WORKER_CPUS="3", GAN_WORKER_MEMORY="7g")["services"][
        "worker"
    ]
    assert workers["deploy"]["replicas"] == 5
    assert workers["cpus"] == 3
    assert int(workers["mem_limit"]) == 7 << 30
    assert "--num-cpus=3" in workers["command"]


def test_only_this_machine_reaches_what_is_published(services):
    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert {name: [int(port["published"]) for port in of] for name, of in ports.items()} == {
        "head": [8265], "mlflow": [5000], "storage": [7070],
    }  # fmt: skip
    assert {port["host_ip"] for of in ports.values() for port in of} == {"127.0.0.1"}
    assert not any(service.get("network_mode") or service.get("privileged") for service in services.values())


def test_what_is_published_asks_for_who_you_are(services):
    assert services["head"]["environment"]["RAY_AUTH_MODE"] == "token"
    assert services["worker"]["environment"]["RAY_AUTH_MODE"] == "token"
    assert services["mlflow"]["command"] == ["mlflow-server"]
    assert "--app-name basic-auth" in (INFRA / "image" / "mlflow-server").read_text()
    assert "ROOT_SECRET_KEY" in services["storage"]["command"][0]


def test_the_database_is_on_a_network_of_its_own(whole, services):
    assert set(services["postgres"]["networks"]) == {"database"}
    assert whole["networks"]["database"]["internal"] is True
    assert {name for name, service in services.items() if "database" in service["networks"]} == {"mlflow", "postgres"}


def test_every_service_has_a_health_check_and_limits(services):
    for name, service in services.items():
        assert service["healthcheck"]["test"], name
        assert int(service["mem_limit"]) > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name


def test_ports_are_those_of_ray_and_of_the_commands(services):
    head, worker, mlflow = (services[name] for name in ("head", "worker", "mlflow"))
    assert f"--dashboard-port={ray_constant('DEFAULT_DASHBOARD_PORT')}" in head["command"]
    assert "--address=head:6379" in worker["command"]
    assert "--port=6379" in head["command"]
    assert head["environment"]["RAY_ADDRESS"] == "head:6379"
    agent = ray_constant("DEFAULT_DASHBOARD_AGENT_LISTEN_PORT")
    assert f":{agent}/api/local_raylet_healthz" in worker["healthcheck"]["test"][-1]
    assert head["environment"]["MLFLOW_TRACKING_URI"] == f"http://mlflow:{mlflow['environment']['MLFLOW_PORT']}"
    assert mlflow["environment"]["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg2://mlflow@postgres:5432/mlflow"
    port = services["storage"]["environment"]["VGW_PORT"]
    assert head["environment"]["AWS_ENDPOINT_URL_S3"] == f"http://storage{port}"
    assert mlflow["environment"]["MLFLOW_S3_ENDPOINT_URL"] == f"http://storage{port}"


def test_ray_answers_its_health_checks_without_a_token(services):
    """Those that compose.yaml asks are among the paths that Ray's middleware lets through."""
    dashboard = package("ray") / "dashboard"
    for name, source in (("head", "http_server_head.py"), ("worker", "http_server_agent.py")):
        path = re.sub(r"^http://[^/]+", "", services[name]["healthcheck"]["test"][-1])
        assert f'"{path}"' in (dashboard / source).read_text()


def test_a_bucket_is_made_for_each_place_that_is_named(services):
    made = re.findall(r"/data/(\S+)", services["storage"]["command"][0])
    assert set(made) == {"mlflow", "gan"}
    assert services["mlflow"]["environment"]["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://mlflow"


def test_secrets_are_those_that_are_made_and_none_is_in_the_environment(whole, services):
    assert {name: secret["file"] for name, secret in whole["secrets"].items()} == {
        name: str(INFRA / "secrets" / name) for name in NAMES
    }
    used = {secret["source"] for service in services.values() for secret in service.get("secrets", [])}
    assert used == NAMES
    for service in services.values():
        values = {**service.get("environment", {}), "command": service["command"]} if "command" in service else {}
        for name, value in values.items():
            if re.search(r"PASSWORD|TOKEN|SECRET|KEY", name):
                assert str(value).startswith("/run/secrets/"), name


def test_every_path_of_a_secret_is_mounted(services):
    for name, service in services.items():
        mounted = {secret["target"] for secret in service.get("secrets", [])}
        text = json.dumps([service.get("environment"), service.get("command")])
        assert set(re.findall(r"/run/secrets/\w+", text)) <= mounted, name
    script = (INFRA / "image" / "mlflow-server").read_text()
    read = {f"/run/secrets/{name}" for name in re.findall(r"\$secrets/(\w+)", script)}
    assert read <= {secret["target"] for secret in services["mlflow"]["secrets"]}


def test_every_variable_is_read_by_somebody(services):
    for name, service in services.items():
        unread = [variable for variable in service.get("environment", {}) if not is_read(variable)]
        assert not unread, (name, unread)
    assert not is_read("RAY_NO_SUCH_THING")
    assert not is_read("GAN_NO_SUCH_THING")
    assert not is_read("MLFLOW_NO_SUCH_THING")


def test_our_services_run_the_image_that_is_built(services):
    variants = set(re.findall(r"AS packages-(\w+)", DOCKERFILE))
    for name in OURS:
        assert services[name]["image"] == "gan:cpu"
        build = services[name]["build"]
        assert build["dockerfile"] == "infra/Dockerfile"
        assert build["args"]["VARIANT"] in variants
    assert variants == {"cpu", "gpu"}
    for name in set(services) - OURS:
        assert re.search(r":v?\d[\w.-]*$", services[name]["image"]), "an image without a version"


def test_home_is_a_volume_that_all_nodes_share(services):
    for name in ("head", "worker"):
        (mount,) = services[name]["volumes"]
        assert (mount["source"], mount["target"]) == ("home", services[name]["environment"]["GAN_HOME"])


def test_gpus_are_the_workers():
    whole = configured("compose.yaml", "compose.gpu.yaml", GAN_IMAGE="gan:gpu", GAN_VARIANT="gpu", GAN_WORKERS="1")
    worker, head = whole["services"]["worker"], whole["services"]["head"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert worker["deploy"]["replicas"] == 1
    assert "resources" not in head.get("deploy", {})
    assert worker["build"]["args"]["VARIANT"] == "gpu"


def test_names_of_variables_in_the_file_are_those_that_the_page_tells():
    text = (INFRA / "compose.yaml").read_text()
    page = (INFRA / "README.md").read_text()
    for name in set(re.findall(r"\$\{(GAN_\w+)", text)):
        assert name in page, name
