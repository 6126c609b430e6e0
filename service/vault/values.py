"""The classes of sensitive values: what each accepts, and the form under which equal values have one fingerprint."""

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated

import idna
from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from service.vault.cards import canonical_card
from service.vault.unfit import Unfit

PATTERN_LENGTH_MAX = 200
PATTERN_COST_MAX = 250_000
"""States of a pattern times the longest value it reads: some milliseconds for one value, whatever the value is."""


class DataClass(StrEnum):
    """What kind of value a policy takes. Card verification codes have no class: they are never stored."""

    CARD = "card"
    NATIONAL_ID = "national_id"
    EMAIL = "email"
    NAME = "name"
    TEXT = "text"
    DOCUMENT = "document"
    CUSTOM = "custom"


LENGTH_MAX = {
    DataClass.CARD: 40,
    DataClass.NATIONAL_ID: 40,
    DataClass.EMAIL: 254,
    DataClass.NAME: 200,
    DataClass.TEXT: 10_000,
    DataClass.DOCUMENT: 87_384,  # 64 KiB as base64; what is larger goes through the document streams
    DataClass.CUSTOM: 1_000,
}
"""Characters of a value, as given and in canonical form."""

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROLS_OF_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Seen by nobody, so that two values look equal and are not; names need joiners and variation selectors, so these stay.
_INVISIBLE = re.compile("[\u00ad\u034f\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
_SPACES = re.compile(r"\s+")
_ID_SEPARATORS = re.compile("[ ./-]")
_ID = re.compile("[0-9A-Z]{5,32}")
_LOCAL_PART = re.compile(r"[^\s\"(),:;<>@\[\\\].]+(\.[^\s\"(),:;<>@\[\\\].]+)*")
_VERIFICATION_CODE = re.compile("[0-9]{3,4}")
_PATTERN_PART = re.compile(r"\\.|\{([0-9 ,]*)\}|.")
_COUNT = re.compile("[0-9]+")
_VERBOSE = re.compile(r"\(\?[A-Za-z-]*x")


@dataclass(frozen=True, slots=True)
class CustomRule:
    """What a custom class accepts: the whole value matches `pattern` and has at most `length_max` characters.

    The pattern is a regular expression of Rust's `regex`, which takes at most time proportional to its states and to
    the value's length: their product is limited. There is no look-around and no back reference.
    """

    pattern: str
    length_max: int

    def __post_init__(self) -> None:
        """Refuse a rule that does not compile, or that is made for card verification codes.

        Raises:
            Unfit: `pattern-malformed`, `pattern-costly`, `length-max` outside 1 to 1,000, `card-verification-code`.
        """
        if not 1 <= self.length_max <= LENGTH_MAX[DataClass.CUSTOM]:
            raise Unfit("length-max", f"length_max is 1 to {LENGTH_MAX[DataClass.CUSTOM]:,}")
        if not self.pattern or len(self.pattern) > PATTERN_LENGTH_MAX:
            raise Unfit("pattern-malformed", f"a pattern is 1 to {PATTERN_LENGTH_MAX} characters")
        if not self.pattern.isprintable():
            raise Unfit("pattern-malformed", r"use printable characters, and escapes for others, such as \t or \u00a0")
        if _VERBOSE.search(self.pattern):
            raise Unfit("pattern-malformed", "write the pattern without the flag x: its spaces would not count")
        if _states(self.pattern) * self.length_max > PATTERN_COST_MAX:
            raise Unfit("pattern-costly", "repeat less often: write + or * for a high count, as length_max limits it")
        _matcher(self.pattern)  # alone first, or a stray parenthesis could end the group around it
        accepts = _whole(self.pattern)
        if self.length_max <= 4 and any(accepts(probe) for probe in ("000", "123", "999", "0000", "1234", "9999")):
            raise _verification_code()

    def matches(self, value: str) -> bool:
        """Whether the whole value fits the pattern."""
        return _whole(self.pattern)(value)


def canonical_value(data_class: DataClass, value: str, rule: CustomRule | None = None) -> str:
    """Check a value against its class and give the form that is fingerprinted; what is sealed is the value as given.

    All classes are in Unicode form C. Cards and national ids lose their separators, ids and email domains their case
    (domains as IDNA 2008 A-labels), names their surplus spaces; a document is base64 of at most 64 KiB.

    Args:
        rule: of a `custom` class, and of no other.

    Raises:
        Unfit: with a reason of its own for each rule; the text never repeats the value.
    """
    if not value:
        raise Unfit("value-empty", "the value is empty")
    if len(value) > LENGTH_MAX[data_class]:
        raise _too_long(LENGTH_MAX[data_class])
    normal = value if value.isascii() else _normal(value)
    if len(normal) > LENGTH_MAX[data_class]:
        raise _too_long(LENGTH_MAX[data_class])
    if (_CONTROLS_OF_TEXT if data_class is DataClass.TEXT else _CONTROLS).search(normal):
        raise Unfit("control-character", "the value has a control character, such as a line break or a null")
    if data_class is DataClass.CUSTOM:
        return _custom(normal, rule)
    return _CANONICAL[data_class](normal)


def _normal(value: str) -> str:
    for pattern, reason, detail in (
        (re.compile("[\ud800-\udfff]"), "surrogate", "the value has half a surrogate pair: send well-formed UTF-8"),
        (_BIDI, "bidi-control", "the value has a control of writing direction"),
        (_INVISIBLE, "invisible-character", "the value has a character that nobody sees, such as a zero-width space"),
    ):
        if pattern.search(value):
            raise Unfit(reason, detail)
    if any(unicodedata.category(each) == "Cn" for each in value):
        raise Unfit("unassigned-character", "the value has a character that Unicode has not assigned")
    return unicodedata.normalize("NFC", value)


def _national_id(value: str) -> str:
    bare = _ID_SEPARATORS.sub("", value).upper()
    if not _ID.fullmatch(bare):
        raise Unfit(
            "national-id-malformed",
            "a national id is 5 to 32 letters A to Z and digits, besides spaces, dots, slashes, hyphens",
        )
    return bare


def _email(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if not (at and _LOCAL_PART.fullmatch(local)) or len(local.encode()) > 64:
        raise _email_malformed()
    try:
        ascii_domain = idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise _email_malformed() from None  # its text repeats the domain
    if "." not in ascii_domain.strip(".") or ascii_domain.endswith("."):
        raise _email_malformed()
    return f"{local}@{ascii_domain}"


def _name(value: str) -> str:
    tidy = _SPACES.sub(" ", value).strip()
    if not any(each.isalpha() for each in tidy):
        raise Unfit("name-malformed", "a name has a letter at least")
    return tidy


def _text(value: str) -> str:
    if not value.strip():
        raise Unfit("value-empty", "the value is empty")
    if _VERIFICATION_CODE.fullmatch(value.strip()):
        raise _verification_code()
    return value


def _document(value: str) -> str:
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Unfit("document-malformed", "a document is standard base64 with its padding") from None
    return base64.b64encode(content).decode("ascii")


def _custom(value: str, rule: CustomRule | None) -> str:
    if rule is None:
        raise Unfit("rule-missing", "a custom class has a pattern and a length_max")
    if len(value) > rule.length_max:
        raise _too_long(rule.length_max)
    if _VERIFICATION_CODE.fullmatch(_ID_SEPARATORS.sub("", value)):
        raise _verification_code()
    if not rule.matches(value):
        raise Unfit("pattern-mismatch", "the value does not match the pattern of its policy")
    return value


_CANONICAL: dict[DataClass, Callable[[str], str]] = {
    DataClass.CARD: canonical_card,
    DataClass.NATIONAL_ID: _national_id,
    DataClass.EMAIL: _email,
    DataClass.NAME: _name,
    DataClass.TEXT: _text,
    DataClass.DOCUMENT: _document,
}


def _states(pattern: str) -> int:
    """The characters of a pattern whose counted repeats are written out: never fewer, and some more in odd cases."""
    groups, last, depth, begins = [0], 1, 0, False
    for part in _PATTERN_PART.finditer(pattern):
        text, first, begins = part[0], begins, False
        if depth:  # in a class, where brackets nest, and one that closes is a plain character at the beginning
            begins = text == "[" or (first and text == "^")
            depth += (text == "[") - (text == "]" and not first)
        elif part[1] is not None:
            count = max([int(each) for each in _COUNT.findall(part[1])], default=1)
            groups[-1] += last * max(count - 1, 0)
            last *= max(count, 1)
        elif text == "(":
            groups.append(0)
        elif text == ")" and len(groups) > 1:
            last = max(groups.pop(), 1)
            groups[-1] += last
        elif text not in ("*", "+", "?"):
            depth, begins, last = int(text == "["), text == "[", 1
            groups[-1] += 1
    return sum(groups)


def _whole(pattern: str) -> Callable[[str], bool]:
    return _matcher(rf"\A(?:{pattern})\z")


@lru_cache(maxsize=64)
def _matcher(pattern: str) -> Callable[[str], bool]:
    try:
        adapter = TypeAdapter[str](Annotated[str, StringConstraints(pattern=pattern)])
    except SchemaError:
        raise Unfit("pattern-malformed", "the pattern is no regular expression of the Rust dialect") from None

    def accepts(value: str) -> bool:
        try:
            adapter.validate_python(value)
        except ValidationError:
            return False
        return True

    return accepts


def _too_long(length_max: int) -> Unfit:
    return Unfit("value-too-long", f"the value has more than {length_max:,} characters")


def _verification_code() -> Unfit:
    return Unfit(
        "card-verification-code", "three or four digits may be a card verification code, which is never stored"
    )


def _email_malformed() -> Unfit:
    return Unfit("email-malformed", "an email address is local-part@domain, 64 and 253 characters at most, unquoted")
