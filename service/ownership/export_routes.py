"""/v1/tokens/…/exports: tables as files, and the manifest of each file."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from service.access.http import EXPORTING
from service.addresses import Address
from service.mirror.queries import Label
from service.operations.labels import LabelView, label_view
from service.operations.reading import ReadingAt
from service.ownership.extracts import EXTRACTS, Column, Extract, pages
from service.ownership.files import Format, Key, finished, made
from service.ownership.problems import BlockReplaced
from service.ownership.seen import SEEN, Seen, seen
from service.tokens.problems import WrongTokenKind
from service.tokens.views import EXAMPLE_ID
from service.web.catalogue import documented

router = APIRouter(tags=["exports"], dependencies=[EXPORTING])

MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}

FormatParameter = Annotated[Format, Query(description="Of the file. The same block gives the same bytes.")]


class ColumnView(BaseModel):
    """One column of a file."""

    name: str = Field(examples=["amount"])
    type: Literal["text", "integer", "time"]
    description: str = Field(examples=["Base units, as decimal digits."])

    @classmethod
    def of(cls, column: Column) -> "ColumnView":
        """The view of a column."""
        return cls(name=column.name, type=column.type, description=column.description)


class ManifestView(BaseModel):
    """What a file holds, and how to know that it is whole and unaltered."""

    table: str = Field(examples=["cap-table"])
    format: Format
    token_id: UUID = Field(examples=[EXAMPLE_ID])
    contract: Address
    rows: int = Field(description="Without the line of column names.", examples=[3])
    size_bytes: int = Field(examples=[215])
    sha256: str = Field(pattern="^[0-9a-f]{64}$", examples=["8f" * 32], description="Of all bytes of the file.")
    columns: list[ColumnView]
    at: LabelView


def _key(extract: Extract, format: Format, found: Seen) -> Key:
    return (found.contract.address, found.contract.rebuilt, found.label.hash, extract.name, format)


def _manifest_url(path: str, format: Format, label: Label) -> str:
    moment = f"&shown_at={label.shown_at:%Y-%m-%dT%H:%M:%S.%fZ}" if label.shown_at else ""
    return f"{path}/manifest?format={format}&at_block={label.block}{moment}"


def _file_of(extract: Extract) -> Callable[..., Awaitable[StreamingResponse]]:
    async def export(
        token_id: UUID, request: Request, reading: ReadingAt, format: FormatParameter = "csv"
    ) -> StreamingResponse:
        async with seen(reading, token_id, deeds=extract.deeds) as found:
            label, rebuilt, key = found.label, found.contract.rebuilt, _key(extract, format, found)
        name = f"{extract.name}-{token_id}-{label.block}.{format}"
        return StreamingResponse(
            made(extract, format, pages(extract, reading, token_id, label, rebuilt), key),
            media_type=MEDIA_TYPES[format],
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                # Source: RFC 8288, and the registered relation `describedby`.
                "Link": f'<{_manifest_url(request.url.path, format, label)}>; rel="describedby"',
            },
        )

    return export


def _manifest_of(extract: Extract) -> Callable[..., Awaitable[ManifestView]]:
    async def manifest(token_id: UUID, reading: ReadingAt, format: FormatParameter = "csv") -> ManifestView:
        async with seen(reading, token_id, deeds=extract.deeds) as found:
            label, key, contract = found.label, _key(extract, format, found), found.contract
            marks = found.marks
        if finished(key) is None:
            await _make(extract, format, pages(extract, reading, token_id, label, contract.rebuilt), key)
        whole = finished(key)
        assert whole is not None
        return ManifestView(
            table=extract.name,
            format=format,
            token_id=token_id,
            contract=contract.address,
            rows=whole.rows,
            size_bytes=whole.size_bytes,
            sha256=whole.sha256,
            columns=[ColumnView.of(column) for column in extract.columns],
            at=label_view(label, marks),
        )

    return manifest


async def _make(extract: Extract, format: Format, lines: AsyncIterator[str], key: Key) -> None:
    """Make a file for its digest alone: another process made it before, or nobody did."""
    async with aclosing(made(extract, format, lines, key)) as chunks:
        async for _ in chunks:
            pass


def _responses(extract: Extract) -> dict[int | str, dict[str, Any]]:
    text = {"schema": {"type": "string"}, "example": extract.example}
    binary = {"schema": {"type": "string", "format": "binary"}, "example": "PAR1"}
    content = {MEDIA_TYPES["csv"]: text, MEDIA_TYPES["parquet"]: binary}
    return {200: {"description": "The file.", "content": content}, **documented(*_PROBLEMS[extract.deeds])}


_PROBLEMS = {None: SEEN, False: (*SEEN, WrongTokenKind)}

for _extract in EXTRACTS:
    _path, _name = f"/tokens/{{token_id}}/exports/{_extract.name}", _extract.name.replace("-", "_")
    router.add_api_route(
        _path,
        _file_of(_extract),
        name=f"export_{_name}",
        description=f"{_extract.summary}\n\nA file, streamed. It ends early where its block leaves the chain "
        "meanwhile; its manifest, which the Link header names, tells whether it is whole.",
        responses=_responses(_extract),
        response_class=StreamingResponse,
    )
    router.add_api_route(
        f"{_path}/manifest",
        _manifest_of(_extract),
        name=f"read_{_name}_manifest",
        description=f"What the export `{_extract.name}` holds as of a block, with the digest of its bytes.\n\n"
        "It is made of the whole file, which takes as long as the file does where nobody asked for it before.",
        responses=documented(*_PROBLEMS[_extract.deeds], BlockReplaced),
    )
