"""GAN-CLS and GAWWN: three pairs, texts of others, training that can be resumed, and what a person asks for."""

from __future__ import annotations

from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from ganlib.data import Columns, Dataset
from ganlib.data.batches import Batch
from ganlib.draws import Draws
from ganlib.errors import UserError
from ganlib.inputs import told_of
from ganlib.methods.text_game import TextGame
from ganlib.recipe import Recipe
from ganlib.sampling import Sampler, load_sampler
from ganlib.training.trainer import Trainer

from .captioned import bars
from .conftest import assert_equal

TINY = """
name: tiny-text
data: {size: 16, channels: 3}
method: {kind: gan-cls, text: {embedding: 4, dim: 6}, short: 5, latent: {dim: 3},
  generator: {kind: convnet, width: 4, widest: 8}, discriminator: {kind: convnet, width: 4, widest: 8}}
optim:
  generator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.99], eps: 1.0e-3}
  discriminator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.99], eps: 1.0e-3}
  ema_half_life: 100
train: {batch: 5, images: 100, tick: 50}
"""
NETWORK = "{width: 4, widest: 8, map: 8, local: %s}"
WHERE = ["method.kind=gawwn", "method.text={embedding: 4, dim: 6}", "method.short=5", "method.latent={dim: 3}"]
R1 = "method.penalty={kind: r1, gamma: 0.5, every: 2}"


def gawwn(where: str, local: str) -> list[str]:
    networks = [f"method.{side}={NETWORK % local}" for side in ("generator", "discriminator")]
    keypoints = ["data.keypoints=3"] if where == "keypoints" else []
    return [*WHERE, f"method.where={where}", *networks, *keypoints]


KINDS = {
    "gan-cls": [R1, "method.between.weight=0.5"],
    "gan-cls beside": [
        "method.matching=concatenation",
        "method.generator={kind: dcgan, width: 4}",
        "method.discriminator={kind: dcgan, width: 4}",
    ],
    "boxes": [*gawwn("boxes", "warped"), R1],
    "boxes masked": [*gawwn("boxes", "masked"), "method.discriminator.norm=batch"],
    "keypoints": gawwn("keypoints", "warped"),
    "keypoints masked": [*gawwn("keypoints", "masked"), "method.discriminator.projection=false", R1],
}


def tiny(kind: str, *overrides: str) -> Recipe:
    return Recipe.parse(yaml.safe_load(TINY), [*KINDS[kind], *overrides])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return bars(tmp_path_factory.mktemp("bars"))


@pytest.fixture(scope="module")
def samplers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sampler]:
    """Of each kind, after ten steps."""
    found = {}
    for kind in ("gan-cls", "boxes", "keypoints"):
        trainer = Trainer(tiny(kind), dataset)
        next(trainer.run())
        assert trainer.average is not None
        with torch.no_grad():  # ten steps leave grey images
            for parameter in trainer.average.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        found[kind] = load_sampler(trainer.snapshot().write(tmp_path_factory.mktemp(kind) / "checkpoint"))
    return found


def batch_of(dataset: Dataset, rows: int) -> Batch:
    split = dataset.split("train")
    captions, boxes, keypoints = (split.column(name) for name in ("captions", "box", "keypoints"))
    assert captions is not None
    return Batch.of(
        {
            "images": torch.from_numpy(split.take(np.arange(rows))),
            "captions": captions[:rows],
            "boxes": torch.from_numpy(np.array(boxes[:rows])),
            "keypoints": torch.from_numpy(np.array(keypoints[:rows])),
        }
    )


def method_of(recipe: Recipe, dataset: Dataset, rows: int) -> TextGame:
    torch.manual_seed(0)
    method = recipe.method.fitted(dataset).build(recipe.shape)
    assert isinstance(method, TextGame)
    method.draws = Draws(0, rows, (0, rows), "cpu")
    return method


def softplus(a: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(a))


