"""The deployment that the environment names, asked through the client."""

import os
from pathlib import Path
from typing import Any

from service.client.credentials import VISIBLE, BearerCredential, Credential, Ed25519Credential
from service.client.exchange import Exchange, Request, is_address
from service.client.problems import ApiProblem, Away, Unusable

URL_DEFAULT = "http://127.0.0.1:8000"


class Deployment(Exchange):
    """Where a caller asks. Nothing is asked twice here: whoever types a command sees at once that nobody answers."""

    def __init__(self, url: str, credential: Credential | None) -> None:
        super().__init__(url, credential, patience_s=0)

    @classmethod
    def of_environment(cls) -> "Deployment":
        """The deployment that MUNIMENT_URL names, for the caller of MUNIMENT_SIGNING_KEY or MUNIMENT_API_KEY.

        None of them is ever an argument or in a message.

        Raises:
            Unusable: one of them is malformed.
        """
        url = os.environ.get("MUNIMENT_URL", "").strip().rstrip("/") or URL_DEFAULT
        if not is_address(url):
            raise Unusable("MUNIMENT_URL: write http://host:port or https://host")
        return cls(url, _signing() or _bearer())

    def require_credential(self) -> None:
        """Make sure that there is one.

        Raises:
            Unusable: there is none.
        """
        if self.credential is None:
            raise Unusable("set MUNIMENT_API_KEY to a key made by `muniment keys create`")

    def document(self) -> dict[str, Any]:
        """Its OpenAPI document.

        Raises:
            Unusable: there is none.
        """
        try:
            document = self.ask(Request("GET", "/openapi.json", authorized=False)).content
        except Away:
            raise
        except (ApiProblem, Unusable):
            document = None
        if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
            raise Unusable(f"{self.url} is no Muniment API: it has no /openapi.json; set MUNIMENT_URL")
        return document


def _bearer() -> BearerCredential | None:
    key = os.environ.get("MUNIMENT_API_KEY", "").strip()
    if not key:
        return None
    if not VISIBLE.fullmatch(key):
        raise Unusable("MUNIMENT_API_KEY: a key is `munsk_…` as `muniment keys create` printed it, on one line")
    return BearerCredential(key)


def _signing() -> Ed25519Credential | None:
    file, key_id = (os.environ.get(f"MUNIMENT_SIGNING_KEY{end}", "").strip() for end in ("", "_ID"))
    if not file and not key_id:
        return None
    if not file or not key_id:
        raise Unusable(
            "MUNIMENT_SIGNING_KEY is the file of a private key, and MUNIMENT_SIGNING_KEY_ID its id: set both"
        )
    try:
        pem = Path(file).read_bytes()
    except OSError as error:
        raise Unusable(f"MUNIMENT_SIGNING_KEY: {file} can't be read ({error.strerror})") from None
    try:
        return Ed25519Credential(key_id, pem)
    except Unusable as unusable:
        raise Unusable(f"MUNIMENT_SIGNING_KEY: {unusable}") from None
