"""The rows of a batch, from JSON or CSV: all of them are checked, and all that is wrong is counted."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.batches.problems import BatchInvalid
from service.compliance.orders import IdentityOrder
from service.tokens.controls import FUNGIBLE, UNITS, FreezeOrder, MintOrder
from service.tokens.moves import TransferOrder
from service.web.orders import Order
from service.web.problems import InvalidRequest, sentence
from service.web.strict_json import strict_json

ROWS_MAX = 10_000
ERRORS_TOLD_MAX = 100

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Ten thousand rows of the longest kind, as JSON."""

ANSWERED = ("row", "status", "problem")
"""Columns that our own CSV adds: a corrected file may keep them, and they are not read."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is done to each row. A row is the body of the request that does it once."""

    name: str
    operation: str  # the kind of the operations that carry packs
    order: type[Order]
    token_kinds: frozenset[str]  # none where no token is concerned
    unique: str | None = None  # the column that no two rows may share
    integers: frozenset[str] = frozenset()  # columns that are numbers in JSON

    @property
    def columns(self) -> dict[str, bool]:
        """The wire names of a row's fields, and whether each is required."""
        return {each.alias or name: each.is_required() for name, each in self.order.model_fields.items()}


MINT = Kind("mint", "token.batch-mint", MintOrder, UNITS)
TRANSFER = Kind("transfer", "token.batch-transfer", TransferOrder, UNITS)
FREEZE = Kind("freeze", "token.batch-freeze", FreezeOrder, FUNGIBLE, unique="account")
IDENTITY = Kind(
    *("identity", "identity.batch-set", IdentityOrder, frozenset()),
    unique="investor",
    integers=frozenset({"country", "level"}),
)
KINDS = {kind.name: kind for kind in (MINT, TRANSFER, FREEZE, IDENTITY)}


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked rows, in their order: the first one is row 1."""

    orders: Sequence[Any] = field(repr=False)
    given: Sequence[dict[str, Any]] = field(repr=False)  # under wire names, in one spelling, without defaults

    def digest(self) -> str:
        """What tells these rows from others, however they were spelled: a SHA-256 in hexadecimal digits."""
        text = json.dumps(self.given, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def read_rows(kind: Kind, media_type: str, body: bytes) -> Rows:
    """The rows of a request's body. It takes a while: some 60 µs for each row.

    Args:
        media_type: the request's Content-Type, parameters included.

    Raises:
        InvalidRequest: the body can't be read as JSON or CSV.
        BatchInvalid: there are too few or too many rows, or some are malformed.
    """
    media_type = media_type.partition(";")[0].strip().lower()
    if media_type == "text/csv":
        lines, found = _from_csv(kind, body)
    elif media_type == "application/json":
        lines, found = None, _from_json(body)
    else:
        raise InvalidRequest("send application/json or text/csv, and say which by Content-Type")
    if not 1 <= len(found) <= ROWS_MAX:
        raise _invalid([{"pointer": "#/rows", "detail": f"give 1 to {ROWS_MAX} rows, not {len(found)}"}], 1)
    try:
        orders = _adapter(kind.order).validate_python(found)
    except ValidationError as error:
        told = _shown(error, found)
        raise _invalid([_located(each, lines) for each in told], error.error_count()) from None
    _refuse_twice(kind, orders, lines)
    return Rows(orders, _adapter(kind.order).dump_python(orders, mode="json", by_alias=True, exclude_defaults=True))


def accepted_orders(kind: Kind, given: Sequence[dict[str, Any]]) -> list[Any]:
    """The orders of rows that were accepted before."""
    return _adapter(kind.order).validate_python(list(given))


@cache
def _adapter(order: type[Order]) -> TypeAdapter[list[Any]]:
    return TypeAdapter(list[order])  # type: ignore[valid-type]


def _invalid(errors: list[dict[str, Any]], count: int) -> BatchInvalid:
    told = "; ".join(f"{each['pointer']}: {each['detail']}" for each in errors[:3])
    more = f"; and {count - 3} more" if count > 3 else ""
    return BatchInvalid(f"{told}{more}", errors=errors, errors_count=count)


def _shown(error: ValidationError, found: Sequence[Any]) -> Iterator[tuple[int, str, str]]:
    """Row index, pointer and sentence of the first faults."""
    for each in error.errors(include_url=False, include_input=False)[:ERRORS_TOLD_MAX]:
        index, *rest = each["loc"]
        steps = [str(step)[:80].replace("~", "~0").replace("/", "~1") for step in rest]
        yield int(index), "/".join(["#/rows", str(index), *steps]), sentence(each)


def _located(fault: tuple[int, str, str], lines: Sequence[int] | None) -> dict[str, Any]:
    index, pointer, detail = fault
    line = {} if lines is None else {"line": lines[index]}
    return {"row": index + 1, **line, "pointer": pointer, "detail": detail}


def _refuse_twice(kind: Kind, orders: Sequence[Any], lines: Sequence[int] | None) -> None:
    if kind.unique is None:
        return
    first: dict[Any, int] = {}
    faults = []
    for index, order in enumerate(orders):
        row = first.setdefault(getattr(order, kind.unique), index)
        if row != index:
            faults.append((index, f"#/rows/{index}/{kind.unique}", f"row {row + 1} has this {kind.unique} already"))
    if faults:
        raise _invalid([_located(each, lines) for each in faults[:ERRORS_TOLD_MAX]], len(faults))


def _from_json(body: bytes) -> list[Any]:
    try:
        content = strict_json(body)
    except (ValueError, RecursionError) as error:
        told = error.msg if isinstance(error, json.JSONDecodeError) else "it is no UTF-8, or no JSON that can be read"
        raise InvalidRequest(f"#: the body is not valid JSON ({told})", errors=[]) from None
    if not isinstance(content, dict) or content.keys() != {"rows"} or not isinstance(content["rows"], list):
        raise InvalidRequest('#: give an object with one list: {"rows": [...]}', errors=[])
    return content["rows"]


def _from_csv(kind: Kind, body: bytes) -> tuple[list[int], list[dict[str, Any]]]:
    """The line on which each row ends, and the rows; lines without content are none. Source: RFC 4180."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("the file is not UTF-8: save it as CSV in UTF-8", errors=[]) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        _check_header(kind, header)
        return _csv_rows(kind, reader, header)
    except csv.Error as error:
        raise InvalidRequest(f"line {reader.line_num} is not CSV ({error})", errors=[]) from None


