"""Limits of credentials, and which are tighter than others."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from service.access.key_limits import Limits, network_of, read_limits
from service.db import new_id

NETWORKS = st.sampled_from(
    ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "0.0.0.0/0", "2001:db8::/32", "2001:db8:1::/48"]
)
HOURS = st.tuples(st.integers(0, 23), st.integers(1, 24)).filter(lambda each: each[0] != each[1])
LIMITS = st.builds(
    Limits,
    networks=st.none() | st.lists(NETWORKS, min_size=1, max_size=3).map(tuple),
    hours_utc=st.none() | HOURS,
    signature_required=st.booleans(),
    window_s=st.integers(30, 120),
)
ADDRESSES = st.sampled_from(["10.1.2.3", "10.1.9.9", "10.9.9.9", "11.1.1.1", "2001:db8:1::1", "2001:db8:2::1", "::1"])


@given(LIMITS, LIMITS, ADDRESSES, st.integers(0, 23))
def test_tighter_limits_let_nothing_in_that_the_wider_ones_refuse(
    narrow: Limits, wide: Limits, address: str, hour: int
) -> None:
    at = datetime(2026, 1, 1, hour, tzinfo=UTC)
    if narrow.within(wide) and wide.refusal(address, at) is not None:
        assert narrow.refusal(address, at) is not None


@given(LIMITS)
def test_limits_are_within_themselves_and_read_back(limits: Limits) -> None:
    assert limits.within(limits)
    assert limits.within(Limits())
    assert read_limits(limits.stored()) == limits


def test_hours_may_span_midnight_and_networks_know_both_families() -> None:
    night = Limits.model_validate({"hours_utc": [22, 6]})
    at = [night.refusal("10.0.0.1", datetime(2026, 1, 1, hour, tzinfo=UTC)) for hour in (21, 22, 5, 6)]
    assert at == ["hours", None, None, "hours"]
    both = Limits.model_validate({"networks": ["10.0.0.0/8", "2001:db8::/32"]})
    seen = [
        both.refusal(each, datetime.now(UTC))
        for each in ("10.9.9.9", "::ffff:10.1.1.1", "2001:db8::1", "11.0.0.1", None)
    ]
    assert seen == [None, None, None, "network", "network"]
    assert (network_of("203.0.113.9"), network_of("2001:db8:1:2::3"), network_of("nobody")) == (
        "203.0.113.0/24",
        "2001:db8:1::/48",
        "",
    )


TOKENS = [new_id() for _ in range(3)]
AMOUNTS = st.none() | st.integers(1, 4).map(str)
HELD = st.builds(
    Limits,
    tokens=st.none() | st.lists(st.sampled_from(TOKENS), min_size=1, max_size=2).map(tuple),
    chains=st.none() | st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple),
    amount_max=AMOUNTS,
    amount_per_day=AMOUNTS,
    amount_unapproved_max=AMOUNTS,
    amount_unapproved_per_day=AMOUNTS | st.just("0"),
)


@given(HELD, HELD)
def test_tighter_tokens_chains_and_amounts_leave_no_more_than_the_wider_ones(narrow: Limits, wide: Limits) -> None:
    assert narrow.within(Limits())
    assert read_limits(narrow.stored()) == narrow
    if narrow.within(wide):
        assert {*(narrow.tokens or TOKENS)} <= {*(wide.tokens or TOKENS)}
        assert {*(narrow.chains or range(9))} <= {*(wide.chains or range(9))}
        assert (narrow.amount_max or 9) <= (wide.amount_max or 9)
        assert (narrow.amount_per_day or 9) <= (wide.amount_per_day or 9)
        assert (narrow.amount_unapproved_max or 9) <= (wide.amount_unapproved_max or 9)
        days = [
            9 if each is None else each for each in (narrow.amount_unapproved_per_day, wide.amount_unapproved_per_day)
        ]
        assert days[0] <= days[1]
    else:
        assert narrow != wide
