"""Selective disclosure: attributes under one salted Merkle root, and proofs that show some of them and nothing else.

A leaf is the RFC 8785 form of [salt, name, value] with a salt of 32 random bytes, hashed as RFC 9162 hashes its leaves.
Leaves lie in the order of their hashes, which is random to whoever lacks the salts: in an order by name a place in the
tree would tell how many names come before. A proof names each sibling's side instead of a leaf's number and the tree's
size, as the root of RFC 9162 does not bind the size: so there is nothing in a proof that could be altered unnoticed.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rfc8785

from service.web.strict_json import strict_json

ATTRIBUTES_MAX = 256
SALT_BYTES = 32
NAME_CHARS_MAX = 120
VALUE_CHARS_MAX = 2_000

FORM = "muniment-disclosure-1"

_FILE_BYTES_MAX = 16 * 2**20
_HEX_32 = re.compile(r"[0-9a-f]{64}")
_STEP = re.compile(r"(left|right):([0-9a-f]{64})")


class DisclosureFalse(Exception):
    """A disclosure proves nothing; the sentence says what is wrong with it and repeats no value."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A name and its value, with the salt that keeps the others from guessing it."""

    name: str
    value: str = field(repr=False)
    salt: bytes = field(repr=False)

    @property
    def hash(self) -> bytes:
        """Its leaf's hash. Source: RFC 9162 section 2.1.1, RFC 8785."""
        return hashlib.sha256(b"\x00" + rfc8785.dumps([self.salt.hex(), self.name, self.value])).digest()


def salted(values: Mapping[str, str]) -> list[Attribute]:
    """Attributes with fresh salts, in the order of their hashes.

    Raises:
        ValueError: none, or more than ATTRIBUTES_MAX.
    """
    if not 1 <= len(values) <= ATTRIBUTES_MAX:
        raise ValueError(f"there are 1 to {ATTRIBUTES_MAX} attributes")
    made = (Attribute(name, value, os.urandom(SALT_BYTES)) for name, value in values.items())
    return sorted(made, key=lambda each: each.hash)


def root_of(attributes: Sequence[Attribute]) -> bytes:
    """The Merkle root over attributes in their order: 32 bytes."""
    return _root([each.hash for each in attributes])


def disclose(attributes: Sequence[Attribute], names: Iterable[str]) -> bytes:
    """A disclosure of some attributes of a commitment: canonical JSON, whole in itself, for whoever has the root.

    Args:
        attributes: all of them, in the order of the commitment.

    Raises:
        KeyError: a name is not among them.
    """
    hashes = [each.hash for each in attributes]
    places = {each.name: place for place, each in enumerate(attributes)}
    shown = []
    for name in names:
        attribute = attributes[places[name]]
        path = [f"{side}:{hash_.hex()}" for side, hash_ in _path(places[name], hashes)]
        shown.append({"name": name, "path": path, "salt": attribute.salt.hex(), "value": attribute.value})
    return rfc8785.dumps({"attributes": shown, "form": FORM})


def check(disclosure: bytes, root: bytes) -> dict[str, str]:
    """What a disclosure proves: names and values that are under the root. It takes nothing but these two.

    The text must be the one canonical form of what it says, so that no byte of it can be altered unnoticed; a line feed
    at its end is allowed, as editors add one.

    Raises:
        DisclosureFalse: it is malformed, or one of its proofs does not lead to the root.
    """
    proved: dict[str, str] = {}
    for each in _read(disclosure):
        attribute = Attribute(each["name"], each["value"], bytes.fromhex(each["salt"]))
        reached = attribute.hash
        for step in each["path"]:
            side, hash_ = _step(step)
            reached = _node(hash_, reached) if side == "left" else _node(reached, hash_)
        if reached != root:
            raise DisclosureFalse(f"the proof of {attribute.name!r} does not lead to this root")
        if attribute.name in proved:
            raise DisclosureFalse(f"{attribute.name!r} is disclosed twice")
        proved[attribute.name] = attribute.value
    return proved


def _read(disclosure: bytes) -> list[dict[str, Any]]:
    if len(disclosure) > _FILE_BYTES_MAX:
        raise DisclosureFalse(f"a disclosure has {_FILE_BYTES_MAX} bytes at most")
    text = disclosure.removesuffix(b"\n")
    try:
        told = strict_json(text)
        canonical = rfc8785.dumps(told)
    except (ValueError, RecursionError):
        raise DisclosureFalse("it is not JSON in UTF-8") from None
    if canonical != text:
        raise DisclosureFalse("it is not in canonical form (RFC 8785): it was altered after it was made")
    if not isinstance(told, dict) or set(told) != {"attributes", "form"} or told["form"] != FORM:
        raise DisclosureFalse(f"it is not a disclosure of the form {FORM}")
    attributes = told["attributes"]
    if not isinstance(attributes, list) or not 1 <= len(attributes) <= ATTRIBUTES_MAX:
        raise DisclosureFalse(f"it discloses no attributes, or more than {ATTRIBUTES_MAX}")
    if not all(map(_is_attribute, attributes)):
        raise DisclosureFalse("an attribute is not name, path, salt and value")
    return attributes


def _is_attribute(told: Any) -> bool:
    if not isinstance(told, dict) or set(told) != {"name", "path", "salt", "value"}:
        return False
    texts = all(isinstance(told[name], str) for name in ("name", "salt", "value"))
    return texts and bool(_HEX_32.fullmatch(told["salt"])) and isinstance(told["path"], list)


def _step(step: Any) -> tuple[str, bytes]:
    found = _STEP.fullmatch(step) if isinstance(step, str) else None
    if found is None:
        raise DisclosureFalse("a step of a proof is not a side and a hash")
    return found[1], bytes.fromhex(found[2])


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _root(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    middle = _split(len(hashes))
    return _node(_root(hashes[:middle]), _root(hashes[middle:]))


def _path(place: int, hashes: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """The siblings from a leaf up to the root, each with its side. Source: RFC 9162 section 2.1.3.1."""
    if len(hashes) == 1:
        return []
    middle = _split(len(hashes))
    if place < middle:
        return [*_path(place, hashes[:middle]), ("right", _root(hashes[middle:]))]
    return [*_path(place - middle, hashes[middle:]), ("left", _root(hashes[:middle]))]