def _check_header(kind: Kind, header: Sequence[str]) -> None:
    columns = kind.columns
    known = [name for name in header if name in columns]
    strange = [name for name in header if name not in columns and name not in ANSWERED]
    missing = [name for name, required in columns.items() if required and name not in known]
    if strange or missing or len(set(header)) != len(header):
        raise InvalidRequest(
            f"the first line names the columns, separated by commas: {','.join(columns)}; "
            f"only {', '.join(name for name, required in columns.items() if required)} must be there",
            errors=[],
        )


def _csv_rows(kind: Kind, reader: Any, header: Sequence[str]) -> tuple[list[int], list[dict[str, Any]]]:
    lines: list[int] = []
    rows: list[dict[str, Any]] = []
    faults = []
    for cells in reader:
        if not any(cells):
            continue
        if len(rows) == ROWS_MAX:
            raise _invalid([{"pointer": "#/rows", "detail": f"give {ROWS_MAX} rows at most"}], 1)
        lines.append(reader.line_num)
        if len(cells) != len(header):
            detail = f"{len(header)} columns are named, and this line has {len(cells)}"
            faults.append((len(rows), f"#/rows/{len(rows)}", detail))
        given = {name: cell for name, cell in zip(header, cells, strict=False) if cell and name not in ANSWERED}
        rows.append({name: _cell(kind, name, cell) for name, cell in given.items()})
    if faults:
        raise _invalid([_located(each, lines) for each in faults[:ERRORS_TOLD_MAX]], len(faults))
    return lines, rows


def _cell(kind: Kind, name: str, cell: str) -> Any:
    small = name in kind.integers and cell.isascii() and cell.isdigit() and len(cell) < 10
    return int(cell) if small else cell
