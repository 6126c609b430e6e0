"""Requests that fail: what is asked again, under which key, with which signature, and what is told in the end."""

import email.utils
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.client import exchange, waiting
from service.client.api import Client
from service.client.clock import Clock
from service.client.credentials import BearerCredential
from service.client.exchange import Exchange, Request
from service.client.problems import ApiProblem, Away, NotFinal, OperationFailed, Unusable
from service.client.shapes import Operation
from tests.client.servers import CUT, Heard, Said, problem, saying, serving, told, verified, verifying
from tests.client.test_signing import KEY, ed25519

OPERATION = {
    "id": "0199f6b1-0f55-7b3e-9d3e-6a1f5b8e2c01",
    "key_id": "3yQN791v44t",
    "kind": "token.mint",
    "status": "pending",
    "chain": 1,
    "token_id": None,
    "contract": "0x" + "11" * 20,
    "parameters": {},
    "transaction": {"status": "queued", "hash": None, "signer": "0x" + "22" * 20, "nonce": None, "block": None},
    "problem": None,
    "created_at": "2026-11-22T16:00:00Z",
    "closed_at": None,
}
READ = Request("GET", "/v1/assets", authorized=True)
WRITE = Request("POST", "/v1/assets", authorized=True, body={"name": "12 Harbour Street"})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr(waiting, "POLL_FIRST_S", 0.01)


def asking(url: str, *, patience_s: float = 5.0, credential: Any = None) -> Exchange:
    return Exchange(url, credential or ed25519(), patience_s=patience_s)


def signatures(heard: list[Heard], url: str) -> set[str]:
    """The nonces of requests, each of which is signed well."""
    return {verified(each, url, KEY.public_key())["nonce"] for each in heard}


@pytest.mark.parametrize(
    "failure",
    [
        CUT,
        problem("database-unavailable", 503),
        (502, {}, b"<html>"),
        problem("too-many-requests", 429),
        problem("idempotency-key-busy", 409),
        problem("body-too-slow", 408),
        (408, {}, b"<html>"),
    ],
    ids=["cut", "503", "502", "429", "busy", "slow", "408"],
)
def test_a_write_that_failed_is_asked_again_under_its_key_with_a_fresh_signature(failure: Said) -> None:
    with saying(failure, failure, told({"id": "1"}, 201)) as server:
        assert asking(server.url).ask(WRITE, "mint-1").content == {"id": "1"}
        assert [each.headers["idempotency-key"] for each in server.heard] == ["mint-1"] * 3
        assert len({each.body for each in server.heard}) == 1
        assert len(signatures(server.heard, server.url)) == 3


@pytest.mark.parametrize(
    "failure", [CUT, problem("database-unavailable", 503), problem("too-many-requests", 429)], ids=["cut", "503", "429"]
)
def test_a_write_without_a_key_is_asked_once(failure: Said) -> None:
    with saying(failure, told({})) as server:
        with pytest.raises((Away, ApiProblem)):
            asking(server.url).ask(WRITE)
        assert len(server.heard) == 1


@pytest.mark.parametrize(
    "answer", [problem("unauthorized", 401), problem("internal-error", 500), told({}, 302)], ids=["401", "500", "302"]
)
def test_what_would_fail_again_is_asked_once(answer: Said) -> None:
    with saying(answer) as server:
        with pytest.raises((Away, ApiProblem)):
            asking(server.url).ask(READ)
        assert len(server.heard) == 1


def test_an_answer_that_breaks_off_is_asked_again_and_told_where_it_is_no_read() -> None:
    half: Said = (200, {"Content-Type": "application/json", "Content-Length": "100"}, b'{"data": [')
    with saying(half, told({"data": []})) as server:
        assert asking(server.url).ask(READ).content == {"data": []}
    with saying(half, told({})) as server, pytest.raises(Away, match="does not answer"):
        asking(server.url).ask(WRITE)


