"""The report of studies made by hand: what is read off the record, counted by hand, and that every state has a page."""

import io
import math
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.tuning.made_studies import empty, population, searched
from tuning.record import Reading, Study, Trial
from tuning.report import PAGE, write_report
from tuning.report.charts import curves, fronts
from tuning.report.contents import against_base, costs, endings, final_rows, trial_table
from tuning.report.parameters import schedules
from tuning.report.readings import base_value, front, moments, records, values_now


def trial(number: int, *readings: tuple[int, float, float], **rest: object) -> Trial:
    """Readings are (images, value, seconds since the epoch)."""
    values = {"optim.generator.lr": 10.0 ** -(number + 1), "optim.discriminator.lr": 1e-3}
    made = [Reading(images=images, seconds=images / 100, value=value, at=at) for images, value, at in readings]
    return Trial(**{"number": number, "values": values, "seed": 0, "began": 1_000.0, "status": "finished",
                    "readings": made, **rest})  # fmt: skip


@pytest.fixture
def two() -> Study:
    """Two trials at once, and a third that had the least value of all and then diverged."""
    space = {"optim.generator.lr": "log(1e-5, 1e-1)", "optim.discriminator.lr": "log(1e-5, 1e-1)"}
    trials = [
        trial(0, (100, 9.0, 1_010), (300, 5.0, 1_030)),
        trial(1, (100, 7.0, 1_020), status="stopped", says="stopped by asha at 100 images"),
        trial(2, (100, 1.0, 1_025), status="unhealthy", says="diverged"),
    ]
    return empty(space=space, trials=trials)


def test_readings_are_put_in_the_order_of_time_and_their_images_add_up(two: Study) -> None:
    assert [(m.seconds, m.images, m.trial.number) for m in moments(two)] == [
        (10, 100, 0), (20, 200, 1), (25, 300, 2), (30, 500, 0),
    ]  # fmt: skip
    assert [(m.seconds, m.reading.value) for m in records(two)] == [(10, 9.0), (20, 7.0), (30, 5.0)]
    two.mode = "max"
    assert [m.reading.value for m in records(two)] == [9.0]


def test_the_best_is_shown_against_the_recipe(two: Study) -> None:
    best = against_base(two)
    assert best is not None
    assert (best.number, best.value) == (0, "5")
    assert best.rows[0] == ("optim.generator.lr", "0.001", "0.1", "log(1e-5, 1e-1)")
    assert best.base == "trial 2: unhealthy"


def test_fields_of_a_star_have_one_value_where_they_are_alike() -> None:
    study = empty()
    assert base_value(study, "optim.*.betas") == [0.5, 0.999]
    study.recipe["optim"] = {"generator": {"lr": 1e-3}, "discriminator": {"lr": 4e-3}}
    assert base_value(study, "optim.*.lr") == [1e-3, 4e-3]
    assert base_value(study, "optim.*.weight") is None


def test_cost_is_counted_by_status(two: Study) -> None:
    assert costs(two) == [
        ("finished", "1", "3 seconds", "300", "60%"),
        ("stopped", "1", "1 seconds", "100", "20%"),
        ("unhealthy", "1", "1 seconds", "100", "20%"),
        ("all", "3", "5 seconds", "500", "100%"),
    ]
    assert endings(two) == [("stopped: stopped by asha at 100 images", 1), ("unhealthy: diverged", 1)]


def test_the_front_has_what_is_best_for_its_cost(two: Study) -> None:
    """Of seconds and values (3, 5), (2, 9), (2, 6), (4, 5), (5, 4) and a bad (1, 1) there stand (2, 6), (3, 5), (5, 4);
    where more is better, (2, 9) alone."""
    readings = [(300, 5.0), (200, 9.0), (200, 6.0), (400, 5.0), (500, 4.0), (100, 1.0)]
    two.trials = [trial(number, (images, value, 1_010)) for number, (images, value) in enumerate(readings)]
    two.trials[5].status = "unhealthy"
    two.trials.append(trial(6, (100, 0.5, 1_010), repeats=0))
    assert [one.number for one in front(two)] == [2, 0, 4]
    assert fronts(two) == []  # cost was not searched for
    two.search = "tpe-cost"
    (picture,) = fronts(two)
    assert "trials 2, 0, 4;" in picture.says
    two.mode = "max"
    assert [one.number for one in front(two)] == [1]


