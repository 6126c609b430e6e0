"""Everything breaks while operations are asked for: afterwards each has exactly one effect, whatever the seed."""

from collections import Counter

import pytest

from scripts import chaos
from scripts.chaos_orders import Asked, Effect, Written
from scripts.chaos_plan import BREAKS, Ask, draw
from scripts.chaos_verdict import Chain, judge_effects

OPERATIONS = 200
SEEDS = (2, 4)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_operation_has_one_effect_whatever_breaks(seed: int) -> None:
    result = chaos.run(draw(OPERATIONS, seed))
    assert result.findings == [], str(result)
    assert result.ends["confirmed"] > OPERATIONS / 2


def test_a_seed_always_draws_the_same_plan() -> None:
    assert draw(OPERATIONS, 7) == draw(OPERATIONS, 7)
    assert draw(OPERATIONS, 7).rounds != draw(OPERATIONS, 8).rounds


def test_a_plan_asks_for_all_operations_and_breaks_everything_at_least_once() -> None:
    plan = draw(OPERATIONS, 7)
    assert [ask.number for ask in plan.asks] == list(range(1, OPERATIONS + 1))
    assert {each.breaks for each in plan.rounds} == set(BREAKS)


def test_no_two_operations_of_a_plan_have_an_effect_in_common() -> None:
    asks = draw(OPERATIONS, 7).asks
    amounts = [amount for ask in asks for amount in ask.amounts]
    assert len(set(amounts)) == len(amounts)
    assert len({ask.account for ask in asks}) == len(asks)


MINTED = Effect("0xToken", "Transfer", ("0xNobody", "0xHolder", 1_000))


def judged(status: str, times: int) -> list[str]:
    """What is found of one mint that ended so, with its effect on the chain so often."""
    ask = Ask(1, "mint", 0, 0, (1,), (1_000,), "0x00", b"")
    ended = {"one": {"status": status, "problem": None}}
    return list(judge_effects(Chain(Counter({MINTED: times})), [Asked(ask, Written("", {}, [MINTED]), "one")], ended))


def test_one_effect_of_an_operation_that_succeeded_is_what_is_to_be() -> None:
    assert judged("succeeded", 1) == []


@pytest.mark.parametrize(("status", "times"), [("succeeded", 0), ("succeeded", 2), ("failed", 1), ("failed", 0)])
def test_a_lost_doubled_or_denied_effect_is_found_and_a_failure_without_reason_too(status: str, times: int) -> None:
    assert judged(status, times) != []


def test_an_effect_that_nobody_asked_for_is_found() -> None:
    assert list(judge_effects(Chain(Counter({MINTED: 1})), [], {})) == [f"nobody asked for {MINTED}"]
