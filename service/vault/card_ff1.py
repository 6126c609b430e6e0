"""FF1 over card numbers in one pass, a whole batch at once."""

from collections.abc import Sequence

import numpy as np

from service.vault.cards import KEPT, LENGTH_MAX, LENGTH_MIN
from service.vault.ff1 import FF1, Numerals
from service.vault.unfit import Unfit

_DOUBLED_DIGIT = np.array([0, 2, 4, 6, 8, 1, 3, 5, 7, 9], np.uint8)
_INVALID_SUM = 5


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
        done = [""] * len(given)
        lengths = list(map(len, given))
        for length in sorted(set(lengths)):
            at = [index for index, each in enumerate(lengths) if each == length]
            texts = "".join([given[index] for index in at])
            if not (LENGTH_MIN <= length <= LENGTH_MAX and texts.isascii() and texts.isdigit()):
                raise _malformed(forward=forward)
            digits = np.frombuffer(texts.encode("ascii"), np.uint8).reshape(-1, length) - np.uint8(ord("0"))
            spelled = (self._turn(digits, context, forward=forward) + np.uint8(ord("0"))).tobytes().decode("ascii")
            for row, index in enumerate(at):
                done[index] = spelled[row * length : (row + 1) * length]
        return done

    def _turn(self, digits: Numerals, context: bytes, *, forward: bool) -> Numerals:
        sum_before, sum_after = (0, self._token_sum) if forward else (self._token_sum, 0)
        if np.any(_luhn_sums(digits) != sum_before):
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
        computed[:] = (np.uint64(10 + sum_after) - _luhn_sums(turned)) % np.uint64(10)
        return turned


def _luhn_sums(digits: Numerals) -> Numerals:
    backwards = digits[:, ::-1]
    single, doubled = backwards[:, ::2], _DOUBLED_DIGIT[backwards[:, 1::2]]
    sums: Numerals = (single.sum(axis=1, dtype=np.uint8) + doubled.sum(axis=1, dtype=np.uint8)) % np.uint8(10)
    return sums


def _malformed(*, forward: bool) -> Unfit:
    if forward:
        return Unfit("card-malformed", "a canonical card number is 12 to 19 digits and nothing else")
    return Unfit("not-a-card-token", "this is no card-shaped token of this policy: look for a mistyped digit")
