"""All-reduces by the closed forms of rings and trees, and networks as they are typed."""

import pytest

from ganlib.errors import UserError
from ganlib.scaling.links import Behind, Cluster, Link, Loopback, parse_network

FREE = Link(0.0, 1e15)


def test_a_ring_sends_all_but_an_nth_of_the_bytes_twice() -> None:
    """2 (n - 1) / n S / bandwidth; without latency a tree, of 2 S / bandwidth, is never faster."""
    cluster = Cluster(1, FREE, Link(0.0, 1e9))
    assert cluster.all_reduce(1e9, 1) == 0
    assert cluster.all_reduce(1e9, 2) == pytest.approx(1.0)
    assert cluster.all_reduce(1e9, 4) == pytest.approx(1.5)
    assert cluster.all_reduce(1e9, 512) == pytest.approx(2 * 511 / 512)


def test_a_rings_steps_each_wait_a_latency() -> None:
    cluster = Cluster(1, FREE, Link(1e-3, 1e9), trees=False)
    assert cluster.all_reduce(0, 4) == pytest.approx(6e-3)
    assert cluster.all_reduce(4e6, 4) == pytest.approx(6e-3 + 6 * 1e-3)  # six parts of 1 MB, a millisecond each


def test_small_messages_go_by_a_tree() -> None:
    """64 machines of 8: seven hops inside and log2 64 = 6 between, up and down; a ring would take 1,022 steps."""
    cluster = Cluster(8, Link(1e-6, 1e12), Link(1e-5, 1e9))
    assert cluster.all_reduce(0, 512) == pytest.approx(2 * (7e-6 + 6e-5))


def test_memory_is_as_fast_as_the_cache_that_a_message_fits_in() -> None:
    """4 GB/s for parts of 1 kB, 1 GB/s for those of 100 kB; of 10 kB, halfway between by their logarithms, 2.5."""
    loopback = Loopback(1e-3, ((1_000, 4e9), (100_000, 1e9)))
    cluster = Cluster(4, loopback, loopback, trees=False)
    rates = {100: 4e9, 1_000: 4e9, 10_000: 2.5e9, 100_000: 1e9, 10**7: 1e9}
    for part, rate in rates.items():
        assert cluster.all_reduce(4 * part, 4) == pytest.approx(6 * (1e-3 + part / rate))


def test_who_shares_a_core_copies_slower_and_who_computes_there_waits_for_it() -> None:
    loopback = Loopback(1e-3, ((1_000, 4e9), (100_000, 1e9)))
    assert loopback.shared(2) == Loopback(2e-3, ((1_000, 2e9), (100_000, 5e8)))
    assert loopback.shared(2, computing=False) == Loopback(1e-3, ((1_000, 2e9), (100_000, 5e8)))


def test_a_network_is_no_faster_than_the_memory_behind_it() -> None:
    behind = Behind(Link(1e-3, 2e9), Loopback(1e-4, ((1_000, 4e9), (100_000, 1e9))))
    assert (behind.latency, behind.rate(1_000), behind.rate(100_000)) == (pytest.approx(1.1e-3), 2e9, 1e9)


def test_one_machine_knows_no_network() -> None:
    cluster = Cluster(8, Link(0.0, 1e11), Link(0.0, 1e9))
    assert cluster.all_reduce(1e9, 8) == pytest.approx(2 * 7 / 8 / 100)
    assert cluster.all_reduce(1e9, 9) == pytest.approx(2 * 8 / 9)  # the ninth is on another machine


@pytest.mark.parametrize(
    ("text", "latency", "bandwidth"),
    [
        ("12.5GB", 20e-6, 12.5e9),
        ("800Mb", 20e-6, 1e8 * 0.94),
        ("100Gb/s,5us", 5e-6, 12.5e9 * 0.94),
        ("1GB, 2ms", 2e-3, 1e9),
    ],
)
def test_a_network_is_its_rate_and_its_latency(text: str, latency: float, bandwidth: float) -> None:
    assert parse_network(text) == pytest.approx((latency, bandwidth))


@pytest.mark.parametrize("text", ["100", "fast", "0Gb", "100gb", "100Gb,5", "Gb"])
def test_a_network_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write 100Gb"):
        parse_network(text)