def test_retry_after_is_kept_and_one_that_is_too_long_is_told_at_once() -> None:
    soon = email.utils.formatdate(time.time() + 1.0, usegmt=True)
    for header in ("0", soon, "never"):
        status, named, body = problem("too-many-requests", 429)
        with saying((status, {**named, "Retry-After": header}, body), told({})) as server:
            assert asking(server.url).ask(READ).content == {}
    with saying((status, {**named, "Retry-After": "3600"}, body)) as server:
        start_s = time.monotonic()
        with pytest.raises(ApiProblem) as refused:
            asking(server.url).ask(READ)
        assert (refused.value.retry_after_s, len(server.heard)) == (3600, 1)
        assert time.monotonic() - start_s < 60


def test_a_server_that_asks_for_no_pause_is_not_hammered_on() -> None:
    status, named, body = problem("too-many-requests", 429)
    with saying((status, {**named, "Retry-After": "0"}, body)) as server:
        with pytest.raises(ApiProblem):
            asking(server.url, patience_s=0.3).ask(READ)
        assert 2 < len(server.heard) < 10


def test_a_body_that_took_longer_to_be_refused_than_patience_lasts_is_sent_once_more() -> None:
    def refuse(_: Heard) -> Said:
        time.sleep(0.3)
        return problem("body-too-slow", 408)

    with serving(refuse) as server:
        with pytest.raises(ApiProblem, match="body-too-slow"):
            asking(server.url, patience_s=0.2).ask(WRITE, "mint-1")
        assert len(server.heard) == 2


def test_patience_ends_and_tells_the_key_under_which_to_ask_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(Away, match="does not answer") as away:
        asking(nobody, patience_s=0.1).ask(WRITE, "mint-1")
    assert away.value.idempotency_key == "mint-1"
    with saying(problem("database-unavailable", 503)) as server, pytest.raises(Away) as away:
        asking(server.url, patience_s=0.1).ask(READ)
    assert away.value.problem is not None
    assert away.value.problem["type"] == "/problems/database-unavailable"


def test_a_problem_has_a_slug_and_fields() -> None:
    with saying(problem("scope-missing", 403, scope="issue")) as server, pytest.raises(ApiProblem) as refused:
        asking(server.url).ask(READ)
    assert (refused.value.slug, refused.value.status, refused.value.detail) == ("scope-missing", 403, "do this")
    assert refused.value.fields == {"scope": "issue"}


# Time


def stale_until(offset_s: float, answered: Callable[[], dict[str, Any]]) -> Callable[[Heard], Said]:
    """A server whose clock is ahead of ours."""

    def answer(heard: Heard) -> Said:
        (created,) = re.findall(r"created=(\d+)", heard.headers["signature-input"])
        if abs(time.time() + offset_s - int(created)) > 30:
            return problem("signature-stale", 401, **answered())
        return told({})

    return answer


@pytest.mark.parametrize("offset_s", [-3600, 90, 86_400])
@pytest.mark.parametrize("form", ["text", "number"])
def test_a_clock_that_is_wrong_is_set_right_by_a_refusal_once(offset_s: int, form: str) -> None:
    def server_time() -> dict[str, Any]:
        now_s = time.time() + offset_s
        written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
        return {"server_time": written if form == "text" else now_s}

    with serving(stale_until(offset_s, server_time)) as server:
        asked = asking(server.url)
        asked.ask(WRITE)
        asked.ask(WRITE)
        assert len(server.heard) == 3
        assert abs(asked.clock.offset_s - offset_s) < 3


@pytest.mark.parametrize("server_time", ["yesterday", float("inf"), float("nan"), None, [], 10**400], ids=str)
def test_a_server_that_calls_everything_stale_is_asked_twice(server_time: Any) -> None:
    with saying(problem("signature-stale", 401, server_time=server_time)) as server:
        asked = asking(server.url)
        with pytest.raises(ApiProblem) as refused:
            asked.ask(READ)
        assert (refused.value.slug, len(server.heard), asked.clock.offset_s) == ("signature-stale", 2, 0)


def test_the_date_of_any_answer_sets_a_clock_right_that_is_far_off() -> None:
    ahead = email.utils.formatdate(time.time() + 600, usegmt=True)
    with saying(told([], Date=ahead)) as server:
        asked = asking(server.url)
        asked.ask(READ)
        assert 590 < asked.clock.offset_s < 610
    clock, now_s = Clock(), time.time()
    late = email.utils.formatdate(now_s - 1.5, usegmt=True)
    slow = email.utils.formatdate(now_s - 30, usegmt=True)
    for date, sent_s in ((None, now_s), ("", now_s), ("soon", now_s), (late, now_s), (slow, now_s - 40)):
        clock.hear(date, sent_s=sent_s)
        assert clock.offset_s == 0


