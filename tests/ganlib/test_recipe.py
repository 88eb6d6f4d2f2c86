"""The recipe: written and read back, overridden, and what it says of mistakes."""

from pathlib import Path

import pytest
import torch
import yaml

from ganlib.data.batches import Batch
from ganlib.draws import Draws
from ganlib.errors import UserError
from ganlib.methods.noise_to_image import LatentConfig
from ganlib.networks.dcgan import DCGANGeneratorConfig
from ganlib.networks.mlp import MLPGeneratorConfig
from ganlib.overrides import override_fields
from ganlib.penalties import R1Config
from ganlib.recipe import Recipe
from ganlib.training.optimizers import SGD, Adam, Decay

from .conftest import TINY, tiny_recipe

SHIPPED = sorted((Path(__file__).parents[2] / "pipelines" / "recipes").glob("*.yaml"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return tiny_recipe(tmp_path)


def parse(*overrides: str) -> Recipe:
    return Recipe.parse(yaml.safe_load(TINY), overrides)


def test_a_recipe_written_and_read_is_the_same(tmp_path: Path) -> None:
    recipe = parse("method.penalty={kind: r1, gamma: 0.3, every: 8}", "about='Größe: \"so\"'", "train.epochs=2.5")
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.dump())
    assert Recipe.load(path) == recipe
    penalty = yaml.safe_load(path.read_text())["method"]["penalty"]
    assert penalty == {"kind": "r1", "gamma": 0.3, "every": 8, "fall_from": 0.5, "fall_to": 1.0}


def test_flat_names_every_field_by_its_path(recipe: Recipe) -> None:
    flat = recipe.flat()
    assert flat["optim.generator.lr"] == 1e-3
    assert flat["optim.generator.betas"] == [0.5, 0.99]
    assert flat["method.discriminator.kind"] == "convnet"
    assert flat["train.steps.noise"] == "shared"
    overridden = parse(
        *(f"{name}={yaml.safe_dump(value).strip()}" for name, value in flat.items() if value is not None)
    )
    assert overridden == recipe


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_loads_builds_and_is_called_as_its_file(path: Path) -> None:
    recipe = Recipe.load(path)
    assert recipe.name == path.stem
    assert recipe.about
    # Without numbers where that will do; which caption of a record is taken is drawn, and that needs some.
    device = "cpu" if "captions" in recipe.method.needs else "meta"
    with torch.device(device):
        method = recipe.method.build(recipe.shape)
        images = torch.empty(2, recipe.image.channels, recipe.image.height, recipe.image.width)
        dim = getattr(recipe.method, "latent", LatentConfig(dim=1)).dim
        domains = torch.zeros(2, recipe.data.domains)
        batch = Batch(
            images,
            labels=torch.zeros(2, dtype=torch.int64),
            domains=domains,
            captions=[["one"], ["another"]],
            boxes=torch.zeros(2, 4),
            keypoints=torch.zeros(2, recipe.data.keypoints, 3),
            partners=images,
        )
        method.draws = Draws(0, 2, (0, 2), device)
        # Fakes may be several pictures, or carry more beside their channels.
        made = method.generate(batch, torch.empty(2, dim)).shape
        assert (made[0], made[-2:]) == (2, images.shape[-2:])


def test_there_are_shipped_recipes() -> None:
    assert {"digits", "mnist", "avatars", "mnist-large", "mnist-small", "dcgan-64"} <= {path.stem for path in SHIPPED}


def test_values_are_overridden_by_path() -> None:
    recipe = parse("optim.generator.lr=1e-4", "train.batch=32", "train.steps.noise=fresh", "method.latent.dim=3")
    assert recipe.optim.generator.lr == 1e-4
    assert recipe.optim.discriminator.lr == 1e-3
    assert (recipe.train.batch, recipe.train.steps.noise, recipe.method.latent.dim) == (32, "fresh", 3)


def test_a_star_stands_for_every_name() -> None:
    recipe = parse("optim.*.lr=2e-4", "optim.*.decay.kind=cosine")
    assert [side.lr for side in (recipe.optim.generator, recipe.optim.discriminator)] == [2e-4, 2e-4]
    assert recipe.optim.generator.decay == recipe.optim.discriminator.decay
    assert recipe.optim.generator.decay.kind == "cosine"


def test_another_kind_takes_its_own_fields_alone() -> None:
    recipe = parse("method.generator.kind=mlp", "optim.discriminator.kind=sgd", "optim.discriminator.lr=0.1")
    assert recipe.method.generator == MLPGeneratorConfig(kind="mlp")  # `width` and `widest` are the convnet's
    assert recipe.optim.discriminator == SGD(kind="sgd", lr=0.1)
    assert recipe.optim.generator == Adam(lr=1e-3, betas=(0.5, 0.99))
    assert parse("method.generator.kind=dcgan", "method.generator.width=16").method.generator == DCGANGeneratorConfig(
        kind="dcgan", width=16
    )
    # The same kind again is no other kind.
    assert parse("method.generator.kind=convnet").method.generator == parse().method.generator


def test_a_part_is_overridden_whole() -> None:
    assert parse("method.penalty={kind: r1, gamma: 3}").method.penalty == R1Config(kind="r1", gamma=3, every=1)


def test_images_and_epochs_replace_each_other() -> None:
    assert parse().train.length(1000) == 640
    epochs = parse("train.epochs=2.5")
    assert (epochs.train.images, epochs.train.length(1000)) == (None, 2500)
    assert parse("train.epochs=3", "train.images=77").train.length(1000) == 77
    assert epochs.with_overrides("train.images=80").train.length(1000) == 80


def test_overrides_leave_the_original_alone(recipe: Recipe) -> None:
    changed = recipe.with_overrides("optim.*.lr=1e-5", "method.latent.dim=9")
    assert changed != recipe
    assert recipe == parse()
    assert changed.with_overrides("optim.*.lr=1e-3", "method.latent.dim=6") == recipe


@pytest.mark.parametrize(
    ("given", "workers", "bounds"),
    [("0", 0, (0, 0)), ("4", 4, (4, 4)), ("[1, 4]", (1, 4), (1, 4)), ("[2, 2]", (2, 2), (2, 2))],
)
def test_workers_are_a_number_or_bounds(given: str, workers: int | tuple[int, int], bounds: tuple[int, int]) -> None:
    recipe = parse(f"workers={given}")
    assert recipe.workers == workers
    assert (recipe.least_workers, recipe.most_workers) == bounds
    assert Recipe.parse(yaml.safe_load(recipe.dump())) == recipe


@pytest.mark.parametrize(
    ("override", "said"),
    [
        # A field that is not there: its path, the nearest right one, what is allowed.
        (
            "optim.generator.lrr=1",
            "no field 'optim.generator.lrr'; did you mean 'optim.generator.lr'? (allowed here: b",
        ),
        ("optm.x=1", "no field 'optm'; did you mean 'optim'? (allowed here: about, data,"),
        ("train.stepz.generator=2", "no field 'train.stepz'; did you mean 'train.steps'?"),
        (
            "method.discriminator.pieces=2",
            "no field 'method.discriminator.pieces' (allowed here: kind, minibatch_std, widest, width)",
        ),
        ("*.lr=3", "no field 'data.lr'"),
        ("method.*.width=8", "no field 'method.latent.width' (allowed here: dim, distribution)"),
        ("optim.*=1", "no field 'optim.*'"),
        (
            "train.schedule=[{images: 100, fields: {train.steps.generator: 2}, field: 1}]",
            "there is no field 'train.schedule.0.field'; did you mean 'train.schedule.0.fields'? (allowed here: f",
        ),
        # A kind that is not there.
        (
            "method.generator.kind=convnets",
            "no method.generator of kind 'convnets'; did you mean 'convnet'? (allowed: ",
        ),
        ("optim.discriminator.kind=adamw", "did you mean 'adam'? (allowed: adam, sgd, rmsprop)"),
        (
            "method.penalty.gamma=2",
            "method.penalty.kind is missing (allowed: none, r1, r2, r1r2, gradient-penalty, dragan, clip)",
        ),
        # A value of the wrong type, or out of range: the field, the value, what is allowed.
        ("train.batch=1", "train.batch is 1: this method learns from 2 up"),
        ("train.batch=0", "train.batch is 0: input should be greater than or equal to 1"),
        ("train.batch=abc", "train.batch is 'abc': input should be a valid integer"),
        ("train.batch=2.5", "train.batch is 2.5: input should be a valid integer"),
        ("optim.*.lr=20", "optim.generator.lr is 20: input should be less than or equal to 10"),
        ("optim.generator.lr=0", "optim.generator.lr is 0: input should be greater than 0"),
        ("optim.generator.lr=.nan", "optim.generator.lr is nan: input should be a finite number"),
        ("train.epochs=.inf", "train.epochs is inf: input should be a finite number"),
        ("optim.*.betas=[0.5, 2]", "optim.generator.betas.1 is 2: input should be less than 1"),
        ("optim.*.betas=[0.5]", "field 'optim.generator.betas.1' is missing"),
        ("optim.generator.kind=sgd", "field 'optim.generator.lr' is missing"),
        ("data.channels=2", "data.channels is 2: input should be 1 or 3"),
        (
            "method.objective=lsgan",
            "method.objective is 'lsgan': input should be 'minimax', 'non-saturating', 'least-squares', 'hinge', "
            "'wasserstein' or 'relativistic'",
        ),
        ("method.discriminator.width=2", "method.discriminator.width is 2: input should be greater than or equal to 4"),
        ("name=My Run", "name is 'My Run': string should match pattern"),
        ("optim.generator=3", "optim.generator is 3: input should be"),
        ("optim.generator.lr.x=3", "optim.generator.lr is {'x': 3}: input should be a valid number"),
        # Parts that do not fit together.
        ("data.size=17", "network 'convnet': the size has to be 4, 5, 6 or 7 times a power of two"),
        ("workers=40", "train.batch (16) has to be at least workers (40)"),
        ("workers=[1, 40]", "train.batch (16) has to be at least workers (40)"),
        *(
            (f"workers={given}", f"workers: is {shown}: give a number from 0 to 4096, or two, [least, most]")
            for given, shown in [
                ("-1", "-1"),
                ("true", "True"),
                ("[4, 1]", "[4, 1]"),
                ("[0, 4]", "[0, 4]"),
                ("x", "'x'"),
            ]
        ),
        ("train.images=null", "give the length either as train.images or as train.epochs"),
        # What is no override.
        ("train.batch", "override 'train.batch' is not of the form path=value"),
        ("=3", "override '=3' is not of the form path=value"),
        ("train.batch=[1", "override 'train.batch=[1': the value is not YAML"),
        ("data.*.lr=1", "'*.lr' in an override stands for nothing there"),
    ],
)
def test_a_mistake_is_said_in_one_line(override: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse(override)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "is not YAML"),
        ("", "a recipe is a mapping of fields, not NoneType"),
        ("- name\n- data\n", "a recipe is a mapping of fields, not list"),
        ("name: x\n", "field 'data' is missing"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        Recipe.load(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_recipe_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.yaml cannot be read: No such file"):
        Recipe.load(tmp_path / "no.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="is not YAML"):
        Recipe.load(binary)


def test_a_kind_that_goes_unsaid_is_not_changed_by_being_said() -> None:
    assert parse("method.kind=noise-to-image") == parse()


def test_a_kind_of_the_same_model_keeps_the_other_fields() -> None:
    decaying = parse("optim.generator.decay={kind: cosine, start: 0.5, floor: 0.02}")
    linear = decaying.with_overrides("optim.*.decay.kind=linear").optim
    assert linear.generator.decay == Decay(kind="linear", start=0.5, floor=0.02)
    assert linear.discriminator.decay == Decay(kind="linear")
    network = {"kind": "unet", "width": 16, "norm": "instance"}
    method = {"method": {"kind": "pix2pix", "generator": network}}
    changed = override_fields(method, ["method.generator.kind=encoder-decoder"], Recipe)
    assert changed["method"]["generator"] == network | {"kind": "encoder-decoder"}


@pytest.mark.parametrize("way", [1, -1])
def test_a_part_s_kind_is_before_those_of_its_own_parts(way: int) -> None:
    overrides = ["method.kind=pix2pix", "method.generator.kind=encoder-decoder", "method.generator.width=8"][::way]
    method = override_fields({"method": {"kind": "gawwn", "width": 3}}, overrides, Recipe)["method"]
    assert method == {"kind": "pix2pix", "generator": {"kind": "encoder-decoder", "width": 8}}


def test_the_order_of_overrides_is_their_kinds_first() -> None:
    penalty = parse("method.penalty.gamma=2", "method.penalty.kind=r1").method.penalty
    assert (penalty.kind, penalty.gamma) == ("r1", 2)
