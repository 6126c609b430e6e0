"""How crowded the spaces of vault tokens are: the share of draws that met a token which another record has.

That share is the used share of the space, whatever the format: each draw is a random sample of it.
"""

from uuid import UUID

from service.db import Database
from service.telemetry import logger

ALARM_SHARE = 0.01
_COLLIDED_MIN = 5
"""Fewer are chance: at a tenth of the alarm's share, five in a window happen once in some ten thousand windows."""

_WINDOW_DRAWS = 10_000


class Crowding:
    """Counts draws by policy, and says once when a hundredth of a space is used."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counts: dict[UUID, tuple[int, int]] = {}

    async def count(self, policy_id: UUID, *, drawn: int, collided: int) -> None:
        """Take in the draws of one request, and write the alarm down when it is due."""
        draws, collisions = self._counts.get(policy_id, (0, 0))
        draws, collisions = draws + drawn, collisions + collided
        if collisions >= _COLLIDED_MIN and collisions >= ALARM_SHARE * draws:
            await self._alarm(policy_id)
        full = draws >= _WINDOW_DRAWS or collisions >= _COLLIDED_MIN
        self._counts[policy_id] = (0, 0) if full else (draws, collisions)

    async def _alarm(self, policy_id: UUID) -> None:
        crowded = await self._db.fetch(
            "UPDATE vault.policies SET crowded_at = now() WHERE id = %s AND crowded_at IS NULL RETURNING id",
            (policy_id,),
        )
        if crowded:
            logger().error("vault_space_crowded", count=len(crowded), kind="policy", detail=str(policy_id))