# Connections


def test_one_connection_carries_many_requests() -> None:
    with saying(told({})) as server:
        asked = asking(server.url)
        for _ in range(5):
            asked.ask(READ)
        assert len({each.port for each in server.heard}) == 1
        asked.close()


def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    with saying(told({}, Connection="close"), told({})) as server:
        asked = asking(server.url)
        asked.ask(WRITE)
        asked.ask(WRITE)
        assert len({each.port for each in server.heard}) == 2
    with socket.create_server(("127.0.0.1", 0)) as listening:
        content = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        closed = threading.Event()

        def serve() -> None:
            for _ in range(2):
                taken, _address = listening.accept()
                with taken:
                    taken.recv(65_536)
                    taken.sendall(content)
                closed.set()

        thread = threading.Thread(target=serve)
        thread.start()
        asked = asking(f"http://127.0.0.1:{listening.getsockname()[1]}")
        asked.ask(WRITE)
        closed.wait(5)
        asked.ask(WRITE)
        thread.join()


def test_threads_share_a_client() -> None:
    with verifying(KEY.public_key()) as server:
        asked = asking(server.url)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: asked.ask(WRITE, "k").content, range(40)))
        assert len(answers) == 40
        assert {each["keyid"] for each in answers} == {"Ed9KpQ2mZr1"}
        asked.close()


def test_credentials_follow_no_redirect() -> None:
    with saying(told({})) as elsewhere, saying(told({}, 307, Location=f"{elsewhere.url}/v1/assets")) as server:
        with pytest.raises(Away, match="answers 307"):
            asking(server.url, credential=BearerCredential("munsk_test_secret")).ask(READ)
        assert elsewhere.heard == []


