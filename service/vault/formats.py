"""Shapes of random vault tokens: drawn from `secrets`, never equal to the original, out of a space of known size."""

import secrets
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

from service.vault.cards import KEPT, canonical_card, luhn_sum
from service.vault.unfit import Unfit

SPACE_MIN = 1_000_000
DIGITS_MAX = 64
_PREFIX_CHARACTERS = 22  # of base62: 131 bits

DIGITS = "0123456789"
LOWER = "abcdefghijklmnopqrstuvwxyz"
UPPER = LOWER.upper()
_BASE62 = DIGITS + UPPER + LOWER


class TokenFormat(Protocol):
    """A shape of vault tokens. `original` is the canonical value, except in `Preserving`: the value as given."""

    def space(self, original: str) -> int:
        """How many different tokens this original may get; all originals that share them exhaust the same space."""

    def draw(self, original: str) -> str:
        """One of them at random, each as likely; it may equal the original."""


def draw_token(token_format: TokenFormat, original: str) -> str:
    """A random token for this original, and not the original itself. The caller retries where another record has it.

    Raises:
        Unfit: `space-too-small` when fewer than 1,000,000 tokens are possible; what the format refuses.
    """
    if token_format.space(original) < SPACE_MIN:
        raise Unfit(
            "space-too-small", f"the format leaves fewer than {SPACE_MIN:,} tokens for this value: choose a wider one"
        )
    while (token := token_format.draw(original)) == original:
        pass
    return token


@dataclass(frozen=True, slots=True)
class Prefix:
    """`tok_<environment>_` and 22 characters of base62: 131 random bits, as hard to guess as a key."""

    environment: Literal["live", "test"]

    def space(self, original: str) -> int:
        """62**22, whatever the original."""
        return int(len(_BASE62) ** _PREFIX_CHARACTERS)

    def draw(self, original: str) -> str:
        """A token such as tok_test_4nC6hTTUmIZv6v3oTbWsdX."""
        return f"tok_{self.environment}_{_random_text(_BASE62, _PREFIX_CHARACTERS)}"


@dataclass(frozen=True, slots=True)
class Digits:
    """`length` digits, 6 to 64; zeros may lead."""

    length: int

    def __post_init__(self) -> None:
        """Refuse a length that no vault can live with.

        Raises:
            Unfit: `space-too-small` below 6 digits, `too-long` above 64.
        """
        if self.length > DIGITS_MAX:
            raise Unfit("too-long", f"a token of digits has at most {DIGITS_MAX}")
        if self.length < 1 or 10**self.length < SPACE_MIN:
            raise Unfit("space-too-small", "a token of digits has six or more")

    def space(self, original: str) -> int:
        """10**length, whatever the original."""
        return int(10**self.length)

    def draw(self, original: str) -> str:
        """A token such as 048151623."""
        return _random_text(DIGITS, self.length)


@dataclass(frozen=True, slots=True)
class CardShape:
    """As long as the card and with its last four digits, beginning with 9 as no card scheme does.

    It fails the Luhn check, so that it can never pass as a card, unless `luhn_valid` asks for the opposite.
    """

    luhn_valid: bool = False

    def space(self, original: str) -> int:
        """What is left by the first digit, the last four and the check: cards of one length and last four share it."""
        free = 10 ** (len(original) - KEPT - 2)
        return int(free if self.luhn_valid else 9 * free)

    def draw(self, original: str) -> str:
        """A token for a canonical card number.

        Raises:
            Unfit: `card-malformed`, `card-check-digit`: the original is no card.
        """
        card = canonical_card(original)
        free = _random_text(DIGITS, len(card) - KEPT - 2)
        # This digit counts once in the sum, as every second digit from the end, so it alone decides what the sum is.
        shift = 0 if self.luhn_valid else 1 + secrets.randbelow(9)
        balance = (shift - luhn_sum(f"9{free}0{card[-KEPT:]}")) % 10
        return f"9{free}{balance}{card[-KEPT:]}"


@dataclass(frozen=True, slots=True)
class Preserving:
    """Each digit another digit, each letter another of its case, all else in its place: a phone number stays one.

    Letters and digits beyond ASCII become ASCII ones, so that none of them tells anything of the original.
    """

    def space(self, original: str) -> int:
        """The product over all characters: 10 for a digit, 26 for a letter, 1 for a separator."""
        size = 1
        for each in original:
            size *= len(_class_of(each)) or 1
        return size

    def draw(self, original: str) -> str:
        """A token with the original's length and separators."""
        classes = [_class_of(each) for each in original]
        drawn = {each: iter(_random_text(each, classes.count(each))) for each in (DIGITS, UPPER, LOWER)}
        return "".join(next(drawn[kind]) if kind else kept for kind, kept in zip(classes, original, strict=True))


def _class_of(character: str) -> str:
    """The characters that may stand for this one, or none for a separator."""
    if character.isascii():
        kind = "" if not character.isalnum() else "Nd" if character.isdigit() else "Lu" if character.isupper() else "Ll"
    else:
        kind = unicodedata.category(character)
    if kind[:1] == "N":
        return DIGITS
    if kind == "Lu":
        return UPPER
    return LOWER if kind[:1] in {"L", "M"} else ""


def _random_text(alphabet: str, length: int) -> str:
    """Characters of up to 62 kinds, each as likely: random bytes beyond the last whole multiple are thrown away."""
    table, surplus = _table(alphabet)
    text = ""
    while len(text) < length:
        text += secrets.token_bytes(length + 8).translate(table, surplus).decode("ascii")
    return text[:length]


@cache
def _table(alphabet: str) -> tuple[bytes, bytes]:
    size = len(alphabet)
    return bytes(ord(alphabet[code % size]) for code in range(256)), bytes(range(256 - 256 % size, 256))
