"""The bundled digits, against scikit-learn's own reader."""

import pickle

import numpy as np
from sklearn.datasets import load_digits

from ganlib.data.columns import Columns
from ganlib.data.sources.digits import DigitsSource


def test_they_are_scikit_learns() -> None:
    bunch = load_digits()
    source = DigitsSource()
    assert len(source.names) == len(bunch.images) == 1797
    assert (source.names[0], source.names[-1]) == ("0000", "1796")
    assert source.names == sorted(source.names)
    assert source.splits is None
    assert source.columns == Columns(class_names=list("0123456789"))
    block = source.block(range(1797), (8, 8, 1))
    assert block is not None
    assert block.dtype == np.uint8
    # 16 levels over 255: within half a level of 8 bits.
    np.testing.assert_allclose(block[..., 0], bunch.images * 255 / 16, atol=0.5)
    np.testing.assert_array_equal(source.labels(range(1797)), bunch.target)
    record = source.read(1234)
    np.testing.assert_array_equal(np.asarray(record.image), block[1234, ..., 0])
    assert record.label == bunch.target[1234]
    assert source.block(range(3), (8, 8, 3)) is None


def test_it_is_pickled_without_its_images() -> None:
    source = DigitsSource()
    source.read(0)
    assert len(pickle.dumps(source)) < 200
    assert pickle.loads(pickle.dumps(source)).fingerprint() == source.fingerprint()
