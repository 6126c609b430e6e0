"""Whether a policy's rules let values be seen: who asks, what for, how much of each, and how many at once. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from service.vault.masks import View
from service.vault.policies import RevealRules


class Refusal(StrEnum):
    """Which rule says no."""

    CALLER = "caller-not-allowed"
    PURPOSE = "purpose-not-allowed"
    VIEW = "view-not-allowed"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one policy.

    Args:
        caller: its name.
        view: None where the values go to somebody else than the caller, who sees nothing of them.
        values_count: of this policy, in one request.
    """

    caller: str
    purpose: str
    view: View | None
    values_count: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say: a refusal, or so many approvals of others beforehand, which may be none."""

    refusal: Refusal | None
    approvals_needed: int


def judge(rules: RevealRules, asked: Asked) -> Ruling:
    """Hold a wish to a policy's rules. Who has no place there learns nothing of purposes and views."""
    needed = rules.approvals if asked.values_count > rules.approvals_above else 0
    if rules.callers is not None and asked.caller not in rules.callers:
        return Ruling(Refusal.CALLER, needed)
    if asked.purpose not in rules.purposes:
        return Ruling(Refusal.PURPOSE, needed)
    if asked.view is not None and asked.view not in rules.views:
        return Ruling(Refusal.VIEW, needed)
    return Ruling(None, needed)
