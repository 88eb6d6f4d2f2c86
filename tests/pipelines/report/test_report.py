"""The report of runs made by hand: a journal written here, and the checkpoint of a generator that knows nothing."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganlib import Dataset, Recipe, Trainer
from ganlib.data import Preparation, open_source, prepare_dataset
from ganlib.errors import UserError
from ganlib.evaluation.extractors import extractor_for
from ganlib.training.checkpoint import checkpoint_name
from pipelines.journal import Journal, read_entries, read_metrics
from pipelines.report import rendered, write_report
from pipelines.report.contents import contents_of, differences, evaluation_table, panels
from pipelines.report.pictures import FRAMES, frames
from pipelines.run_folder import Home, RunFolder
from pipelines.train import create_run
from pipelines.train_loop import draw_samples, record
from tests.ganlib.conftest import TINY

CLASSES = ["data.classes=10", "method.condition={kind: embedding, dim: 4}"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("digits")
    return prepare_dataset(open_source("digits"), Preparation(size=16, channels=1), folder, "digits")


def made(home: Path, dataset: Dataset, name: str, *overrides: str) -> RunFolder:
    """A run of twelve ticks whose fakes are all alike, two evaluations, three pictures and a checkpoint."""
    (home / "tiny.yaml").write_text(TINY)
    recipe = Recipe.load(home / "tiny.yaml", overrides)
    run = create_run(recipe, dataset, Home(home).create(), name)
    trainer = Trainer(recipe, dataset, device="cpu")
    with Journal(run.path, "train") as journal:
        for tick in range(1, 13):
            ticks = {"d_real": 0.7, "d_fake": 0.3, "variety": 0.2, "shift": 0.1, "loss/generator": 1 / tick}
            journal.metrics(tick * 100, {**ticks, "seconds": float(tick)})
            trainer.progress.images = tick * 100
            assert trainer.average is not None
            with torch.no_grad():  # the picture is another each time
                next(iter(trainer.average.parameters())).add_(0.5)
            if tick % 4 == 0:
                draw_samples(trainer, run, journal)
        trainer.snapshot().write(run.path / checkpoint_name(1_200))
    with Journal(run.path, "evaluate") as journal:
        for images, fid, share in ((600, 12.5, 0.1), (1_200, 7.25, 0.2)):
            shares = {"modes/covered/classifier-0a0a0a0a": 9.0, "mode_share/classifier-0a0a0a0a/3": share}
            memory = {f"memorised/{extractor_for(dataset, 'random').label}": 0.01}
            journal.metrics(images, {"fid/random": fid, **shares, **memory})
    return run


@pytest.fixture(scope="module")
def run(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return made(tmp_path_factory.mktemp("home"), digits, "first", *CLASSES)


@pytest.fixture(scope="module")
def page(run: RunFolder) -> str:
    return write_report([run]).read_text()


class Tags(HTMLParser):
    """The tags in order, and what they refer to."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "link", "line", "polyline", "circle"):
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_refers_to_nothing_outside(page: str) -> None:
    tags = Tags(page)
    assert tags.open == []
    assert tags.references
    assert all(reference.startswith("data:image/") for reference in tags.references)
    for outside in ("<script", "<link", "@import", "url(", "http"):
        assert outside not in page


def test_every_picture_on_the_page_opens(page: str) -> None:
    pictures = []
    for kind, data in re.findall(r"data:image/(\w+);base64,([A-Za-z0-9+/=]+)", page):
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.format == kind.upper()
            pictures.append(getattr(picture, "n_frames", 1))
    # Samples, classes, interpolations, nearest; the animation of three frames; three along the way.
    assert pictures == [1, 1, 1, 1, 3, 1, 1, 1]


