"""Where published weights are found, how they are fetched, and what is said where they cannot be."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from ganlib.errors import UserError
from ganlib.evaluation.weights import PublishedWeights

CONTENT = b"weights" * 100_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """An address, and what it was asked for."""
    Handler.asked = []
    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/net.pth", Handler.asked
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's folder of such files, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("GAN_WEIGHTS_NET", raising=False)
    return tmp_path / "hub" / "checkpoints"


def test_weights_are_fetched_once_and_again_where_they_are_damaged(server: tuple[str, list[str]], cache: Path) -> None:
    url, asked = server
    weights = PublishedWeights("net", "net-v1.pth", url, SHA256)
    assert weights.find() == (cache / "net-v1.pth", SHA256)
    assert (cache / "net-v1.pth").read_bytes() == CONTENT
    assert weights.find() == (cache / "net-v1.pth", SHA256)
    assert asked == ["/net.pth"]
    (cache / "net-v1.pth").write_bytes(CONTENT[:-1])
    assert weights.find()[0].read_bytes() == CONTENT
    assert len(asked) == 2


def test_what_is_not_what_was_published_is_not_kept(server: tuple[str, list[str]], cache: Path) -> None:
    with pytest.raises(UserError, match=f"what came has SHA-256 {SHA256[:12]}"):
        PublishedWeights("net", "net-v1.pth", server[0], "0" * 64).find()
    assert list(cache.iterdir()) == []


def test_without_a_network_it_is_said_how_to_get_them_and_what_else_there_is() -> None:
    weights = PublishedWeights("net", "net-v1.pth", "http://127.0.0.1:9/net.pth", SHA256)  # nobody listens there
    with pytest.raises(UserError) as said:
        weights.find()
    for part in ("http://127.0.0.1:9/net.pth", "Connection refused", "GAN_WEIGHTS_NET", "instances"):
        assert part in str(said.value)
    assert "\n" not in str(said.value)


def test_a_file_that_a_person_names_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = PublishedWeights("net", "net-v1.pth", "http://127.0.0.1:9/net.pth", SHA256)
    (tmp_path / "mine.pth").write_bytes(b"mine")
    monkeypatch.setenv("GAN_WEIGHTS_NET", str(tmp_path / "mine.pth"))
    assert weights.find() == (tmp_path / "mine.pth", hashlib.sha256(b"mine").hexdigest())
    monkeypatch.setenv("GAN_WEIGHTS_NET", str(tmp_path / "none.pth"))
    with pytest.raises(UserError, match=r"cannot read .*none\.pth"):
        weights.find()
