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


def loosens(before: RevealRules, after: RevealRules) -> bool:
    """Whether a change of rules lets anything be seen that the rules before do not."""
    limits = (
        (before.daily_max, after.daily_max),
        (before.subjects_daily_max, after.subjects_daily_max),
    )
    return (
        any(had is not None and (has is None or has > had) for had, has in limits)
        or after.approvals < before.approvals
        or (after.approvals > 0 and after.approvals_above > before.approvals_above)
        or not {*after.purposes} <= {*before.purposes}
        or not {*after.views} <= {*before.views}
        or (before.callers is not None and (after.callers is None or not {*after.callers} <= {*before.callers}))
    )


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
