"""The dataset's own classifier: how good it is, where it is kept, what it says of samples."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.data.batches import normalise
from ganlib.data.split import Split
from ganlib.errors import UserError
from ganlib.evaluation import classifier
from ganlib.evaluation.classifier import Classifier, load_classifier, train_classifier
from ganlib.evaluation.evaluate import evaluate
from ganlib.evaluation.extractors import ClassifierExtractor, InstanceExtractor, RandomExtractor, extractor_for
from ganlib.evaluation.names import metric_value, plain
from ganlib.files import file_digest
from ganlib.networks.base import ImageShape

from .domains_data import digits_in_domains
from .test_evaluation import Copies


@pytest.fixture(scope="module")
def classified(digits16: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The digits with their classifier, in a copy of their own."""
    path = tmp_path_factory.mktemp("classified") / digits16.path.name
    shutil.copytree(digits16.path, path)
    return train_classifier(Dataset.open(path))


@pytest.fixture
def few(digits16: Dataset, tmp_path: Path) -> Dataset:
    """Fifty digits as pictures in folders, all of them for training."""
    train = digits16.split("train")
    assert train.labels is not None
    for index in range(50):
        folder = tmp_path / "pictures" / str(train.labels[index])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(train.images[index, :, :, 0]).save(folder / f"{index}.png")
    preparation = Preparation(size=16, channels=1, test_share=0)
    return prepare_dataset(open_source(tmp_path / "pictures"), preparation, tmp_path, "few")


@pytest.mark.slow
def test_the_classifier_reads_digits_and_its_accuracy_is_recorded(classified: Dataset, digits16: Dataset) -> None:
    record = Dataset.open(classified.path).manifest.classifier
    assert record is not None
    assert classified.digest == digits16.digest
    assert record.sha256 == file_digest(classified.path / record.file)
    test = classified.split("test")
    features, logits = load_classifier(classified)(normalise(torch.from_numpy(test.take(np.arange(len(test))))))
    assert features.shape == (len(test), record.feature_dim)
    assert test.labels is not None
    accuracy = np.mean(logits.argmax(1).numpy() == test.labels)
    assert accuracy > 0.95
    assert record.accuracy == pytest.approx(accuracy)


@pytest.mark.slow
def test_a_classifier_that_stands_is_not_trained_again(classified: Dataset) -> None:
    calls: list[tuple[int, int]] = []
    assert train_classifier(classified, lambda done, total: calls.append((done, total))) is classified
    assert calls == []


@pytest.mark.slow
def test_evaluation_with_the_classifier(classified: Dataset) -> None:
    """Copies of the training images: no distance, every mode in its share, a score near the number of classes."""
    train = classified.split("train")
    assert train.labels is not None
    assert isinstance(extractor_for(classified), ClassifierExtractor)
    labelled = evaluate(Copies(classified), classified, len(train), 0)
    assert metric_value(labelled, "fid/classifier") == labelled[f"fid/{extractor_for(classified).label}"]
    metrics = {plain(name): value for name, value in labelled.items()}
    shares = np.bincount(train.labels) / len(train)
    assert metrics["fid/classifier"] == pytest.approx(0, abs=1e-4)
    assert metrics["fid_floor/classifier"] > 0.01
    assert labelled[f"modes/covered/{extractor_for(classified).label}"] == 10
    each = [metrics[f"mode_share/classifier/{digit}"] for digit in range(10)]
    assert each == pytest.approx(shares, abs=0.01)
    assert metrics["modes/covered/classifier"] == 10
    assert 0 <= metrics["modes/kl/classifier"] < 0.01
    assert metrics["mode_share_min/classifier"] == min(each)
    assert 9 < metrics["inception_score/classifier"] <= 10
    assert 9 < metrics["inception_score_floor/classifier"] <= 10
    assert 0 < metrics["inception_score_se/classifier"] < 0.1
    of_features = {"fid", "kid", "inception_score", "precision", "recall", "density", "coverage", "memorised", "mifid"}
    judged = {f"kid_spread{suffix}/classifier" for suffix in ("", "_floor")}
    judged |= {f"{name}{suffix}/classifier" for name in of_features for suffix in ("", "_se", "_floor")}
    modes = {f"{name}{suffix}" for name in ("modes/covered", "modes/kl", "mode_share_min") for suffix in ("", "_se")}
    modes |= {"modes/covered_floor", "modes/kl_floor", "mode_share_min_floor"}
    modes = {f"{name}/classifier" for name in modes}
    modes |= {f"mode_share{suffix}/classifier/{digit}" for digit in range(10) for suffix in ("", "_se")}
    assert metrics["modes/covered_floor/classifier"] == 10
    assert 0 <= metrics["modes/kl_floor/classifier"] < 0.1
    assert 0 <= metrics["modes/kl_se/classifier"] < 0.01
    assert metrics.keys() == judged | modes | {
        *(f"{name}{suffix}" for name in ("sharpness", "memorised_pixels") for suffix in ("", "_se", "_floor")),
        *("samples", "samples_floor"),
    }