def test_it_says_what_is_wrong_what_was_measured_and_the_recipe(page: str) -> None:
    assert "two samples are 0.20 times as far apart as two images of the data" in page
    assert "confidence 0.83" in page  # four ticks of four
    assert re.search(r"<th>fid/random</th><td>12.5</td><td>7.25</td>", page)
    assert "at 600" in page
    assert "class by class (1 rows)" in page
    assert "name: tiny" in page
    assert "gan train --from first --apply-advice" in page


def test_the_pictures_lie_beside_it_and_go_to_mlflow(run: RunFolder, page: str, digits: Dataset) -> None:
    """Ten classes in rows of ten: 10 (16 + 2) + 2 pixels, four times enlarged."""
    folder = run.path / "report"
    names = ["classes.png", "interpolations.png", "nearest.png", "report.html", "samples.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    # Sixteen samples, each with its nearest in pixels and its nearest in features: four, so twelve images, a row.
    with Image.open(folder / "nearest.png") as picture:
        assert picture.size == (12 * 18 * 4 + 8, 4 * 18 * 4 + 8)
    assert f"nearest by the features of {extractor_for(digits, 'random').label}" in page
    with Image.open(folder / "classes.png") as picture:
        assert picture.size == (728, 728)
    with Image.open(folder / "interpolations.png") as picture:
        assert picture.size == (728, 5 * 18 * 4 + 8)
    told = [entry.record["path"] for entry in read_entries(run.path / "journal" / "report.jsonl")]
    assert sorted(told) == [f"report/{name}" for name in names]


def test_what_a_person_wrote_is_text_and_no_markup(run: RunFolder) -> None:
    contents = contents_of(run, run.path / "report")
    object.__setattr__(contents, "name", "<b>bold</b> & more")
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in rendered([contents])


def test_several_runs_are_overlaid_and_their_differences_listed(run: RunFolder, digits: Dataset) -> None:
    home = run.path.parents[1]
    second = made(home, digits, "second", "optim.generator.lr=2e-3")
    path = write_report([run, second])
    assert path == run.path / "report" / "comparison.html"
    page = path.read_text()
    Tags(page)
    assert "<tr><th>optim.generator.lr</th><td>0.001</td><td>0.002</td></tr>" in page
    assert "<th>train.batch</th>" not in page  # the same in both
    fid = page[page.index("<h3>fid/random</h3>") :]
    assert fid[: fid.index("</ul>")].count("<polyline") == 2
    assert "Pictures of second" in page
    told = [entry.record["path"] for entry in read_entries(second.path / "journal" / "report.jsonl")]
    assert sorted(told) == [f"report/{name}.png" for name in ("interpolations", "nearest", "samples")]  # knows no class


def test_the_charts_are_of_whatever_evaluations_have_measured(run: RunFolder) -> None:
    """Of noise to image, of pairs (pix2pix), of translations (CycleGAN, StarGAN); classes and errors are no lines."""
    label, points = "random-00000000", [(100, 1.0)]
    noise = {f"{name}{suffix}/{label}": points for name in ("fid", "kid", "precision", "recall", "density", "coverage",
             "memorised") for suffix in ("", "_se", "_floor")}  # fmt: skip
    noise |= {f"kid_spread/{label}": points, "memorised_pixels": points, f"modes/covered/{label}": points,
              f"fid_class/{label}": points, f"fid_class/{label}/7": points}  # fmt: skip
    pairs = {f"fid_patch{suffix}/{label}": points for suffix in ("", "_se", "_floor")} | {"paired/l1": points}
    moved = {f"{name}/{label}": points for name in ("fid_target", "fid_target_se", "fid_target_floor", "fid_before")}
    moved |= {f"fid_target/{label}/blond": points}
    contents = contents_of(run, run.path / "report")

    def charts(metrics: dict[str, list[tuple[int, float]]]) -> dict[str, list[str]]:
        one = replace(contents, metrics=metrics)
        return {title: [line.replace(f"/{label}", "") for line in lines] for title, lines in panels([one])}

    assert charts(noise) == {
        "Frechet distance": ["fid", "fid_floor", "fid_class"],
        "kernel distance": ["kid", "kid_floor"],
        "precision and recall": ["precision", "recall", "density", "coverage"],
        "memorised": ["memorised", "memorised_floor", "memorised_pixels"],
        "modes": ["modes/covered"],
    }
    assert charts(pairs) == {"Frechet distance": ["fid_patch", "fid_patch_floor"]}
    assert charts(moved) == {"Frechet distance": ["fid_target", "fid_target_floor", "fid_before"]}
    # Side by side each metric has a chart of its own, and floors none: they are the dataset's.
    several = dict(panels([replace(contents, metrics=noise), replace(contents, metrics=pairs, name="pairs")]))
    assert [title.replace(f"/{label}", "") for title in several] == [
        "fid", "fid_class", "fid_patch", "kid", "precision", "recall", "density", "coverage", "memorised",
        "memorised_pixels", "modes/covered",
    ]  # fmt: skip


def test_fields_that_one_recipe_has_not_are_differences() -> None:
    one = Recipe.parse(
        {
            "name": "one",
            "data": {"size": 16, "channels": 1},
            "method": {"generator": {"kind": "convnet"}, "discriminator": {"kind": "convnet"}},
            "optim": {side: {"kind": "adam", "lr": 1e-3} for side in ("generator", "discriminator")},
            "train": {"batch": 8, "images": 80},
        }
    )
    other = one.with_overrides("method.penalty={kind: r1, gamma: 2}", "train.batch=16")
    assert dict(differences([one, one])) == {}
    found = dict(differences([one, other]))
    assert found["method.penalty.gamma"] == ["-", 2.0]
    assert found["train.batch"] == [8, 16]
    assert found.keys() == {"train.batch", *(name for name in other.flat() if name.startswith("method.penalty."))}


def test_a_run_without_a_checkpoint_has_a_report_all_the_same(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    fresh = create_run(Recipe.load(tmp_path / "tiny.yaml"), digits, Home(tmp_path).create(), "fresh")
    page = write_report([fresh]).read_text()
    Tags(page)
    assert "Nothing wrong, and nothing settled" in page


def test_what_an_elastic_run_says_at_each_tick_is_no_evaluation(digits: Dataset, tmp_path: Path) -> None:
    """Every name that the trainer's ticks and `record` put into the journal, of a run whose workers come and go."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    recipe = Recipe.load(tmp_path / "tiny.yaml", ["workers=[1, 2]", "train.images=320", "train.tick=80"])
    run = create_run(recipe, digits, Home(tmp_path).create(), "elastic")
    trainer = Trainer(recipe, digits, device="cpu")
    with Journal(run.path, "train") as journal:
        for tick in trainer.run():
            record(tick, trainer, run, journal)
    assert "workers" in read_metrics(run.path)
    contents = contents_of(run, run.path / "report")
    assert evaluation_table([contents]).rows == []
    assert dict(panels([contents]))["workers"] == {"workers": [(80, 1), (160, 1), (240, 1), (320, 1)]}
    with Journal(run.path, "evaluate") as journal:
        journal.metrics(160, {"fid/random": 12.5})
    table = evaluation_table([contents_of(run, run.path / "report")])
    assert (table.columns, table.rows) == (["at 160"], [("fid/random", [12.5])])


def test_one_run_twice_is_refused(run: RunFolder) -> None:
    with pytest.raises(UserError, match="each named once; these are first, first"):
        write_report([run, run])


def test_the_frames_are_the_first_the_last_and_ever_further_apart(tmp_path: Path) -> None:
    for tick in range(100):
        Image.new("L", (4, 4)).save(tmp_path / f"samples-{tick:012d}.png")
    seen = [images for images, _ in frames(tmp_path)]
    assert len(seen) == FRAMES
    assert (seen[0], seen[-1]) == (0, 99)
    apart = np.diff(seen)
    assert (np.diff(apart) > 0).all()
