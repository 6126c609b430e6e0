"""What a credential is held to besides its scopes, and which limits are tighter than others. Pure."""

import ipaddress
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Self, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from service.amounts import PositiveAmount
from service.web.orders import Uint256

WINDOW_MIN_S, WINDOW_S, WINDOW_MAX_S = 30, 60, 120
NETWORKS_MAX = 32
TOKENS_MAX = 100
CHAINS_MAX = 32

T = TypeVar("T")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=4_096)
def _network(text: str) -> Network:
    return ipaddress.ip_network(text)


def _is_network(text: str) -> str:
    try:
        return str(_network(text))
    except ValueError:
        raise ValueError("write a network as 203.0.113.0/24 or 2001:db8::/32, with no host bits set") from None


class Limits(BaseModel):
    """Limits of one credential; what is left out limits nothing."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"example": {"networks": ["203.0.113.0/24"], "window_s": 60}}
    )

    networks: tuple[Annotated[StrictStr, AfterValidator(_is_network)], ...] | None = Field(
        default=None, min_length=1, max_length=NETWORKS_MAX, description="Requests come from one of these."
    )
    hours_utc: tuple[Annotated[StrictInt, Field(ge=0, le=23)], Annotated[StrictInt, Field(ge=1, le=24)]] | None = Field(
        default=None, description="From the first hour of the day until the second; past midnight where that is less."
    )
    tokens: tuple[UUID, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=TOKENS_MAX,
        description="Nothing opens but what is of these tokens, and what a key may do with keys; lists show no other.",
        examples=[None],
    )
    chains: tuple[Annotated[StrictInt, Field(ge=1, lt=2**53)], ...] | None = Field(
        default=None,
        min_length=1,
        max_length=CHAINS_MAX,
        description="It opens nothing on others (EIP-155).",
    )
    amount_max: PositiveAmount | None = Field(
        default=None, description="Base units that one request may name; a batch names the sum of its rows."
    )
    amount_per_day: PositiveAmount | None = Field(
        default=None, description="Base units of one token that its caller's requests may name on a UTC day."
    )
    amount_unapproved_max: Uint256 | None = Field(
        default=None,
        description="Base units that one request may name without the approval of a second factor; a batch its sum.",
    )
    amount_unapproved_per_day: Uint256 | None = Field(
        default=None,
        description="Base units of one token that its caller's requests may name on a UTC day without such approvals.",
    )
    signature_required: StrictBool = Field(
        default=False, description="What a live deployment asks to be signed must be."
    )
    window_s: StrictInt = Field(
        default=WINDOW_S, ge=WINDOW_MIN_S, le=WINDOW_MAX_S, description="A signature may be so old."
    )

    @model_validator(mode="after")
    def _leaves_an_hour(self) -> Self:
        if self.hours_utc is not None and self.hours_utc[0] == self.hours_utc[1]:
            raise ValueError("hours_utc leaves no hour: write [8, 18]")
        return self

    def stored(self) -> dict[str, Any]:
        """What of them was told, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)

    def refusal(self, address: str | None, at: datetime) -> str | None:
        """`network` or `hours` where a request from an address at a time is not let in, else None."""
        if self.networks is not None and not _within(address, self.networks):
            return "network"
        return "hours" if at.hour not in self._hours else None

    def within(self, wider: Self) -> bool:
        """Whether nothing is let in that `wider` would not."""
        return (
            _are_within(self.networks, wider.networks)
            and self._hours <= wider._hours
            and _are_among(self.tokens, wider.tokens)
            and _are_among(self.chains, wider.chains)
            and _is_at_most(self.amount_max, wider.amount_max)
            and _is_at_most(self.amount_per_day, wider.amount_per_day)
            and _is_at_most(self.amount_unapproved_max, wider.amount_unapproved_max)
            and _is_at_most(self.amount_unapproved_per_day, wider.amount_unapproved_per_day)
            and self.signature_required >= wider.signature_required
            and self._window_max_s <= wider._window_max_s
        )

    @property
    def _window_max_s(self) -> int:
        # A usual window that nobody asked for is none that a wider one must stay within.
        return self.window_s if "window_s" in self.model_fields_set else WINDOW_MAX_S

    @property
    def _hours(self) -> frozenset[int]:
        if self.hours_utc is None:
            return frozenset(range(24))
        first, end = self.hours_utc
        return frozenset(range(first, end)) if first < end else frozenset({*range(first, 24), *range(end)})


NO_LIMITS = Limits()


def read_limits(stored: dict[str, Any]) -> Limits:
    """Limits as `stored` wrote them."""
    return Limits.model_validate(stored) if stored else NO_LIMITS


@lru_cache(maxsize=4_096)
def network_of(address: str | None) -> str:
    """The network that an address is told as: /24, of IPv6 /48; empty where it is no address."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))


def _within(address: str | None, networks: tuple[str, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in _network(each) for each in networks)


def _are_within(narrow: tuple[str, ...] | None, wide: tuple[str, ...] | None) -> bool:
    if wide is None:
        return True
    if narrow is None:
        return False
    return all(any(_lies_in(_network(each), _network(of)) for of in wide) for each in narrow)


def _are_among(narrow: tuple[T, ...] | None, wide: tuple[T, ...] | None) -> bool:
    return wide is None or (narrow is not None and {*narrow} <= {*wide})


def _is_at_most(narrow: int | None, wide: int | None) -> bool:
    return wide is None or (narrow is not None and narrow <= wide)


def _lies_in(narrow: Network, wide: Network) -> bool:
    if isinstance(narrow, ipaddress.IPv4Network):
        return isinstance(wide, ipaddress.IPv4Network) and narrow.subnet_of(wide)
    return isinstance(wide, ipaddress.IPv6Network) and narrow.subnet_of(wide)
