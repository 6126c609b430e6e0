"""JSON that can be read in one way only. Pure."""

import json
import math
import re
from typing import Any, NoReturn

DEPTH_MAX = 100
"""Lists and objects within one another."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def strict_json(body: bytes) -> Any:
    """Read JSON in which no field is given twice, every number is one and every text can be written as UTF-8.

    Source: RFC 8259 section 4; RFC 7493 sections 2.1 to 2.3.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        json.JSONDecodeError: it is not such a text, or deeper than DEPTH_MAX.
    """
    _refuse_depth(body)
    text = body.decode("utf-8")
    found = json.loads(text, object_pairs_hook=_object, parse_float=_float, parse_constant=_refuse_constant)
    if "\\ud" in text or "\\uD" in text:
        _refuse_halves(found)
    return found


def _refuse_depth(body: bytes) -> None:
    # Python's reader goes down by recursion, and a package raises its limit above what the stack can hold.
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_MAX:
            raise json.JSONDecodeError("Too deep", "", 0)


def _refuse_halves(found: Any) -> None:
    # Half a character can only come as an escape; whoever stores or hashes such a text later could not.
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise json.JSONDecodeError("Half a character", "", 0) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Readers disagree on which one counts, so a signature or a log might speak of another amount than the chain.
        raise json.JSONDecodeError("A field is given twice", "", 0)
    return found


def _float(text: str) -> float:
    found = float(text)
    if math.isinf(found):
        raise json.JSONDecodeError("A number is too large", "", 0)
    return found


def _refuse_constant(_constant: str) -> NoReturn:
    raise json.JSONDecodeError("NaN and Infinity are not JSON", "", 0)
