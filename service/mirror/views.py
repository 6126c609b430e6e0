"""What a contract's own view says where the mirror has a state: how to ask, and both answers in the same words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from service.addresses import checksum, hex0x
from service.chain import artifacts, contracts
from service.mirror.aspects import NOBODY, UNKNOWN, State


@dataclass(frozen=True, slots=True)
class View:
    """A function that answers for one key of an aspect."""

    function: str  # its signature
    arguments: Callable[[bytes], tuple[Any, ...]]
    mirror: Callable[[State], str]
    chain: Callable[[tuple[Any, ...]], str]

    def calldata(self, kind: str, key: bytes) -> bytes:
        """The question about a key."""
        return contracts.encode_call(kind, self.function, *self.arguments(key))

    def told(self, kind: str, answer: bytes) -> str:
        """A contract's answer, in the words of `mirror`. Never fails on any bytes."""
        try:
            return self.chain(contracts.decode_result(kind, self.function, answer))
        except Exception:  # a codec's every complaint means that the contract is not what it was a moment ago
            return f"no such answer: {hex0x(answer)}"


@cache
def functions(kind: str) -> frozenset[str]:
    """Names of the functions that a contract of this kind has; none where the kind has no artifact."""
    if kind not in artifacts.names():
        return frozenset()
    return frozenset(entry["name"] for entry in artifacts.load(kind).abi if entry["type"] == "function")


def views(kind: str) -> dict[str, View]:
    """The views that a contract of this kind has, by aspect."""
    return {aspect: view for aspect, view in VIEWS.items() if view.function.partition("(")[0] in functions(kind)}


def _whole(key: bytes) -> tuple[Any, ...]:
    return (key,)


def _number(key: bytes) -> tuple[Any, ...]:
    return (int.from_bytes(key),)


def _nothing(_: bytes) -> tuple[Any, ...]:
    return ()


def _account_and(rest: Callable[[bytes], tuple[Any, ...]]) -> Callable[[bytes], tuple[Any, ...]]:
    return lambda key: (key[:20], *rest(key[20:]))


def _said(unset: str, *names: str) -> Callable[[State], str]:
    """The named parts of a state as text; `unset` where there is none."""
    return lambda state: unset if state is None else " ".join(str(state[name]) for name in names)


def _text(given: Any) -> str:
    return hex0x(given) if isinstance(given, bytes) else str(given)


def _first(answer: tuple[Any, ...]) -> str:
    return _text(answer[0])


def _account(answer: tuple[Any, ...]) -> str:
    return checksum(answer[0])


def _all(*places: int) -> Callable[[tuple[Any, ...]], str]:
    return lambda answer: " ".join(_text(answer[place]) for place in places)


def _inside(*places: int) -> Callable[[tuple[Any, ...]], str]:
    """Members of the struct that is the only answer."""
    return lambda answer: _all(*places)(answer[0])


def _access(answer: tuple[Any, ...]) -> str:
    since, delay_now, delay_later, effect = answer
    return f"{since} {delay_later if effect else delay_now}"


def _policy(answer: tuple[Any, ...]) -> str:
    registered, rules = answer
    return " ".join(map(str, rules)) if registered else "none"


def _lots(answer: tuple[Any, ...]) -> str:
    return " ".join(f"{amount}@{unlocks_at}" for amount, unlocks_at in zip(*answer, strict=False))


def _lots_said(state: State) -> str:
    return " ".join(f"{lot['amount']}@{lot['unlocks_at']}" for lot in (state or {"lots": ()})["lots"])


VIEWS: Mapping[str, View] = {
    "frozen": View("getFrozenTokens(address)", _whole, _said("0", "amount"), _first),
    "frozen-deed": View("getFrozenTokens(address,uint256)", _account_and(_number), _said("False", "frozen"), _first),
    "delegate": View("delegates(address)", _whole, _said(NOBODY, "delegatee"), _account),
    "votes": View("getVotes(address)", _whole, _said("0", "votes"), _first),
    "registry": View("registry()", _nothing, _said(NOBODY, "registry"), _account),
    "authority": View("authority()", _nothing, _said(NOBODY, "authority"), _account),
    "role": View(
        "getAccess(uint64,address)",
        lambda key: (int.from_bytes(key[:8]), key[8:]),
        _said("0 0", "since", "delay_s"),
        _access,
    ),
    "role-admin": View("getRoleAdmin(uint64)", _number, _said("0", "admin"), _first),
    "role-guardian": View("getRoleGuardian(uint64)", _number, _said("0", "guardian"), _first),
    "target-closed": View("isTargetClosed(address)", _whole, _said("False", "closed"), _first),
    "identity": View("identity(bytes32)", _whole, _said("0 0 0", "country", "level", "expires_at"), _inside(0, 1, 3)),
    "blocked": View("identity(bytes32)", _whole, _said("False", "blocked"), _inside(2)),
    "wallet": View("investorOf(address)", _whole, _said(UNKNOWN, "investor"), _first),
    "policy": View(
        "policy(address)",
        _whole,
        _said("none", "level_min", "country_rule", "holders_max", "country_holders_max", "holding_max"),
        _policy,
    ),
    "lots": View("lots(address,bytes32)", _account_and(_whole), _lots_said, _lots),
    "document": View(
        "getDocument(address,bytes32)",
        _account_and(_whole),
        _said(f"0 {UNKNOWN} 0 ", "version", "hash", "effective_from", "uri"),
        _all(3, 1, 2, 0),
    ),
    "deed": View("documentHash(uint256)", _number, _said(UNKNOWN, "document_hash"), _first),
    "attester": View("attestation(address)", _whole, _said(NOBODY, "attester"), lambda answer: checksum(answer[3])),
    "reserve": View("attestation(address)", _whole, _said("0 0", "amount", "expires_at"), _all(0, 2)),
    "anchor": View("latest(bytes32)", _whole, _said(f"0 {UNKNOWN}", "size", "root"), _inside(0, 2)),
}
"""By aspect. An aspect that is not here has no view that answers for one key."""
