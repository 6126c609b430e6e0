"""FF1 of NIST SP 800-38G rev. 1: encryption that keeps length and alphabet, over a whole batch at once.

A batch of equal length runs as columns: one AES call a round for all of it, and arithmetic in 64-bit words. Few values,
and halves too wide for a word, take Python integers instead: the same cipher, and tests hold one against the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, repeat

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from service.vault.unfit import Unfit

DIGITS = "0123456789"
DOMAIN_MIN = 1_000_000
LENGTH_MAX = 1_000
TWEAK_MAX_BYTES = 256

Numerals = NDArray[np.uint8]
"""One value a row, one numeral (0 to radix - 1) a column."""

Tweaks = NDArray[np.uint8]
"""One tweak a row, one byte a column: a row for each value, or a single one for all."""

_Words = NDArray[np.uint64]
_NO_NUMERAL = b"\xff"
_NOT_IN_ALPHABET = "the value has a character outside the alphabet of its format"
_TWEAK_COUNT = "give one tweak for all values, or one for each"
_ROUNDS = 10
_COLUMN_HALF_MAX = 2**56  # leaves a byte of a word free to take the pseudo-random number modulo a half in steps
_COLUMN_ROWS_MIN = 6  # below, Python integers are sooner done than numpy calls
_TABLE_ROWS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Shape:
    """The numbers of SP 800-38G, algorithm 7, steps 1 to 5, which depend on lengths alone."""

    left: int  # numerals in the left half, u
    moduli: tuple[int, int]  # radix ** u, radix ** v
    half_bytes: int  # b
    number_bytes: int  # d
    prefix: bytes  # P
    padding: int  # zero bytes between the tweak and the round number
    weights: _Words | None  # of each numeral of the right half; None where a half is too wide for columns
    turns: _Words  # round numbers where they lie in the last word of Q, one a row


@lru_cache(maxsize=4_096)
def _shape(radix: int, length: int, tweak_bytes: int) -> _Shape:
    left = length // 2
    moduli = (radix**left, radix ** (length - left))
    half_bytes = ((moduli[1] - 1).bit_length() + 7) // 8
    prefix = bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([_ROUNDS, left % 256])
    prefix += length.to_bytes(4, "big") + tweak_bytes.to_bytes(4, "big")
    fits = moduli[1] <= _COLUMN_HALF_MAX
    weights = np.array([radix**k for k in range(length - left - 1, -1, -1)], np.uint64) if fits else None
    shift = 8 * half_bytes if fits else 0
    turns = np.array([[turn << shift] for turn in range(_ROUNDS)], np.uint64).byteswap()
    padding = (-tweak_bytes - half_bytes - 1) % 16
    return _Shape(left, moduli, half_bytes, 4 * -(-half_bytes // 4) + 4, prefix, padding, weights, turns)


@dataclass(frozen=True, slots=True)
class _Tables:
    """What depends on the alphabet alone."""

    length_min: int
    numeral_of: bytes  # by code; 255 for none
    code_of: bytes  # by numeral
    chunk: int  # so many numerals are spelled at once
    chunk_numerals: Numerals  # of each number of so many numerals, one a row


@lru_cache(maxsize=64)
def _tables(alphabet: str) -> _Tables:
    """Those of an alphabet.

    Raises:
        Unfit: `alphabet`; see `FF1`.
    """
    if len(alphabet) < 2 or len(set(alphabet)) != len(alphabet) or not all("!" <= each <= "~" for each in alphabet):
        raise Unfit("alphabet", "an FF1 alphabet is 2 to 94 different visible ASCII characters")
    radix, codes = len(alphabet), alphabet.encode("ascii")
    chunk = max(k for k in range(1, 15) if radix**k <= _TABLE_ROWS_MAX)
    rows = np.arange(radix**chunk)[:, None] // radix ** np.arange(chunk - 1, -1, -1)
    chunk_numerals: Numerals = (rows % radix).astype(np.uint8)
    chunk_numerals.flags.writeable = False  # shared by all keys and threads
    return _Tables(
        next(n for n in range(2, 21) if radix**n >= DOMAIN_MIN),
        bytes(codes.find(code) % 256 for code in range(256)),
        codes.ljust(256, b"\0"),
        chunk,
        chunk_numerals,
    )


class FF1:
    """FF1 under one key and one alphabet. Safe to share between threads: each call has an AES context of its own."""

    def __init__(self, key: bytes, alphabet: str = DIGITS) -> None:
        """Take a key of 16, 24 or 32 bytes, and 2 to 94 different visible ASCII characters as the numerals 0, 1, …

        Raises:
            Unfit: `key-size`, or `alphabet` when it is too short, has a character twice, or one outside "!" to "~".
        """
        if len(key) not in (16, 24, 32):
            raise Unfit("key-size", "an FF1 key is an AES key of 16, 24 or 32 bytes")
        tables = _tables(alphabet)
        self.radix, self.length_min = len(alphabet), tables.length_min
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 -- FF1's own rounds chain the blocks
        self._numeral_of, self._code_of = tables.numeral_of, tables.code_of
        self._chunk, self._chunk_numerals = tables.chunk, tables.chunk_numerals

    def encrypt(self, texts: Sequence[str], tweak: bytes | Sequence[bytes] = b"") -> list[str]:
        """Encrypt texts of `length_min` to 1,000 characters, under one tweak for all or one for each (0 to 256 bytes).

        Raises:
            Unfit: `domain-too-small` (fewer than 1,000,000 texts of this length), `too-long`, `not-in-alphabet`,
                `tweak-too-long`, `tweak-count`. No part of a text is repeated.

        Source: NIST SP 800-38G rev. 1, algorithm 7.
        """
        return self._texts(texts, tweak, forward=True)

    def decrypt(self, texts: Sequence[str], tweak: bytes | Sequence[bytes] = b"") -> list[str]:
        """Undo `encrypt` under the same tweaks; another tweak or an altered text gives another text, not an error.

        Raises:
            Unfit: as `encrypt`.

        Source: NIST SP 800-38G rev. 1, algorithm 8.
        """
        return self._texts(texts, tweak, forward=False)

    def encrypt_numerals(self, numerals: Numerals, tweaks: Tweaks) -> Numerals:
        """Encrypt a matrix of numerals, under one tweak for all or one for each.

        Raises:
            Unfit: as `encrypt`.
        """
        return self._numerals(self._checked(numerals), tweaks, forward=True)

    def decrypt_numerals(self, numerals: Numerals, tweaks: Tweaks) -> Numerals:
        """Undo `encrypt_numerals` under the same tweaks.

        Raises:
            Unfit: as `encrypt_numerals`.
        """
        return self._numerals(self._checked(numerals), tweaks, forward=False)

    def _checked(self, numerals: Numerals) -> Numerals:
        if numerals.size and int(numerals.max()) >= self.radix:
            raise Unfit("not-in-alphabet", _NOT_IN_ALPHABET)
        return numerals

    def _texts(self, texts: Sequence[str], tweak: bytes | Sequence[bytes], *, forward: bool) -> list[str]:
        own: Sequence[bytes] = [] if isinstance(tweak, bytes) else tweak
        if not isinstance(tweak, bytes) and len(own) != len(texts):
            raise Unfit("tweak-count", _TWEAK_COUNT)
        if len(set(map(len, texts))) <= 1 and len(set(map(len, own))) <= 1:
            return self._equal_texts(texts, tweak, forward=forward)
        lengths = list(zip(map(len, texts), map(len, own) if own else repeat(0), strict=False))
        done = [""] * len(texts)
        for _, group in groupby(sorted(range(len(texts)), key=lengths.__getitem__), lengths.__getitem__):
            at = list(group)
            group_tweak = [own[each] for each in at] if own else tweak
            texts_of_group = [texts[each] for each in at]
            for each, text in zip(at, self._equal_texts(texts_of_group, group_tweak, forward=forward), strict=True):
                done[each] = text
        return done

    def _equal_texts(self, texts: Sequence[str], tweak: bytes | Sequence[bytes], *, forward: bool) -> list[str]:
        if not texts:
            return []
        length = len(texts[0])
        self._check_length(length)
        joined = "".join(texts)
        numerals = joined.encode("ascii").translate(self._numeral_of) if joined.isascii() else _NO_NUMERAL
        if _NO_NUMERAL in numerals:
            raise Unfit("not-in-alphabet", _NOT_IN_ALPHABET)
        matrix = np.frombuffer(numerals, np.uint8).reshape(len(texts), length)
        tweaks = [tweak] if isinstance(tweak, bytes) else tweak
        tweak_matrix = np.frombuffer(b"".join(tweaks), np.uint8).reshape(len(tweaks), len(tweaks[0]))
        done = self._numerals(matrix, tweak_matrix, forward=forward).tobytes().translate(self._code_of).decode("ascii")
        return [done[at : at + length] for at in range(0, len(done), length)]

    def _check_length(self, length: int) -> None:
        if length < self.length_min:
            raise Unfit(
                "domain-too-small",
                f"with {self.radix} characters FF1 needs {self.length_min} or more of them, for {DOMAIN_MIN:,} values",
            )
        if length > LENGTH_MAX:
            raise Unfit("too-long", f"FF1 takes at most {LENGTH_MAX:,} characters")

    def _numerals(self, numerals: Numerals, tweaks: Tweaks, *, forward: bool) -> Numerals:
        count, length = numerals.shape
        self._check_length(length)
        if len(tweaks) not in (1, count):
            raise Unfit("tweak-count", _TWEAK_COUNT)
        tweak_bytes = tweaks.shape[1]
        if tweak_bytes > TWEAK_MAX_BYTES:
            raise Unfit("tweak-too-long", f"an FF1 tweak is at most {TWEAK_MAX_BYTES} bytes")
        shape = _shape(self.radix, length, tweak_bytes)
        if shape.weights is not None and count >= _COLUMN_ROWS_MIN:
            return self._columns(numerals, tweaks, shape, shape.weights, forward=forward)
        return self._integers(numerals, tweaks, shape, forward=forward)

    def _columns(
        self, numerals: Numerals, tweaks: Tweaks, shape: _Shape, weights: _Words, *, forward: bool
    ) -> Numerals:
        count, length = numerals.shape
        words = numerals.astype(np.uint64)
        first: _Words = words[:, : shape.left] @ weights[-shape.left :]
        second: _Words = words[:, shape.left :] @ weights
        # Arrays, as a scalar would be made one in each round.
        moduli = [np.array(each, np.uint64) for each in shape.moduli]
        number = _column_rounds(self._cipher.encryptor(), shape, tweaks, count)
        if forward:
            for turn in range(_ROUNDS):
                modulus = moduli[turn % 2]
                first += number(second, turn, modulus)
                first, second = second, np.remainder(first, modulus, out=first)
        else:
            for turn in range(_ROUNDS - 1, -1, -1):
                modulus = moduli[turn % 2]
                second += modulus
                second -= number(first, turn, modulus)
                first, second = np.remainder(second, modulus, out=second), first
        done = np.empty((count, length), np.uint8)
        if shape.moduli[0] * shape.moduli[1] <= 2**64:
            self._spell(first * moduli[1] + second, done)
        else:
            self._spell(first, done[:, : shape.left])
            self._spell(second, done[:, shape.left :])
        return done

    def _spell(self, words: _Words, numerals: Numerals) -> None:
        """Write each word's numerals, from the right, as many at a time as the table knows."""
        table, chunk = self._chunk_numerals, self._chunk
        rows = np.array(len(table), np.uint64)
        at = numerals.shape[1]
        while at > chunk:
            rest = words // rows
            numerals[:, at - chunk : at] = table.take((words - rest * rows).view(np.int64), axis=0)
            words, at = rest, at - chunk
        numerals[:, :at] = table.take(words.view(np.int64), axis=0)[:, chunk - at :]

    def _integers(self, numerals: Numerals, tweaks: Tweaks, shape: _Shape, *, forward: bool) -> Numerals:
        context = self._cipher.encryptor()
        done = bytearray()
        for at, row in enumerate(numerals):
            number = _integer_rounds(context, shape, tweaks[at if len(tweaks) > 1 else 0].tobytes())
            first, second = self._read(row[: shape.left].tobytes()), self._read(row[shape.left :].tobytes())
            for turn in range(_ROUNDS) if forward else range(_ROUNDS - 1, -1, -1):
                modulus = shape.moduli[turn % 2]
                if forward:
                    first, second = second, (first + number(second, turn)) % modulus
                else:
                    first, second = (second - number(first, turn)) % modulus, first
            done += self._write(first, shape.left) + self._write(second, len(row) - shape.left)
        return np.frombuffer(bytes(done), np.uint8).reshape(numerals.shape)

    def _read(self, numerals: bytes) -> int:
        number = 0
        for numeral in numerals:
            number = number * self.radix + numeral
        return number

    def _write(self, number: int, length: int) -> bytes:
        numerals = bytearray(length)
        for at in range(length - 1, -1, -1):
            number, numerals[at] = divmod(number, self.radix)
        return bytes(numerals)


