"""Rows from JSON and CSV: what is read, and what is told of each fault."""

import json
from typing import Any

import pytest

from service.addresses import checksum
from service.batches.orders import FREEZE, IDENTITY, MINT, ROWS_MAX, TRANSFER, Kind, Rows, read_rows
from service.batches.problems import BatchInvalid
from service.web.problems import InvalidRequest

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BOB = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
INVESTOR = "0x" + "5e" * 32
TWO = f"to,amount\n{ALICE},7\n{BOB},8\n"


def from_csv(text: str | bytes, kind: Kind = MINT) -> Rows:
    return read_rows(kind, "text/csv; charset=utf-8", text if isinstance(text, bytes) else text.encode())


def from_json(content: Any, kind: Kind = MINT) -> Rows:
    return read_rows(kind, "application/json", json.dumps(content).encode())


def errors(text: str | bytes, kind: Kind = MINT) -> list[dict[str, Any]]:
    with pytest.raises(BatchInvalid) as raised:
        from_csv(text, kind)
    found: list[dict[str, Any]] = raised.value.extensions["errors"]
    return found


def test_rows_are_the_same_however_they_are_sent() -> None:
    content = {"rows": [{"to": ALICE.lower(), "amount": "7"}, {"to": BOB, "amount": "8"}]}
    assert from_json(content).digest() == from_csv(TWO).digest()
    assert from_csv(TWO).given == [{"to": ALICE, "amount": "7"}, {"to": BOB, "amount": "8"}]
    assert from_csv(TWO.replace(",8", ",9")).digest() != from_csv(TWO).digest()


@pytest.mark.parametrize(
    "text",
    [
        TWO.replace("\n", "\r\n"),
        TWO.rstrip("\n"),
        "\ufeff" + TWO,
        TWO.replace("\n", "\n\n"),
        TWO + "\n,\n,\n",
        TWO.replace(ALICE, f'"{ALICE}"').replace(",8", ',"8"'),
        f"amount,to\n7,{ALICE}\n8,{BOB}\n",
        f'"to","amount"\n{ALICE},7\n{BOB},8\n',
        f"to,amount,row,status,problem\n{ALICE},7,1,failed,The token is paused: x\n{BOB},8,2,failed,\n",
    ],
    ids=["CRLF", "no last break", "BOM", "empty lines", "empty cells", "quotes", "order", "quoted header", "our own"],
)
def test_a_file_may_be_written_in_many_ways(text: str) -> None:
    assert from_csv(text).digest() == from_csv(TWO).digest()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"a,b\n1,2\n",
        f"{ALICE},7\n".encode(),
        f"to\n{ALICE}\n".encode(),
        f"to,amount,amount\n{ALICE},7,7\n".encode(),
        f"to,amount,note\n{ALICE},7,x\n".encode(),
        f"to;amount\n{ALICE};7\n".encode(),
        TWO.encode("utf-16"),
        b"to,amount\n\xff\xfe,1\n",
        f'to,amount\n"{ALICE},7\n'.encode(),
        f'to,amount\n"{ALICE}"x,7\n'.encode(),
    ],
    ids=[
        *("empty", "blank", "other header", "no header", "missing", "twice", "unknown", "semicolons", "UTF-16"),
        *("Latin", "open quote", "after a quote"),
    ],
)
def test_what_is_no_such_file_is_refused_with_the_way_out(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        from_csv(body)


@pytest.mark.parametrize("amount", ["0", "-1", "1.5", "1e3", " 1", "01", "\u0661", str(2**256), "x", ""])
def test_a_malformed_amount_is_told_with_row_line_and_pointer(amount: str) -> None:
    (error,) = errors(f"to,amount\n\n{ALICE},7\n{BOB},{amount}\n")
    assert (error["row"], error["line"], error["pointer"]) == (2, 4, "#/rows/1/amount")
    assert error["detail"]


def test_a_line_of_too_many_or_too_few_cells_is_told() -> None:
    found = errors(f"to,amount\n{ALICE},7,8\n{BOB}\n{BOB},1\n")
    assert [(each["row"], each["pointer"]) for each in found] == [(1, "#/rows/0"), (2, "#/rows/1")]


def test_all_faults_are_counted_and_a_hundred_told() -> None:
    with pytest.raises(BatchInvalid) as raised:
        from_csv("to,amount\n" + "x,y\n" * 300)
    assert len(raised.value.extensions["errors"]) == 100
    assert raised.value.extensions["errors_count"] == 600
    assert len(str(raised.value)) < 1_000


def test_an_answer_does_not_repeat_the_rows() -> None:
    with pytest.raises(BatchInvalid) as raised:
        from_json({"rows": [{"to": "hidden", "amount": {"hidden": "hidden"}, "a/b": 1}]})
    body = json.dumps(raised.value.body())
    assert "hidden" not in body
    assert "#/rows/0/a~1b" in body


@pytest.mark.parametrize("count", [0, ROWS_MAX + 1])
def test_too_few_or_too_many_rows_are_refused(count: int) -> None:
    with pytest.raises(BatchInvalid) as raised:
        from_json({"rows": [{"to": ALICE, "amount": "1"}] * count})
    assert raised.value.extensions["errors"][0]["pointer"] == "#/rows"
    assert errors("to,amount\n" + f"{ALICE},1\n" * count)[0]["pointer"] == "#/rows"


def test_ten_thousand_rows_are_read() -> None:
    assert len(from_csv("to,amount\n" + f"{ALICE},1\n" * ROWS_MAX).orders) == ROWS_MAX


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"rows": {}}', b'{"rows": [], "more": 1}', b"\xff", b'{"rows": [], "rows": []}'],
)
def test_json_that_is_no_list_of_rows_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_rows(MINT, "application/json", body)


