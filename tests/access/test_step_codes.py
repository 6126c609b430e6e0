"""Codes of authenticator apps: RFC 6238's own vectors, and when a code is taken."""

from urllib.parse import parse_qs, urlsplit

import pytest

from service.access import step_codes

SECRET = b"12345678901234567890"

# RFC 6238 appendix B, SHA-1; of its eight digits the last six.
VECTORS = [
    (59, "287082"),
    (1_111_111_109, "081804"),
    (1_111_111_111, "050471"),
    (1_234_567_890, "005924"),
    (2_000_000_000, "279037"),
    (20_000_000_000, "353130"),
]


@pytest.mark.parametrize(("now_s", "code"), VECTORS)
def test_the_vectors_of_rfc_6238(now_s: int, code: str) -> None:
    assert step_codes.code(SECRET, now_s // 30) == code
    assert step_codes.step_of(SECRET, code, now_s=now_s, after=0) == now_s // 30


@pytest.mark.parametrize(("off_s", "taken"), [(-60, False), (-30, True), (30, True), (60, False)])
def test_a_clock_may_be_one_step_away(off_s: int, taken: bool) -> None:
    code = step_codes.code(SECRET, 1_111_111_111 // 30)
    assert (step_codes.step_of(SECRET, code, now_s=1_111_111_111 + off_s, after=0) is not None) == taken


def test_no_code_is_taken_twice_nor_one_before_it() -> None:
    step = 1_111_111_111 // 30
    for earlier in (step, step - 1):
        code = step_codes.code(SECRET, earlier)
        assert step_codes.step_of(SECRET, code, now_s=1_111_111_111, after=step) is None
    assert step_codes.step_of(SECRET, step_codes.code(SECRET, step + 1), now_s=1_111_111_111, after=step) == step + 1


@pytest.mark.parametrize(
    ("locked_count", "expected_s"), [(0, 600), (1, 1_200), (2, 2_400), (7, 76_800), (8, 86_400), (10_000, 86_400)]
)
def test_a_lock_is_twice_as_long_as_the_one_before_and_a_day_at_most(locked_count: int, expected_s: int) -> None:
    assert step_codes.lock_s(locked_count) == expected_s


def test_an_app_reads_the_secret_from_the_uri() -> None:
    told = urlsplit(step_codes.uri(SECRET, issuer="Muniment", name="phone of A & B"))
    assert (told.scheme, told.netloc, told.path) == ("otpauth", "totp", "/Muniment:phone%20of%20A%20%26%20B")
    assert parse_qs(told.query) == {
        "secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"],
        "issuer": ["Muniment"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }
