"""When a message is sent again, when it is given up, and when its webhook is. Pure."""

from dataclasses import dataclass

from service.webhooks.egress import Answer
from service.webhooks.tables import State

SCHEDULE_S = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long after the one before each sending comes. Source: Standard Webhooks 1.0, its example of a schedule."""

JITTER_SHARE = 0.1
FAILING_DAYS_MAX = 5
"""A webhook that took nothing for so long, of FAILURES_MIN sendings or more, is disabled."""

FAILURES_MIN = 10
PAUSE_DAYS_MAX = 2
"""Where nothing was sent for longer, which no schedule makes, what failed before says nothing of the time between."""

GONE = 410


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a message after a sending."""

    state: State
    failures: int
    wait_s: float


def after(answer: Answer, *, failures: int, chance: float) -> Next:
    """What becomes of a message.

    Args:
        failures: of the sendings before this one.
        chance: 0 to 1, for the jitter, so that messages that failed together do not come back together.
    """
    if answer.taken:
        return Next(State.DELIVERED, failures, 0.0)
    failed = failures + 1
    if failed >= len(SCHEDULE_S) and answer.status != GONE:
        return Next(State.DEAD, failed, 0.0)
    # Who is gone may be enabled again, and then all that waits is sent.
    planned_s = SCHEDULE_S[min(failed, len(SCHEDULE_S) - 1)] * (1 + JITTER_SHARE * chance)
    return Next(State.PENDING, failed, max(planned_s, float(answer.retry_after_s)))
