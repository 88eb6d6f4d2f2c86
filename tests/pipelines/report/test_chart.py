"""Charts, read back from their SVG; scales, worked out by hand."""

import math
import xml.etree.ElementTree as ElementTree

import pytest

from pipelines.report.chart import BOTTOM, HEIGHT, LEFT, MOST_POINTS, RIGHT, TOP, WIDTH, chart, nice, short, thinned


def lines_of(svg: str) -> list[list[tuple[float, float]]]:
    found = ElementTree.fromstring(svg).findall("polyline")
    return [[tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()] for line in found]


def labels_of(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).findall("text")]


def test_a_line_goes_from_corner_to_corner() -> None:
    """0 at 0 images and 100 at 1,000: the scale ends 5 percent above."""
    drawn = chart({"a": [(0, 0.0), (500, 50.0), (1_000, 100.0)]})
    ((first, middle, last),) = lines_of(drawn.svg)
    height, width = HEIGHT - TOP - BOTTOM, WIDTH - LEFT - RIGHT
    assert first == (LEFT, HEIGHT - BOTTOM)
    assert middle == pytest.approx((LEFT + width / 2, HEIGHT - BOTTOM - height * 50 / 105), abs=0.06)
    assert last == pytest.approx((LEFT + width, HEIGHT - BOTTOM - height * 100 / 105), abs=0.06)
    assert labels_of(drawn.svg) == ["0", "50", "100", "0", "250", "500", "750", "1k"]
    assert drawn.legend == [(0, "a", 100.0)]


def test_values_far_apart_have_a_logarithmic_scale() -> None:
    """Of 1, 100 and 10,000 the second is in the middle."""
    ((first, second, third),) = lines_of(chart({"a": [(0, 1.0), (1, 100.0), (2, 10_000.0)]}).svg)
    assert second[1] == pytest.approx((first[1] + third[1]) / 2, abs=0.06)


def test_what_is_not_finite_is_left_out() -> None:
    drawn = chart({"a": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)], "b": [(0, math.nan)]})
    assert [len(line) for line in lines_of(drawn.svg)] == [2]
    assert [label for _, label, _ in drawn.legend] == ["a"]


@pytest.mark.parametrize("values", [[3.0], [0.0, 0.0], [-2.0, -2.0], [1e-9, 1e9], [5.0, 5.1]])
def test_every_chart_can_be_drawn_and_stays_inside(values: list[float]) -> None:
    drawn = chart({"a": list(enumerate(values))})
    for x, y in lines_of(drawn.svg)[0]:
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT - BOTTOM
    assert len(labels_of(drawn.svg)) >= 2
    assert lines_of(chart({}).svg) == []


def test_long_lines_are_thinned_to_means() -> None:
    points = [(i, float(i)) for i in range(10 * MOST_POINTS)]
    found = thinned(points)
    assert len(found) == MOST_POINTS
    assert found[0] == (9, 4.5)
    assert thinned(points[:7]) == points[:7]


def test_the_number_beside_a_line_is_its_last_value() -> None:
    found = chart({"a": [(i, float(i)) for i in range(2 * MOST_POINTS + 1)]})
    assert [value for _, _, value in found.legend] == [2 * MOST_POINTS]


def test_round_numbers() -> None:
    assert [nice(step) for step in (1.0, 1.1, 2.2, 3.0, 7.0, 0.03)] == pytest.approx([1, 2, 2.5, 5, 10, 0.05])
    assert [short(value) for value in (0, 0.05, 1e-6, 12.5, 1_000, 250_000, 1_500_000)] == [
        "0", "0.05", "1e-06", "12.5", "1k", "250k", "1.5M",
    ]  # fmt: skip
