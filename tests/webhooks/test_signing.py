"""Signatures: what we sign others verify, what others sign we verify, and what nobody signed is refused in one way."""

import base64
import hmac
import json
from datetime import UTC, datetime

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.signing import NotVerified, Secrets, public_text, signed_headers, verify

NOW_S = 1_790_000_000
BODY = '{"type":"operation.succeeded","data":{"label":"Zürich ✓"}}'.encode()
OLD, NEW = Secrets(bytes(range(32)), bytes(range(32, 64))), Secrets(bytes(range(64, 96)), bytes(range(96, 128)))


def headers(*versions: Secrets, timestamp_s: int = NOW_S, body: bytes = BODY) -> dict[str, str]:
    return signed_headers(versions or (NEW,), id="msg_1_7", timestamp_s=timestamp_s, body=body)


def keys(secrets: Secrets) -> tuple[str, str]:
    return secrets.secret, public_text(secrets.public_key)


def test_what_we_sign_the_python_library_verifies() -> None:
    now_s = int(datetime.now(UTC).timestamp())
    for secrets in (OLD, NEW):
        library = standardwebhooks.Webhook(secrets.secret)
        assert library.verify(BODY, headers(NEW, OLD, timestamp_s=now_s)) == json.loads(BODY)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(OLD.secret).verify(BODY, headers(NEW, timestamp_s=now_s))


def test_what_the_python_library_signs_we_verify() -> None:
    signature = standardwebhooks.Webhook(NEW.secret).sign("msg_1_7", datetime.fromtimestamp(NOW_S, UTC), BODY.decode())
    verify(NEW.secret, {**headers(), "webhook-signature": signature}, BODY, now_s=NOW_S)


def test_what_the_python_library_signs_while_secrets_rotate_either_verifies() -> None:
    at = datetime.fromtimestamp(NOW_S, UTC)
    both = " ".join(standardwebhooks.Webhook(each.secret).sign("msg_1_7", at, BODY.decode()) for each in (NEW, OLD))
    for each in (NEW, OLD):
        verify(each.secret, {**headers(), "webhook-signature": both}, BODY, now_s=NOW_S)


def test_the_vector_of_the_specification_is_ours() -> None:
    # From the reference libraries' own tests.
    secret, id_, timestamp = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
    sent = {"webhook-id": id_, "webhook-timestamp": timestamp}
    sent["webhook-signature"] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    verify(f"whsec_{secret}", sent, b'{"test": 2432232314}', now_s=int(timestamp))
    key = Secrets(base64.b64decode(secret), bytes(32))
    made = signed_headers([key], id=id_, timestamp_s=int(timestamp), body=b'{"test": 2432232314}')
    assert made["webhook-signature"].split(" ")[0] == sent["webhook-signature"]


def test_both_schemes_are_the_plain_primitives_over_id_time_and_body() -> None:
    content = b"msg_1_7.%d." % NOW_S + BODY
    v1, v1a = headers()["webhook-signature"].split(" ")
    assert base64.b64decode(v1.removeprefix("v1,")) == hmac.digest(NEW.hmac_key, content, "sha256")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(keys(NEW)[1].removeprefix("whpk_")))
    public.verify(base64.b64decode(v1a.removeprefix("v1a,")), content)


def test_while_secrets_rotate_either_version_and_either_scheme_verifies() -> None:
    for key in (*keys(OLD), *keys(NEW)):
        verify(key, headers(NEW, OLD), BODY, now_s=NOW_S)
    for key in keys(OLD):
        with pytest.raises(NotVerified):
            verify(key, headers(NEW), BODY, now_s=NOW_S)


def test_names_of_headers_may_have_any_case() -> None:
    verify(NEW.secret, {name.title(): value for name, value in headers().items()}, BODY, now_s=NOW_S)


@pytest.mark.parametrize("key", keys(NEW))
@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_1_8"},
        {"webhook-timestamp": str(NOW_S + 1)},
        {"webhook-timestamp": "٣"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-id": "é"},
        {"webhook-id": ""},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,é v1a,%%% v2,AAAA"},
        {"webhook-signature": " ".join(["v1,AAAA"] * 100_000)},
    ],
)
def test_what_is_altered_or_malformed_is_refused_in_one_way(key: str, changed: dict[str, str]) -> None:
    with pytest.raises(NotVerified):
        verify(key, {**headers(), **changed}, BODY, now_s=NOW_S)


def test_a_signature_of_one_scheme_is_none_of_the_other() -> None:
    v1, v1a = headers()["webhook-signature"].split(" ")
    swapped = f"v1a,{v1.partition(',')[2]} v1,{v1a.partition(',')[2]}"
    for key in keys(NEW):
        with pytest.raises(NotVerified):
            verify(key, {**headers(), "webhook-signature": swapped}, BODY, now_s=NOW_S)


@pytest.mark.parametrize("drift_s", [-301, 301, 10**9])
def test_a_message_of_another_time_is_refused(drift_s: int) -> None:
    with pytest.raises(NotVerified, match="too old"):
        verify(NEW.secret, headers(), BODY, now_s=NOW_S + drift_s)
    verify(NEW.secret, headers(), BODY, now_s=NOW_S + 300)


@given(st.binary(max_size=200), st.text(max_size=60))
def test_any_other_body_or_signature_is_refused(body: bytes, signature: str) -> None:
    for key in keys(NEW):
        with pytest.raises(NotVerified):
            verify(key, headers(), body, now_s=NOW_S)
        with pytest.raises(NotVerified):
            verify(key, {**headers(), "webhook-signature": signature}, BODY, now_s=NOW_S)


@pytest.mark.parametrize("key", ["", "whsec_", "whsec_AAAA", "whpk_AAAA", "whsk_" + "A" * 44, "nothing", "whsec_%%"])
def test_a_malformed_key_is_told_to_whoever_set_it(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        verify(key, headers(), BODY, now_s=NOW_S)


def test_secrets_are_in_no_repr() -> None:
    assert repr(NEW) == "Secrets()"
    assert Ed25519PrivateKey.from_private_bytes(NEW.private_key).public_key().public_bytes_raw() == NEW.public_key
