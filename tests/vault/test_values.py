"""Values: what each class accepts, one canonical form for equal values, and views that show no more than they say."""

import contextlib
import hashlib
import hmac
import time
import traceback
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.vault.masks import View, shown, views_of
from service.vault.unfit import Unfit
from service.vault.values import LENGTH_MAX, CustomRule, DataClass, canonical_value

PASSPORT = CustomRule(r"[A-Z]{2}[0-9]{6,8}", 10)
HASH_KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("data_class", "value", "canonical"),
    [
        (DataClass.CARD, "4111-1111 1111-1111", "4111111111111111"),
        (DataClass.NATIONAL_ID, "123-45-6789", "123456789"),
        (DataClass.NATIONAL_ID, "ab 12.34/56 c", "AB123456C"),
        (DataClass.EMAIL, "Ada.Lovelace+x@Example.ORG", "Ada.Lovelace+x@example.org"),
        (DataClass.EMAIL, "ada@B\u00dcCHER.example", "ada@xn--bcher-kva.example"),
        (DataClass.EMAIL, "ada@bu\u0308cher.example", "ada@xn--bcher-kva.example"),
        (DataClass.NAME, "  Zoe\u0308   M\u00fcller ", "Zo\u00eb M\u00fcller"),
        (
            DataClass.NAME,
            "\u0646\u0645\u06cc\u200c\u062f\u0627\u0646\u0645",
            "\u0646\u0645\u06cc\u200c\u062f\u0627\u0646\u0645",
        ),
        (DataClass.TEXT, "cafe\u0301\n\tline two", "caf\u00e9\n\tline two"),
        (DataClass.DOCUMENT, "JVBERi0xLjc=", "JVBERi0xLjc="),
    ],
    ids=ascii,
)
def test_a_value_has_one_canonical_form(data_class: DataClass, value: str, canonical: str) -> None:
    assert canonical_value(data_class, value) == canonical
    assert canonical_value(data_class, canonical) == canonical


@pytest.mark.parametrize(
    ("data_class", "value", "reason"),
    [
        (DataClass.CARD, "4111111111111112", "card-check-digit"),
        (DataClass.CARD, "123", "card-malformed"),
        (DataClass.NATIONAL_ID, "1234", "national-id-malformed"),
        (DataClass.NATIONAL_ID, "\uff11\uff12\uff13\uff14\uff15\uff16", "national-id-malformed"),
        (DataClass.NATIONAL_ID, "12345\n6789", "control-character"),
        (DataClass.EMAIL, "ada", "email-malformed"),
        (DataClass.EMAIL, "@example.org", "email-malformed"),
        (DataClass.EMAIL, "ada@", "email-malformed"),
        (DataClass.EMAIL, "ada@localhost", "email-malformed"),
        (DataClass.EMAIL, "ada@example.org.", "email-malformed"),
        (DataClass.EMAIL, "ada@exa mple.org", "email-malformed"),
        (DataClass.EMAIL, "ada@[127.0.0.1]", "email-malformed"),
        (DataClass.EMAIL, "a..b@example.org", "email-malformed"),
        (DataClass.EMAIL, '"a b"@example.org', "email-malformed"),
        (DataClass.EMAIL, "a@b@example.org", "email-malformed"),
        (DataClass.EMAIL, "a" * 65 + "@example.org", "email-malformed"),
        (DataClass.EMAIL, "ada@" + "x" * 64 + ".org", "email-malformed"),
        (DataClass.NAME, "12345", "name-malformed"),
        (DataClass.NAME, "   ", "name-malformed"),
        (DataClass.NAME, "Ada\nLovelace", "control-character"),
        (DataClass.NAME, "Ada\x00", "control-character"),
        (DataClass.NAME, "Ada\u0085Zo\u00eb", "control-character"),
        (DataClass.NAME, "Ada\u202egnp", "bidi-control"),
        (DataClass.NAME, "Ada\u2066x", "bidi-control"),
        (DataClass.NAME, "Ada\u200bx", "invisible-character"),
        (DataClass.NAME, "Ada\ufeff", "invisible-character"),
        (DataClass.NAME, "Ada\ud83d", "surrogate"),
        (DataClass.NAME, "Ada\u0378", "unassigned-character"),
        (DataClass.NAME, "Ada\uffff", "unassigned-character"),
        (DataClass.TEXT, " \n", "value-empty"),
        (DataClass.TEXT, "a\rb", "control-character"),
        (DataClass.TEXT, " 123 ", "card-verification-code"),
        (DataClass.DOCUMENT, "JVBERi0xLjc", "document-malformed"),
        (DataClass.DOCUMENT, "JVBE Ri0=", "document-malformed"),
        (DataClass.DOCUMENT, "\u00e4\u00e4\u00e4\u00e4", "document-malformed"),
    ],
    ids=ascii,
)
def test_a_value_that_its_class_does_not_take_is_refused_and_not_repeated(
    data_class: DataClass, value: str, reason: str
) -> None:
    with pytest.raises(Unfit) as refused:
        canonical_value(data_class, value)
    assert refused.value.reason == reason
    told = "".join(traceback.format_exception_only(refused.value)) + repr(refused.value.__cause__)
    assert not value.strip() or value not in told


@pytest.mark.parametrize("data_class", [each for each in DataClass if each is not DataClass.CUSTOM])
def test_empty_and_overlong_values_are_refused_by_every_class(data_class: DataClass) -> None:
    for value, reason in (
        ("", "value-empty"),
        ("1" * (LENGTH_MAX[data_class] + 1), "value-too-long"),
        # U+0958 is two characters in form C.
        ("\u0958" * LENGTH_MAX[data_class], "value-too-long"),
    ):
        with pytest.raises(Unfit) as refused:
            canonical_value(data_class, value)
        assert refused.value.reason == reason


@given(st.sampled_from([DataClass.NAME, DataClass.TEXT, DataClass.EMAIL]), st.text(max_size=40))
def test_any_text_is_canonical_once_and_for_all_or_refused(data_class: DataClass, value: str) -> None:
    canonical = None
    with contextlib.suppress(Unfit):
        canonical = canonical_value(data_class, value)
    if canonical is not None:
        assert canonical_value(data_class, canonical) == canonical
        assert canonical_value(data_class, unicodedata.normalize("NFD", value)) == canonical


def test_a_custom_class_takes_what_matches_whole() -> None:
    assert canonical_value(DataClass.CUSTOM, "AB123456", PASSPORT) == "AB123456"
    assert canonical_value(DataClass.CUSTOM, "b", CustomRule("a|b|c", 5)) == "b"
    for value, rule, reason in (
        ("AB123456x", PASSPORT, "pattern-mismatch"),
        ("xAB123456", PASSPORT, "pattern-mismatch"),
        ("AB12345678901", PASSPORT, "value-too-long"),
        ("ab", CustomRule("a|b|c", 5), "pattern-mismatch"),
        ("AB\n123456", PASSPORT, "control-character"),
        ("AB123456", None, "rule-missing"),
    ):
        with pytest.raises(Unfit) as refused:
            canonical_value(DataClass.CUSTOM, value, rule)
        assert refused.value.reason == reason
        assert value not in str(refused.value)


@pytest.mark.parametrize("value", ["123", "0000", "1 2 3", "12-34"])
def test_a_card_verification_code_is_refused_whatever_the_pattern(value: str) -> None:
    with pytest.raises(Unfit) as refused:
        canonical_value(DataClass.CUSTOM, value, CustomRule(".{1,40}", 40))
    assert refused.value.reason == "card-verification-code"


