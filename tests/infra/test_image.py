"""The image's description: it is linted, what it copies is there, and every package in it is pinned."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.documents import ROOT
from tests.infra.tools import INFRA, tool, tracked

DOCKERFILE = (INFRA / "Dockerfile").read_text()
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M)).splitlines()
    if line
]
COPIED = [
    word
    for instruction, words in INSTRUCTIONS
    if instruction == "COPY" and "--from=" not in words
    for word in [word for word in words.split() if not word.startswith("--")][:-1]
]


def test_linted():
    done = tool("hadolint", INFRA / "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_copied_is_there_and_known_to_git():
    files = tracked()
    assert {"pyproject.toml", "ganlib", "pipelines", "tuning", "infra/image/"} <= set(COPIED)
    for source in COPIED:
        folder = source.rstrip("/")
        assert folder in files or any(name.startswith(f"{folder}/") for name in files), source


def test_the_builder_is_sent_what_is_copied_and_no_more():
    lines = [line for line in (INFRA / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == {name.rstrip("/") for name in COPIED}


def test_commands_of_the_image_can_be_run():
    for path in (INFRA / "image").iterdir():
        assert path.stat().st_mode & 0o111, path
        assert path.read_text().startswith("#!/bin/sh\n"), path


def test_every_package_is_under_the_constraints():
    assert "UV_CONSTRAINT=/src/constraints.txt" in DOCKERFILE
    assert "UV_BUILD_CONSTRAINT=/src/constraints.txt" in DOCKERFILE
    stages = DOCKERFILE.split("\nFROM ")
    for stage in stages:
        for install in re.findall(r"pip install(?:[^&]|&(?!&))*", stage.replace("\\\n", " ")):
            constrained = "-c constraints.txt" in install or stage.startswith("builder ") or "--no-deps" in install
            assert constrained, install


def pinned() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[^ ;]+", line) for line in lines)
    return dict(line.split("==") for line in lines)


def test_all_that_the_server_extra_brings_is_pinned():
    pins, waiting, seen = pinned(), ["gan"], set()
    extras = {"gan": {"server"}}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for line in metadata.requires(name) or []:
            wanted = Requirement(line)
            given = [{"extra": extra} for extra in extras.get(name, set())] or [{"extra": ""}]
            if wanted.marker is None or any(wanted.marker.evaluate(one) for one in [*given, {"extra": ""}]):
                other = re.sub(r"[-_.]+", "-", wanted.name).lower()
                if not extras.setdefault(other, set()) >= wanted.extras:
                    extras[other] |= wanted.extras
                    seen.discard(other)
                waiting.append(other)
    seen.discard("gan")
    assert {"psycopg2-binary", "boto3", "flask-wtf", "google-cloud-storage", "torch", "ray"} <= seen
    # Each is installed as pinned, so that the pins are known to go together.
    assert {name: pins.get(name) for name in seen} == {name: metadata.version(name) for name in seen}


def test_uv_knows_the_backend_that_the_cpu_variant_names():
    (named,) = set(re.findall(r"--torch-backend (\S+)", DOCKERFILE))
    answers = [
        tool("uv", "pip", "compile", "--offline", "--torch-backend", backend, "-", input="")
        for backend in (named, "no-such-backend")
    ]
    assert [answer.returncode for answer in answers] == [0, 2], answers[0].stderr


def test_the_last_stage_runs_as_an_ordinary_user():
    users = [words for instruction, words in INSTRUCTIONS if instruction == "USER"]
    assert users == ["1000:1000"]
    assert INSTRUCTIONS.index(["USER", "1000:1000"]) > max(
        at for at, (instruction, _) in enumerate(INSTRUCTIONS) if instruction in ("RUN", "COPY")
    )


@pytest.mark.parametrize("variable", ["RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0"])
def test_the_image_asks_for_a_token_unless_told_otherwise(variable):
    assert variable in DOCKERFILE


@pytest.mark.parametrize("path", sorted(name for name in tracked() if name.startswith("infra/")))
def test_no_package_index_and_no_secret_is_named(path):
    text = (ROOT / path).read_text()
    indexes = re.findall(r"--(?:extra-)?index(?:-url)?\b|pypi\.|/simple/|registry\.npmjs|download\.pytorch", text)
    assert not indexes
    # What secrets.sh makes is hexadecimal and at least 20 long; a digest of an image is no secret.
    assert not [found for found in re.findall(r"(?<!sha256:)\b[0-9a-f]{20,}\b", text) if not found.isdigit()]


def test_secrets_stay_out_of_git_and_of_the_image():
    ignored = subprocess.run(["git", "-C", ROOT, "check-ignore", "--quiet", "infra/secrets/ray_token"], check=False)
    assert ignored.returncode == 0
    patterns = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    sent = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    assert not any(fnmatch.fnmatch("infra/secrets", pattern) for pattern in sent)
