"""A job and its run name each other by addresses that mean something to whoever reads them."""

from pathlib import Path

import pytest

from pipelines.job_link import job_tags
from pipelines.jobs import Cluster, Job, _variables
from pipelines.tracking import run_link


def test_links_are_to_where_people_see_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes' own addresses, and the submitter's, mean nothing to others."""
    for name in ("GAN_PUBLIC_RAY", "GAN_PUBLIC_MLFLOW"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAN_JOB", "gan-1")
    monkeypatch.setenv("GAN_JOB_LINK", "http://127.0.0.1:8265/#/jobs/gan-1")
    assert job_tags() == {"ray.job": "gan-1", "ray.job.link": "http://127.0.0.1:8265/#/jobs/gan-1"}
    assert run_link("http://mlflow:5000", "3", "abc") == "http://mlflow:5000/#/experiments/3/runs/abc"
    assert run_link("sqlite:////home/mlflow.db", "3", "abc") == "/#/experiments/3/runs/abc"
    monkeypatch.setenv("GAN_PUBLIC_RAY", "https://ray.example.com/")
    monkeypatch.setenv("GAN_PUBLIC_MLFLOW", "https://mlflow.example.com/gan/")
    assert job_tags() == {"ray.job": "gan-1", "ray.job.link": "https://ray.example.com/#/jobs/gan-1"}
    assert run_link("http://mlflow:5000", "3", "abc") == "https://mlflow.example.com/gan/#/experiments/3/runs/abc"
    sent, _ = _variables(Cluster("http://127.0.0.1:1", "token", None), Job(["recipes"], Path("x")), "gan-1")
    assert sent["GAN_PUBLIC_RAY"] == "https://ray.example.com/"
    assert sent["GAN_PUBLIC_MLFLOW"] == "https://mlflow.example.com/gan/"
    monkeypatch.delenv("GAN_JOB")
    monkeypatch.delenv("GAN_JOB_LINK")
    assert job_tags() == {}
