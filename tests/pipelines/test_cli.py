"""The command `gan`, as a person types it: what it does, and what it says to mistakes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.names import meant
from ganlib.files import file_digest
from pipelines.run_folder import RunFolder
from pipelines.shipped import find_recipe, shipped_recipes
from tests.pipelines.command import gan, refused

SMALL = [
    "train.images=640", "train.tick=128", "train.sample_every=256", "train.checkpoint_every=256",
    "train.evaluate_every=320", "evaluate.samples=64", "method.generator.width=8", "method.discriminator.width=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def sqlite_tracking_uri(empty_database, tmp_path_factory):
    """A SQLite store that the tests of this file share."""
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    shutil.copyfile(empty_database, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def home(tmp_path_factory, sqlite_tracking_uri):
    """A home folder with one finished run of `digits`, made by the command itself."""
    path = tmp_path_factory.mktemp("home")
    assert gan("train", "digits", *SMALL, "--home", path, "--tracking", sqlite_tracking_uri) == 0
    return path


def the_run(home: Path) -> RunFolder:
    (path,) = (home / "runs").iterdir()
    return RunFolder(path)


def test_help_lists_every_command_without_heavy_imports(capsys):
    heavy = "{'torch', 'ray', 'mlflow', 'numpy', 'pydantic'}"
    script = f"import sys, pipelines.cli; print(sorted(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert gan("--help") == 0
    said = capsys.readouterr().out
    for command in ("prepare", "train", "evaluate", "sample", "run", "ui", "runs", "recipes"):
        assert f"  {command} " in said


def test_training_leaves_checkpoints_pictures_and_judgements(home):
    run = the_run(home)
    assert run.finished
    assert run.last_checkpoint().name == "checkpoint-000000000640"
    # A grid at 0, one at each multiple of 256 (at the tick that reaches it), one at the end.
    stamps = sorted(int(p.stem.rpartition("-")[2]) for p in run.pictures.glob("samples-*.png"))
    assert stamps == [0, 256, 512, 640]
    metrics = run.evaluation("checkpoint-000000000640")
    assert metrics is not None
    shares = [value for name, value in metrics.items() if name.startswith("mode_share/")]
    assert len(shares) == 10
    assert sum(shares) == pytest.approx(1)
    with Image.open(run.pictures / "animation.gif") as animation:
        assert animation.n_frames == 4


def test_a_sample_is_a_function_of_its_seed(home, tmp_path):
    run = the_run(home)
    for out, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert gan("sample", run.path, "-o", tmp_path / out, "-n", 3, "--seed", seed, "--home", home) == 0
    files = {out: [p.read_bytes() for p in sorted((tmp_path / out).iterdir())] for out in "abc"}
    assert files["a"] == files["b"]
    assert files["a"] != files["c"]
    with Image.open(tmp_path / "a" / "sample-000002.png") as image:
        assert image.size == (16, 16)
    assert gan("sample", run.path, "-o", tmp_path / "grid.png", "-n", 4, "--home", home) == 0
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size == ((2 * (16 + 2) + 2) * 4,) * 2  # 2x2 images of 16 with gaps of 2, four times enlarged


def test_evaluating_again_gives_the_same_numbers(home, sqlite_tracking_uri):
    run = the_run(home)
    before = run.evaluation("checkpoint-000000000640")
    run.evaluation_file("checkpoint-000000000640").unlink()
    assert gan("evaluate", run.path, "--home", home, "--tracking", sqlite_tracking_uri) == 0
    # Samples and features are the same; a product of matrices may add up in another order, as memory is aligned.
    assert run.evaluation("checkpoint-000000000640") == pytest.approx(before, rel=1e-9)


def test_every_shipped_recipe_is_listed_and_printed(capsys):
    assert gan("recipes") == 0
    listed = capsys.readouterr().out
    for name in shipped_recipes():
        assert name in listed
        assert gan("recipes", name) == 0
        assert f"name: {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train", "digit"], ["no recipe 'digit'", "did you mean 'digits'"]),
        (["train", "digits", "optim.generator.lrr=1"], ["optim.generator.lrr", "did you mean 'optim.generator.lr'"]),
        (["train", "digits", "optim.generator.lr=-1"], ["optim.generator.lr is -1", "greater than 0"]),
        (["train", "digits", "data.size=17"], ["17"]),
        (["train", "digits", "nonsense"], ["nonsense", "path=value"]),
        (["train", "nowhere.yaml"], ["nowhere.yaml", "cannot be read"]),
        (["train", "mnist", "--source", "/nowhere"], ["/nowhere", "does not exist"]),
        (["train", "digits", "--source", "x", "--kind", "bogus"], ["bogus"]),
        (["sample", "no-such-run", "-o", "x.png"], ["no run 'no-such-run'"]),
        (["evaluate", "no-such-run"], ["no run 'no-such-run'"]),
        (["train", "digits", "--resume"], ["to resume"]),
        (["train", "digits", "--tracking", "http://127.0.0.1:9"], ["http://127.0.0.1:9"]),
        (["run", "digits", "--tracking", "ftp://x"], ["ftp://x"]),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words, parts, tmp_path, capsys, monkeypatch, sqlite_tracking_uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_tracking_uri)
    said = refused(capsys, *words, "--home", tmp_path / "home")
    for part in parts:
        assert part in said
    assert not list((tmp_path / "home").glob("runs/*"))  # nothing half-begun stays


def idx(shape: tuple[int, ...], body: int) -> bytes:
    """An IDX file of bytes whose header claims `shape`."""
    return bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape) + bytes(body)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({IMAGES: b"\0\0\x0d\x03" + idx((20, 28, 28), 20 * 784)[4:]}, [IMAGES]),  # of floats, it says
        ({IMAGES: idx((20, 28, 28), 19 * 784)}, [IMAGES]),
        ({IMAGES: idx((20, 28, 28), 20 * 784), LABELS: idx((19,), 19)}, [LABELS, "19", "20"]),
        ({IMAGES: b""}, [IMAGES]),
        ({"notes.txt": b"no image"}, ["no image"]),
        ({"a.png": b"not a picture", "b.png": b"nor this"}, ["2"]),
    ],
)
def test_a_bad_source_is_one_line_and_leaves_nothing(files, parts, tmp_path, capsys, monkeypatch, sqlite_tracking_uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_tracking_uri)
    source = tmp_path / "source"
    source.mkdir()
    for name, content in files.items():
        (source / name).write_bytes(content)
    for command in ("prepare", "train", "run"):
        said = refused(capsys, command, "mnist", "--source", source, "--home", tmp_path / "home")
        for part in parts:
            assert part in said
    assert not list((tmp_path / "home" / "runs").iterdir())
    assert not list((tmp_path / "home" / "datasets").iterdir())


def test_a_source_that_may_not_be_read_is_one_line(tmp_path, capsys):
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is below a folder that nobody else may enter
        locked = Path(folder, "locked")
        (locked / "below").mkdir(parents=True)
        locked.chmod(0)
        Path(folder).chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            said = [
                refused(capsys, "prepare", "mnist", "--source", source, "--home", Path(folder, "home"))
                for source in (locked, locked / "below", "x" * 300, "~nobody-of-this-name/x")
            ]
        finally:
            if root:
                os.seteuid(0)
            locked.chmod(0o700)
    assert all("Permission denied" in line for line in said[:2])
    assert "too long" in said[2]
    assert "~nobody-of-this-name" in said[3]


def test_a_checkpoint_of_another_shape_is_refused(home, tmp_path, capsys):
    copy = tmp_path / "checkpoint"
    shutil.copytree(the_run(home).last_checkpoint(), copy)
    recipe = (copy / "recipe.yaml").read_text()
    assert "width: 8" in recipe
    (copy / "recipe.yaml").write_text(recipe.replace("width: 8", "width: 9"))
    assert "recipe.yaml is not what was written" in refused(
        capsys, "sample", copy, "-o", tmp_path / "x.png", "--home", home
    )
    # Well told, and yet another shape: the table of contents says what now stands there.
    contents = json.loads((copy / "progress.json").read_text())
    contents["files"]["recipe.yaml"] = [(copy / "recipe.yaml").stat().st_size, file_digest(copy / "recipe.yaml")]
    (copy / "progress.json").write_text(json.dumps(contents))
    assert "generator" in refused(capsys, "sample", copy, "-o", tmp_path / "x.png", "--home", home)
    assert not (tmp_path / "x.png").exists()


def test_a_home_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused(capsys, "prepare", "digits", "--home", tmp_path / "file" / "home")
    assert "/proc" in refused(capsys, "prepare", "digits", "--home", "/proc/home")


def test_samples_that_cannot_be_written_are_one_line(home, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    run = the_run(home)
    assert "file/x" in refused(capsys, "sample", run.path, "-o", tmp_path / "file" / "x", "--home", home)
    assert "file/x.png" in refused(capsys, "sample", run.path, "-o", tmp_path / "file" / "x.png", "--home", home)


def test_a_cut_checkpoint_is_refused_by_name(home, tmp_path, capsys):
    copy = tmp_path / "checkpoint"
    shutil.copytree(the_run(home).last_checkpoint(), copy)
    weights = copy / "generator_ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    said = refused(capsys, "sample", copy, "-o", tmp_path / "x.png", "--home", home)
    assert "generator_ema.safetensors" in said
    assert not (tmp_path / "x.png").exists()


def test_a_dataset_of_another_shape_is_refused(home):
    run = the_run(home)
    facts = json.loads((run.path / "run.json").read_text())
    dataset = Dataset.open(Path(facts["dataset_path"]))
    assert dataset.image_shape == (16, 16, 1)
    from ganlib import Trainer, UserError

    with pytest.raises(UserError, match="16x16x1 images and recipe mnist wants 28x28x1"):
        Trainer(find_recipe("mnist"), dataset)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["digits", "train.seed=3"], "RECIPE"),
        (["train.seed=3"], "RECIPE"),
        (["--source", "/other/images", "--kind", "folder"], "--source, --kind"),
        (["--resume"], "--resume"),
    ],
)
def test_going_on_with_a_run_keeps_its_recipe_and_data(words, named, home, capsys, sqlite_tracking_uri):
    run = the_run(home).name
    said = refused(capsys, "train", *words, "--run", run, "--home", home, "--tracking", sqlite_tracking_uri)
    assert f"run {run} keeps its recipe and data; leave out {named}, or start a new run" in said


def test_what_evaluation_would_not_heed_is_refused(home, capsys, sqlite_tracking_uri):
    run, words = the_run(home), ["--home", home, "--tracking", sqlite_tracking_uri]
    assert "--size brings the images of a folder" in refused(capsys, "evaluate", run.name, "--size", 64, *words)
    of_a_run = ["evaluate", run.path.parent, "--checkpoint", "checkpoint-000000320"]
    assert "--checkpoint names one of a run's" in refused(capsys, *of_a_run, *words)
    newest = max(path.name for path in run.path.glob("checkpoint-*"))
    for place in (f"{newest}/", str(run.path / newest), f"../{run.name}/{newest}"):
        assert f"by its name alone, such as {newest}" in refused(
            capsys, "evaluate", run.name, "--checkpoint", place, *words
        )


def test_a_judgement_that_the_journal_did_not_take_is_still_due(home, monkeypatch):
    """The training's own evaluation, killed once its numbers are kept and before they are said."""
    import pipelines.evaluate
    from pipelines.evaluate import evaluate_checkpoint

    run = the_run(home)
    newest = max(path.name for path in run.path.glob("checkpoint-*"))
    run.due_mark(newest).write_text("")

    def full(*_, **__):
        raise UserError("no space left")

    monkeypatch.setattr(pipelines.evaluate.Journal, "metrics", full)
    with pytest.raises(UserError, match="no space left"):
        evaluate_checkpoint(run, newest, Dataset.open(run.facts().dataset_path))
    assert run.due_mark(newest).exists()
    monkeypatch.undo()
    evaluate_checkpoint(run, newest, Dataset.open(run.facts().dataset_path))
    assert not run.due_mark(newest).exists()