def test_the_table_has_the_best_first_and_the_bad_last(two: Study) -> None:
    table = trial_table(two)
    assert [cells[0] for cells, _, _ in table.rows] == ["0", "1", "2"]
    assert [best for _, _, best in table.rows] == [True, False, False]
    assert table.rows[1][0][-1] == "stopped by asha at 100 images"


def test_finals_have_each_seed_and_the_search_s_word(two: Study) -> None:
    """Means of 6 and 8 over two seeds each have 7 and an error of 1."""
    two.trials += [trial(3, (300, 6.0, 1_050), repeats=0), trial(4, (300, 8.0, 1_060), repeats=0)]
    two.best = 0
    assert final_rows(two) == [("0", "7 ± 1", "6, 8", "5", "3 seconds")]
    best = against_base(two)
    assert best is not None
    assert best.value == "7 ± 1"


def test_a_population_s_schedule_follows_the_weights() -> None:
    """The values that a trial ends with are those of its last change; each changed parameter has its picture."""
    study = population()
    changed = next(trial for trial in study.trials if trial.mutations)
    assert values_now(study, changed) == changed.mutations[-1].values
    assert [picture.title for picture in schedules(study)] == list(study.space)
    assert schedules(empty()) == []


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_report(searched(), tmp_path_factory.mktemp("report"))


def test_the_page_needs_nothing_else_and_its_pictures_lie_beside_it(report: list[Path]) -> None:
    page, *pictures = report
    text = page.read_text()
    assert page.name == PAGE
    references = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(references) == len(pictures) == 14
    assert all(one.startswith("data:image/png;base64,") for one in references)
    assert "<script" not in text
    assert "http" not in text
    for path in pictures:
        picture = Image.open(io.BytesIO(path.read_bytes()))
        assert picture.width == 720
        assert picture.getextrema()[3] == (0, 255)  # drawn on, and transparent elsewhere


def test_the_page_says_why_trials_were_stopped_and_what_matters(report: list[Path]) -> None:
    text = report[0].read_text()
    assert "stopped by asha at 1,000 images" in text
    assert "training diverged before 1000 images" in text
    assert "<th>optim.generator.lr</th>" in text
    assert "foretold from the others" in text


@pytest.mark.parametrize("state", ["none", "one", "running", "failed", "infinite", "not-numbers", "alike"])
def test_every_state_of_a_study_has_a_page(state: str, tmp_path: Path) -> None:
    space = {"optim.generator.lr": "log(1e-5, 1e-1)", "train.steps.discriminator": "int(1, 3)"}
    trials = {
        "none": [],
        "one": [trial(0, (100, 2.0, 1_010))],
        "running": [trial(0, status="running"), trial(1, (100, 2.0, 1_010), status="running")],
        "failed": [trial(number, status="failed", says="its process was lost") for number in range(12)],
        "infinite": [trial(0, (100, math.inf, 1_010)), trial(1, (100, math.inf, 1_010), (200, 3.0, 1_011))],
        "not-numbers": [trial(0, (100, math.nan, 1_010))],
        "alike": [trial(number, (100, 0.0, 1_010)) for number in range(12)],
    }[state]
    study = empty(space=space, trials=trials)
    study.write(tmp_path / "study.json")
    files = write_report(Study.read(tmp_path / "study.json"), tmp_path / "report")
    text = files[0].read_text()
    assert all(path.is_file() for path in files)
    good = {"one": 0, "running": 1, "infinite": 1, "alike": 0}.get(state)
    assert (f"Trial {good}:" in text) == (good is not None)
    if state == "none":
        assert "No trial has begun" in text
        assert len(files) == 1
    elif good is None:
        assert "No trial is good so far" in text
        assert curves(study) == []


def test_words_of_a_record_are_no_markup(tmp_path: Path) -> None:
    """What a trial said may hold anything."""
    study = empty(trials=[trial(0, status="failed", says="<script>alert(1)</script>")], name="<b>a</b>")
    assert "<script" not in write_report(study, tmp_path)[0].read_text()
