"""A request's signature: read, held to the profile `muniment-1`, and the base that it is over. Pure.

Sources: RFC 9421 (HTTP message signatures), RFC 9530 (digests), RFC 8941 (structured fields). Of these just what the
profile needs: one signature, components without parameters. What the profile does not know is refused, never ignored.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.access.key_limits import WINDOW_MAX_S

TAG = "muniment-1"
"""The name of the profile, which a signature carries; a wallet's may leave it out."""

ALGORITHMS = {"ed25519": "ed25519", "hmac": "hmac-sha256"}
"""What `alg` may say, by kind of credential: the credential decides, and a signature may agree. Wallets have none."""

IF_GIVEN = ("content-digest", "idempotency-key", "muniment-approval")

COMPONENTS = ("@method", "@authority", "@path", "@query", "content-digest", "content-type", *IF_GIVEN[1:])
"""What a signature covers: the first three always, the query where there is one, the digest and the type of a body, and
the idempotency key and the approval where there is one."""

SKEW_S = 5
"""So far may a caller's clock be ahead of ours or behind it."""

_HEADER_CHARS_MAX = 4_096
_COMPONENTS_MAX = 20
_KEY = r"[a-z*][a-z0-9_.*-]{0,63}"
_NAME = r'"(?:@[a-z-]{1,32}|[a-z0-9!#$%&\'*+.^_`|~-]{1,64})"'
_PARAMETER = r';[ ]*(created|expires)=(0|[1-9][0-9]{0,11})|;[ ]*(keyid|nonce|alg|tag)="([ !#-\[\]-~]{0,128})"'
_INPUT = re.compile(rf"[ ]*({_KEY})=\([ ]*((?:{_NAME}(?:[ ]+{_NAME})*)?)[ ]*\)((?:{_PARAMETER})*)[ ]*")
_EACH_PARAMETER = re.compile(_PARAMETER)
_SIGNATURE = re.compile(rf"[ ]*({_KEY})=:([A-Za-z0-9+/]+={{0,2}}):[ ]*")
_NONCE = re.compile(r"[A-Za-z0-9_-]{22,64}")

_DIGESTS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
_DIGEST = re.compile(r"([a-z0-9*][a-z0-9_.*-]{0,31})=:([A-Za-z0-9+/]+={0,2}):")


class NotSigned(Exception):
    """The request has no signature of the profile; the message says why, to us and to no caller.

    Attributes:
        key_id: the credential that it names, where there is one.
    """

    def __init__(self, message: str, *, key_id: str = "") -> None:
        super().__init__(message)
        self.key_id = key_id


@dataclass(frozen=True, slots=True)
class Given:
    """A signature as a request gives it, not yet held to anything. Times are in seconds since 1970."""

    components: tuple[str, ...]
    parameters: Mapping[str, int | str]
    written: str
    """Components and parameters, as they end the base."""
    signature: bytes = field(repr=False)

    def number(self, name: str) -> int:
        """A parameter that is an integer; -1 where there is none."""
        found = self.parameters.get(name)
        return found if isinstance(found, int) else -1

    def word(self, name: str) -> str:
        """A parameter that is a string; empty where there is none."""
        found = self.parameters.get(name)
        return found if isinstance(found, str) else ""


def read(signature_input: str, signature: str) -> Given:
    """Read the two header fields of one signature.

    Raises:
        NotSigned: they are malformed, are of several signatures, or say what the profile does not know.

    Source: RFC 9421 section 4.
    """
    if max(len(signature_input), len(signature)) > _HEADER_CHARS_MAX:
        raise NotSigned("a header of the signature is too long")
    listed, proof = _INPUT.fullmatch(signature_input), _SIGNATURE.fullmatch(signature)
    if listed is None or proof is None:
        raise NotSigned("the signature's headers are malformed, or of several signatures")
    if listed[1] != proof[1]:
        raise NotSigned("the signature's headers have different labels")
    components = tuple(name.strip('"') for name in listed[2].split())
    if len(set(components)) != len(components) or len(components) > _COMPONENTS_MAX:
        raise NotSigned("a component is covered twice, or there are too many")
    parameters: dict[str, int | str] = {}
    for number_name, number, word_name, word in _EACH_PARAMETER.findall(listed[3]):
        name = number_name or word_name
        if name in parameters:
            raise NotSigned("a parameter is given twice")
        parameters[name] = int(number) if number_name else word
    said = "".join(f";{name}={_serialized(value)}" for name, value in parameters.items())
    written = "(" + " ".join(f'"{name}"' for name in components) + ")" + said
    return Given(components, parameters, written, _decoded(proof[2]))


