"""infra/README.md: its `gan` commands are commands, and the files that it names are there."""

from __future__ import annotations

import re

import pytest
from typer import _click as click  # the one that its commands are made of

from tests.documents import ROOT, fault, lines, named, parse, words_of
from tests.infra.tools import INFRA, OVERLAYS, tracked

PAGE = (INFRA / "README.md").read_text()
SHELL = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
GAN = sorted(
    {*lines(PAGE), *named(PAGE)}
    | {
        f"gan {word}"
        for path in (INFRA / "kubernetes").rglob("*.yaml")
        for word in re.findall(r"entrypoint: gan (.*)", path.read_text())
    }
)


@pytest.mark.parametrize("command", GAN)
def test_every_gan_command_is_one(command):
    # A sentence may name a command without what it needs, and then by its name alone.
    bare = command in named(PAGE) and len(words_of(command)) == 1
    assert fault(command, whole=not bare) is None


def test_a_wrong_command_is_found():
    with pytest.raises(click.exceptions.UsageError, match="no command"):
        parse(["trian", "digits"])
    with pytest.raises(click.exceptions.UsageError, match="--sorce"):
        parse(["train", "digits", "--sorce", "x"])


def test_the_page_has_a_job_for_each_way():
    submitted = [line for line in GAN if line.startswith("gan submit")]
    assert len(submitted) >= 4
    assert all("--address http://127.0.0.1:8265 -- " in line for line in submitted)


def test_recipes_of_jobs_are_shipped():
    from pipelines.shipped import shipped_recipes

    recipes = shipped_recipes()
    for line in GAN:
        asked = re.search(r"(?:^gan|--) (?:run|train) (\S+)", line)
        assert asked is None or asked[1] in recipes, line


def test_files_that_it_names_are_there():
    files = tracked()
    folders = {name.rsplit("/", depth)[0] for name in files for depth in range(1, 6)}
    for name in set(re.findall(r"\binfra/[\w./-]*\w", PAGE)):
        if not name.startswith("infra/secrets"):
            assert name in files | folders, name
    for name in set(re.findall(r"infra/secrets/(\w+)", PAGE)):
        assert f"keep {name}" in (INFRA / "secrets.sh").read_text(), name


def test_overlays_that_it_applies_are_those_that_are_checked():
    applied = set(re.findall(r"-k infra/kubernetes/overlays/([\w-]+)", PAGE))
    assert applied <= set(OVERLAYS)
    assert {folder.name for folder in (INFRA / "kubernetes" / "overlays").iterdir()} == set(OVERLAYS)


def test_the_operator_has_one_version():
    assert set(re.findall(r"ref=v([\d.]+)", PAGE)) == {"1.7.1"}
    assert "KubeRay's operator, 1.7.1" in PAGE


def test_the_builds_are_those_of_the_makefile():
    make = (ROOT / "Makefile").read_text()
    assert "docker build -f infra/Dockerfile --build-arg VARIANT=$(VARIANT) -t gan:$(VARIANT) ." in make
    for variant in ("cpu", "gpu"):
        assert f"docker build -f infra/Dockerfile --build-arg VARIANT={variant} -t gan:{variant} ." in SHELL


def test_every_secret_is_told():
    from tests.infra.test_scripts import NAMES

    assert all(f"`{name}`" in PAGE for name in NAMES)
