"""FF1 over card numbers in one pass, a whole batch at once."""

from collections.abc import Sequence

import numpy as np

from service.vault.cards import KEPT, LENGTH_MAX, LENGTH_MIN
from service.vault.ff1 import FF1, Numerals
from service.vault.unfit import Unfit

_INVALID_SUM = 5
_ZERO = np.uint8(ord("0"))
_WEIGHTS = np.array([1, 2] * LENGTH_MAX, np.uint8)[:LENGTH_MAX][::-1].copy()
_CARRIES = np.where(_WEIGHTS == 2, np.uint8(256 - 9), np.uint8(0))
"""What a digit above 4 adds: doubled it has two digits, whose sum is 9 less; sums of bytes are modulo 256."""


class CardCipher:
    """FF1 over card numbers in one pass: card-shaped tokens of the same length and last four digits.

    All but five digits go through FF1. The fifth from the end is left out and computed anew, so that the Luhn sum of a
    token is 0 (`luhn_valid`) or 5, and that of a card 0: each direction costs one encryption, and both are one to one.
    A valid token may, once in as many as there are tokens, equal its card; an invalid one never does.
    """

    def __init__(self, key: bytes, *, luhn_valid: bool = False) -> None:
        """Take an AES key of 16, 24 or 32 bytes, and whether tokens pass the Luhn check.

        Raises:
            Unfit: `key-size`.
        """
        self._ff1 = FF1(key)
        self._token_sum = 0 if luhn_valid else _INVALID_SUM

    def encrypt(self, cards: Sequence[str], context: bytes = b"") -> list[str]:
        """A token for each canonical card number, in order; the last four digits follow `context` in the tweak.

        Raises:
            Unfit: `card-malformed`, `card-check-digit`, or `tweak-too-long` for more than 252 bytes of context.

        Source: NIST SP 800-38G rev. 1, algorithm 7.
        """
        return self._all(cards, context, forward=True)

    def decrypt(self, tokens: Sequence[str], context: bytes = b"") -> list[str]:
        """The card number of each token, under the context of its encryption.

        Raises:
            Unfit: `not-a-card-token` when a token's length or Luhn sum is none that `encrypt` gives.
        """
        return self._all(tokens, context, forward=False)

    def _all(self, given: Sequence[str], context: bytes, *, forward: bool) -> list[str]:
        lengths = set(map(len, given))
        if len(lengths) <= 1:
            return self._equal(given, context, forward=forward) if given else []
        done = [""] * len(given)
        for length in sorted(lengths):
            at = [index for index, each in enumerate(given) if len(each) == length]
            texts = self._equal([given[index] for index in at], context, forward=forward)
            for index, text in zip(at, texts, strict=True):
                done[index] = text
        return done

    def _equal(self, given: Sequence[str], context: bytes, *, forward: bool) -> list[str]:
        length, texts = len(given[0]), "".join(given)
        if not (LENGTH_MIN <= length <= LENGTH_MAX and texts.isascii()):
            raise _malformed(forward=forward)
        digits = np.frombuffer(texts.encode("ascii"), np.uint8).reshape(-1, length) - _ZERO
        if digits.max() > 9:
            raise _malformed(forward=forward)
        spelled = (self._turn(digits, context, forward=forward) + _ZERO).tobytes().decode("ascii")
        return [spelled[at : at + length] for at in range(0, len(spelled), length)]

    def _turn(self, digits: Numerals, context: bytes, *, forward: bool) -> Numerals:
        sum_before, sum_after = (0, self._token_sum) if forward else (self._token_sum, 0)
        if (_luhn_sums(digits) != sum_before).any():
            raise (
                Unfit("card-check-digit", "the check digit of a card number is wrong")
                if forward
                else _malformed(forward=False)
            )
        tweaks = np.empty((len(digits), len(context) + KEPT), np.uint8)
        tweaks[:, :-KEPT] = np.frombuffer(context, np.uint8)
        tweaks[:, -KEPT:] = digits[:, -KEPT:]
        turned = digits.copy()
        free = turned[:, : -KEPT - 1]
        free[:] = (self._ff1.encrypt_numerals if forward else self._ff1.decrypt_numerals)(free, tweaks)
        computed = turned[:, -KEPT - 1]  # counts once in the sum, as every second digit from the end
        computed[:] = 0
        computed[:] = (np.uint8(10 + sum_after) - _luhn_sums(turned)) % np.uint8(10)
        return turned


def _luhn_sums(digits: Numerals) -> Numerals:
    length = digits.shape[1]
    sums: Numerals = digits @ _WEIGHTS[-length:] + (digits > 4).view(np.uint8) @ _CARRIES[-length:]
    return np.remainder(sums, 10, out=sums)


def _malformed(*, forward: bool) -> Unfit:
    if forward:
        return Unfit("card-malformed", "a canonical card number is 12 to 19 digits and nothing else")
    return Unfit("not-a-card-token", "this is no card-shaped token of this policy: look for a mistyped digit")