@pytest.mark.parametrize(
    ("pattern", "length_max", "reason"),
    [
        ("[0-9]{3}", 3, "card-verification-code"),
        (r"\d{3,4}", 4, "card-verification-code"),
        (".*", 4, "card-verification-code"),
        ("", 10, "pattern-malformed"),
        ("(", 10, "pattern-malformed"),
        (")|(.*", 10, "pattern-malformed"),
        ("(?x)a #", 10, "pattern-malformed"),
        (r"(a)\1", 10, "pattern-malformed"),
        ("a" * 201, 10, "pattern-malformed"),
        ("a\0b", 10, "pattern-malformed"),
        ("a\ud800", 10, "pattern-malformed"),
        ("(?i-x)a", 10, "pattern-malformed"),
        ("((a{0,100}){0,100}){0,100}", 10, "pattern-costly"),
        ("(.?){900}.{900}", 1_000, "pattern-costly"),
        ("a{100}{100}", 100, "pattern-costly"),
        ("(a{100})+{100}", 100, "pattern-costly"),
        ("(a{100}[])]){100}", 100, "pattern-costly"),
        ("(a{100}[^])]){100}", 100, "pattern-costly"),
        (r"(a{100}[\])]){100}", 100, "pattern-costly"),
        ("(a{100}[a[b])]){100}", 100, "pattern-costly"),
        ("a{ 5000 }", 100, "pattern-costly"),
        ("a+", 0, "length-max"),
        ("a+", 1_001, "length-max"),
    ],
)
def test_a_custom_rule_that_cannot_be_kept_is_refused(pattern: str, length_max: int, reason: str) -> None:
    with pytest.raises(Unfit) as refused:
        CustomRule(pattern, length_max)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("[A-Z]{2}[0-9]{2}( [0-9]{4}){4,7}( [0-9]{1,3})?", "CH93 0076 2011 6238 5295 7"),
        (r"[]\[]{1,250}", "][" * 100),
        (".+", "a" * 1_000),
    ],
)
def test_a_pattern_of_a_usual_length_is_no_costly_one(pattern: str, value: str) -> None:
    assert CustomRule(pattern, 1_000).matches(value)


def test_no_pattern_stalls_the_process() -> None:
    rule = CustomRule("(a*)*(a|aa)*(a?){20}b", 1_000)
    begun_s = time.process_time()
    assert not rule.matches("a" * 1_000)
    assert time.process_time() - begun_s < 1


@pytest.mark.parametrize(
    ("data_class", "canonical", "masked", "last_four"),
    [
        (DataClass.CARD, "4111111111111111", "411111******1111", "1111"),
        (DataClass.CARD, "4222222222222", "*********2222", "2222"),
        (DataClass.NATIONAL_ID, "123456789", "*****6789", "6789"),
        (DataClass.NATIONAL_ID, "12345", "****5", "5"),
        (DataClass.CUSTOM, "abc", "***", ""),
        (DataClass.EMAIL, "ada@example.org", "a***@example.org", None),
        (DataClass.EMAIL, "a@example.org", "***@example.org", None),
        (DataClass.NAME, "Zo\u00eb M\u00fcller", "Z*** M***", None),
        (DataClass.TEXT, "a long story", "***", None),
        (DataClass.DOCUMENT, "JVBERi0xLjc=", "***", None),
    ],
)
def test_a_view_shows_no_more_than_it_says(
    data_class: DataClass, canonical: str, masked: str, last_four: str | None
) -> None:
    assert shown(View.PLAIN, data_class, "as given", canonical, hash_key=HASH_KEY) == "as given"
    assert shown(View.MASKED, data_class, canonical, canonical, hash_key=HASH_KEY) == masked
    assert (View.LAST_FOUR in views_of(data_class)) == (last_four is not None)
    if last_four is not None:
        assert shown(View.LAST_FOUR, data_class, canonical, canonical, hash_key=HASH_KEY) == last_four
        return
    with pytest.raises(Unfit) as refused:
        shown(View.LAST_FOUR, data_class, canonical, canonical, hash_key=HASH_KEY)
    assert refused.value.reason == "view-not-offered"


def test_a_hash_is_keyed_and_equal_for_equal_values() -> None:
    def hashed(original: str, canonical: str, key: bytes = HASH_KEY) -> str:
        return shown(View.HASH, DataClass.CARD, original, canonical, hash_key=key)

    card = "4111111111111111"
    assert hashed("4111 1111 1111 1111", card) == hashed(card, card)
    assert hashed(card, card) != hashed(card, card, bytes(32))
    assert hashed(card, card) not in {
        hashlib.sha256(card.encode()).hexdigest(),
        hmac.new(HASH_KEY, card.encode(), hashlib.sha256).hexdigest(),
    }
