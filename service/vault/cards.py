"""Payment card numbers as in ISO/IEC 7812: the Luhn check and brands."""

import re

from service.vault.unfit import Unfit

LENGTH_MIN, LENGTH_MAX = 12, 19
KEPT = 4  # last digits that a card-shaped token shares with its card

_SEPARATORS = re.compile("[ -]")
_DIGITS = re.compile("[0-9]{12,19}")
_DOUBLED = bytes.maketrans(b"0123456789", bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]))
_SINGLE = bytes.maketrans(b"0123456789", bytes(range(10)))

# First and last prefix, shortest and longest number; the first row that fits decides.
_BRANDS = (
    ("visa", "4", "4", 13, 19),
    ("american-express", "34", "34", 15, 15),
    ("american-express", "37", "37", 15, 15),
    ("mastercard", "51", "55", 16, 16),
    ("mastercard", "2221", "2720", 16, 16),
    ("discover", "6011", "6011", 16, 19),
    ("discover", "644", "659", 16, 19),
    ("diners-club", "300", "305", 14, 19),
    ("diners-club", "36", "36", 14, 19),
    ("diners-club", "38", "39", 14, 19),
    ("jcb", "3528", "3589", 16, 19),
    ("mir", "2200", "2204", 16, 19),
    ("unionpay", "62", "62", 16, 19),
    ("maestro", "50", "50", 12, 19),
    ("maestro", "56", "69", 12, 19),
)


def luhn_sum(digits: str) -> int:
    """The Luhn sum of ASCII digits modulo ten: 0 for a valid number.

    Source: ISO/IEC 7812-1, annex B.
    """
    codes = digits.encode("ascii")[::-1]
    return (sum(codes[::2].translate(_SINGLE)) + sum(codes[1::2].translate(_DOUBLED))) % 10


def canonical_card(text: str) -> str:
    """A card number as 12 to 19 bare digits, its spaces and hyphens taken out.

    Raises:
        Unfit: `card-malformed` or `card-check-digit`.
    """
    digits = _SEPARATORS.sub("", text)
    if not _DIGITS.fullmatch(digits):
        raise Unfit("card-malformed", "a card number is 12 to 19 digits, with spaces or hyphens between them at most")
    if luhn_sum(digits) != 0:
        raise Unfit("card-check-digit", "the check digit of the card number is wrong: look for a mistyped digit")
    return digits


def card_brand(digits: str) -> str:
    """The brand that issues numbers with this beginning and length, or "other"."""
    for brand, first, last, length_min, length_max in _BRANDS:
        if first <= digits[: len(first)] <= last and length_min <= len(digits) <= length_max:
            return brand
    return "other"
