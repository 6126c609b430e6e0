"""Quotas: what is let through, what is told of them, and what they remember."""

from hypothesis import given
from hypothesis import strategies as st

from service.access import rates
from service.access.rates import Quota, QuotaExceeded, Rates, told, whose_address

QUOTA = Quota("key", 6, 60)


def let_through(buckets: Rates, times_s: list[float], quota: Quota = QUOTA) -> list[float]:
    return [now_s for now_s in times_s if buckets.take(quota, "a", now_s).wait_s == 0]


def test_as_many_as_the_quota_at_one_moment_and_no_more() -> None:
    assert len(let_through(Rates(), [100.0] * 20)) == 6


def test_after_a_refusal_the_time_that_was_told_is_enough() -> None:
    buckets = Rates()
    let_through(buckets, [100.0] * 6)
    refused = buckets.take(QUOTA, "a", 103.0)
    assert (refused.wait_s, refused.remaining) == (7, 0)
    assert buckets.take(QUOTA, "a", 109.9).wait_s == 1
    assert buckets.take(QUOTA, "a", 103.0 + refused.wait_s).wait_s == 0


def test_whoever_keeps_the_pace_is_never_refused() -> None:
    times_s = [100 + 10.0 * number for number in range(1_000)]
    assert let_through(Rates(), times_s) == times_s


def test_each_name_and_each_owner_has_a_bucket_of_its_own() -> None:
    buckets = Rates()
    let_through(buckets, [100.0] * 6)
    assert buckets.take(QUOTA, "b", 100.0).wait_s == 0
    assert buckets.take(Quota("issuer", 6, 60), "a", 100.0).wait_s == 0


@given(st.lists(st.floats(0, 500), max_size=80), st.integers(1, 40))
def test_no_window_has_more_than_two_quotas(times_s: list[float], requests: int) -> None:
    """A full bucket and what flows in meanwhile: the bound of a leaky bucket."""
    taken_s = let_through(Rates(), sorted(times_s), Quota("key", requests, 60))
    assert all(sum(0 <= other - start < 60 for other in taken_s) <= 2 * requests for start in taken_s)


def test_looking_takes_nothing() -> None:
    buckets = Rates()
    assert {buckets.look(QUOTA, "a", 100.0).remaining for _ in range(10)} == {6}
    let_through(buckets, [100.0] * 6)
    assert buckets.look(QUOTA, "a", 100.0).wait_s == 10


def test_headers_are_those_of_the_draft() -> None:
    buckets = Rates()
    standing = buckets.take(QUOTA, "a", 100.0)
    other = buckets.take(Quota("issuer", 60, 60), "i", 100.0)
    assert told([standing, other]) == [
        (b"ratelimit-policy", b'"key";q=6;w=60, "issuer";q=60;w=60'),
        (b"ratelimit", b'"key";r=5;t=10, "issuer";r=59;t=1'),
    ]


def test_a_refusal_says_which_quota_and_how_long() -> None:
    buckets = Rates()
    let_through(buckets, [100.0] * 6)
    problem = QuotaExceeded(buckets.take(QUOTA, "a", 100.0)).body()
    assert (problem["violated_policies"], problem["retry_after_s"], problem["status"]) == (["key"], 10, 429)


def test_a_flood_of_addresses_takes_bounded_memory() -> None:
    buckets = Rates()
    for number in range(rates.REMEMBERED_MAX + 10):
        buckets.take(QUOTA, str(number), 100.0)
    assert len(buckets._full_at_s) <= rates.REMEMBERED_MAX


def test_whoever_is_refused_is_remembered_longest_in_a_flood() -> None:
    buckets = Rates()
    let_through(buckets, [100.0] * 6)
    for number in range(rates.REMEMBERED_MAX):
        buckets.take(QUOTA, str(number), 100.0)
    assert buckets.take(QUOTA, "a", 100.0).wait_s > 0


def test_addresses_of_one_ipv6_network_are_one() -> None:
    assert whose_address("2001:db8::1") == whose_address("2001:db8::ffff:2") == "2001:db8::/64"
    assert whose_address("2001:db8:0:1::1") != whose_address("2001:db8::1")
    assert whose_address("::ffff:203.0.113.9") == whose_address("203.0.113.9") == "203.0.113.9"
    assert whose_address(None) == whose_address("a socket") == ""
