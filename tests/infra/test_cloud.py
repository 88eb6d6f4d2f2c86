"""The clusters of `ray up`: held against Ray's schema, and their nodes against Amazon's and Google's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml

from tests.infra.environment import is_read, package
from tests.infra.test_scripts import NAMES
from tests.infra.tools import INFRA

CLOUDS = ("aws", "gcp")
GIVEN = {
    "GAN_AMI": "ami-0123456789abcdef0",
    "GAN_BUCKET": "gan-bucket",
    "GAN_FILE_SYSTEM": "fs-1",
    "GAN_HEAD_PROFILE": "arn:aws:iam::1:instance-profile/head",
    "GAN_IMAGE": "registry.example.com/gan:gpu",
    "GAN_NODE_IMAGE": "projects/p/global/images/family/f",
    "GAN_PROJECT": "project",
    "GAN_REGION": "us-west-2",
    "GAN_SECURITY_GROUP": "sg-1",
    "GAN_SUBNET": "subnet-1",
    "GAN_WORKER_PROFILE": "arn:aws:iam::1:instance-profile/worker",
    "GAN_ZONE": "us-west-2a",
}


def filled(cloud: str) -> dict[str, Any]:
    command = [INFRA / "cloud" / "fill.sh", INFRA / "cloud" / f"{cloud}.yaml"]
    done = subprocess.run(command, env=os.environ | GIVEN, capture_output=True, text=True, check=True, timeout=60)
    return yaml.safe_load(done.stdout)


def nodes(cloud: str) -> dict[str, dict[str, Any]]:
    return filled(cloud)["available_node_types"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_valid_by_rays_schema(cloud):
    schema = json.loads((package("ray") / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(filled(cloud), schema)
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        jsonschema.validate(filled(cloud) | {"max_worker": 1}, schema)


def test_valid_by_amazons_schema():
    import boto3
    from botocore.validate import ParamValidator

    client = boto3.client("ec2", region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    shape = client.meta.service_model.operation_model("RunInstances").input_shape
    for name, node in nodes("aws").items():
        # Ray puts one of the subnets into the request, and how many nodes it wants.
        wanted = {key: value for key, value in node["node_config"].items() if key != "SubnetIds"}
        report = ParamValidator().validate(wanted | {"MinCount": 1, "MaxCount": 1}, shape)
        assert not report.has_errors(), (name, report.generate_report())
    assert ParamValidator().validate({"ImageID": "x", "MinCount": 1, "MaxCount": 1}, shape).has_errors()


def test_valid_by_googles_schema():
    documents = package("googleapiclient") / "discovery_cache" / "documents"
    schemas = json.loads((documents / "compute.v1.json").read_text())["schemas"]

    def check(value: Any, schema: dict[str, Any], where: str) -> None:
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema
        if schema["type"] == "object":
            for key, inner in value.items():
                assert key in schema["properties"], f"{where}.{key}"
                check(inner, schema["properties"][key], f"{where}.{key}")
        elif schema["type"] == "array":
            for inner in value:
                check(inner, schema["items"], where)
        elif "enum" in schema:
            assert value in schema["enum"], where
        else:
            assert isinstance(value, {"string": str | int, "boolean": bool, "integer": int}[schema["type"]]), where

    for name, node in nodes("gcp").items():
        check(node["node_config"], {"$ref": "Instance"}, name)
    with pytest.raises(AssertionError, match=r"gpu.scheduling.preemptable"):
        check({"scheduling": {"preemptable": True}}, {"$ref": "Instance"}, "gpu")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_spot_nodes_are_tried_first(cloud):
    types = nodes(cloud)
    assert set(types) == {"head", "gpu", "spot"}
    assert types["spot"]["priority"] > types["gpu"].get("priority", 0)
    assert types["gpu"]["min_workers"] == types["spot"]["min_workers"] == 0
    assert types["gpu"]["resources"] == types["spot"]["resources"] == {"CPU": 8, "GPU": 1}
    assert types["head"]["resources"]["CPU"] == 0
    spot = types["spot"]["node_config"]
    marked = spot.get("InstanceMarketOptions", {}).get("MarketType") or spot["scheduling"]["provisioningModel"].lower()
    assert marked == "spot"
    own = types["gpu"]["node_config"]
    assert "InstanceMarketOptions" not in own
    assert "provisioningModel" not in own.get("scheduling", {})
    assert filled(cloud)["max_workers"] == types["gpu"]["max_workers"] + types["spot"]["max_workers"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nothing_listens_beyond_the_heads_loopback(cloud):
    whole = filled(cloud)
    text = json.dumps(whole)
    assert "--dashboard-host=127.0.0.1" in text
    assert "MLFLOW_HOST=127.0.0.1" in text
    assert "0.0.0.0" not in text
    assert "--env RAY_AUTH_MODE=token" in whole["docker"]["run_options"]
    # Ray opens the SSH port to the world where it makes a security group itself.
    for name, node in nodes("aws").items():
        assert node["node_config"]["SecurityGroupIds"] == ["sg-1"], name
    assert "security_group" not in filled("aws")["provider"]
    for name, node in nodes("gcp").items():
        assert node["node_config"]["networkInterfaces"][0]["subnetwork"].endswith("/subnetworks/gan"), name


@pytest.mark.parametrize("cloud", CLOUDS)
def test_secrets_are_files_and_in_no_command(cloud):
    whole = filled(cloud)
    assert whole["file_mounts"] == {"/home/gan/secrets": "infra/secrets"}
    text = json.dumps(whole)
    assert set(re.findall(r"secrets/(\w+)", text.replace("infra/secrets", ""))) <= NAMES
    named = [word for word in re.findall(r"\b([A-Z_]+)=(\S+)", text) if re.search("PASSWORD|TOKEN|SECRET|KEY", word[0])]
    assert {name for name, _ in named} == {"RAY_AUTH_TOKEN_PATH", "GAN_SECRETS"}
    assert all("/home/gan/secrets" in value or value.startswith("~/secrets") for _, value in named)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_variables_and_commands_are_known(cloud):
    whole = filled(cloud)
    (heeds,) = (line for line in whole["worker_start_ray_commands"] if "spot" in line)
    assert f"heed-spot-notice {'aws' if cloud == 'aws' else 'google'} " in heeds
    assert (INFRA / "image" / "heed-spot-notice").is_file()
    text = " ".join([*whole["docker"]["run_options"], *whole["head_start_ray_commands"]])
    for name in re.findall(r"\b([A-Z][A-Z0-9_]+)=", text):
        assert is_read(name), name
    assert (INFRA / "image" / "mlflow-server").is_file()
    assert "mlflow-server" in text
    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:5000" in text
    assert "MLFLOW_PORT=5000" in text


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_mlflow_server_is_begun_once(cloud, tmp_path):
    """Ray gives the line to a shell, which is a process whose arguments hold all that the line does."""
    (line,) = (line for line in filled(cloud)["head_start_ray_commands"] if "mlflow" in line)
    (tmp_path / "mlflow-server").write_text("#!/bin/bash\necho begun\nexec -a 'python mlflow server' sleep 60\n")
    (tmp_path / "mlflow-server").chmod(0o755)
    log = tmp_path / "mlflow" / "mlflow.log"
    twice = f"{shlex.join(['bash', '-c', line])}; until test -s {log}; do sleep 0.1; done; sleep 0.2"
    twice += f"; rm {log}; {shlex.join(['bash', '-c', line])}; sleep 0.5; test ! -e {log}"
    # Alone in a namespace of processes, as in a container: this machine may have a server of its own.
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace of processes can be made here: it takes root")
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([*alone, "bash", "-c", twice], env=environment, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_page_says_what_has_to_be_filled_in(cloud):
    page = (INFRA / "README.md").read_text()
    names = set(re.findall(r"\$\{(GAN_\w+)\}", (INFRA / "cloud" / f"{cloud}.yaml").read_text()))
    assert names <= set(GIVEN)
    assert {name for name in names if f"export {name}=" not in page} == set()