def test_the_classifier_is_the_same_every_time_it_is_trained(few: Dataset, tmp_path: Path) -> None:
    shutil.copytree(few.path, tmp_path / "again")
    records, calls = [], []
    for seed, dataset in enumerate((few, Dataset.open(tmp_path / "again"))):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        trained = train_classifier(dataset, lambda done, total: calls.append((done, total)))
        records.append(trained.manifest.classifier)
        assert torch.equal(torch.get_rng_state(), before)
    assert records[0] is not None
    assert records[0] == records[1]
    assert calls[0][0] == 50
    assert calls[-1][0] == calls[-1][1]
    assert sorted(path.name for path in few.path.iterdir()) == [
        "classifier.safetensors",
        "manifest.json",
        "train-00000.arrow",
    ]


def test_a_dataset_without_test_images_has_an_accuracy_too(few: Dataset) -> None:
    """On the training images, for want of others; the manifest that says so can be read again."""
    assert few.manifest.counts["test"] == 0
    record = train_classifier(few).manifest.classifier
    assert record is not None
    assert 0 <= record.accuracy <= 1
    assert Dataset.open(few.path).manifest.classifier == record


def test_of_two_at_once_one_trains_it_and_both_have_it(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two preparations of one dataset do; each on all cores, they would take many times as long."""
    trained, both, train = [], Barrier(2), classifier._train

    def counted(*what: Any) -> Dataset:
        trained.append(what)
        time.sleep(0.5)  # the other is there by now
        return train(*what)

    def begin(_: int) -> Dataset:
        dataset = Dataset.open(few.path)
        both.wait()
        return train_classifier(dataset)

    monkeypatch.setattr(classifier, "_train", counted)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(begin, range(2))
    assert len(trained) == 1
    assert one.manifest.classifier == other.manifest.classifier is not None
    assert not list(few.path.glob("*.lock"))


def test_where_nothing_is_locked_the_sooner_of_two_is_kept(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an object store, by two machines, whose networks have other last digits."""
    sooner: list[Dataset] = []

    def meanwhile(done: int, total: int) -> None:
        if done == total:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(classifier, "IMAGES", 2 * classifier.BATCH)  # another network by that
                sooner.append(train_classifier(Dataset.open(few.path)))

    monkeypatch.setattr(classifier, "held", lambda place: nullcontext())
    later = train_classifier(few, meanwhile)
    assert len(sooner) == 1
    assert later.manifest.classifier == sooner[0].manifest.classifier is not None
    load_classifier(Dataset.open(few.path))  # the file is still what the manifest says


def test_it_is_graded_a_block_at_a_time(digits16: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A split may be larger than memory; and the blocks, the last of them smaller, add up to all of it."""
    shutil.copytree(digits16.path, tmp_path / "digits")
    dataset, taken, take = Dataset.open(tmp_path / "digits"), [], Split.take

    def counted(self: Split, indices: np.ndarray) -> np.ndarray:
        taken.append(len(indices))
        return take(self, indices)

    monkeypatch.setattr(classifier, "IMAGES", 10 * classifier.BATCH)
    monkeypatch.setattr(classifier, "GRADED", 60)
    monkeypatch.setattr(Split, "take", counted)
    record = train_classifier(dataset).manifest.classifier
    test = dataset.split("test")
    assert len(test) == 194
    assert taken[-4:] == [60, 60, 60, 14]
    assert max(taken) <= classifier.BATCH
    _, logits = load_classifier(Dataset.open(dataset.path))(normalise(torch.from_numpy(test.images.copy())))
    assert record is not None
    assert record.accuracy == (logits.argmax(1).numpy() == test.labels).mean()
    assert 0.2 < record.accuracy < 1


def test_a_damaged_or_absent_classifier_is_said(few: Dataset) -> None:
    with pytest.raises(UserError, match="dataset few has no classifier"):
        load_classifier(few)
    dataset = train_classifier(few)
    path = dataset.path / "classifier.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    for _ in range(2):
        with pytest.raises(UserError, match=f"{path} is not the classifier that was written; remove "):
            load_classifier(dataset)
        path.unlink(missing_ok=True)


def test_images_without_labels_have_the_network_trained_without(digits16: Dataset, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for index, image in enumerate(digits16.split("train").images[:20]):
        Image.fromarray(image[:, :, 0]).save(tmp_path / "pictures" / f"{index}.png")
    preparation = Preparation(size=16, channels=1)
    dataset = prepare_dataset(open_source(tmp_path / "pictures"), preparation, tmp_path, "flat")
    assert train_classifier(dataset) is dataset
    assert isinstance(extractor_for(dataset), InstanceExtractor)
    assert isinstance(extractor_for(dataset, "random"), RandomExtractor)
    with pytest.raises(UserError, match="dataset flat has no classifier"):
        extractor_for(dataset, "classifier")
    with pytest.raises(UserError, match="no extractor 'best'; there are: auto, classifier, instances"):
        extractor_for(dataset, "best")


@pytest.mark.slow
def test_of_attributes_it_says_yes_or_no_to_each(tmp_path: Path) -> None:
    """Digit modulo 3, and all odd ones in domain 0 as well: five of the ten digits are in two domains or twice in 0."""
    dataset = train_classifier(digits_in_domains(tmp_path, 16, 1, 3, count=600, attributes=True))
    assert dataset.judged_names is None
    assert dataset.attribute_names == ["d0", "d1", "d2"]
    record = dataset.manifest.classifier
    assert record is not None
    test = dataset.split("test")
    domains = test.column("domains")
    assert domains is not None
    assert domains.sum(1).max() == 2
    _, logits = load_classifier(dataset)(normalise(torch.from_numpy(test.take(np.arange(len(test))))))
    right = (torch.sigmoid(logits).numpy() > 0.5) == domains
    assert record.accuracy == pytest.approx(right.mean())
    assert right.mean(0).min() > 0.8  # saying the commoner answer of each would be right on 3 in 5, and 3 in 4
    extractor = extractor_for(dataset)
    assert isinstance(extractor, ClassifierExtractor)
    features, probabilities = extractor.features(test.take(np.arange(len(test))))
    assert features.shape == (len(test), record.feature_dim)
    assert probabilities is None
    metrics = evaluate(Copies(dataset), dataset, 480, 0)
    families = {plain(name).partition("/")[0] for name in metrics}
    assert {"fid", "fid_floor", "kid", "precision"} < families
    assert not families & {"modes", "mode_share", "inception_score"}


@pytest.mark.parametrize("size", [8, 28, 33, 40, 48, 100])
def test_the_classifier_takes_images_of_any_size(size: int) -> None:
    features, logits = Classifier(ImageShape(size, size, 3), 7)(torch.zeros(2, 3, size, size))
    assert features.shape == (2, 128)
    assert logits.shape == (2, 7)
