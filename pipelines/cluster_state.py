"""What is noted of the cluster that `gan up` started in a home, and how a program talks to it.

HOME/cluster/cluster.json     what was started: addresses, and each process by its id and start
HOME/cluster/token            what every request to Ray has to carry (mode 0600)
HOME/cluster/*.log            what each process says
Ray's own logs lie in a folder of the machine's temporary ones, whose path is short: a socket's may have 107 characters.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ganlib.cores import cores
from ganlib.errors import UserError
from ganlib.files import write_atomically
from pipelines.ports import LOOPBACK, ONLY_LOOPBACK
from pipelines.processes import Started


class State(BaseModel):
    """What stands in `cluster.json`.

    cpus: of each node, as asked for; None for the machine's, shared out. tracking: of an MLflow that another started.
    temporary: Ray's folder. host: the machine that it is on, since others may share the home. given: how many CPUs each
    node that was started has, by its number.
    """

    model_config = ConfigDict(extra="forbid")

    home: str
    nodes: int
    cpus: int | None
    gcs_port: int
    dashboard_port: int
    mlflow_port: int
    tracking: str | None
    temporary: str
    host: str = ""
    given: dict[int, int] = {}
    processes: list[Started] = []

    @property
    def address(self) -> str:
        """What RAY_ADDRESS is, for a program on this machine."""
        return f"{LOOPBACK}:{self.gcs_port}"

    @property
    def dashboard(self) -> str:
        """Where Ray's dashboard and its Jobs API are."""
        return f"http://{LOOPBACK}:{self.dashboard_port}"

    @property
    def mlflow(self) -> str:
        return self.tracking or f"http://{LOOPBACK}:{self.mlflow_port}"

    @property
    def all_cpus(self) -> int:
        """How many CPUs all its nodes have."""
        return sum(self.cpus_of(number) for number in range(self.nodes))

    def cpus_of(self, number: int) -> int:
        """A node's: as it has them, as asked for, or its share of the machine's; the first has one more, to judge."""
        if number in self.given:
            return self.given[number]
        if self.cpus is not None:
            return self.cpus
        return max(1, cores() // self.nodes) + (number == 0)

    @property
    def folder(self) -> Path:
        return Path(self.home) / "cluster"

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    def of(self, name: str) -> Started | None:
        """The process of that name, where it runs."""
        return next((one for one in self.processes if one.name == name and one.alive), None)

    @property
    def running(self) -> bool:
        """Whether there is a head to talk to."""
        return self.of("head") is not None

    def environment(self) -> dict[str, str]:
        """What a program on this machine needs to be of the cluster; the token by its file, not itself."""
        return {
            **ONLY_LOOPBACK,
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
        }

    def save(self) -> None:
        write_atomically(self.folder / "cluster.json", self.model_dump_json(indent=2))


def recorded(home: Path) -> State | None:
    """What `gan up` noted in this home, running or not. Raises UserError for a note that cannot be read."""
    path = home.absolute() / "cluster" / "cluster.json"
    try:
        return State.model_validate_json(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} cannot be read; end the cluster's processes by hand, and remove the file ({type(error).__name__})"
        ) from error


def running(home: Path) -> State | None:
    """The cluster that `gan up` started in this home, where its head runs."""
    state = recorded(home)
    return state if state is not None and state.running else None
