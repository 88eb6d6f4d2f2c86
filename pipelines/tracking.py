"""MLflow: where it is, whether it answers, runs opened and closed, and the facts of the host as tags.

mlflow takes seconds to import, so that only functions here import it.
"""

import getpass
import logging
import os
import platform
import re
import socket
import sqlite3
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from ganlib.errors import UserError
from pipelines.job_link import PUBLIC_MLFLOW, job_tags, link_job_to
from pipelines.journal import Status

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Variables of a job's environment: of the code that was sent, which git does not know there.
COMMIT, DIRTY = "GAN_SOURCE_COMMIT", "GAN_SOURCE_DIRTY"

# The tag by which a run is found again; its value is made once and kept with the work that the run records.
RUN_TAG = "gan.run"
# The tag that says what a run is of: a training, a study, a trial, a chain or one of its stages.
KIND_TAG = "gan.kind"
# The tag that says how many images the run has seen.
IMAGES_TAG = "gan.images"
# The tag that says in a few words how healthy the run is.
HEALTH_TAG = "health"

# How this product uses MLflow, unless the environment says otherwise. mlflow reads some of it while it is imported,
# and so does every process that this one starts.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a team's runs are its own affair
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # the files are small, and the bars break a log
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes for what no run here asks for
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # six seconds; MLflow's own 7 hold a caller for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of every retry


def default_tracking_uri(home: Path) -> str:
    """The environment's MLFLOW_TRACKING_URI, else the database in `home`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or home_database(home)


def home_database(home: Path) -> str:
    """The address of the SQLite database at `home`/mlflow/mlflow.db (absolute)."""
    return f"sqlite:///{quote(str(home.absolute() / 'mlflow' / 'mlflow.db'))}"


def check_tracking(uri: str) -> None:
    """Return once MLflow answers at `uri`: http(s)://host:port or sqlite:////path/to/mlflow.db, created if missing.

    A fresh SQLite database takes some five seconds to create. Raises UserError, for a server within some five seconds,
    where nothing answers, where something else does, and where the address is malformed.
    """
    from mlflow.exceptions import MlflowException

    if is_sqlite(uri):
        _check_sqlite(sqlite_path(uri))
    else:
        check_address(uri)
    try:
        with _environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT="5"):
            mlflow_client(uri).search_experiments(max_results=1)
    except MlflowException as error:
        raise UserError(
            f"no MLflow answers at {uri}: {reason(error)}; start it there, or correct MLFLOW_TRACKING_URI"
        ) from error


def mlflow_client(tracking_uri: str) -> "MlflowClient":
    """A client of the tracking store and the model registry at `tracking_uri`."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri, registry_uri=tracking_uri)


KIND = {"mlflow.experimentKind": "custom_model_development"}
"""By this tag MLflow's pages show an experiment as trainings; they take it for one of language models otherwise."""


def experiment_id(client: "MlflowClient", name: str) -> str:
    """The id of the experiment `name`, created if missing; on SQLite its artifacts lie beside the database.

    Raises UserError where the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        uri = client.tracking_uri
        beside = (sqlite_path(uri).parent / "artifacts").as_uri() if is_sqlite(uri) else None
        try:
            return str(client.create_experiment(name, artifact_location=beside, tags=KIND))
        except MlflowException:
            # Another process may have been first, and then it stands; anything else is the error.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise UserError(f"the experiment {name!r} was deleted in MLflow; restore it there, or choose another name")
    return str(experiment.experiment_id)


def open_run(
    tracking_uri: str,
    experiment: str,
    run_name: str,
    tags: Mapping[str, str],
    unique: str,
    *,
    start_time: int | None = None,
) -> str:
    """The id of the run whose tag `gan.run` is `unique`: set to running if it stands, else created.

    So a process that was killed between creating a run and noting its id finds it again. `start_time` is in
    milliseconds since the epoch. Raises mlflow.MlflowException where MLflow does not answer, UserError for a deleted
    experiment.
    """
    client = mlflow_client(tracking_uri)
    experiment_at = experiment_id(client, experiment)
    all_tags = {**tags, **job_tags(), RUN_TAG: unique}
    run = find_run(client, experiment_at, unique)
    if run is None:
        run_id = str(client.create_run(experiment_at, start_time, all_tags, run_name).info.run_id)
    else:
        run_id = str(run.info.run_id)
        client.update_run(run_id, status="RUNNING")
        set_tags(client, run_id, all_tags)
    if "mlflow.parentRunId" not in tags:
        link_job_to(run_link(tracking_uri, experiment_at, run_id))
    return run_id


def close_run(tracking_uri: str, run_id: str, status: Status) -> None:
    """End the run with `status`. Raises mlflow.MlflowException where MLflow does not answer."""
    mlflow_client(tracking_uri).set_terminated(run_id, status)


def run_link(tracking_uri: str, experiment_at: str, run_id: str) -> str:
    """The run's page in MLflow, as people see it; of a database, whose page has no address yet, the part behind it."""
    server = os.environ.get(PUBLIC_MLFLOW) or (tracking_uri if tracking_uri.startswith("http") else "")
    return f"{server.rstrip('/')}/#/experiments/{experiment_at}/runs/{run_id}"


