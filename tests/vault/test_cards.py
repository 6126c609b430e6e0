"""Card numbers: the check digit, brands, and tokens of FF1 that keep the last four digits."""

import random

import pytest

from service.vault.card_ff1 import CardCipher
from service.vault.cards import canonical_card, card_brand, luhn_sum
from service.vault.unfit import Unfit

KEY = bytes(range(32))


def random_cards(count: int, lengths: list[int], seed: int = 7812) -> list[str]:
    source = random.Random(seed)
    cards = []
    for _ in range(count):
        body = "".join(source.choices("0123456789", k=source.choice(lengths) - 1))
        cards.append(body + str(-luhn_sum(body + "0") % 10))
    return cards


@pytest.mark.parametrize(
    ("text", "brand"),
    [
        ("4111 1111 1111 1111", "visa"),
        ("4222222222222", "visa"),
        ("5555-5555-5555-4444", "mastercard"),
        ("2223003122003222", "mastercard"),
        ("3782 822463 10005", "american-express"),
        ("6011111111111117", "discover"),
        ("30569309025904", "diners-club"),
        ("3530111333300000", "jcb"),
        ("6200000000000005", "unionpay"),
        ("2200000000000004", "mir"),
        ("501800000009", "maestro"),
        ("9000000000000001", "other"),
        ("411111111117", "other"),
    ],
)
def test_a_card_is_read_and_its_brand_known(text: str, brand: str) -> None:
    digits = canonical_card(text)
    assert digits.isdigit()
    assert card_brand(digits) == brand


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("4111111111111112", "card-check-digit"),
        ("4111111111111", "card-check-digit"),
        ("41111111111", "card-malformed"),
        ("41111111111111111111", "card-malformed"),
        ("", "card-malformed"),
        ("4111.1111.1111.1111", "card-malformed"),
        ("4111\t1111 1111 1111", "card-malformed"),
        ("4111111111111111\n", "card-malformed"),
        ("\uff14" * 16, "card-malformed"),
        ("\u0664" * 16, "card-malformed"),
    ],
    ids=ascii,
)
def test_what_is_no_card_is_refused_and_not_repeated(text: str, reason: str) -> None:
    with pytest.raises(Unfit) as refused:
        canonical_card(text)
    assert refused.value.reason == reason
    assert not text or text not in str(refused.value)


def test_every_single_wrong_digit_is_noticed() -> None:
    card = "4111111111111111"
    for at in range(len(card)):
        wrong = [card[:at] + digit + card[at + 1 :] for digit in "0123456789" if digit != card[at]]
        assert 0 not in [luhn_sum(each) for each in wrong]


@pytest.mark.parametrize(("luhn_valid", "token_sum"), [(True, 0), (False, 5)], ids=["valid", "invalid"])
def test_forty_thousand_cards_come_back_and_their_tokens_are_as_valid_as_promised(
    luhn_valid: bool, token_sum: int
) -> None:
    cards = random_cards(40_000, list(range(13, 20)))
    cipher = CardCipher(KEY, luhn_valid=luhn_valid)
    tokens = cipher.encrypt(cards, b"policy")
    assert {luhn_sum(token) for token in tokens} == {token_sum}
    assert all(len(card) == len(token) and card[-4:] == token[-4:] for card, token in zip(cards, tokens, strict=True))
    assert not any(card == token for card, token in zip(cards, tokens, strict=True))
    assert len(set(tokens)) == len(set(cards))
    assert cipher.decrypt(tokens, b"policy") == cards


def test_one_card_and_a_batch_of_cards_get_the_same_tokens() -> None:
    cards = random_cards(60, [12, 16])
    cipher = CardCipher(KEY)
    assert cipher.encrypt(cards, b"c") == [cipher.encrypt([card], b"c")[0] for card in cards]
    assert cipher.encrypt([]) == []


def test_another_context_other_last_digits_and_another_key_give_other_tokens() -> None:
    cards = random_cards(1, [16]) * 2
    cipher = CardCipher(KEY)
    assert cipher.encrypt(cards, b"a") != cipher.encrypt(cards, b"b")
    assert cipher.encrypt(cards, b"a") != CardCipher(bytes(32)).encrypt(cards, b"a")
    first, second = cipher.encrypt(["4111111111111111", "4111111111112226"])
    assert first[:11] != second[:11]


def test_what_encryption_never_gives_is_refused() -> None:
    token = CardCipher(KEY).encrypt(["4111111111111111"])[0]
    wrong = token[:3] + str((int(token[3]) + 1) % 10) + token[4:]
    for given in (wrong, "4111111111111111", "123", "", "x" * 16, "\u0664" * 16, token * 2):
        with pytest.raises(Unfit) as refused:
            CardCipher(KEY).decrypt([given])
        assert refused.value.reason == "not-a-card-token"
    for given, reason in (("4111111111111112", "card-check-digit"), ("4111 1111 1111 1111", "card-malformed")):
        with pytest.raises(Unfit) as refused:
            CardCipher(KEY).encrypt([given])
        assert refused.value.reason == reason