def test_the_proxy_of_the_environment_is_asked_for_a_tunnel_and_sees_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with saying((403, {}, b"")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//ada:pass%20word@"))
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(Away, match="does not answer"):
            asking("https://api.example.com", patience_s=0).ask(WRITE)
        (heard,) = proxy.heard
        assert (heard.method, heard.path, heard.body) == ("CONNECT", "api.example.com:443", b"")
        assert heard.headers["proxy-authorization"] == "Basic YWRhOnBhc3Mgd29yZA=="
        assert "signature" not in heard.headers


@pytest.mark.parametrize(
    "named", ["https://ada:secret@127.0.0.1:{}", "socks5://127.0.0.1:{}", "http://a:no", "http://"]
)
def test_a_proxy_that_would_be_spoken_to_in_another_way_than_it_wants_is_refused(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with saying((200, {}, b"")) as proxy:
        monkeypatch.setenv("https_proxy", named.format(proxy.url.rpartition(":")[2]))
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(Unusable, match="HTTPS_PROXY: name a proxy as http://host:port") as refused:
            asking("https://api.example.com").ask(READ)
        assert (proxy.heard, "secret" in str(refused.value)) == ([], False)


def test_a_proxy_without_a_port_has_that_of_http(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        asked.append(address)
        raise OSError("nobody is there")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setenv("no_proxy", "")
    for named in ("http://proxy.example", "proxy.example"):
        monkeypatch.setenv("https_proxy", named)
        with pytest.raises(Away):
            asking("https://api.example.com", patience_s=0).ask(READ)
    assert asked == [("proxy.example", 80)] * 2


def test_an_address_that_is_none_is_refused() -> None:
    for url in ("ftp://a", "http://user:secret@a", "http://", "http://a/?b", "http://a b", "http://a:no", "api"):
        with pytest.raises(Unusable, match="is http://host:port or https://host"):
            Client(url, None)


def test_an_address_may_have_a_path() -> None:
    with saying(told([])) as server:
        asking(f"{server.url}/ledger/").ask(READ)
        assert server.heard[0].path == "/ledger/v1/assets"
        assert signatures(server.heard, server.url)


# Waiting


def test_an_operation_is_waited_for_through_a_restart() -> None:
    done = {**OPERATION, "status": "succeeded", "closed_at": "2026-11-22T16:00:05Z"}
    with saying(told(OPERATION, 202), CUT, problem("database-unavailable", 503), told(OPERATION), told(done)) as server:
        client = Client(server.url, ed25519(), patience_s=0)
        operation = client.wait(client.tokens.mint("0199", to="0x" + "33" * 20, amount=2**255))
        assert (operation.status, operation.closed_at is not None) == ("succeeded", True)
        assert server.heard[0].body == f'{{"to": "0x{"33" * 20}", "amount": "{2**255}"}}'.encode()
        assert {each.path for each in server.heard[1:]} == {f"/v1/operations/{OPERATION['id']}"}


def busy(slug: str, status: int, retry_after: str) -> Said:
    _, headers, body = problem(slug, status)
    return status, {**headers, "Retry-After": retry_after}, body


def test_a_limit_that_is_met_while_an_operation_is_waited_for_is_kept() -> None:
    done = {**OPERATION, "status": "succeeded", "closed_at": "2026-11-22T16:00:05Z"}
    limited, away = busy("too-many-requests", 429, "1"), busy("database-unavailable", 503, "0")
    for patience_s in (0.0, 5.0):
        with saying(limited, problem("too-many-requests", 429), away, told(done)) as server:
            start_s = time.monotonic()
            assert (
                Client(server.url, ed25519(), patience_s=patience_s).wait(Operation.of(OPERATION)).status == "succeeded"
            )
            assert (len(server.heard), time.monotonic() - start_s > 1) == (4, True)


@pytest.mark.parametrize(
    "answer", [busy("too-many-requests", 429, "3600"), busy("away", 503, "3600")], ids=["429", "503"]
)
def test_a_limit_that_ends_too_late_is_no_failure_of_the_operation(answer: Said) -> None:
    with saying(answer) as server, pytest.raises(NotFinal, match="it goes on"):
        Client(server.url, ed25519()).wait(Operation.of(OPERATION), timeout_s=0.3)
    assert len(server.heard) == 1


def test_an_operation_that_may_not_be_read_is_not_waited_for() -> None:
    with saying(problem("scope-missing", 403)) as server, pytest.raises(ApiProblem, match="scope-missing"):
        Client(server.url, ed25519()).wait(Operation.of(OPERATION))
    assert len(server.heard) == 1


def test_an_operation_that_fails_is_a_problem_and_one_that_takes_long_goes_on() -> None:
    reverted = {"type": "/problems/transfer-restricted", "title": "Restricted", "detail": "ask", "rule": {"code": 7}}
    pending = Operation.of(OPERATION)
    with saying(told({**OPERATION, "status": "failed", "problem": reverted})) as server:
        with pytest.raises(OperationFailed) as failed:
            Client(server.url, ed25519()).wait(pending)
        assert (failed.value.slug, failed.value.fields) == ("transfer-restricted", {"rule": {"code": 7}})
        assert failed.value.operation.status == "failed"
    with saying(told(OPERATION)) as server, pytest.raises(NotFinal) as late:
        Client(server.url, ed25519()).wait(pending, timeout_s=0.05)
    assert late.value.operation == pending


def test_an_approval_goes_with_the_call_that_it_is_for() -> None:
    key = {"name": "Idempotency-Key", "in": "header", "required": True, "schema": {"type": "string"}}
    revoke = {"operationId": "revoke_all_keys", "tags": ["keys"], "summary": "", "parameters": [key], "responses": {}}
    document = {"openapi": "3.1.0", "paths": {"/v1/keys/revoke-all": {"post": revoke}}, "components": {"schemas": {}}}

    def answer(heard: Heard) -> Said:
        return told(document) if heard.path == "/openapi.json" else told({"revoked": 2})

    with serving(answer) as server, Client(server.url, BearerCredential("munsk_test_secret")) as client:
        assert client.call("revoke_all_keys", idempotency_key="once", approval="0199f6b1") == {"revoked": 2}
    asked = server.heard[-1].headers
    assert (asked["muniment-approval"], asked["idempotency-key"]) == ("0199f6b1", "once")
