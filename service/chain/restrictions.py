"""The rules that a contract refuses a transfer by, as contracts/parts/Restrictions.sol numbers them."""

from collections.abc import Mapping
from typing import Any

from service.addresses import ZERO, checksum

RULES: Mapping[int, tuple[str, str]] = {
    0: ("allowed", "nothing forbids it"),
    1: ("paused", "the token is paused"),
    2: ("frozen", "too much of what the account holds is frozen"),
    3: ("soulbound", "the deed is bound to its holder"),
    4: ("zero-address", "the zero address neither sends nor receives"),
    10: ("sender-unidentified", "the sender's investor has no identity: set one, and link the account to it"),
    11: ("sender-expired", "the identity of the sender's investor has expired: renew it"),
    12: ("sender-blocked", "the sender's investor is blocked"),
    13: ("sender-level", "the sender's investor is verified to a lower level than the policy asks for"),
    14: ("sender-country", "the policy excludes the country of the sender's investor"),
    20: ("receiver-unidentified", "the receiver's investor has no identity: set one, and link the account to it"),
    21: ("receiver-expired", "the identity of the receiver's investor has expired: renew it"),
    22: ("receiver-blocked", "the receiver's investor is blocked"),
    23: ("receiver-level", "the receiver's investor is verified to a lower level than the policy asks for"),
    24: ("receiver-country", "the policy excludes the country of the receiver's investor"),
    30: ("spender-blocked", "the investor who spends for the holder is blocked"),
    31: ("spender-frozen", "the account that spends for the holder is wholly frozen"),
    40: ("holders-max", "the token may have no more holders"),
    41: ("country-holders-max", "the token may have no more holders in the receiver's country"),
    42: ("holding-max", "the receiver's investor would hold more than the policy allows"),
    43: ("locked", "the sender's investor would keep less than is locked up"),
    60: ("registry-failed", "the compliance registry does not answer as it should"),
}
"""Name and sentence of each code."""


def rule_of(arguments: Mapping[str, str]) -> dict[str, Any]:
    """A `Restriction` or a `TransferRestricted` error as a rule with its data; amounts stay decimal strings.

    `account` is None where the rule concerns nobody in particular.
    """
    code = int(arguments["code"])
    name, text = RULES.get(code, ("unknown", "a rule that this version does not know"))
    account = bytes.fromhex(arguments["account"][2:])
    told = {"code": code, "name": name, "text": text, "account": None if account == ZERO else checksum(account)}
    return {**told, "limit": arguments["limit"], "actual": arguments["actual"]}
