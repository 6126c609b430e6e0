"""How often one may ask: quotas of requests by credential, by issuer, and of failed proofs by address.

Each is a leaky bucket that is full after `window_s` of rest (the generic cell rate algorithm, ITU-T I.371), in the
memory of one process: each copy of the API lets as many through, and a flood costs Postgres nothing.
"""

import ipaddress
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID

from service.errors import Problem
from service.settings import Settings

WINDOW_S = 60

REMEMBERED_MAX = 100_000
"""So many buckets that are not full are kept; with more, those that fill up soonest are forgotten."""


@dataclass(frozen=True, slots=True)
class Quota:
    """So many requests within the window; `name` is told to whoever asks."""

    name: str
    requests: int
    window_s: int = WINDOW_S

    @property
    def interval_s(self) -> float:
        """After this time one more request is free."""
        return self.window_s / self.requests


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a quota: whole requests, and the time until all of them are there again."""

    quota: Quota
    remaining: int
    full_in_s: int
    wait_s: int
    """0 where the request was let through, else until one may be."""


class QuotaExceeded(Problem):
    """Too many requests: `violated_policies` names the quota, `retry_after_s` when the next one is let through."""

    slug, title, status = "quota-exceeded", "Too many requests", 429

    def __init__(self, standing: Standing) -> None:
        super().__init__(
            f"wait {standing.wait_s} s: {standing.quota.requests} requests in {standing.quota.window_s} s are let "
            f"through for the quota {standing.quota.name!r}",
            violated_policies=[standing.quota.name],
            retry_after_s=standing.wait_s,
        )
        self.standing = standing


class Rates:
    """The buckets of one process."""

    def __init__(self) -> None:
        self._full_at_s: dict[tuple[str, str], float] = {}

    def look(self, quota: Quota, whose: str, now_s: float) -> Standing:
        """How a bucket stands, before a request is taken off it."""
        empty_s = max(self._full_at_s.get((quota.name, whose), now_s) - now_s, 0.0)
        return _standing(quota, empty_s, late_s=empty_s + quota.interval_s - quota.window_s)

    def take(self, quota: Quota, whose: str, now_s: float) -> Standing:
        """Take one request off a bucket; from an empty one nothing is taken, and `wait_s` says so.

        Args:
            now_s: of a clock that never goes back.
        """
        place = (quota.name, whose)
        empty_s = max(self._full_at_s.get(place, now_s) - now_s, 0.0) + quota.interval_s
        # Sums of fractions must not refuse the last request of a quota.
        if (late_s := empty_s - quota.window_s) > quota.interval_s * 1e-6:
            return _standing(quota, empty_s - quota.interval_s, late_s)
        if len(self._full_at_s) >= REMEMBERED_MAX and place not in self._full_at_s:
            self._forget(now_s)
        self._full_at_s[place] = now_s + empty_s
        return _standing(quota, empty_s, 0.0)

    def give_back(self, quota: Quota, whose: str) -> None:
        """Put a request back that was taken and let nobody in."""
        place = (quota.name, whose)
        if place in self._full_at_s:
            self._full_at_s[place] -= quota.interval_s

    def _forget(self, now_s: float) -> None:
        """Drop full buckets; where that is not a tenth of all, those that are nearest to full as well."""
        left = sorted((each for each in self._full_at_s.items() if each[1] > now_s), key=lambda each: each[1])
        self._full_at_s = dict(left[max(len(left) - REMEMBERED_MAX * 9 // 10, 0) :])


@dataclass(frozen=True, slots=True)
class Quotas:
    """What a deployment lets through a minute, and how it stands.

    Args:
        key, issuer: requests of one credential, and of all credentials of one issuer.
        address: proofs from one address that failed; then none is looked at, whatever it says.
    """

    key: Quota
    issuer: Quota
    address: Quota
    buckets: Rates = field(default_factory=Rates)

    def look_at(self, address: str | None) -> None:
        """Make sure that an address has not failed too often.

        Raises:
            QuotaExceeded: it has.
        """
        standing = self.buckets.look(self.address, whose_address(address), time.monotonic())
        if standing.wait_s:
            raise QuotaExceeded(standing)

    def failed(self, address: str | None) -> None:
        """Count a proof that failed."""
        self.buckets.take(self.address, whose_address(address), time.monotonic())

    def take(self, key_id: str, issuer_id: UUID) -> list[Standing]:
        """Take a request off the quotas of a credential and its issuer; how they stand then.

        Raises:
            QuotaExceeded: one of them is used up.
        """
        now_s = time.monotonic()
        key = self.buckets.take(self.key, key_id, now_s)
        if key.wait_s:
            raise QuotaExceeded(key)
        issuer = self.buckets.take(self.issuer, str(issuer_id), now_s)
        if issuer.wait_s:
            self.buckets.give_back(self.key, key_id)
            raise QuotaExceeded(issuer)
        return [key, issuer]

    @contextmanager
    def taken(self, key_id: str, issuer_id: UUID) -> Iterator[list[Standing]]:
        """Take a request off the quotas as `take` does, and give it back where the block raises: replays, which anybody
        can send who saw one request, leave whoever signed it what it had.

        Raises:
            QuotaExceeded: one of them is used up.
        """
        standings = self.take(key_id, issuer_id)
        try:
            yield standings
        except BaseException:
            self.buckets.give_back(self.key, key_id)
            self.buckets.give_back(self.issuer, str(issuer_id))
            raise


def quotas_of(settings: Settings) -> Quotas:
    """The quotas that a deployment's settings say."""
    return Quotas(
        Quota("key", settings.key_requests_max),
        Quota("issuer", settings.issuer_requests_max),
        Quota("address", settings.address_failures_max),
    )


def _standing(quota: Quota, empty_s: float, late_s: float) -> Standing:
    remaining = max(int((quota.window_s - empty_s) / quota.interval_s + 1e-6), 0)
    return Standing(quota, remaining, math.ceil(empty_s), max(math.ceil(late_s), 0) if late_s > 0 else 0)


def told(standings: Sequence[Standing]) -> list[tuple[bytes, bytes]]:
    """The header fields that tell of quotas. Source: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4."""
    policies = ", ".join(f'"{each.quota.name}";q={each.quota.requests};w={each.quota.window_s}' for each in standings)
    left = ", ".join(f'"{each.quota.name}";r={each.remaining};t={each.full_in_s}' for each in standings)
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", left.encode())]


@lru_cache(maxsize=4_096)
def whose_address(address: str | None) -> str:
    """What failures of an address are counted under: of IPv6 its /64, since whoever has one address has them all."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
