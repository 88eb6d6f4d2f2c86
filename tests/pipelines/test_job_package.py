"""What goes along with a job."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from ganlib.errors import UserError
from pipelines import job_package
from pipelines.job_package import pack


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git tree with tracked, new, ignored, deleted and secret files, and links within and out."""
    root = tmp_path / "tree"
    files = {
        "pipelines/a.py": "a", "ganlib/gone.py": "", "tests/x/big.bin": "0" * 1000, ".gitignore": "*.log\n/work/\n",
        "new.py": "n", "run.log": "l", "work/data": "d", ".env": "PASSWORD=1", "ganlib/server.key": "k",
        "lab/cluster/token": "t",
    }  # fmt: skip
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "outside").write_text("o")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "in").symlink_to("new.py")
    for words in (["init", "-q"], ["add", "pipelines", "ganlib", ".gitignore"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    (root / "ganlib/gone.py").unlink()
    monkeypatch.setattr(job_package, "_installed", lambda: root)
    return root


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_tree_goes_without_what_git_ignores_and_without_secrets(repository: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine")
    assert pack(tmp_path / "all", None, files={"mine.yaml": recipe}) == str(repository)
    assert names(tmp_path / "all") == {"pipelines/a.py", "new.py", "in", "tests/x/big.bin", "submitted/mine.yaml"}
    pack(tmp_path / "some", None, ["tests/", "*.py"])
    assert names(tmp_path / "some") == {"in"}


def test_files_of_any_name_go_and_what_cannot_be_read_is_named(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = os.fsdecode(b"caf\xe9.py")  # no UTF-8
    (repository / strange).write_text("")
    pack(tmp_path / "all", None)
    assert strange in names(tmp_path / "all")

    def refused(source: Path, target: Path) -> None:  # root, as whom CI runs, may read all
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(job_package.shutil, "copyfile", refused)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\); leave it out with --exclude"):
        pack(tmp_path / "again", None)


def test_too_much_is_refused_by_name(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_package, "LIMIT", 500)
    with pytest.raises(UserError, match=r"largest are tests/x/big.bin .*--exclude"):
        pack(tmp_path / "all", None)


def test_without_a_tree_the_packages_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipelines/cli/__init__.py", "ganlib/a.py", "ganlib/__pycache__/a.pyc", "torch/b.py"):
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text("")
    monkeypatch.setattr(job_package, "_installed", lambda: tmp_path / "site")
    assert pack(tmp_path / "all", None) == "what is installed here"
    assert names(tmp_path / "all") == {"pipelines/cli/__init__.py", "ganlib/a.py"}


def test_a_wheel_stays_within_its_folder_and_is_the_products(tmp_path: Path) -> None:
    for wheel, content in (("ours.whl", ["pipelines/cli/__init__.py", "../escaped.py"]), ("other.whl", ["x.py"])):
        with zipfile.ZipFile(tmp_path / wheel, "w") as archive:
            for name in content:
                archive.writestr(name, "")
    pack(tmp_path / "deep" / "all", tmp_path / "ours.whl")
    assert names(tmp_path / "deep" / "all") == {"pipelines/cli/__init__.py", "escaped.py"}
    assert not (tmp_path / "deep" / "escaped.py").exists()
    with pytest.raises(UserError, match=r"a wheel is sent whole"):
        pack(tmp_path / "less", tmp_path / "ours.whl", ["*.py"])
    with pytest.raises(UserError, match=r"other.whl is not a wheel of this product"):
        pack(tmp_path / "all", tmp_path / "other.whl")
    with pytest.raises(UserError, match=r"none.whl cannot be read"):
        pack(tmp_path / "all", tmp_path / "none.whl")
