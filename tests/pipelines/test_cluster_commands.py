"""`gan submit`, `gan jobs`, `gan down` without a cluster: what is looked at first, and what is said to mistakes."""

# ruff: noqa: F401, F811

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ganlib.cores import cores
from ganlib.data.storage import Location
from ganlib.errors import UserError
from pipelines import processes
from pipelines.cli.options import open_home
from pipelines.cli.submitted import checked
from pipelines.cluster import connect, named_cluster
from pipelines.cluster_state import State, recorded, running
from pipelines.local_cluster import Wanted, up
from pipelines.ports import ONLY_LOOPBACK
from pipelines.processes import Started
from pipelines.run_folder import Home
from pipelines.tracking import home_database
from tests.pipelines.command import gan, refused
from tests.pipelines.conftest import free_port
from tests.pipelines.test_compare import two_runs
from tests.s3 import s3_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    named = "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "MLFLOW_TRACKING_URI", "GAN_STORE"
    for name in named:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Home(tmp_path / "home").create()


@pytest.fixture
def dashboard() -> Iterator[str]:
    """What answers as Ray's dashboard does to a request with the token `right` (`http_token_authentication`)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.headers.get("Authorization")
            self.send_response(401 if sent is None else 200 if sent == "Bearer right" else 403)
            self.end_headers()
            self.wfile.write(json.dumps({"version": "4", "ray_version": "2.60.0"}).encode())

        def log_message(self, *words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("words", [["submit", "--", "recipes"], ["jobs", "list"], ["jobs", "logs", "x"]])
def test_without_a_cluster_it_is_said_how_to_have_one(words: list[str], home: Home, capsys) -> None:
    before, after = words[:2] if words[0] == "jobs" else words[:1], words[2:] if words[0] == "jobs" else words[1:]
    said = refused(capsys, *before, "--home", home.path, *after)
    assert "no cluster is up" in said
    assert "gan up" in said


@pytest.mark.parametrize("address", ["ftp://x", "http://", "http://user:pass@host:8265", "http://host:99999"])
def test_an_address_that_is_none_is_refused(address: str, home: Home, capsys) -> None:
    assert "not an address of Ray's dashboard" in refused(
        capsys, "jobs", "list", "--address", address, "--home", home.path
    )


def test_an_address_where_nothing_listens_is_one_line(home: Home, capsys) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    said = refused(capsys, "jobs", "list", "--address", address, "--home", home.path)
    assert f"no Ray cluster answers at {address}: Connection refused" in said


def test_a_refused_token_is_one_line_that_does_not_show_it(
    dashboard: str, home: Home, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "refuses the token, or there is none" in refused(
        capsys, "jobs", "list", "--address", dashboard, "--home", home.path
    )
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wr0ng-token")
    said = refused(capsys, "jobs", "list", "--address", dashboard, "--home", home.path)
    assert "refuses the token" in said
    assert "wr0ng-token" not in said


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n5"])
def test_an_address_where_something_else_answers_is_one_line(said: bytes, home: Home, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(said)

        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert f"no Ray cluster answers at {address}" in refused(
            capsys, "jobs", "list", "--address", address, "--home", home.path
        )
    assert "no Ray cluster answers at http://my host:1" in refused(
        capsys, "jobs", "list", "--address", "http://my host:1", "--home", home.path
    )


@pytest.fixture
def up_here(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """What `gan up` notes of a cluster in the home, whose head is a process that does nothing."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", *ONLY_LOOPBACK):
        monkeypatch.setenv(name, "")  # for what is set in the meantime to be gone after the test
        monkeypatch.delenv(name)
    (home.path / "cluster").mkdir()
    head = processes.start("head", ["sleep", "600"], home.path / "cluster" / "head.log", dict(os.environ), home.path)
    state = State(
        home=str(home.path), nodes=1, cpus=2, gcs_port=1, dashboard_port=2, mlflow_port=3, tracking=None,
        temporary=str(home.path), processes=[head],
    )  # fmt: skip
    state.save()
    state.token_file.write_text("1ocal-token")
    yield state
    processes.end([head], 5)


def test_a_command_can_talk_to_the_cluster_of_its_home_before_ray_is_imported(up_here: State) -> None:
    open_home(Path(up_here.home))
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(up_here.token_file)
    assert ONLY_LOOPBACK.items() <= os.environ.items()
    assert "RAY_ADDRESS" not in os.environ  # whether it uses the cluster is not said yet