def find_run(client: "MlflowClient", experiment_at: str, unique: str) -> "Run | None":
    """The run of the experiment (by id) whose tag `gan.run` is `unique`, unless it was deleted."""
    runs = client.search_runs([experiment_at], f"tags.`{RUN_TAG}` = '{unique}'", max_results=1)
    return runs[0] if runs else None


def set_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    """Set any number of tags in as few requests as MLflow's limit of 100 a request allows."""
    from mlflow.entities import RunTag

    entities = [RunTag(name, value) for name, value in tags.items()]
    for start in range(0, len(entities), 100):
        client.log_batch(run_id, tags=entities[start : start + 100])


def mlflow_digest(digest: str) -> str:
    """A dataset's digest as MLflow holds it: it has room for 36 of SHA-256's 64 hex digits."""
    return digest[:36]


def host_facts() -> dict[str, str]:
    """What the numbers of a run depend on beside its recipe: code, versions and hardware, as MLflow tags."""
    facts = {
        "mlflow.user": _user(),
        "host.name": socket.gethostname(),
        "host.platform": platform.platform(),
        "host.cpu": _cpu_model(),
        "host.cpu_count": str(os.cpu_count()),
        "version.python": platform.python_version(),
        **{f"version.{package}": metadata.version(package) for package in ("torch", "ray", "mlflow")},
    }
    if commit := source_commit():
        facts["mlflow.source.git.commit"], facts["git.dirty"] = commit
    import torch

    if torch.cuda.is_available():
        facts["host.gpu"] = torch.cuda.get_device_name(0)
        facts["host.gpu_count"] = str(torch.cuda.device_count())
    return facts


def source_commit() -> tuple[str, str] | None:
    """The commit of this code, and "true" where it was changed since; as a job's submitter had it, in a job.

    None without git or repository.
    """
    if commit := os.environ.get(COMMIT):
        return commit, os.environ.get(DIRTY, "false")
    head = _git("rev-parse", "HEAD")
    if head is None:
        return None
    return head, "true" if _git("status", "--porcelain", "--untracked-files=no") else "false"


def reason(error: BaseException) -> str:
    """Why an operation failed, in a few words: the root of the error, without the pages that MLflow's go on for."""
    while (below := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = below
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return textwrap.shorten(str(text), 200)


def is_sqlite(uri: str) -> bool:
    """Whether it names a SQLite file; one in memory would be another to each process."""
    return uri.startswith("sqlite:///") and uri.removeprefix("sqlite:///") not in ("", ":memory:")


def sqlite_path(uri: str) -> Path:
    """The file that sqlite:///... names."""
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])).absolute()


def _check_sqlite(path: Path) -> None:
    # MLflow tries an unreadable database ten times over, for minutes; one look beforehand says it at once.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=60)
        try:
            connection.execute("BEGIN IMMEDIATE")  # reads the file and asks to write it
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"cannot open the MLflow database {path}: {reason(error)}; name another place") from error


def check_address(uri: str) -> None:
    """Raises UserError for what cannot be an address of MLflow."""
    try:
        parts = urlsplit(uri)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed:
        shown = re.sub(r"//.*@", "//", uri)  # a password may stand in what is no address of MLflow
        raise UserError(
            f"not an address of MLflow: {shown!r}; write http://HOST:PORT of an MLflow server, or"
            " sqlite:////PATH/mlflow.db (for another database, start `mlflow server --backend-store-uri` on it)"
        )


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _user() -> str:
    """Who runs this; by number where, as in a container, that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    """What git says of the repository that this code lies in; None without git or repository."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
