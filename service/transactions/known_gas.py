"""What calls have needed: an estimate makes a node execute a call some ten times, and trying a known limit once."""

KINDS_MAX = 4_096


class KnownGas:
    """The largest estimate for each kind of call: one function of one contract, with so much calldata."""

    def __init__(self) -> None:
        self._estimates: dict[tuple[bytes, bytes, int], int] = {}

    def of(self, recipient: bytes, data: bytes) -> int | None:
        """What such a call has needed at most, if there has been one."""
        return self._estimates.get(_kind(recipient, data))

    def learn(self, recipient: bytes, data: bytes, estimate: int) -> None:
        """Remember an estimate; the kind that was learnt longest ago is forgotten when there are too many."""
        kind = _kind(recipient, data)
        known = self._estimates.pop(kind, 0)
        if len(self._estimates) >= KINDS_MAX:
            del self._estimates[next(iter(self._estimates))]
        self._estimates[kind] = max(known, estimate)


def _kind(recipient: bytes, data: bytes) -> tuple[bytes, bytes, int]:
    return recipient, data[:4], len(data)
