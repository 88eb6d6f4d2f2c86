"""The README's lines for a notebook, run as they stand but for the length."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CHECKS = """
import sys
assert images.shape == (64, 16, 16, 1) and str(images.dtype) == "torch.uint8", (images.shape, images.dtype)
assert images.float().std() > 0
assert not {"ray", "mlflow", "pipelines", "tuning"} & set(sys.modules)
"""


def test_the_readmes_notebook_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) < 10
    short = code.replace("train.images=60000", "train.images=640").replace("pipelines/", f"{REPOSITORY}/pipelines/")
    assert short.count("640") == 1
    done = subprocess.run([sys.executable, "-c", short + CHECKS], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert seen[-1] == 640
