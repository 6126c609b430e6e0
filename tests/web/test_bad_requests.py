"""Bad input is refused with a problem that names the field, and nothing happens."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.amounts import AMOUNT_MAX
from service.web.paging import encode_cursor
from tests.web.answers import pointers, problem
from tests.web.cursors import given_out
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOLDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
OTHER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
NO_TOKEN = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"

MALFORMED_AMOUNTS = [
    "-1",
    "1.5",
    "+1",
    "01",
    " 1",
    "1 ",
    "",
    "0",
    "1e3",
    "0x1",
    "\u0661",
    str(2**256),
    "9" * 10_000,
    1,
    -1,
    1.0,
    1e300,
    True,
    None,
    [],
    {},
]
MALFORMED_ADDRESSES = [
    "",
    HOLDER[2:],
    HOLDER[:-1],
    HOLDER.swapcase().replace("0X", "0x"),
    "0x" + "0" * 40,
    "0x" + "g" * 40,
    "alice.eth",
    0,
    None,
    [],
]
MOVES = [
    ("mint", {"to": HOLDER, "amount": "1"}),
    ("burn", {"from": HOLDER, "amount": "1"}),
    ("transfer", {"from": HOLDER, "to": OTHER, "amount": "1"}),
]


async def send(
    world: World, path: str, content: bytes | AsyncIterator[bytes], *, method: str = "POST", **headers: str
) -> httpx.Response:
    given_headers = {
        "Authorization": f"Bearer {world.key}",
        "Idempotency-Key": str(uuid4()),
        "Content-Type": "application/json",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    return await world.client.request(method, path, content=content, headers=given_headers)


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move[0])
@pytest.mark.parametrize("amount", MALFORMED_AMOUNTS, ids=lambda amount: ascii(amount)[:20])
async def test_a_malformed_amount_is_named(shared: World, move: tuple[str, dict[str, Any]], amount: Any) -> None:
    name, body = move
    answer = await shared.post(f"/v1/tokens/{NO_TOKEN}/{name}", {**body, "amount": amount})
    assert pointers(answer) == ["#/amount"]


async def test_a_number_that_is_none_is_no_json(shared: World) -> None:
    body = b'{"to": "%s", "amount": NaN}' % HOLDER.encode()
    assert pointers(await send(shared, f"/v1/tokens/{NO_TOKEN}/mint", body)) == ["#"]


@pytest.mark.parametrize("amount", ["1", str(AMOUNT_MAX)])
async def test_a_well_formed_amount_passes_on_to_the_next_question(shared: World, amount: str) -> None:
    answer = await shared.post(f"/v1/tokens/{NO_TOKEN}/mint", {"to": HOLDER, "amount": amount})
    problem(answer, "token-not-found")


@pytest.mark.parametrize("text", MALFORMED_ADDRESSES, ids=ascii)
@pytest.mark.parametrize(
    ("name", "field"), [("mint", "to"), ("burn", "from"), ("transfer", "from"), ("transfer", "to")]
)
async def test_a_malformed_address_is_named(shared: World, name: str, field: str, text: Any) -> None:
    body = {**dict(MOVES)[name], field: text}
    assert pointers(await shared.post(f"/v1/tokens/{NO_TOKEN}/{name}", body)) == [f"#/{field}"]


@pytest.mark.parametrize("text", [text for text in MALFORMED_ADDRESSES if text is not None], ids=ascii)
async def test_a_malformed_address_of_an_account_is_named(shared: World, text: Any) -> None:
    assert pointers(await shared.post("/v1/accounts", {"address": text})) == ["#/address"]


@pytest.mark.parametrize("text", [HOLDER[:-1], HOLDER.swapcase().replace("0X", "0x"), "0x" + "0" * 40, "x"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/accounts/{}", "address"),
        ("/v1/accounts/{}/transfers", "account"),
        ("/v1/accounts/{}/holdings", "account"),
        (f"/v1/tokens/{NO_TOKEN}/holders/{{}}", "account"),
        (f"/v1/tokens/{NO_TOKEN}/holders/{{}}/history", "account"),
    ],
)
async def test_a_malformed_address_in_a_path_is_named(shared: World, path: str, name: str, text: str) -> None:
    assert pointers(await shared.get(path.format(text))) == [f"path {name}"]


async def test_a_malformed_address_in_a_filter_is_named(shared: World) -> None:
    answer = await shared.get(f"/v1/tokens/{NO_TOKEN}/transfers", account=HOLDER[:-1])
    assert pointers(answer) == ["query account"]


@pytest.mark.parametrize("text", [HOLDER, HOLDER.lower(), "0x" + HOLDER[2:].upper()])
async def test_each_spelling_of_an_address_is_taken(shared: World, text: str) -> None:
    problem(await shared.post(f"/v1/tokens/{NO_TOKEN}/mint", {"to": text, "amount": "1"}), "token-not-found")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/assets", {}, ["#/name", "#/category"]),
        ("/v1/assets", {"name": "a", "category": "house", "owner": "me"}, ["#/owner"]),
        ("/v1/assets", {"name": "", "category": "house"}, ["#/name"]),
        ("/v1/assets", {"name": "  ", "category": "house"}, ["#/name"]),
        ("/v1/assets", {"name": "a\nb", "category": "house"}, ["#/name"]),
        ("/v1/assets", {"name": "a\u202eb", "category": "house"}, ["#/name"]),
        ("/v1/assets", {"name": "a" * 121, "category": "house"}, ["#/name"]),
        ("/v1/assets", {"name": 1, "category": "house"}, ["#/name"]),
        ("/v1/assets", {"name": "a", "category": "ship"}, ["#/category"]),
        ("/v1/assets", {"name": "a", "category": "house", "description": "a" * 2_001}, ["#/description"]),
        ("/v1/assets", {"name": "a", "category": "house", "description": "a\x00b"}, ["#/description"]),
        ("/v1/assets", {"name": "a", "category": "house", "description": None}, ["#/description"]),
        ("/v1/accounts", {"label": "a\x00b"}, ["#/label"]),
        ("/v1/accounts", {"lable": "Alice"}, ["#/lable"]),
        ("/v1/accounts", {"label": "a" * 121}, ["#/label"]),
        ("/v1/tokens", {}, ["#/asset_id", "#/name", "#/symbol"]),
        ("/v1/tokens", {"asset_id": "x", "name": "a", "symbol": "A"}, ["#/asset_id"]),
        ("/v1/tokens", {"asset_id": NO_TOKEN, "name": "a", "symbol": "A B"}, ["#/symbol"]),
        ("/v1/tokens", {"asset_id": NO_TOKEN, "name": "a", "symbol": "A\n"}, ["#/symbol"]),
        ("/v1/tokens", {"asset_id": NO_TOKEN, "name": "a", "symbol": ""}, ["#/symbol"]),
        ("/v1/tokens", {"asset_id": NO_TOKEN, "name": "a", "symbol": "A" * 17}, ["#/symbol"]),
        ("/v1/tokens", {"asset_id": NO_TOKEN, "name": "a", "symbol": "A", "decimals": 19}, ["#/decimals"]),
        ("/v1/tokens", {"asset_id": NO_TOKEN, "name": "a", "symbol": "A", "decimals": -1}, ["#/decimals"]),
        ("/v1/tokens", {"asset_id": NO_TOKEN, "name": "a", "symbol": "A", "decimals": 2.0}, ["#/decimals"]),
        ("/v1/tokens", {"asset_id": NO_TOKEN, "name": "a", "symbol": "A", "decimals": "2"}, ["#/decimals"]),
        ("/v1/tokens", {"asset_id": NO_TOKEN, "name": "a", "symbol": "A", "kind": "nft"}, ["#/kind"]),
        (f"/v1/tokens/{NO_TOKEN}/pause", {"reason": "audit"}, ["#/reason"]),
        (f"/v1/tokens/{NO_TOKEN}/unpause", {"reason": "audit"}, ["#/reason"]),
        (f"/v1/tokens/{NO_TOKEN}/burn", {"holder": HOLDER, "amount": "1"}, ["#/from", "#/holder"]),
        (f"/v1/tokens/{NO_TOKEN}/transfer", {"to": OTHER}, ["#/from", "#/amount"]),
    ],
)
async def test_a_wrong_field_is_named(shared: World, path: str, body: dict[str, Any], expected: list[str]) -> None:
    assert pointers(await shared.post(path, body)) == expected


@pytest.mark.parametrize(("name", "pointer"), [("a/b", "#/a~1b"), ("a~b", "#/a~0b"), ("", "#/")])
async def test_a_pointer_is_written_as_rfc_6901_says(shared: World, name: str, pointer: str) -> None:
    assert pointers(await shared.post("/v1/accounts", {name: "x"})) == [pointer]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"label": }',
        b"nonsense",
        b"[]",
        b"[{}]",
        b'"text"',
        b"1",
        b"null",
        b"NaN",
        b"\xff\xff",
        b"[" * 50_000,
        b'{"label": "\\ud800"}',
        b'{"label": ' + b"1" * 10_000 + b"}",
    ],
    ids=lambda content: ascii(content[:24]),
)
async def test_a_body_that_is_no_object_is_refused(shared: World, content: bytes) -> None:
    problem(await send(shared, "/v1/accounts", content), "invalid-request")


@pytest.mark.parametrize("content", [b"{", b'{"label": }', b"nonsense"])
async def test_a_body_that_is_no_json_is_pointed_at_as_a_whole(shared: World, content: bytes) -> None:
    assert pointers(await send(shared, "/v1/accounts", content)) == ["#"]


async def test_a_field_given_twice_is_refused(shared: World) -> None:
    body = b'{"to": "%s", "amount": "1", "amount": "1000"}' % HOLDER.encode()
    problem(await send(shared, f"/v1/tokens/{NO_TOKEN}/mint", body), "invalid-request")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
async def test_a_body_of_another_media_type_is_refused(shared: World, media_type: str) -> None:
    problem(await send(shared, "/v1/accounts", b'{"label": "Alice"}', Content_Type=media_type), "invalid-request")


async def test_many_unknown_fields_make_no_huge_answer(shared: World) -> None:
    content = json.dumps({f"f{index}": 0 for index in range(5_000)}).encode()
    answer = await send(shared, "/v1/accounts", content)
    problem(answer, "invalid-request")
    assert len(answer.content) < 2 * len(content)


async def test_an_answer_does_not_repeat_the_input(shared: World) -> None:
    answer = await shared.post("/v1/accounts", {"label": {"hidden": "hidden"}, "address": "hidden"})
    assert pointers(answer) == ["#/address", "#/label"]
    assert "hidden" not in answer.text


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("over", [1, 1_000_000])
async def test_a_body_over_the_limit_is_refused(shared: World, streamed: bool, over: int) -> None:
    size = shared.settings.body_bytes_max + over

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 10_000):
            yield b" " * min(10_000, size - start)

    answer = await send(shared, "/v1/accounts", chunks() if streamed else b" " * size)
    problem(answer, "body-too-large")


async def test_a_body_over_the_limit_is_not_read_to_its_end(shared: World) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 100:
            read += 1
            yield b" " * 10_000

    problem(await send(shared, "/v1/accounts", endless()), "body-too-large")
    assert read < 10


async def test_a_body_at_the_limit_is_read(shared: World) -> None:
    content = b'{"label": "Alice"}'.ljust(shared.settings.body_bytes_max)
    assert (await send(shared, "/v1/accounts", content)).status_code == 201


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/tokens/x/y/z/w", "/v2/assets", "/problems/x/y"])
async def test_an_unknown_path_is_a_problem(shared: World, path: str) -> None:
    problem(await shared.get(path), "route-not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/assets", {"GET", "POST"}),
        ("PUT", f"/v1/assets/{NO_TOKEN}", {"GET"}),
        ("POST", "/v1/status", {"GET"}),
        ("GET", f"/v1/tokens/{NO_TOKEN}/mint", {"POST"}),
        ("PATCH", "/v1/operations", {"GET"}),
    ],
)
async def test_a_wrong_method_is_a_problem_that_names_the_right_ones(
    shared: World, method: str, path: str, allowed: set[str]
) -> None:
    answer = await send(shared, path, b"", method=method)
    problem(answer, "method-not-allowed")
    named = {name.strip() for name in answer.headers.get("allow", "").split(",")} - {"HEAD", ""}
    assert named  # RFC 9110 section 15.5.6: the field must be there
    assert named <= allowed


@pytest.mark.parametrize("id_", ["x", "1", NO_TOKEN[:-1], NO_TOKEN + "0", "%00", NO_TOKEN.replace("a", "g")])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/assets/{}", "asset_id"),
        ("/v1/tokens/{}", "token_id"),
        ("/v1/tokens/{}/holders", "token_id"),
        ("/v1/tokens/{}/transfers", "token_id"),
        ("/v1/operations/{}", "operation_id"),
    ],
)
async def test_a_malformed_id_in_a_path_is_named(shared: World, path: str, name: str, id_: str) -> None:
    assert pointers(await shared.get(path.format(id_))) == [f"path {name}"]


@pytest.mark.parametrize("limit", ["0", "-1", "501", "9" * 30, "1.5", "x", ""])
@pytest.mark.parametrize("path", ["/v1/assets", "/v1/accounts", "/v1/tokens", "/v1/operations"])
async def test_a_limit_out_of_range_is_named(shared: World, path: str, limit: str) -> None:
    assert pointers(await shared.get(path, limit=limit)) == ["query limit"]


@pytest.mark.parametrize("number", ["-1", "1.5", "x", "latest", "0x10", str(2**63), "9" * 40])
@pytest.mark.parametrize("name", ["at_block", "min_block"])
async def test_a_malformed_block_number_is_named(shared: World, name: str, number: str) -> None:
    answer = await shared.get(f"/v1/tokens/{NO_TOKEN}", **{name: number})
    assert pointers(answer) == [f"query {name}"]


@pytest.mark.parametrize(("name", "text"), [("status", "done"), ("token_id", "x")])
async def test_a_malformed_filter_of_operations_is_named(shared: World, name: str, text: str) -> None:
    assert pointers(await shared.get("/v1/operations", **{name: text})) == [f"query {name}"]


LISTS = ["assets", "tokens", "operations", "accounts"]


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!!",
        "%00",
        "\u00e9",
        "A" * 511,
        "A" * 5_000,
        "e30",  # {}
        "W10",  # []
        "bnVsbA",  # null
        encode_cursor("another list", bytes(16)),
    ],
)
@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_that_is_not_ours_is_refused(shared: World, path: str, cursor: str) -> None:
    problem(await shared.get(f"/v1/{path}", cursor=cursor), "bad-cursor")


@pytest.mark.parametrize("path", ["assets", "tokens", "operations"])
@pytest.mark.parametrize("position", [b"", b"\x01", bytes(15), bytes(17)])
async def test_a_cursor_with_another_lists_position_is_refused(shared: World, path: str, position: bytes) -> None:
    cursor = await given_out(shared, f"/v1/{path}", encode_cursor(path, position))
    problem(await shared.get(f"/v1/{path}", cursor=cursor), "bad-cursor")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("of", LISTS)
async def test_a_cursor_belongs_to_one_list(shared: World, path: str, of: str) -> None:
    cursor = await given_out(shared, f"/v1/{path}", encode_cursor(of, bytes(16)))
    answer = await shared.get(f"/v1/{path}", cursor=cursor)
    if path == of:
        assert answer.status_code == 200
    else:
        problem(answer, "bad-cursor")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(LISTS), cursor=st.text(max_size=60))
async def test_no_cursor_is_a_fault_of_the_service(shared: World, path: str, cursor: str) -> None:
    assert (await shared.get(f"/v1/{path}", cursor=cursor)).status_code in (200, 400)


@pytest.mark.parametrize("key", ["", " ", "a b", "a\tb", "\u00e9", "a" * 129, "\x7f"], ids=lambda key: ascii(key[:10]))
async def test_a_malformed_idempotency_key_is_named(shared: World, key: str) -> None:
    headers = [
        (b"Authorization", f"Bearer {shared.key}".encode()),
        (b"Idempotency-Key", key.encode("latin-1")),
        (b"Content-Type", b"application/json"),
    ]
    answer = await shared.client.post("/v1/accounts", content=b"{}", headers=headers)
    assert pointers(answer) == ["header Idempotency-Key"]


@pytest.mark.parametrize(
    "path",
    ["assets", "accounts", "tokens", *(f"tokens/{NO_TOKEN}/{name}" for name in ("mint", "burn", "pause", "unpause"))],
)
async def test_a_missing_idempotency_key_is_named(shared: World, path: str) -> None:
    headers = {"Authorization": f"Bearer {shared.key}"}
    answer = await shared.client.post(f"/v1/{path}", json={}, headers=headers)
    told = problem(answer, "idempotency-key-missing")
    assert (answer.status_code, told["errors"][0]["pointer"]) == (400, "header Idempotency-Key")
    assert "Idempotency-Key: this is required" in told["detail"]


async def test_an_idempotency_key_in_quotes_is_taken_as_it_is_written(shared: World) -> None:
    order = {"name": "12 Harbour Street", "category": "house"}
    quoted, bare = '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"
    first, again, other = [
        (await shared.post("/v1/assets", order, idempotency_key=key)).json()["id"] for key in (quoted, quoted, bare)
    ]
    assert (first == again, first == other) == (True, False)


async def test_a_problem_is_explained_where_its_type_points(shared: World) -> None:
    type_ = problem(await shared.get("/v1/nothing"), "route-not-found")["type"]
    answer = await shared.client.get(type_)
    assert answer.status_code == 200
    assert answer.json()["type"] == type_


@pytest.mark.parametrize("slug", ["nothing", "Invalid-Request", "..", "%00"])
async def test_a_problem_that_does_not_exist_is_a_problem(shared: World, slug: str) -> None:
    answer = await shared.client.get(f"/problems/{slug}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
