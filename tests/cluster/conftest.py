"""What these tests share with those of the stages: an MLflow store of each test's own, and a real server."""

from tests.pipelines.conftest import empty_database, server, tracking_uri

__all__ = ["empty_database", "server", "tracking_uri"]
