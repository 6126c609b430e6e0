"""Servers that answer as no deployment would, to show what `muniment call` makes of it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Said = tuple[int, dict[str, str], str]


@contextmanager
def server(answers: dict[str, Said]) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that says what it is told to; its address, and the API keys that it was given."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers.get(self.path, (404, {}, "not here"))
            keys.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}", keys
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def listing(method: str = "get") -> Said:
    """A document with one call."""
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}
    call = {"operationId": "ask_it", "security": [{"ApiKey": []}], "parameters": [key] if method == "post" else []}
    return 200, {}, json.dumps({"paths": {"/it": {method: call}}})