def _serialized(value: int | str) -> str:
    return str(value) if isinstance(value, int) else f'"{value}"'


def _decoded(text: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    # Of a last digit that says more than fits, readers make different things.
    if base64.b64encode(found).decode() != text:
        raise NotSigned("a header has malformed base64")
    return found


@dataclass(frozen=True, slots=True)
class Target:
    """What a request asks of whom: our authority as it is configured, and path and query as they came."""

    method: str
    authority: str
    path: str
    query: str
    headers: Mapping[str, Sequence[str]] = field(repr=False)
    """Every field's lines by its lower-case name."""

    def component(self, name: str) -> str:
        """The value of a component. Source: RFC 9421 section 2.

        Raises:
            NotSigned: the request has no such component.
        """
        derived = {
            "@method": self.method,
            "@authority": self.authority,
            "@path": self.path or "/",
            "@query": f"?{self.query}",
        }
        if name in derived:
            return derived[name]
        if name.startswith("@") or name not in self.headers:
            raise NotSigned("a covered component is not there")
        return ", ".join(line.strip(" \t") for line in self.headers[name])

    def one(self, name: str) -> str | None:
        """A field that may be given once.

        Raises:
            NotSigned: it is given more often.
        """
        lines = self.headers.get(name, ())
        if len(lines) > 1:
            raise NotSigned("a header is given twice")
        return lines[0] if lines else None


def base(given: Given, target: Target) -> bytes:
    """What was signed. Source: RFC 9421 section 2.5.

    Raises:
        NotSigned: the request lacks a covered component, or one is not ASCII.
    """
    lines = [f'"{name}": {target.component(name)}' for name in given.components]
    text = "\n".join([*lines, f'"@signature-params": {given.written}'])
    if not text.isascii() or "\r" in text or text.count("\n") != len(lines):
        raise NotSigned("a covered component is not one line of ASCII")
    return text.encode()


def insist_on_profile(given: Given, target: Target, *, wallet: bool, has_body: bool) -> None:
    """Hold a signature to the profile: what it must cover and say, whoever made it.

    Args:
        wallet: by ERC-8128, which knows no algorithm and needs no tag.
        has_body: whether the request has a body of one byte or more.

    Raises:
        NotSigned: it covers or says too little, or something else.
    """
    needed = {"@method", "@authority", "@path"}
    if target.query:
        needed.add("@query")
    if has_body:
        needed |= {"content-digest", "content-type"}
    needed |= {name for name in IF_GIVEN if target.one(name) is not None}
    target.one("content-type")
    if not needed <= set(given.components):
        raise NotSigned("the signature covers too little")
    if given.word("tag") not in ((TAG, "") if wallet else (TAG,)):
        raise NotSigned("the signature is of another profile")
    if wallet and given.word("alg"):
        raise NotSigned("a wallet's signature names no algorithm")
    if _NONCE.fullmatch(given.word("nonce")) is None:
        raise NotSigned("the nonce has not 22 to 64 base64url characters")
    created, expires = given.number("created"), given.number("expires")
    if not 0 < created < expires <= created + WINDOW_MAX_S:
        raise NotSigned("the signature has no time, or one that is too long")


def proves(kind: str, key: bytes, given: Given, signed: bytes) -> bool:
    """Whether a signature is by a key over these bytes.

    Args:
        kind: of the credential, `ed25519` or `hmac`: it alone says which algorithm is meant.
        key: the public key of 32 bytes, or the secret.

    Sources: RFC 8032, RFC 2104; RFC 9421 sections 3.3.3 and 3.3.6.
    """
    if given.word("alg") not in ("", ALGORITHMS[kind]):
        return False
    if kind == "hmac":
        return hmac.compare_digest(hmac.digest(key, signed, "sha256"), given.signature)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(given.signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def fits_digest(header: str, content: bytes) -> bool:
    """Whether content has every digest that a Content-Digest field tells, and it tells one that we know.

    Source: RFC 9530 section 2. SHA-256 and SHA-512 are known; of one that is told twice nothing fits.
    """
    told = [_DIGEST.fullmatch(each.strip(" \t")) for each in header.split(",")]
    names = [each[1] for each in told if each is not None]
    if len(names) != len(told) or len(set(names)) != len(names) or not set(names) & _DIGESTS.keys():
        return False
    return all(
        base64.b64encode(_DIGESTS[each[1]](content).digest()).decode() == each[2]
        for each in told
        if each is not None and each[1] in _DIGESTS
    )
