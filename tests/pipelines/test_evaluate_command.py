"""`gan evaluate` of folders of images, which no run has made."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from ganlib.data import Dataset
from ganlib.data.preparation import Preparation
from ganlib.evaluation.findings import drawn_order
from ganlib.evaluation.names import meant, metric_value
from ganlib.evaluation.random_network import RandomExtractor
from ganlib.networks.base import ImageShape
from pipelines.cli.judging import print_metrics
from pipelines.folders import FolderSamples
from tests.pipelines.command import gan, refused


def write(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder


def pictures(count: int, size: int, seed: int) -> np.ndarray:
    """uint8 [count, size, size, 3], the brighter the higher the seed."""
    return np.random.default_rng(seed).integers(40 * seed, 40 * seed + 100, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture
def home(tmp_path: Path) -> list[object]:
    return ["--home", tmp_path / "home"]


def test_two_folders_need_no_checkpoint(tmp_path: Path, home: list[object]) -> None:
    a, b = pictures(30, 24, 0), pictures(40, 24, 1)
    folders = write(tmp_path / "a" / "deeper", a).parent, write(tmp_path / "b", b)
    words = ["--against", folders[1], "--extractor", "random", "-o", tmp_path / "said.json"]
    assert gan("evaluate", folders[0], *words, *home) == 0
    metrics = json.loads((tmp_path / "said.json").read_text())["metrics"]
    features = (torch.from_numpy(RandomExtractor(ImageShape(24, 24, 3)).features(images)[0]) for images in (a, b))
    expected = fid_statistics_to_metric(*map(fid_features_to_statistics, features), verbose=False)[KEY_METRIC_FID]
    assert metric_value(metrics, "fid/random") == pytest.approx(expected, rel=1e-5)
    # A folder is at no distance to itself: all of it is the reference, none of it put aside.
    assert gan("evaluate", folders[1], *words, *home) == 0
    again = json.loads((tmp_path / "said.json").read_text())["metrics"]
    assert metric_value(again, "fid/random") == pytest.approx(0, abs=1e-5 * expected)
    # The floor is of one half of the reference, as many as there are samples at most, beside the other half.
    assert (metrics["samples"], metrics["samples_floor"]) == (30, 20)
    (manifest,) = (tmp_path / "home" / "datasets").glob("*/manifest.json")
    real = Dataset.open(manifest.parent)
    drawn = real.split("train").take(drawn_order(real, "train"))
    halves = (torch.from_numpy(RandomExtractor(ImageShape(24, 24, 3)).features(half)[0]) for half in np.split(drawn, 2))
    floor = fid_statistics_to_metric(*map(fid_features_to_statistics, halves), verbose=False)[KEY_METRIC_FID]
    assert metric_value(metrics, "fid_floor/random") == pytest.approx(floor, rel=1e-5)
    assert abs(metrics["sharpness_floor"] - 1) < 0.1
    assert not meant("memorised", metrics)  # nothing is held out
    # Minutes go into the network without labels where it is asked for, or none is.
    assert not list(tmp_path.rglob("instances.safetensors"))
    assert gan("evaluate", *folders[:1], *words[:2], *home) == 0
    assert len(list(tmp_path.rglob("instances.safetensors"))) == 1


def test_any_number_of_the_first_images_of_a_folder_is_a_fair_draw(tmp_path: Path) -> None:
    """Four classes, a folder each, dark to bright: by name the first half has two of them, and a tenth has one."""
    for label in range(4):
        write(tmp_path / "sorted" / str(label), np.full((100, 8, 8, 3), 60 * label, np.uint8))
    samples = FolderSamples(tmp_path / "sorted", Preparation(size=8, channels=3))
    labels = samples.sample(samples.count)[:, 0, 0, 0] // 60
    assert np.bincount(labels).tolist() == [100] * 4  # each once
    for part in np.split(labels, 10):
        # Hypergeometric: 40 of 400 have 10 of a class, by sqrt(40 * 1/4 * 3/4 * 360/399) = 2.6; within four of these.
        assert (abs(np.bincount(part, minlength=4) - 10) <= 10).all()
        assert len(set(part)) == 4
    again = FolderSamples(tmp_path / "sorted", Preparation(size=8, channels=3))
    np.testing.assert_array_equal(again.sample(30, 5, 100)[:, 0, 0, 0] // 60, labels[100:130])


def test_images_of_other_sizes_are_brought_to_the_datasets_which_is_said(
    tmp_path: Path, home: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    made = write(tmp_path / "made", np.repeat(np.repeat(pictures(20, 16, 0), 3, 1), 2, 2))  # 32 wide, 48 high
    assert gan("prepare", "real", "data.size=16", "--source", write(tmp_path / "real", pictures(30, 20, 0)), *home) == 0
    capsys.readouterr()
    assert gan("evaluate", made, "--against", "real", "--extractor", "random", *home) == 0
    out = capsys.readouterr().out
    assert f"{made}: 20 of 32x48, the centre square cut out, brought to 16x16 (Lanczos)" in out
    assert "fid/random-" in out
    assert "leave out --size" in refused(capsys, "evaluate", made, "--against", "real", "--size", 20, *home)


def test_two_folders_of_different_sizes_ask_for_one(
    tmp_path: Path, home: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = write(tmp_path / "small", pictures(10, 16, 0)), write(tmp_path / "large", pictures(12, 24, 0))
    said = refused(capsys, "evaluate", small, "--against", large, *home)
    for part in (f"{small}: 10 of 16x16", f"{large}: 12 of 24x24", "--size N"):
        assert part in said
    # Of one size, but no squares: what would be done to them, and that others do it not.
    wide = write(tmp_path / "wide", pictures(10, 32, 0)[:, :16])
    said = refused(capsys, "evaluate", wide, "--against", wide, *home)
    for part in (f"{wide}: 10 of 32x16", "the centre square cut out, all else of an image left out", "torch-fidelity"):
        assert part in said
    words = ["--against", large, "--size", 16, "--extractor", "random"]
    assert gan("evaluate", small, *words, *home) == 0
    assert f"{small}: " not in capsys.readouterr().out  # nothing was done to them


def test_what_cannot_be_judged_is_said(tmp_path: Path, home: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    made = write(tmp_path / "made", pictures(10, 16, 0))
    (tmp_path / "empty").mkdir()
    assert "--against" in refused(capsys, "evaluate", made, *home)
    assert "has no images" in refused(capsys, "evaluate", tmp_path / "empty", "--against", made, *home)
    assert "has one image" in refused(
        capsys, "evaluate", write(tmp_path / "one", pictures(1, 16, 0)), "--against", made, *home
    )
    assert "there is no run" in refused(capsys, "evaluate", tmp_path / "nothing", "--against", made, *home)
    assert "there is no dataset or folder none" in refused(capsys, "evaluate", made, "--against", "none", *home)
    (made / "000.png").write_bytes(b"broken")
    assert "000.png cannot be used" in refused(capsys, "evaluate", made, "--against", made, *home)


def test_a_score_stands_beside_its_error_and_its_floor(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics({
        "fid/random-00000000": 1.25, "fid_se/random-00000000": 0.05, "fid_floor/random-00000000": 0.5,
        "modes/kl/classifier-00000000": 0.25, "modes/kl_se/classifier-00000000": 0.01,
        "modes/kl_floor/classifier-00000000": 0.125, "sharpness": 0.75, "sharpness_floor": 1.0,
        "mode_share/classifier-00000000/3": 0.1, "paired_se/l1": 0.5, "samples": 10_000.0, "samples_floor": 359.0,
    })  # fmt: skip
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["fid/random-00000000", "1.25", "±", "0.05", "floor", "0.5"],
        ["modes/kl/classifier-00000000", "0.25", "±", "0.01", "floor", "0.125"],
        ["sharpness", "0.75", "floor", "1"],
        ["paired_se/l1", "0.5"],
        ["samples", "10000", "floor", "359"],
    ]


def test_a_training_ends_with_the_mean_of_the_classes_and_evaluate_says_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = {
        "fid_class/classifier-0": 7.0, "fid_class_se/classifier-0": 0.5, "fid_class/classifier-0/3": 6.0,
        "fid_class_se/classifier-0/3": 0.25, "fid_class_floor/classifier-0/3": 2.0, "mode_share/classifier-0/3": 0.1,
    }  # fmt: skip
    mean, third = (
        ["fid_class/classifier-0", "7", "±", "0.5"],
        ["fid_class/classifier-0/3", "6", "±", "0.25", "floor", "2"],
    )
    print_metrics(metrics)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [mean]
    print_metrics(metrics, each_class=True)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [mean, third]
