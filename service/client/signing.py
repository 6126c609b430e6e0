"""HTTP message signatures (RFC 9421) in the profile `muniment-1`. Pure."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TAG = "muniment-1"
LIFE_S = 60
"""A signature is good for so long."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Message:
    """A request that is about to be sent, byte for byte."""

    method: str
    url: str = field(repr=False)  # absolute, as it is sent: nothing in it is encoded again
    headers: Mapping[str, str] = field(repr=False)  # under names in lower case
    content: bytes | None = field(repr=False)  # None where there is none, or its digest is among the headers


def profile(message: Message) -> tuple[str, ...]:
    """The components that a signature of the profile covers."""
    covered = ["@method", "@authority", "@path", "@query"]
    if "content-digest" in message.headers:
        covered += ["content-digest", "content-type"]
    covered += [name for name in ("idempotency-key", "muniment-approval") if name in message.headers]
    return tuple(covered)


def content_digest(body: bytes) -> str:
    """The header Content-Digest by SHA-256. Source: RFC 9530."""
    return written_digest(hashlib.sha256(body).digest())


def written_digest(sha256: bytes) -> str:
    """32 bytes as Content-Digest and Repr-Digest have them. Source: RFC 9530."""
    return f"sha-256=:{_base64(sha256)}:"


def parameters(covered: Sequence[str], given: Mapping[str, str | int]) -> str:
    """What Signature-Input says after the label: components and parameters. Source: RFC 9421 section 2.3."""
    written = " ".join(f'"{each}"' for each in covered)
    return f"({written})" + "".join(
        f";{name}={value if isinstance(value, int) else _quoted(value)}" for name, value in given.items()
    )


def signature_base(message: Message, covered: Sequence[str], params: str) -> bytes:
    """The bytes that are signed. Source: RFC 9421 section 2.5."""
    lines = [f'"{each}": {_component(message, each)}' for each in covered]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode("ascii")


def signature_headers(label: str, params: str, signature: bytes) -> dict[str, str]:
    """The two headers that carry a signature. Source: RFC 9421 section 4."""
    return {"Signature-Input": f"{label}={params}", "Signature": f"{label}=:{_base64(signature)}:"}


def _component(message: Message, name: str) -> str:
    url = urlsplit(message.url)
    match name:
        case "@method":
            return message.method
        case "@authority":
            host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
            return host if url.port in (None, _PORTS.get(url.scheme)) else f"{host}:{url.port}"
        case "@path":
            return url.path or "/"
        case "@query":
            return f"?{url.query}"
        case _:
            return message.headers[name].strip()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
