"""FF1: the vectors of NIST, two independent libraries as judges, and bad input."""

import random
from typing import Any

import ffx
import numpy as np
import pytest
from fastfpe import ff1 as fastfpe
from hypothesis import given
from hypothesis import strategies as st

from service.vault.ff1 import DIGITS, FF1
from service.vault.unfit import Unfit

BASE36 = DIGITS + "abcdefghijklmnopqrstuvwxyz"
BASE62 = DIGITS + BASE36[10:].upper() + BASE36[10:]
VISIBLE = "".join(map(chr, range(ord("!"), ord("~") + 1)))
KEY = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94")
NO_TWEAK = np.zeros((1, 0), np.uint8)
TWEAK_10 = bytes.fromhex("39383736353433323130")
TWEAK_11 = bytes.fromhex("3737373770717273373737")

# NIST's FF1 samples, 1 to 9: key bytes, alphabet, tweak, plaintext, ciphertext.
VECTORS = [
    (16, DIGITS, b"", "0123456789", "2433477484"),
    (16, DIGITS, TWEAK_10, "0123456789", "6124200773"),
    (16, BASE36, TWEAK_11, "0123456789abcdefghi", "a9tv40mll9kdu509eum"),
    (24, DIGITS, b"", "0123456789", "2830668132"),
    (24, DIGITS, TWEAK_10, "0123456789", "2496655549"),
    (24, BASE36, TWEAK_11, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"),
    (32, DIGITS, b"", "0123456789", "6657667009"),
    (32, DIGITS, TWEAK_10, "0123456789", "1001623463"),
    (32, BASE36, TWEAK_11, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
]


def random_texts(source: random.Random, alphabet: str, length: int, count: int) -> list[str]:
    return ["".join(source.choices(alphabet, k=length)) for _ in range(count)]


@pytest.mark.parametrize("copies", [1, 40], ids=["integers", "columns"])
@pytest.mark.parametrize(("key_bytes", "alphabet", "tweak", "plain", "secret"), VECTORS)
def test_the_vectors_of_nist(key_bytes: int, alphabet: str, tweak: bytes, plain: str, secret: str, copies: int) -> None:
    ff1 = FF1(KEY[:key_bytes], alphabet)
    assert ff1.encrypt([plain] * copies, tweak) == [secret] * copies
    assert ff1.decrypt([secret] * copies, tweak) == [plain] * copies


def test_thousands_of_random_texts_agree_with_two_independent_libraries() -> None:
    source = random.Random(38)  # the same texts each run, so that a failure can be repeated
    agreed = 0
    for _ in range(160):
        alphabet = BASE36[: source.randint(2, 36)]
        key = source.randbytes(source.choice([16, 24, 32]))
        tweak = source.randbytes(source.randint(0, 40))
        ff1, judge = FF1(key, alphabet), ffx.FF1(key, alphabet=alphabet)
        texts = random_texts(source, alphabet, source.randint(ff1.length_min, 60), 25)
        secrets = ff1.encrypt(texts, tweak)
        assert secrets == [judge.encrypt(text, tweak=tweak) for text in texts]
        assert secrets == [fastfpe.encrypt(key.hex(), tweak.hex(), alphabet, text) for text in texts]
        assert ff1.decrypt(secrets, tweak) == texts
        agreed += len(texts)
    assert agreed == 4_000


@pytest.mark.parametrize("alphabet", [DIGITS, BASE36, BASE62, VISIBLE, "01"], ids=len)
def test_columns_and_integers_are_one_cipher_at_every_length(alphabet: str) -> None:
    source = random.Random(len(alphabet))
    ff1 = FF1(KEY, alphabet)
    for length in [*range(ff1.length_min, 40), 111, 112, 113]:
        texts = random_texts(source, alphabet, length, 8)
        tweaks = [source.randbytes(length % 37) for _ in texts]
        together = ff1.encrypt(texts, tweaks)
        assert together == [ff1.encrypt([text], tweak)[0] for text, tweak in zip(texts, tweaks, strict=True)]
        assert ff1.decrypt(together, tweaks) == texts


@given(st.lists(st.tuples(st.text(DIGITS, min_size=6, max_size=40), st.binary(max_size=30)), max_size=30))
def test_a_batch_of_any_lengths_and_tweaks_comes_back_in_order(batch: list[tuple[str, bytes]]) -> None:
    ff1 = FF1(KEY)
    texts, tweaks = [text for text, _ in batch], [tweak for _, tweak in batch]
    secrets = ff1.encrypt(texts, tweaks)
    assert list(map(len, secrets)) == list(map(len, texts))
    assert ff1.decrypt(secrets, tweaks) == texts
    assert ff1.decrypt(ff1.encrypt(texts, b"one"), b"one") == texts


def test_the_extremes_of_a_half_survive() -> None:
    ff1 = FF1(KEY)
    for length in range(6, 34):
        texts = ["0" * length, "9" * length, "0" * (length - 1) + "1", "9" * (length - 1) + "8"] * 2
        judge = ffx.FF1(KEY, radix=10)
        assert ff1.encrypt(texts) == [judge.encrypt(text) for text in texts]


def test_a_million_values_is_a_permutation_of_themselves() -> None:
    numerals = (np.arange(1_000_000)[:, None] // 10 ** np.arange(5, -1, -1) % 10).astype(np.uint8)
    secrets = FF1(KEY).encrypt_numerals(numerals, NO_TWEAK).astype(np.int64) @ (10 ** np.arange(5, -1, -1))
    assert np.array_equal(np.sort(secrets), np.arange(1_000_000))


def test_a_matrix_and_texts_are_encrypted_alike() -> None:
    ff1 = FF1(KEY)
    texts = random_texts(random.Random(1), DIGITS, 16, 20)
    numerals = np.array([[int(digit) for digit in text] for text in texts], np.uint8)
    tweak = np.full((1, 1), ord("t"), np.uint8)
    secrets = ff1.encrypt_numerals(numerals, tweak)
    assert ["".join(map(str, row)) for row in secrets.tolist()] == ff1.encrypt(texts, b"t")
    assert np.array_equal(ff1.decrypt_numerals(secrets, tweak), numerals)


@pytest.mark.parametrize(
    ("alphabet", "text", "reason"),
    [
        (DIGITS, "12345", "domain-too-small"),
        (DIGITS, "", "domain-too-small"),
        (DIGITS, "1" * 1_001, "too-long"),
        (DIGITS, "12345a", "not-in-alphabet"),
        (DIGITS, "12345\u0661", "not-in-alphabet"),
        (DIGITS, "12345\udc80", "not-in-alphabet"),
        ("01", "01" * 9 + "1", "domain-too-small"),
        (BASE36, "abc", "domain-too-small"),
        (BASE36, "ABCD", "not-in-alphabet"),
    ],
    ids=ascii,
)
def test_a_text_that_does_not_fit_is_refused_and_not_repeated(alphabet: str, text: str, reason: str) -> None:
    for texts in ([text], [text] * 20):
        with pytest.raises(Unfit) as refused:
            FF1(KEY, alphabet).encrypt(texts)
        assert refused.value.reason == reason
        assert not text or text not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "alphabet", "reason"),
    [
        (KEY[:15], DIGITS, "key-size"),
        (b"", DIGITS, "key-size"),
        (KEY + KEY, DIGITS, "key-size"),
        (KEY, "1", "alphabet"),
        (KEY, "112", "alphabet"),
        (KEY, "01\u00e9", "alphabet"),
        (KEY, "01 ", "alphabet"),
    ],
    ids=ascii,
)
def test_a_key_or_an_alphabet_that_does_not_fit_is_refused(key: bytes, alphabet: str, reason: str) -> None:
    with pytest.raises(Unfit) as refused:
        FF1(key, alphabet)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("tweak", "reason"),
    [(b"t" * 257, "tweak-too-long"), ([b"a"], "tweak-count"), ([], "tweak-count"), ([b"a"] * 3, "tweak-count")],
    ids=["long", "one", "none", "three"],
)
def test_tweaks_that_do_not_fit_are_refused(tweak: Any, reason: str) -> None:
    with pytest.raises(Unfit) as refused:
        FF1(KEY).encrypt(["123456", "234567"], tweak)
    assert refused.value.reason == reason


def test_a_matrix_that_does_not_fit_is_refused() -> None:
    ff1 = FF1(KEY)
    for numerals, tweaks, reason in (
        (np.full((2, 6), 10, np.uint8), NO_TWEAK, "not-in-alphabet"),
        (np.zeros((2, 5), np.uint8), NO_TWEAK, "domain-too-small"),
        (np.zeros((2, 6), np.uint8), np.zeros((3, 1), np.uint8), "tweak-count"),
        (np.zeros((2, 6), np.uint8), np.zeros((0, 1), np.uint8), "tweak-count"),
        (np.zeros((2, 6), np.uint8), np.zeros((2, 257), np.uint8), "tweak-too-long"),
    ):
        with pytest.raises(Unfit) as refused:
            ff1.encrypt_numerals(numerals, tweaks)
        assert refused.value.reason == reason
    assert ff1.encrypt_numerals(np.zeros((0, 6), np.uint8), NO_TWEAK).shape == (0, 6)
    assert ff1.encrypt([]) == []