def _column_rounds(
    context: CipherContext, shape: _Shape, tweaks: Tweaks, count: int
) -> Callable[[_Words, int, _Words], _Words]:
    """Step 6 for all rows: NUM(S) of a half in a round, modulo a half's size.

    A half of at most 7 bytes lies with the round number in the last word of Q, so all before it is chained only once.
    Words hold the bytes as they lie in memory; `byteswap` turns numbers into that order and back.
    """
    tweak_bytes = tweaks.shape[1]
    size = tweak_bytes + shape.padding + 1 + shape.half_bytes
    lead = np.zeros((len(tweaks), size), np.uint8)
    lead[:, :tweak_bytes] = tweaks
    lead_words = lead.view(np.uint64)
    chain = np.frombuffer(context.update(shape.prefix), np.uint64).reshape(1, 2)
    for at in range(0, lead_words.shape[1] - 2, 2):
        block = np.ascontiguousarray(chain ^ lead_words[:, at : at + 2])
        chain = np.frombuffer(context.update(block.tobytes()), np.uint64).reshape(-1, 2)
    chain = chain ^ lead_words[:, -2:]
    lasts = list(chain[:, 1] ^ shape.turns)
    blocks = np.empty((count, 2), np.uint64)
    blocks[:, 0] = chain[:, 0]
    last_word = blocks[:, 1]
    given = blocks.data.cast("B")
    taken = bytearray(16 * count + 15)
    taken_words = np.frombuffer(taken, np.uint64, 2 * count).reshape(count, 2)
    firsts = taken_words[:, 0]
    bits = min(32, 64 - (shape.moduli[1] - 1).bit_length())

    def number(half: _Words, turn: int, modulus: _Words) -> _Words:
        np.bitwise_xor(half.byteswap(), lasts[turn], out=last_word)
        context.update_into(given, taken)
        numbers: _Words = firsts.byteswap()
        np.remainder(numbers, modulus, out=numbers)
        if shape.number_bytes == 12:
            tail = taken_words[:, 1].byteswap() >> np.uint64(32)
            for low in range(32, 0, -bits):
                step = min(bits, low)
                numbers <<= np.uint64(step)
                numbers |= (tail >> np.uint64(low - step)) & np.uint64(2**step - 1)
                np.remainder(numbers, modulus, out=numbers)
        return numbers

    return number


def _integer_rounds(context: CipherContext, shape: _Shape, tweak: bytes) -> Callable[[int, int], int]:
    """Step 6 for one value of any width: NUM(S) of a half in a round."""
    lead = tweak + bytes(shape.padding)
    whole = len(lead) - len(lead) % 16
    chain = int.from_bytes(context.update(shape.prefix), "big")
    for at in range(0, whole, 16):
        chain = _encrypt_int(context, chain ^ int.from_bytes(lead[at : at + 16], "big"))
    rest = lead[whole:]

    def number(half: int, turn: int) -> int:
        state = chain
        message = b"%b%c%b" % (rest, turn, half.to_bytes(shape.half_bytes, "big"))
        for at in range(0, len(message), 16):
            state = _encrypt_int(context, state ^ int.from_bytes(message[at : at + 16], "big"))
        stream = state
        blocks = -(-shape.number_bytes // 16)
        for block in range(1, blocks):
            stream = stream << 128 | _encrypt_int(context, state ^ block)
        return stream >> 8 * (16 * blocks - shape.number_bytes)

    return number


def _encrypt_int(context: CipherContext, block: int) -> int:
    return int.from_bytes(context.update(block.to_bytes(16, "big")), "big")
