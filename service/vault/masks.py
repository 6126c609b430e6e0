"""What a reveal shows of a value: all of it, a masked form, the last four characters, or a keyed hash."""

import hashlib
import hmac
from enum import StrEnum
from functools import cache

from service.vault.unfit import Unfit
from service.vault.values import DataClass

_HIDDEN = "*"
_HASH_DOMAIN = b"muniment vault view 1|"
_CARD_FIRST = 6
_CARD_FIRST_LENGTH_MIN = 15  # below, six and four digits would leave too few to guess
_LAST = 4
_LAST_LENGTH_MIN = 8  # below, four characters would be half of the value


class View(StrEnum):
    """How much of a value a reveal shows."""

    PLAIN = "plain"
    MASKED = "masked"
    LAST_FOUR = "last_four"
    HASH = "hash"


_WITH_LAST_FOUR = {DataClass.CARD, DataClass.NATIONAL_ID, DataClass.CUSTOM}


@cache
def views_of(data_class: DataClass) -> frozenset[View]:
    """The views that make sense for a class: the last four characters only of what is numbered."""
    return frozenset(View) if data_class in _WITH_LAST_FOUR else frozenset(View) - {View.LAST_FOUR}


def shown(view: View, data_class: DataClass, original: str, canonical: str, *, hash_key: bytes) -> str:
    """What this view shows of a value.

    Plain is the original, letter by letter. Masked and last four are made of the canonical form, and shorten what they
    keep where a value is short. The hash is HMAC-SHA256 of the canonical form in hex, for joining without seeing.

    Raises:
        Unfit: `view-not-offered`, for last four of a class without them.

    Source: RFC 2104; PCI DSS 4.0, 3.4.1 (six first and four last digits of a card at most).
    """
    if view not in views_of(data_class):
        raise Unfit("view-not-offered", f"a value of class {data_class} has no view {view}")
    match view:
        case View.PLAIN:
            return original
        case View.MASKED:
            return _masked(data_class, canonical)
        case View.LAST_FOUR:
            return _last(canonical)
        case View.HASH:
            return hmac.new(hash_key, _HASH_DOMAIN + canonical.encode(), hashlib.sha256).hexdigest()


def _masked(data_class: DataClass, canonical: str) -> str:
    match data_class:
        case DataClass.CARD:
            first = canonical[: _CARD_FIRST if len(canonical) >= _CARD_FIRST_LENGTH_MIN else 0]
            return _between(first, len(canonical), _last(canonical))
        case DataClass.NATIONAL_ID | DataClass.CUSTOM:
            return _between("", len(canonical), _last(canonical))
        case DataClass.EMAIL:
            local, _, domain = canonical.rpartition("@")
            return f"{local[0] if len(local) > 1 else ''}{_HIDDEN * 3}@{domain}"
        case DataClass.NAME:
            return " ".join(f"{word[0]}{_HIDDEN * 3}" for word in canonical.split(" "))
        case DataClass.TEXT | DataClass.DOCUMENT:
            return _HIDDEN * 3


def _between(first: str, length: int, last: str) -> str:
    return first + _HIDDEN * (length - len(first) - len(last)) + last


def _last(canonical: str) -> str:
    kept = _LAST if len(canonical) >= _LAST_LENGTH_MIN else len(canonical) // 4
    return canonical[len(canonical) - kept :]
