"""Types `gan` commands one after the other, in one process, which imports torch, Ray and MLflow once for all of them.

    GAN_HOME=HOME python -m tests.cluster.typed FILE

FILE has a list of commands, each a list of words. {run:RECIPE} as a word stands for the newest run of a recipe, {job}
for the newest job. Prints what each says; ends at the first that fails.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

from pipelines.cli import main


def filled(word: str, home: Path) -> str:
    """The word, or the name of what the commands before have made."""
    if word == "{job}":
        from pipelines.jobs import all_jobs, find_cluster

        return str(all_jobs(find_cluster(home, None).client())[-1].submission_id)
    if run := re.fullmatch(r"\{run:([\w-]+)\}", word):
        return max(home.glob(f"runs/{run[1]}-*"), key=lambda path: path.stat().st_mtime_ns).name
    return word


def type_all(home: Path, commands: list[list[str]]) -> None:
    for words in commands:
        sys.argv = ["gan", *(filled(word, home) for word in words)]
        begun, shell = time.monotonic(), dict(os.environ)
        try:
            main()
        except SystemExit as end:
            if end.code:
                sys.exit(f"status {end.code} of {' '.join(sys.argv)}")
        finally:  # what a command sets, the next one is not told by a person's shell
            os.environ.clear()
            os.environ.update(shell)
        print(f"--- {time.monotonic() - begun:.1f} s: {' '.join(sys.argv)}", flush=True)


if __name__ == "__main__":
    type_all(Path(os.environ["GAN_HOME"]), json.loads(Path(sys.argv[1]).read_text()))
