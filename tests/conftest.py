"""One thread a process: two processes of several threads each, on two cores, spin against each other for 30 times the
time that one thread takes."""

import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # for this process, before torch is imported, and for those that tests start
# `mlflow models serve` looks for its server's command there, as in an activated environment.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

import torch

torch.set_num_threads(1)
