"""`gan plan`, as a person types it."""

import re

import pytest

from tests.pipelines.command import gan

TABLE = re.compile(
    r"^ +(\d+) +(\d+) +([\d,]+) +([\d.]+) +([\d.]+) (min|h|d) +(\d+)% +(\w+) +[\d,]+ +([\d.]+) GB *(.*)$"
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpu", "h1000"], "no GPU 'h1000' in the table; did you mean 'h100'?"),
        (["--network", "100"], "the network '100' has no rate with a unit; write 100Gb"),
        (["--gpus", "0"], "--gpus is '0': give numbers from 1 to 65536"),
        (["--gpus", "1,many"], "--gpus is '1,many': give numbers from 1 to 65536"),
        (["--gpus", "512"], "train.batch is 64, fewer than 512 GPUs share; raise it, or say --batch-each"),
        (["--gpus", "4096", "--batch-each", "64"], "train.batch is 262144"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gan("plan", "digits", *words) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("gan: ")
    assert said in told
    assert "\n" not in told


def test_the_table_follows_from_its_own_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """110,000 images at the speed of a row take its time, and its GPUs for that time cost so much."""
    assert gan("plan", "digits", "--gpus", "1,2,128", "--price", "3.6e3") == 0  # a dollar a second
    said = capsys.readouterr().out
    assert "digits: 110,000 images" in said
    assert "128   train.batch=64 has no image for each" in said
    rows = [found.groups() for line in said.splitlines() if (found := TABLE.match(line))]
    assert [(row[0], row[1]) for row in rows] == [("1", "64"), ("2", "32")]
    assert (rows[0][3], rows[0][6]) == ("1.0", "0")
    assert int(rows[1][6]) > 0
    for gpus, _, rate, *_, cost in rows:
        seconds = 110_000 / int(rate.replace(",", ""))
        assert float(cost.removesuffix(" $").replace(",", "")) == pytest.approx(int(gpus) * seconds, abs=0.02)


def test_a_length_in_epochs_asks_for_the_images_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["method.generator.width=8", "method.discriminator.width=8", "--gpus", "1"]
    assert gan("plan", "dcgan-64", *small) == 0
    assert "dcgan-64: 1,000,000 images; of how many an epoch has, say --images" in capsys.readouterr().out
    assert gan("plan", "dcgan-64", *small, "--images", "4000") == 0
    assert "dcgan-64: 100,000 images\n" in capsys.readouterr().out
