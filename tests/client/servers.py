"""Servers of the tests' own: one answers as it is told to, and one verifies signatures with another's code."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageSignaturesException, HTTPMessageVerifier, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import ED25519, HMAC_SHA256

Said = tuple[int, dict[str, str], bytes]
CUT: Said = (0, {}, b"")
"""In place of an answer: the connection's end."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A request as it came; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    port: int
    """Of whoever asked: the same for requests on one connection."""


@dataclass(slots=True)
class Server:
    """What was asked, and where."""

    url: str
    heard: list[Heard] = field(default_factory=list)


def told(content: Any, status: int = 200, **headers: str) -> Said:
    """An answer of JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": "application/json", **named}, json.dumps(content).encode()


def problem(slug: str, status: int, **more: Any) -> Said:
    """A problem as the API tells it."""
    content = {"type": f"/problems/{slug}", "title": slug, "status": status, "detail": "do this", **more}
    return status, {"Content-Type": "application/problem+json"}, json.dumps(content).encode()


@contextmanager
def serving(answer: Callable[[Heard], Said]) -> Iterator[Server]:
    """A server that answers each request as `answer` says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.answer
            raise AttributeError(name)

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            heard = Heard(self.command, self.path, headers, body, self.client_address[1])
            server.heard.append(heard)
            status, named, content = answer(heard)
            if not status:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response_only(status)
            for name, value in named.items():
                self.send_header(name, value)
            if "Content-Length" not in named:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = self.close_connection or "Content-Length" in named

        def log_message(self, *_: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    server = Server(f"http://127.0.0.1:{running.server_address[1]}")
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


@contextmanager
def saying(*answers: Said) -> Iterator[Server]:
    """A server that gives these answers in turn, and the last one for ever."""
    left = list(answers)
    with serving(lambda _: left.pop(0) if len(left) > 1 else left[0]) as server:
        yield server


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, key: Any) -> None:
        self.key = key

    def resolve_public_key(self, key_id: str) -> Any:
        return self.key

    def resolve_private_key(self, key_id: str) -> Any:
        raise LookupError


def verified(heard: Heard, origin: str, key: Ed25519PublicKey | bytes) -> dict[str, Any]:
    """The parameters of a request's signature, if it is the profile's by `http-message-signatures`.

    Raises:
        HTTPMessageSignaturesException: it is not.
    """
    algorithm = HMAC_SHA256 if isinstance(key, bytes) else ED25519
    verifier = HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=_Keys(key))
    required = ["@method", "@authority", "@path", "@query"]
    required += ["content-digest", "content-type"] if heard.body else []
    required += ["idempotency-key"] if "idempotency-key" in heard.headers else []
    message = SimpleNamespace(method=heard.method, url=origin + heard.path, headers=dict(heard.headers))
    (result,) = verifier.verify(message, expect_tag="muniment-1", require_components=required, body=heard.body or None)
    return dict(result.parameters)


@contextmanager
def verifying(key: Ed25519PublicKey | bytes) -> Iterator[Server]:
    """A server that answers 200 to what is signed with a key, once for each nonce, and 401 to all else."""
    nonces: set[str] = set()

    def answer(heard: Heard) -> Said:
        try:
            found = verified(heard, server.url, key)
        except HTTPMessageSignaturesException as error:
            return problem("unauthorized", 401, why=str(error))
        if found["nonce"] in nonces:
            return problem("nonce-replayed", 401)
        nonces.add(found["nonce"])
        return told({"keyid": found["keyid"], "covered": heard.headers["signature-input"]})

    with serving(answer) as server:
        yield server
