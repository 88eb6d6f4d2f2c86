"""How many threads a worker has: those that its container allows, and the same for as long as the run goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ganlib.errors import UserError
from pipelines import train_loop
from pipelines.run_folder import Home, RunFolder
from pipelines.shipped import find_recipe
from pipelines.train import create_run, train
from tests.cluster.tiny import TINY, lengths, prepare

CORES = sorted(os.sched_getaffinity(0))
several = pytest.mark.skipif(len(CORES) < 2, reason="a machine of one core, which every limit leaves as it is")
V2, V1 = {"cpu.max": "{} 100000"}, {"cpu/cpu.cfs_quota_us": "{}", "cpu/cpu.cfs_period_us": "100000"}


def cores_in_a_container(files: dict[str, str]) -> int:
    """What the function says in a process that sees these files in place of the machine's own cgroups."""
    put = " && ".join(f"mkdir -p $(dirname {name}) && echo {text} > {name}" for name, text in files.items())
    shell = f'mount -t tmpfs none /sys/fs/cgroup && (cd /sys/fs/cgroup && {put}) && exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*alone, "mount -t tmpfs none /sys/fs/cgroup"], capture_output=True).returncode != 0:
        pytest.skip("this machine gives out no namespaces to mount in")
    code = "from ganlib.cores import cores; print(cores())"
    done = subprocess.run([*alone, shell, "sh", sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@several
@pytest.mark.parametrize("version", [V2, V1], ids=["v2", "v1"])
def test_what_a_container_may_use_counts_and_not_the_machine(version: dict[str, str]) -> None:
    def limited(quota: int | str) -> int:
        return cores_in_a_container({name: text.format(quota) for name, text in version.items()})

    assert limited(100_000) == 1
    assert limited(150_000) == 2  # the second for half of the time
    assert limited("max" if version is V2 else -1) == len(CORES)


@several
@pytest.mark.slow
def test_a_run_goes_on_with_the_threads_that_it_began_with(tmp_path: Path, tracking_uri: str, monkeypatch) -> None:
    home = Home(tmp_path / "home").create()
    recipe = find_recipe("ring", [*TINY, *lengths(ticks=2, checkpoint_every=2, evaluate_every=2)])
    begun, other = (create_run(recipe, prepare(home), home, name) for name in ("begun", "other"))
    threads: list[int] = []
    told = train_loop.record

    def record(*what: object) -> None:
        threads.append(torch.get_num_threads())
        told(*what)  # type: ignore[arg-type]

    monkeypatch.setattr(train_loop, "record", record)
    os.sched_setaffinity(0, CORES[:1])
    try:
        train(begun, tracking_uri)
    finally:
        os.sched_setaffinity(0, CORES)
    assert set(threads) == {1}
    begun.lengthen(2 * recipe.train.images)
    train(begun, tracking_uri)
    assert set(threads) == {1}  # on a machine of more cores too
    train(other, tracking_uri)
    assert threads[-1] == len(CORES)
    torch.set_num_threads(1)


@pytest.mark.parametrize("text", ["", "0", "-1", "1e3", "1000000", "[1]"])
def test_a_number_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "threads.json").write_text(text)
    with pytest.raises(UserError, match=r"threads.json holds no number of threads; remove it"):
        RunFolder(tmp_path).threads(4)


@pytest.mark.parametrize(
    ("said", "spins"),
    [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
    ids=["unsaid", "a count", "a policy"],
)
def test_threads_that_wait_give_up_their_core_unless_the_environment_says_how_long(
    said: dict[str, str], spins: str
) -> None:
    """As GCC's OpenMP says when torch brings it in, after `gan` began; by its manual a passive one spins 0 times."""
    code = "import sys; from pipelines.cli import main; sys.argv = ['gan', '-h']\ntry: main()\nfinally: import torch"
    unsaid = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**unsaid, **said, "OMP_DISPLAY_ENV": "verbose"},
    )
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