@pytest.mark.parametrize("kind", ["gan-cls", "boxes", "keypoints masked"])
@pytest.mark.parametrize("objective", ["non-saturating", "relativistic"])
def test_the_discriminator_is_shown_three_pairs(
    kind: str, objective: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(kind, f"method.objective={objective}", "method.penalty={kind: none}")
    method = method_of(recipe, dataset, 6)
    monkeypatch.setattr(method, "other_text", lambda text: text.roll(1, 0))
    batch = batch_of(dataset, 6)
    fakes = method.generate(batch, method.draw(method.draws, "generator/0")).detach()
    loss = method.discriminator_loss(batch, fakes, 0)
    text, place = method.text(batch), method.place(batch)
    with torch.no_grad():
        judged = [(batch.images, text), (fakes, text), (batch.images, text.roll(1, 0))]
        right, fake, wrong = (method.discriminator(x, told, *place).double().numpy() for x, told in judged)
    assert right.shape == (6,)
    if objective == "relativistic":
        expected = (softplus(fake - right).mean() + softplus(wrong - right).mean()) / 2
    else:
        expected = softplus(-right).mean() + (softplus(fake).mean() + softplus(wrong).mean()) / 2
    assert loss.total.item() == pytest.approx(expected, rel=1e-4)
    if objective == "non-saturating":
        assert loss.parts["d_wrong"].item() == pytest.approx((1 / (1 + np.exp(-wrong))).mean(), rel=1e-4)


def test_the_generator_is_judged_between_texts_too(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny("gan-cls", "method.between={weight: 0.25, beta: 0.75}", "method.generator={kind: mlp, widths: [8]}")
    method = method_of(recipe, dataset, 6)
    monkeypatch.setattr(method, "other_text", lambda text: text.roll(1, 0))
    batch = batch_of(dataset, 6)
    fakes = method.generate(batch, method.draw(method.draws, "generator/0"))
    loss = method.generator_loss(batch, fakes)
    text = method.text(batch)
    with torch.no_grad():
        codes = [side.told.code(text) * 0.75 + side.told.code(text.roll(1, 0)) * 0.25
                 for side in (method.generator, method.discriminator)]  # fmt: skip
        made = method.generator(method.draws.latents("between", 3, "normal"), codes[0])
        logits = [method.discriminator(fakes, text), method.discriminator(made, codes[1])]
    first, second = (softplus(-x.double().numpy()).mean() for x in logits)
    assert loss.total.item() == pytest.approx(first + 0.25 * second, rel=1e-4)
    slopes = torch.autograd.grad(loss.total, list(method.generator.parameters()))
    assert all(slope.abs().sum() > 0 for slope in slopes)


class Apart(Draws):
    """One of several workers, who knows all rows without asking."""

    everyone: Tensor

    def gather(self, rows: Tensor) -> Tensor:
        return self.everyone


def test_other_texts_say_something_else_whoever_draws_them(dataset: Dataset) -> None:
    method = method_of(tiny("gan-cls"), dataset, 40)
    batch = batch_of(dataset, 40)
    text = method.text(batch)
    other = method.other_text(text)
    assert (other != text).any(1).all()
    known = {tuple(row) for row in text.tolist()}
    assert {tuple(row) for row in other.tolist()} <= known
    assert len({tuple(row) for row in other.tolist()}) > 3
    for rows in ((0, 13), (13, 40)):
        method.draws = Apart(0, 40, rows, "cpu")
        method.draws.everyone = text
        method.draws.uniform("caption", ())  # as drawn before
        assert torch.equal(method.other_text(text[slice(*rows)]), other[slice(*rows)])
    same = torch.tensor([[1, 2]] * 4)
    method.draws = Draws(0, 4, (0, 4), "cpu")
    assert torch.equal(method.other_text(same), same)


def test_one_of_a_records_captions_is_drawn_anew_for_each_batch(dataset: Dataset) -> None:
    method = method_of(tiny("gan-cls"), dataset, 40)
    batch = batch_of(dataset, 40)
    assert batch.captions is not None
    choices = [method.vocabulary.tokens(captions).tolist() for captions in batch.captions]
    seen = []
    for step in range(3):
        method.draws.at(step)
        again = batch_of(dataset, 40)
        text = method.text(again)
        assert method.text(again) is text
        seen.append([options.index(row) for options, row in zip(choices, text.tolist(), strict=True)])
    assert np.array(seen)[:, ::2].max() == 0
    drawn = np.array(seen)[:, 1::2]
    assert 0.2 < drawn.mean() < 0.8
    assert not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_the_uninterrupted_one(kind: str, dataset: Dataset, tmp_path: Path) -> None:
    whole = Trainer(tiny(kind), dataset)
    before = whole.snapshot()
    next(ticks := whole.run())
    folder = whole.snapshot().write(tmp_path / "checkpoint")
    (last,) = ticks
    resumed = Trainer(tiny(kind), dataset, resume=folder)
    (rest,) = resumed.run()
    assert rest.metrics == last.metrics
    assert_equal(resumed.snapshot(), whole.snapshot())
    for stem in ("generator", "discriminator"):
        still = [
            name for name, x in before.tensors[stem].items() if torch.equal(x, whole.snapshot().tensors[stem][name])
        ]
        assert not [name for name in still if "running" not in name], stem
    saved = Recipe.load(folder / "recipe.yaml")
    assert saved.method.text.vocabulary[:2] == ("bar", "a")
    assert saved.method.text.words == 4


def train(kind: str, dataset: Dataset) -> dict[str, Tensor]:
    """The metrics, float64 [20], of a run whose every step is a tick."""
    ticks = list(Trainer(tiny(kind, "train.tick=5"), dataset).run())
    names = set.intersection(*(set(tick.metrics) for tick in ticks))
    return {name: torch.tensor([tick.metrics[name] for tick in ticks], dtype=torch.float64) for name in names}


def work(rank: int, folder: Path, dataset: Path) -> None:
    """The body of one worker process."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(seconds=300))
    for kind in KINDS:
        save_file(train(kind, Dataset.open(dataset)), folder / f"{kind}-{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one(dataset: Dataset, tmp_path: Path, forkserver: ForkServerContext) -> None:
    processes.start_processes(work, (tmp_path, dataset.path), 2, start_method=forkserver.get_start_method())
    for kind in KINDS:
        alone = train(kind, dataset)
        first, second = (load_file(tmp_path / f"{kind}-{rank}") for rank in range(2))
        assert first.keys() == second.keys() == alone.keys() >= {"loss/discriminator", "d_wrong"}
        for metric, values in alone.items():
            assert values.shape == (20,)
            assert torch.equal(first[metric], second[metric]), (kind, metric)
            apart = (first[metric] - values).abs().max() / values.abs().max().clamp(min=1)
            assert apart < 3e-4, (kind, metric, apart)


def told(dataset: Dataset, sampler: Sampler, count: int) -> dict[str, object]:
    return told_of(dataset, sampler.recipe.method, count, 1)


@pytest.mark.parametrize("kind", ["gan-cls", "boxes", "keypoints"])
def test_an_image_is_a_function_of_its_number_and_what_is_told(
    kind: str, samplers: dict[str, Sampler], dataset: Dataset
) -> None:
    sampler, asked = samplers[kind], told(dataset, samplers[kind], 70)
    whole = sampler.sample(70, 3, **asked)
    assert whole.shape == (70, 16, 16, 3)
    for first, last in ((0, 1), (60, 70)):
        part = {name: value[first:last] for name, value in asked.items()}
        np.testing.assert_array_equal(sampler.sample(last - first, 3, first, **part), whole[first:last])
    # Each thing that is told counts.
    for name, value in asked.items():
        moved = asked | {name: [*value[1:], value[0]] if name == "captions" else np.roll(value, 1, 0)}
        assert not np.array_equal(sampler.sample(70, 3, **moved), whole), name


@pytest.mark.parametrize("kind", ["gan-cls", "boxes", "keypoints"])
def test_between_captions_are_images_and_at_the_ends_their_own(
    kind: str, samplers: dict[str, Sampler], dataset: Dataset
) -> None:
    sampler, asked = samplers[kind], told(dataset, samplers[kind], 3)
    made = sampler.sample(3, 3, interpolate=3, **asked)
    assert made.shape == (3 + 2 * 3, 16, 16, 3)
    np.testing.assert_array_equal(made[::4], sampler.sample(3, 3, **asked))
    steps = np.abs(np.diff(made[:5].astype(float), axis=0)).mean((1, 2, 3))
    assert steps.max() < np.abs(made[4].astype(float) - made[0]).mean()


def test_half_way_between_two_boxes_is_the_box_half_way(samplers: dict[str, Sampler]) -> None:
    sampler = samplers["boxes"]
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.25, 0.25, 0.75]], np.float32)
    made = sampler.sample(2, 0, captions=["a red bar"] * 2, boxes=boxes, interpolate=1)
    with torch.no_grad():
        z = torch.randn(64, 3, generator=torch.Generator().manual_seed(stream()))[:2].mean(0, keepdim=True)
        text = sampler.method.vocabulary.tokens(["a red bar"])
        expected = sampler.generator.eval()(z, text, torch.tensor([[0.25, 0.125, 0.375, 0.625]]))
    image = ((expected[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    assert np.abs(made[1].astype(float) - image).max() < 0.51


def stream() -> int:
    """The seed of the first block of samples of seed 0."""
    from ganlib.draws import stream_seed

    return stream_seed(0, "sample", 0)


def test_what_cannot_be_drawn_is_said_in_a_line(samplers: dict[str, Sampler], dataset: Dataset) -> None:
    cls, boxes, keypoints = samplers.values()
    box = np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)
    for wrong, said in (
        ({"captions": ["a pink bar"]}, r"'a pink bar' has words unknown here: pink \(known: bar, a, "),
        ({"captions": [" "]}, "give one caption, of a word at least"),
        ({"captions": ["?"]}, "has no word; say what to draw"),
        ({}, "makes images of captions; give some"),
        ({"captions": ["a red bar"], "boxes": box}, "takes no boxes"),
    ):
        with pytest.raises(UserError, match=said):
            cls.sample(1, **wrong)
    with pytest.raises(UserError, match=r"the box 0\.1,0\.1,1,0\.5 .* is not inside the canvas"):
        boxes.sample(1, captions=["a red bar"], boxes=box * [[1, 1, 2, 1]])
    with pytest.raises(UserError, match="makes images of boxes; give some"):
        boxes.sample(1, captions=["a red bar"])
    with pytest.raises(UserError, match=r"the keypoints are .* have to be float32 1x3x3"):
        keypoints.sample(1, captions=["a red bar"], keypoints=np.zeros((1, 2, 3), np.float32))


def test_held_out_captions_are_told_by_the_words_that_are_known(samplers: dict[str, Sampler], dataset: Dataset) -> None:
    captions = told(dataset, samplers["gan-cls"], 10)["captions"]
    assert set(captions) == {"a red", "a green", "a blue"}


def test_datasets_and_recipes_that_do_not_fit(tmp_path: Path, dataset: Dataset) -> None:
    bare = bars(tmp_path, Columns(captions=True))
    with pytest.raises(UserError, match="recipe tiny-text needs the column 'box', which dataset"):
        Trainer(tiny("boxes"), bare)
    none = bars(tmp_path, Columns(boxes=True))
    with pytest.raises(UserError, match="needs the column 'captions'"):
        Trainer(tiny("gan-cls"), none)
    with pytest.raises(UserError, match=r"has 3 keypoints and recipe tiny-text is for 2; say data.keypoints=3"):
        Trainer(tiny("keypoints", "data.keypoints=2"), dataset)
    with pytest.raises(UserError, match=r"give their number as data.keypoints"):
        tiny("keypoints", "data.keypoints=0")
    with pytest.raises(UserError, match=r"would move the image alone; set method\.augment\.translation=false"):
        tiny("boxes", "method.augment={kind: adaptive}")
    tiny("boxes", "method.augment={kind: adaptive, translation: false}")
    with pytest.raises(UserError, match="'mlp' has no last map to lay a text beside"):
        tiny("gan-cls", "method.matching=concatenation", "method.discriminator={kind: mlp}")
    with pytest.raises(UserError, match="at least twice as wide as its map of 16 cells, not 16x16"):
        tiny("boxes", "method.generator.map=16")
    with pytest.raises(UserError, match=r"has 8, 16, 32, ... cells a side, not 12"):
        tiny("boxes", "data.size=32", "method.generator.map=12")


def test_texts_as_vectors_from_elsewhere_train_resume_and_sample(dataset: Dataset, tmp_path: Path) -> None:
    """The checkpoint has them, so that samples do not need the file."""
    said = [record for split in ("train", "test") for record in dataset.split(split).column("captions") or ()]
    texts = sorted({text for record in said for text in record})
    file = tmp_path / "vectors.npz"
    recipe = tiny("gan-cls", f"method.text={{vectors: {file}, dim: 6}}")
    trained = [text for text in texts if "barrel" not in text]
    np.savez(file, texts=np.array(trained), vectors=np.ones((len(trained), 7)))
    with pytest.raises(UserError, match=r"lacks 'a .* barrel', a caption of dataset"):  # a held-out one
        Trainer(recipe, dataset)
    np.savez(file, texts=np.array(texts), vectors=np.random.default_rng(0).normal(size=(len(texts), 7)))
    whole, cut = Trainer(recipe, dataset), Trainer(recipe, dataset)
    for _ in whole.run():
        pass
    next(cut.run())
    folder = cut.snapshot().write(tmp_path / "cut")
    vectors = np.load(file)["vectors"]
    for order in (slice(None), slice(None, None, -1)):  # the file written again, in another order
        np.savez(file, texts=np.array(texts)[order], vectors=vectors[order])
        resumed = Trainer(recipe, dataset, resume=folder)
        for _ in resumed.run():
            pass
        assert_equal(resumed.snapshot(), whole.snapshot())
    before = whole.sample(2, seed=3, captions=(texts[0], texts[-1]))
    checkpoint = whole.snapshot().write(tmp_path / "whole")
    file.unlink()
    after = load_sampler(checkpoint).sample(2, seed=3, captions=(texts[0], texts[-1]))
    assert np.array_equal(after, before.numpy())