def test_another_cluster_is_not_shown_the_token_of_this_one(
    dashboard: str, up_here: State, home: Home, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["submit", "--address", dashboard, "--home", home.path, "--", "recipes"]
    assert "refuses the token, or there is none" in refused(capsys, *words)
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    open_home(home.path)
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_runs_are_compared_where_they_are_recorded(
    up_here: State, home: Home, tracking_uri: str, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the cluster's MLflow those of its home; those of another database where that one is shown."""
    (home.path / "mlflow").mkdir()
    shutil.copyfile(empty_database, home.path / "mlflow" / "mlflow.db")
    for uri in (home_database(home.path), tracking_uri):
        two_runs(uri)
    capsys.readouterr()
    assert gan("compare", "slow", "fast", "--home", home.path) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{up_here.mlflow}/#/compare-runs?")
    assert gan("compare", "slow", "fast", "--home", home.path, "--tracking", tracking_uri) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("http://127.0.0.1:5000/#/compare-runs?")
    assert said.endswith(f"once `gan ui --tracking {tracking_uri}` runs")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "digit"], "did you mean 'digits'"),
        (["train", "digits", "optim.generator.lrr=1"], "did you mean 'optim.generator.lr'"),
        (["train", "digits", "--bogus"], "No such option: --bogus"),
        (["trian", "digits"], "No such command 'trian'"),
        (["down"], "about this machine"),
        (["--debug", "down"], "about this machine"),
        (["tune", "digits", "--space", "/no/space.yaml"], "/no/space.yaml does not exist"),
        (["train", "--help"], "help needs no cluster"),
        (["train", "mnist", "--source", "/nowhere"], "/nowhere"),
        (["train", "digits", "--tracking", "http://me:secret@host:5000"], "go along sealed"),
    ],
)
def test_a_mistake_is_found_before_the_job_is_accepted(words: list[str], part: str, home: Home) -> None:
    with pytest.raises(UserError) as caught:
        checked(words, home, local=True, unchecked=False)
    assert part in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_remote_cluster_gets_recipes_along_and_no_paths_of_this_machine(home: Home, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    assert gan("recipes", "digits") == 0
    from pipelines.shipped import find_recipe

    recipe.write_text(find_recipe("digits").dump())
    asked = checked(["train", str(recipe), "train.images=64"], home, local=False, unchecked=False)
    assert asked.words == ["train", "submitted/mine.yaml", "train.images=64"]
    assert asked.files == {"mine.yaml": recipe}
    here = checked(["train", str(recipe), "train.images=64"], home, local=True, unchecked=False)
    assert here.words[1] == str(recipe)
    words = ["train", "mnist", "--source", str(tmp_path)]
    with pytest.raises(UserError, match=r"a path of this machine, which the cluster's nodes do not see"):
        checked(words, home, local=False, unchecked=False)
    assert checked(words, home, local=False, unchecked=True).words == words


def test_a_remote_cluster_gets_the_files_along_that_a_command_reads(home: Home, tmp_path: Path) -> None:
    for name in ("a.yaml", "texts.txt", "parts.json", "other/parts.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    texts, parts, other = tmp_path / "texts.txt", tmp_path / "parts.json", tmp_path / "other" / "parts.json"
    words = ["sample", "run", "--text", f"@{texts}", f"--keypoints={parts}", "--keypoints", str(other)]
    asked = checked([*words, "--text", "blue hair"], home, local=False, unchecked=False)
    assert asked.words == ["sample", "run", "--text", "@submitted/texts.txt", "--keypoints=submitted/parts.json",
                           "--keypoints", "submitted/2-parts.json", "--text", "blue hair"]  # fmt: skip
    assert asked.files == {"texts.txt": texts, "parts.json": parts, "2-parts.json": other}
    tuned = checked(["tune", "digits", "--space", str(tmp_path / "a.yaml")], home, local=False, unchecked=False)
    assert tuned.words[-1] == "submitted/a.yaml"
    texts.unlink()
    with pytest.raises(UserError, match=r"texts.txt does not exist"):
        checked(words, home, local=False, unchecked=False)
    assert f"@{texts}" in checked(words, home, local=False, unchecked=True).words  # one of the nodes'


@pytest.fixture
def prepared(s3_folder: str) -> str:
    """A place in a bucket where something is."""
    Location.of(f"{s3_folder}/images/one.png").write(b"not looked at")
    return f"{s3_folder}/images"


@pytest.mark.slow
@pytest.mark.parametrize("local", [True, False])
def test_urls_are_looked_at_wherever_they_stand(
    local: bool, prepared: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the line, in an override or in the recipe itself: what is not there is found before the job is accepted."""

    def look(*words: str) -> list[str]:
        return checked(words, home, local=local, unchecked=False).words

    from pipelines.shipped import find_recipe

    away, recipe = f"{prepared}-away", tmp_path / "mine.yaml"
    recipe.write_text(find_recipe("dcgan-64", [f"data.source={away}"]).dump())
    missing = [
        ["train", "dcgan-64", "--source", away],
        ["train", "dcgan-64", f"data.source={away}"],
        ["train", str(recipe)],
        ["prepare", "anything", f"data.source={away}"],
        ["run", "dcgan-64", "--store", "s3://no-bucket-of-ours/sets", "--source", prepared],
        ["tune", "dcgan-64", f"data.source={away}", "optim.*.lr=log(1e-5,1e-2)"],
        ["evaluate", "a-run", "--against", away],
    ]
    for words in missing:
        with pytest.raises(UserError, match=r"there is nothing at s3://.*; --unchecked submits the job all the same"):
            look(*words)
        assert checked(words, home, local=local, unchecked=True).words[0] == words[0]
    there = [
        ["train", "dcgan-64", "--source", prepared],
        ["train", str(recipe), f"data.source={prepared}"],
        ["train", str(recipe), "--source", prepared],  # the recipe's own is then not read
        ["tune", "dcgan-64", f"data.source={prepared}", "optim.*.lr=log(1e-5,1e-2)"],
        ["run", "dcgan-64", "--source", prepared, "--store", f"{away}/to-be-made"],
        ["train", "digits"],
        ["train", "mnist"],
    ]
    for words in there:
        assert look(*words)[0] == words[0]
    monkeypatch.setenv("GAN_STORE", "s3://no-bucket-of-ours/sets")
    with pytest.raises(UserError, match=r"nothing at s3://no-bucket-of-ours \(--store or GAN_STORE\)"):
        look("train", "digits")
    monkeypatch.setenv("GAN_STORE", "s4://bucket/sets")
    with pytest.raises(UserError, match=r"s4://bucket/sets begins with s4://, which is not read"):
        look("train", "digits")


def test_a_path_in_the_recipe_is_looked_at_too(home: Home, tmp_path: Path) -> None:
    words = ["sample", "a-run", "-o", "x", "--input", f"{tmp_path}/none"]
    with pytest.raises(UserError, match=r"/none \(--input\) is a path of this machine"):
        checked(words, home, local=False, unchecked=False)
    with pytest.raises(UserError, match=r"/none \(--input\) does not exist"):
        checked(words, home, local=True, unchecked=False)
    words = ["train", "dcgan-64", f"data.source={tmp_path}/none"]
    with pytest.raises(UserError, match=r"\(data.source\) is a path of this machine"):
        checked(words, home, local=False, unchecked=False)
    with pytest.raises(UserError, match=r"/none"):
        checked(words, home, local=True, unchecked=False)
    for local in (True, False):
        with pytest.raises(UserError, match="dcgan-64 names no source; give one with --source"):
            checked(["train", "dcgan-64"], home, local=local, unchecked=False)
        assert checked(["train", "dcgan-64", "--run", "x"], home, local=local, unchecked=False).words


def test_a_taken_port_is_named(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is taken .* --dashboard-port"):
            up(home.path, Wanted(dashboard_port=port), print)
    assert not (home.path / "cluster" / "cluster.json").exists()


def test_a_cluster_of_another_machine_that_shares_the_home_is_left_alone(up_here: State, home: Home, capsys) -> None:
    up_here.host = "elsewhere"
    up_here.save()
    for command in ("down", "up"):
        assert "was started on elsewhere; end it there" in refused(capsys, command, "--home", home.path)
    assert up_here.token_file.exists()
    assert recorded(home.path) == up_here


def test_a_database_is_no_server_for_the_nodes_of_a_cluster(home: Home) -> None:
    with pytest.raises(UserError, match=r"give the http address of an MLflow server"):
        up(home.path, Wanted(tracking="sqlite:///x.db"), print)


def test_jobs_record_where_their_cluster_does(up_here: State, home: Home, dashboard: str, capsys) -> None:
    words = ["--tracking", "sqlite:////elsewhere.db", "--home", home.path, "--", "recipes"]
    up_here.dashboard_port = urlsplit(dashboard).port or 0
    up_here.save()
    up_here.token_file.write_text("right")
    assert f"jobs of this cluster record in {up_here.mlflow}; leave out --tracking" in refused(capsys, "submit", *words)


def test_a_nodes_cpus_stay_what_they_were_when_another_joins(up_here: State) -> None:
    """Of two cores: 3 for a head alone, one to judge; a second node's share is 1. Shared out anew the head had 2."""
    state = up_here.model_copy(update={"cpus": None, "given": {0: 3}, "nodes": 2})
    assert state.all_cpus == 3 + max(1, cores() // 2)
    assert State.model_validate_json(state.model_dump_json()).given == {0: 3}


def test_a_cluster_that_is_named_and_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")  # Ray's own words for a dashboard's address
    with pytest.raises(UserError, match=r"no Ray cluster answers at RAY_ADDRESS=http://127.0.0.1:8265: .*; correct it"):
        connect(1)


def test_local_is_no_cluster_that_a_person_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for address, named in (("local", None), ("", None), ("10.0.0.1:6379", "10.0.0.1:6379")):
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert named_cluster() == named


def test_what_a_machine_that_crashed_left_is_no_cluster(home: Home, capsys) -> None:
    """The note of another boot, whose process ids may be anybody's by now."""
    dead = Started(name="head", pid=os.getpid(), started=1, boot="another boot", log="")
    state = State(
        home=str(home.path), nodes=1, cpus=2, gcs_port=1, dashboard_port=2, mlflow_port=3, tracking=None,
        temporary=str(home.path), processes=[dead],
    )  # fmt: skip
    (home.path / "cluster").mkdir()
    state.save()
    assert running(home.path) is None
    assert "no cluster is up" in refused(capsys, "jobs", "list", "--home", home.path)
    assert gan("down", "--home", home.path) == 0
    assert "no cluster is up" in capsys.readouterr().out
    assert not (home.path / "cluster" / "cluster.json").exists()
    (home.path / "cluster" / "cluster.json").write_text("{")
    assert "cluster.json cannot be read" in refused(capsys, "down", "--home", home.path)
