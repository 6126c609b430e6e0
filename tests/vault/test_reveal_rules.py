"""The rules of a reveal, one by one."""

import pytest

from service.vault.masks import View
from service.vault.policies import RevealRules
from service.vault.reveal_rules import Asked, Refusal, judge

RULES = RevealRules(purposes=["support"], views=[View.MASKED, View.HASH], callers=["desk"])


def asked(
    *, caller: str = "desk", purpose: str = "support", view: View | None = View.MASKED, values_count: int = 1
) -> Asked:
    return Asked(caller, purpose, view, values_count)


def test_what_the_rules_list_is_allowed() -> None:
    assert judge(RULES, asked()).refusal is None


@pytest.mark.parametrize(
    ("wish", "refusal"),
    [
        (asked(caller="stranger", purpose="x", view=View.PLAIN), Refusal.CALLER),
        (asked(purpose="curiosity", view=View.PLAIN), Refusal.PURPOSE),
        (asked(view=View.PLAIN), Refusal.VIEW),
    ],
)
def test_the_first_rule_that_says_no_is_told(wish: Asked, refusal: Refusal) -> None:
    assert judge(RULES, wish).refusal is refusal


def test_without_purposes_nothing_is_revealed() -> None:
    assert judge(RevealRules(), asked()).refusal is Refusal.PURPOSE


def test_a_policy_that_names_no_callers_lets_every_one_with_the_scope() -> None:
    rules = RevealRules(purposes=["support"])
    assert judge(rules, asked(caller="anybody")).refusal is None


def test_values_that_go_elsewhere_need_no_view() -> None:
    assert judge(RULES, asked(view=None)).refusal is None


@pytest.mark.parametrize(("count", "needed"), [(1, 0), (10, 0), (11, 2), (500, 2)])
def test_approvals_are_needed_above_a_count(count: int, needed: int) -> None:
    rules = RevealRules(purposes=["support"], approvals=2, approvals_above=10)
    assert judge(rules, asked(values_count=count)).approvals_needed == needed