def test_runs_are_compared_by_metric_and_parameter(home, capsys, sqlite_tracking_uri):
    capsys.readouterr()
    words = ["--sort", "fid/classifier", "--columns", "name,fid/classifier,optim.generator.lr"]
    assert gan("runs", "digits", *words, "--home", home, "--tracking", sqlite_tracking_uri) == 0
    out = capsys.readouterr().out
    assert the_run(home).name in out
    assert "0.001" in out


def test_a_finished_run_is_lengthened(home, tmp_path, sqlite_tracking_uri, capsys):
    """SYSTEMS.md A5: each start goes on with the newest run."""
    longer = tmp_path / "home"
    shutil.copytree(home, longer)
    epoch = len(Dataset.open(the_run(longer).facts().dataset_path).split("train"))
    words = ["--home", longer, "--tracking", sqlite_tracking_uri]
    assert "--resume" in refused(capsys, "train", "digits", *SMALL, "--add-epochs", 1, *words)
    assert gan("train", "digits", *SMALL, "--resume", "--add-epochs", 0.5, *words) == 0
    run = the_run(longer)
    # Batches of 64 until the new length is reached.
    images = -(-(640 + round(0.5 * epoch)) // run.recipe().train.batch) * run.recipe().train.batch
    assert run.last_checkpoint().name == f"checkpoint-{images:012d}"
    assert (run.pictures / "samples-000000000640.png").is_file()
    # The same words again, and again after a kill: the length is no override.
    assert gan("train", "digits", *SMALL, "--resume", "--add-epochs", 0.1, *words) == 0
    longest = run.last_checkpoint().name
    assert longest > f"checkpoint-{images:012d}"
    # A recipe that has no data of its own goes on with those of its newest run.
    sourceless = tmp_path / "digits.yaml"
    sourceless.write_text(find_recipe("digits", ["data.source=null"]).dump())
    assert gan("train", sourceless, "--resume", "--add-epochs", 0.1, *words) == 0
    assert run.last_checkpoint().name > longest
    assert len(list((longer / "runs").iterdir())) == 1


@pytest.mark.slow
def test_killed_at_random_and_resumed_a_run_ends_with_the_same_weights(tmp_path, sqlite_tracking_uri):
    """SIGKILL of the whole command, in one process, at moments of its life; then again until it is done."""
    words = ["train", "digits", *SMALL, "train.images=3200", "train.precision=fp32", "--tracking", sqlite_tracking_uri]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert gan(*words, "--home", whole) == 0
    command = [sys.executable, "-m", "pipelines.cli", *words, "--home", str(broken)]
    said = (tmp_path / "said").open("w")
    process = subprocess.Popen(command, stdout=said, stderr=said)
    for images in (256, 1024, 2048):
        deadline = time.monotonic() + 120
        while not list((broken / "runs").glob(f"*/pictures/samples-{images:012d}.png")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.wait()
        process = subprocess.Popen([*command, "--resume"], stdout=said, stderr=said)
    assert process.wait(120) == 0, (tmp_path / "said").read_text()
    first, second = the_run(whole), the_run(broken)
    for file in ("generator", "generator_ema", "discriminator", "optimizers"):
        name = f"{file}.safetensors"
        assert (first.last_checkpoint() / name).read_bytes() == (second.last_checkpoint() / name).read_bytes()
    curves = [[json.loads(line) for line in (run.path / "journal" / "train.jsonl").open()] for run in (first, second)]
    losses = [
        [(r["images_seen"], r["values"]["loss/generator"]) for r in lines if "loss/generator" in r.get("values", {})]
        for lines in curves
    ]
    assert losses[0] == losses[1]  # each tick once, in order, with the same value


def test_a_recipe_with_a_typo_in_a_file_is_refused(tmp_path, capsys, sqlite_tracking_uri):
    text = shipped_recipes()["digits"].read_text().replace("widest", "widdest", 1)
    (tmp_path / "mine.yaml").write_text(text)
    said = refused(
        capsys, "train", tmp_path / "mine.yaml", "--home", tmp_path / "home", "--tracking", sqlite_tracking_uri
    )
    assert "widdest" in said
    assert "did you mean 'method.generator.widest'" in said


def test_a_folder_of_pictures_trains(tmp_path, sqlite_tracking_uri):
    rng = np.random.default_rng(0)
    for i in range(80):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    words = ["train", "avatars", "data.size=16", "train.batch=16", *SMALL, "--source", tmp_path, "--kind", "folder"]
    assert gan(*words, "--home", tmp_path / "home", "--tracking", sqlite_tracking_uri) == 0
    metrics = the_run(tmp_path / "home").evaluation("checkpoint-000000000640")
    assert metrics is not None
    assert meant("fid/instances", metrics)
    assert not meant("fid/classifier", metrics)


def test_no_judge_is_trained_where_the_recipe_names_another(tmp_path, sqlite_tracking_uri):
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    words = ["train", "avatars", "data.size=16", "train.batch=16", *SMALL, "train.images=128", "--source", tmp_path]
    words += ["evaluate.extractor=random", "--home", tmp_path / "home", "--tracking", sqlite_tracking_uri]
    assert gan(*words) == 0
    assert not list((tmp_path / "home").rglob("instances.safetensors"))


def test_another_extractor_judges_a_run_beside_the_first(home, tmp_path, capsys, sqlite_tracking_uri):
    copied = tmp_path / "home"
    shutil.copytree(home, copied)
    run = the_run(copied)
    before = run.evaluation(run.last_checkpoint().name)
    words = ["evaluate", run.name, "--home", copied, "--tracking", sqlite_tracking_uri]
    assert gan(*words, "--extractor", "random", "-o", tmp_path / "said.json") == 0
    after = run.evaluation(run.last_checkpoint().name)
    assert before.items() <= after.items()
    (random,) = meant("fid/random", after)
    assert not meant("fid/random", before)
    assert json.loads((tmp_path / "said.json").read_text())["metrics"] == after
    assert random in capsys.readouterr().out
    # Against other images it is said, and nothing is recorded.
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "others").mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / "others" / path.name)
    assert gan(*words, "--against", tmp_path / "others", "--extractor", "random", "-o", tmp_path / "other.json") == 0
    assert run.evaluation(run.last_checkpoint().name) == after
    others = json.loads((tmp_path / "other.json").read_text())["metrics"][random]
    assert others != pytest.approx(after[random], rel=0.1)
    assert "evaluate.extractor is 'best'" in refused(capsys, *words, "--extractor", "best")


def test_a_foreign_extractors_word_is_not_the_runs_own(home, tmp_path, sqlite_tracking_uri):
    """A checkpoint that another extractor judged first is judged by the run's own all the same."""
    copied = tmp_path / "home"
    shutil.copytree(home, copied)
    run = the_run(copied)
    name = run.last_checkpoint().name
    before = run.evaluation(name)
    run.evaluation_file(name).unlink()
    words = ["evaluate", run.name, "--home", copied, "--tracking", sqlite_tracking_uri]
    assert gan(*words, "--extractor", "random") == 0
    assert not meant("fid/classifier", run.evaluation(name))
    assert gan(*words) == 0
    after = run.evaluation(name)
    assert meant("fid/random", after)
    assert {key: after[key] for key in before} == pytest.approx(before, rel=1e-9)