def test_json_without_end_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        read_rows(MINT, "application/json", b'{"rows": ' + b"[" * 200_000)


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_another_media_type_is_refused(media_type: str) -> None:
    with pytest.raises(InvalidRequest):
        read_rows(MINT, media_type, TWO.encode())


def test_an_account_is_frozen_once_in_a_batch() -> None:
    found = errors(f"account,amount\n{ALICE},1\n{BOB},1\n{ALICE.lower()},2\n", FREEZE)
    assert [(each["row"], each["pointer"]) for each in found] == [(3, "#/rows/2/account")]
    assert "row 1" in found[0]["detail"]


def test_an_investor_is_described_once_in_a_batch() -> None:
    found = errors(f"investor,country,level\n{INVESTOR},756,1\n{INVESTOR},756,2\n", IDENTITY)
    assert [each["row"] for each in found] == [2]


def test_an_account_may_be_minted_to_and_may_send_many_times() -> None:
    assert len(from_csv(f"to,amount\n{ALICE},1\n{ALICE},1\n").orders) == 2
    assert len(from_csv(f"from,to,amount\n{ALICE},{BOB},1\n{ALICE},{BOB},1\n", TRANSFER).orders) == 2


def test_numbers_and_times_of_an_identity_are_read_from_csv() -> None:
    rows = from_csv(f"investor,country,level,expires_at\n{INVESTOR},756,2,2027-01-31T00:00:00Z\n", IDENTITY)
    given = {"investor": INVESTOR, "country": 756, "level": 2, "expires_at": "2027-01-31T00:00:00Z"}
    assert rows.given == [given]
    assert rows.digest() == from_json({"rows": [given]}, IDENTITY).digest()


def test_an_empty_cell_is_a_field_left_out() -> None:
    rows = from_csv(f"investor,country,level,expires_at\n{INVESTOR},756,2,\n", IDENTITY)
    assert rows.orders[0].expires_at is None
    rows = from_csv(f"account,expected,amount\n{ALICE},,5\n", FREEZE)
    assert (rows.orders[0].expected, rows.given) == (0, [{"account": checksum(rows.orders[0].account), "amount": "5"}])
