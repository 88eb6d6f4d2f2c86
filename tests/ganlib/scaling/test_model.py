"""Predictions on machines whose figures are round numbers."""

import pytest
import torch

from ganlib.cores import threads_of
from ganlib.errors import UserError
from ganlib.scaling.calibration import Calibration
from ganlib.scaling.gpus import ACHIEVED, KERNEL, LAUNCH, STREAMED, Gpu, find_gpu
from ganlib.scaling.links import Link, Loopback
from ganlib.scaling.model import predict_cpu, predict_gpu
from ganlib.scaling.work import Operation, Work, count_work
from pipelines.shipped import find_recipe

ROUND = Gpu("round", bf16=100, tf32=50, fp32=10, memory=80, bandwidth=1000, link=125)
"""Peaks of 100, 50 and 10 TFLOP/s; a terabyte a second; 100 GB/s of the link's 125 reached."""


def work_of(*operations: Operation, workers: int = 1, messages: dict[int, float] | None = None) -> Work:
    return Work(workers, 64, 64 // workers, dict.fromkeys(operations, 1.0), messages or {})


@pytest.mark.parametrize(
    ("number", "convolution", "peak"),
    [(torch.bfloat16, True, 100), (torch.bfloat16, False, 100), (torch.float32, True, 50), (torch.float32, False, 10)],
)
def test_arithmetic_goes_by_the_peak_of_its_type(number: torch.dtype, convolution: bool, peak: float) -> None:
    seconds, bound = ROUND.seconds(work_of(Operation(int(peak * 1e12), 0, number, convolution)))
    assert (seconds, bound) == (pytest.approx(1 / ACHIEVED), "arithmetic")


def test_what_computes_little_goes_by_its_traffic() -> None:
    seconds, bound = ROUND.seconds(work_of(Operation(1000, 10**12, torch.float32, False)))
    assert (seconds, bound) == (pytest.approx(1 / STREAMED), "memory")


def test_no_kernel_is_faster_than_its_launch_and_replayed_than_any() -> None:
    work = work_of(*(Operation(flops, 8, torch.float32, False) for flops in range(100)))
    assert ROUND.seconds(work) == (pytest.approx(100 * LAUNCH), "launches")
    work.replayed = True
    assert ROUND.seconds(work) == (pytest.approx(100 * KERNEL), "kernels")


@pytest.mark.parametrize(
    ("recipe", "batch", "measured"),
    [("mnist", 64, 0.90e-3), ("avatars", 64, 1.47e-3), ("dcgan-64", 128, 2.66e-3), ("dcgan-64", 512, 7.19e-3)],
)
def test_rounds_on_an_h200_were_within_fifteen_percent(recipe: str, batch: int, measured: float) -> None:
    """What the GPU was busy in a replayed round, 26 November 2026; the constants were fitted to these."""
    work = count_work(find_recipe(recipe, ["train.precision=bf16", f"train.batch={batch}"]))
    seconds, _ = find_gpu("h200").seconds(work)
    assert seconds == pytest.approx(measured, rel=0.15)


def test_gradients_and_computing_add_up() -> None:
    """10 GB over 8 GPUs at 100 GB/s, 2 7/8 of 0.1 s, and 14 steps of 5 us, beside a second of arithmetic."""
    operation = Operation(int(ACHIEVED * 100e12), 0, torch.bfloat16, True)
    done = predict_gpu(work_of(operation, workers=8, messages={10**10: 1.0}), ROUND, 8, Link(0, 1))
    assert done.computing == pytest.approx(1.0)
    assert done.communicating == pytest.approx(2 * 7 / 8 * 0.1 + 14 * 5e-6)
    assert done.images_per_second == pytest.approx(64 / done.seconds)
    assert done.communication == pytest.approx(done.communicating / done.seconds)
    assert done.bound == "arithmetic"


def test_four_workers_on_two_cores_take_twice_as_long() -> None:
    calibration = Calibration(2, {2: 1.0, 4: 0.5}, Loopback(1e-3, ((1, 1e9),)))
    two = predict_cpu(work_of(workers=2, messages={10**9: 2.0}), calibration, 2)
    assert (two.computing, two.communicating) == (1.0, pytest.approx(2 * (2e-3 + 1.0)))
    four = predict_cpu(work_of(workers=4, messages={10**9: 2.0}), calibration, 4)
    assert (four.computing, four.communicating) == (1.0, pytest.approx(2 * 2 * (6e-3 + 1.5)))


def test_machines_of_their_own_share_no_core() -> None:
    calibration = Calibration(2, {4: 0.5}, Loopback(1e-3, ((1, 1e9),)))
    four = predict_cpu(work_of(workers=4, messages={10**8: 1.0}), calibration, 1, Link(1e-3, 1e8))
    assert (four.computing, four.communicating) == (0.5, pytest.approx(6 * 2e-3 + 1.5))


def test_threads_are_those_that_a_training_gives_its_workers() -> None:
    assert [threads_of(workers, 8) for workers in (1, 2, 3, 8, 9)] == [8, 4, 2, 1, 1]


def test_a_gpu_that_is_not_in_the_table_is_named() -> None:
    assert find_gpu("H100").memory == 80
    with pytest.raises(UserError, match=r"no GPU 'h1000' in the table; did you mean 'h100'\?"):
        find_gpu("h1000")
