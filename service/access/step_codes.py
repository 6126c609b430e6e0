"""Codes of an authenticator app, by the time. Pure."""

import hmac

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_S = 30
DIGITS = 6
STEPS_AROUND = 1
"""The app's clock may be so many steps ahead or behind."""

SECRET_BYTES = 20

LOCK_S, LOCK_MAX_S = 600, 86_400


def lock_s(locked_count: int) -> int:
    """Seconds for which no code is looked at, after so many locks since the last right one: doubled each time."""
    return min(LOCK_S << min(locked_count, 20), LOCK_MAX_S)


def code(secret: bytes, step: int) -> str:
    """The code of a step: so many whole times STEP_S since 1970. Sources: RFC 4226 section 5.3, RFC 6238 section 4."""
    return _generator(secret).generate(step * STEP_S).decode()


def step_of(secret: bytes, given: str, *, now_s: int, after: int) -> int | None:
    """The step that a code is of; None where it is of none that may be told now.

    Args:
        now_s: seconds since 1970.
        after: the step of the last code that was taken: none is taken twice. Source: RFC 6238 section 5.2.
    """
    step = now_s // STEP_S
    steps = range(step - STEPS_AROUND, step + STEPS_AROUND + 1)
    fitting = [each for each in steps if hmac.compare_digest(code(secret, each), given)]
    return next((each for each in fitting if each > after), None)


def uri(secret: bytes, *, issuer: str, name: str) -> str:
    """What an authenticator app scans. Source: the Key URI Format of Google Authenticator."""
    return _generator(secret).get_provisioning_uri(name, issuer)


def _generator(secret: bytes) -> TOTP:
    # What every app can do; an HMAC does not ask of its hash what SHA-1 lacks.
    return TOTP(secret, DIGITS, SHA1(), STEP_S)  # noqa: S303
