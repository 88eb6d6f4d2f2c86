"""How much of a run's journal MLflow has, and what MLflow made of it."""

import uuid
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field

from ganlib.files import write_atomically


class Sent(BaseModel):
    """Kept in the run folder as `journal/sent.json`; speaks of one store and experiment.

    `unique` is what MLflow's run carries as its tag `gan.run`: it is on disk before the run is created, and stays the
    same when the folder is sent to another store. `offsets` are the bytes of each journal file that were shipped,
    `models` the logged models of checkpoints by name, `dataset` the name and digest that MLflow knows the last one by,
    `images_seen` the farthest of the metrics, `finished_by` the journal file whose last shipped record ended the run.
    """

    tracking_uri: str
    experiment: str
    unique: str = Field(default_factory=lambda: uuid.uuid4().hex)
    run_id: str | None = None
    offsets: dict[str, int] = {}
    models: dict[str, str] = {}
    dataset: tuple[str, str] | None = None
    images_seen: int = 0
    finished_by: str | None = None

    @classmethod
    def load(cls, path: Path, tracking_uri: str, experiment: str) -> Self:
        """What `path` says of this store and experiment; nothing sent, where it speaks of others or is not there."""
        if not path.exists():
            return cls(tracking_uri=tracking_uri, experiment=experiment)
        sent = cls.model_validate_json(path.read_bytes())
        if (sent.tracking_uri, sent.experiment) == (tracking_uri, experiment):
            return sent
        return cls(tracking_uri=tracking_uri, experiment=experiment, unique=sent.unique)

    def save(self, path: Path) -> None:
        write_atomically(path, self.model_dump_json())

    def begin(self, run_id: str) -> None:
        """Nothing was sent to the run `run_id` yet."""
        nothing = type(self)(tracking_uri=self.tracking_uri, experiment=self.experiment)
        for field in ("offsets", "models", "dataset", "images_seen", "finished_by"):
            setattr(self, field, getattr(nothing, field))
        self.run_id = run_id
