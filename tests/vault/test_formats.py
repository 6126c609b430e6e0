"""Token formats: shape, size of the space, and never the original."""

import re
import secrets
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.vault.cards import luhn_sum
from service.vault.formats import SPACE_MIN, CardShape, Digits, Prefix, Preserving, TokenFormat, draw_token
from service.vault.unfit import Unfit

CARD = "4111111111111111"


class Stubborn:
    """Draws the original a few times before anything else."""

    def __init__(self) -> None:
        self.draws = iter(["same", "same", "other"])

    def space(self, original: str) -> int:
        return SPACE_MIN

    def draw(self, original: str) -> str:
        return next(self.draws)


@pytest.mark.parametrize(
    ("token_format", "original", "shape", "space"),
    [
        (Prefix("test"), "x", r"tok_test_[0-9A-Za-z]{22}", 62**22),
        (Prefix("live"), "x", r"tok_live_[0-9A-Za-z]{22}", 62**22),
        (Digits(6), "x", r"[0-9]{6}", 10**6),
        (Digits(64), "x", r"[0-9]{64}", 10**64),
        (CardShape(), CARD, r"9[0-9]{11}1111", 9 * 10**10),
        (CardShape(luhn_valid=True), CARD, r"9[0-9]{11}1111", 10**10),
        (CardShape(luhn_valid=True), "411111111111", r"9[0-9]{7}1111", 10**6),
        (Preserving(), "+44 (0)20 7946-0958", r"\+\d\d \(\d\)\d\d \d{4}-\d{4}", 10**13),
        (Preserving(), "Zo\u00eb M\u0142odak-7", r"[A-Z][a-z]{2} [A-Z][a-z]{5}-\d", 26**9 * 10),
        (Preserving(), "\u00c9\u0663\u0301\u4e2dab", r"[A-Z]\d[a-z]{4}", 26**5 * 10),
    ],
    ids=repr,
)
def test_a_token_has_the_shape_of_its_format(token_format: TokenFormat, original: str, shape: str, space: int) -> None:
    if isinstance(token_format, CardShape):
        original = original[:-5] + str((int(original[-5]) - luhn_sum(original)) % 10) + original[-4:]
    tokens = {draw_token(token_format, original) for _ in range(20)}
    assert len(tokens) == 20
    assert [token for token in tokens if not re.fullmatch(shape, token, re.ASCII)] == []
    assert token_format.space(original) == space


def test_a_card_shaped_token_is_as_valid_as_it_says() -> None:
    valid = {luhn_sum(draw_token(CardShape(luhn_valid=True), CARD)) for _ in range(200)}
    invalid = {luhn_sum(draw_token(CardShape(), CARD)) for _ in range(400)}
    assert valid == {0}
    assert invalid == set(range(1, 10))


def test_a_card_shaped_token_stands_for_a_card_alone() -> None:
    with pytest.raises(Unfit) as refused:
        draw_token(CardShape(), "4111111111111112")
    assert refused.value.reason == "card-check-digit"


def test_a_token_is_never_the_original() -> None:
    assert draw_token(Stubborn(), "same") == "other"


@given(st.text(max_size=30))
def test_preserving_keeps_length_and_separators_and_no_letter_beyond_ascii(original: str) -> None:
    form = Preserving()
    if form.space(original) < SPACE_MIN:
        with pytest.raises(Unfit) as refused:
            draw_token(form, original)
        assert refused.value.reason == "space-too-small"
        return
    token = draw_token(form, original)
    assert len(token) == len(original)
    assert token != original
    for was, now in zip(original, token, strict=True):
        assert now == was or (now.isascii() and now.isalnum())
        assert now.isascii() or not now.isalnum()
        if was.isascii():
            assert (was.isdigit(), was.isupper(), was.islower()) == (now.isdigit(), now.isupper(), now.islower())


@pytest.mark.parametrize(
    ("token_format", "original"),
    [
        (Preserving(), "12345"),
        (Preserving(), "-- --"),
        (Preserving(), "Ab12"),
        (CardShape(), "41111111111"),
        (CardShape(), ""),
    ],
    ids=repr,
)
def test_a_format_that_leaves_too_few_tokens_is_refused(token_format: TokenFormat, original: str) -> None:
    with pytest.raises(Unfit) as refused:
        draw_token(token_format, original)
    assert refused.value.reason == "space-too-small"
    assert not original or original not in str(refused.value)


@pytest.mark.parametrize(("length", "reason"), [(5, "space-too-small"), (-1, "space-too-small"), (65, "too-long")])
def test_a_number_of_digits_out_of_range_is_refused(length: int, reason: str) -> None:
    with pytest.raises(Unfit) as refused:
        Digits(length)
    assert refused.value.reason == reason


def test_every_character_is_as_likely() -> None:
    counts = Counter("".join(draw_token(Prefix("test"), "x")[9:] for _ in range(4_000)))
    expected = 4_000 * 22 / 62
    assert len(counts) == 62
    assert all(abs(count - expected) < 6 * expected**0.5 for count in counts.values())


def test_what_a_fair_draw_cannot_use_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter([b"\xff" * 14, b"\xfa" * 14, bytes(range(14))])
    monkeypatch.setattr(secrets, "token_bytes", lambda size: next(given))
    assert draw_token(Digits(6), "x") == "012345"
