"""Where infra/ lies, and the tools that it is checked with; a test is skipped, and says so, where one is missing."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documents import ROOT

INFRA = ROOT / "infra"
OVERLAYS = ("kind", "gpu", "kind-job", "gpu-job")


def tool(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a tool of the test extra, which lies beside this interpreter."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        pytest.skip(f"no {name} here: its package has none for this kind of machine")
    return subprocess.run(
        [path, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300, **options
    )


def tracked() -> set[str]:
    """The files that git knows, from the root."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True)
    return set(listed.stdout.split("\0")) - {""}


@cache
def built(kustomization: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` sends for a folder below infra/kubernetes: its objects."""
    done = tool("kubectl", "kustomize", INFRA / "kubernetes" / kustomization)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod templates among some objects (metadata and spec), by what they are of."""
    found = {}
    for one in objects:
        name, spec = f"{one['kind']}/{one['metadata']['name']}", one.get("spec", {})
        if one["kind"] in ("Deployment", "StatefulSet"):
            found[name] = spec["template"]
        elif one["kind"] == "RayJob":
            found[f"{name}/submitter"] = spec["submitterPodTemplate"]
            found |= _of_cluster(name, spec["rayClusterSpec"])
        elif one["kind"] == "RayCluster":
            found |= _of_cluster(name, spec)
    return found


def _of_cluster(name: str, spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    groups = {f"{name}/{group['groupName']}": group["template"] for group in spec["workerGroupSpecs"]}
    return {f"{name}/head": spec["headGroupSpec"]["template"]} | groups
