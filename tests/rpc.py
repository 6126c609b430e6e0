"""One JSON-RPC question to the test chain, on a road that shares nothing with the service's own."""

import json
import urllib.request
from typing import Any


def rpc(url: str, method: str, *params: Any) -> Any:
    """Ask the node, and fail the test on an error."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    assert "error" not in answer, answer["error"]
    return answer["result"]
