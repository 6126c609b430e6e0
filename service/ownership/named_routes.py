"""/v1/tokens/{token_id}/cap-table/named: the cap table with the names that the vault keeps."""

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from service.access.http import Revealing
from service.operations.labels import LabelledPage
from service.operations.reading import Reading, ReadingAt
from service.ownership.routes import CapTableOrder, read_cap_table
from service.ownership.seen import SEEN
from service.ownership.views import ShareView, TotalView
from service.vault.masks import View
from service.vault.orders import Reason
from service.vault.person_names import Named, named
from service.vault.problems import RecordDamaged, VaultKeysUnavailable
from service.vault.reveal_routes import GRANTED
from service.vault.routes import VaultDep
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.orders import Order
from service.web.paging import BadCursor, CursorParameter, Limit
from service.web.problems import BodyTooLarge

router = APIRouter(tags=["ownership"], route_class=StrictJsonRoute)


async def _of_primary(reading: ReadingAt) -> Reading:
    # A request that the replica fails is handled again, and its body was read by then.
    return replace(reading, replica=None)


OfPrimary = Annotated[Reading, Depends(_of_primary)]


class NamesOrder(Order):
    """How much of each name is to be seen, and why."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"view": "masked", "reason": "Register for the general meeting of 2027"}}
    )

    view: View
    reason: Reason


class NamedShareView(ShareView):
    """A holder with its name, as far as the vault knows it and its rules let it be seen."""

    person: UUID | None = Field(description="Null for an account that is nobody's in the vault.")
    name: str | None = Field(
        examples=["A** L*******"],
        description="Null where none was told, its record is not active any more, or the person is erased.",
    )
    erased: bool = Field(description="The person was erased: who it was, nobody can tell any more.")


class NamedCapTablePage(LabelledPage[NamedShareView]):
    """One page of a cap table with names, and what all its pages add up to."""

    total: TotalView


@router.post(
    "/tokens/{token_id}/cap-table/named",
    responses=documented(*SEEN, BadCursor, BodyTooLarge, *GRANTED, RecordDamaged, VaultKeysUnavailable),
)
async def read_named_cap_table(
    token_id: UUID,
    names: NamesOrder,
    reading: OfPrimary,
    caller: Revealing,
    vault: VaultDep,
    order: CapTableOrder = "amount",
    cursor: CursorParameter = None,
    limit: Limit = 100,
) -> NamedCapTablePage:
    """The cap table with names; each page is a reveal for the purpose `cap-table`, written down before it leaves.

    Whose accounts are is written down apart, also where no name is told. A POST, since the reason belongs into no URL.
    Who stands behind an account is what the vault says now, whatever the block. Where the rules of one name's policy
    say no, no name of the page is told.
    """
    table = await read_cap_table(token_id, reading, order, cursor, limit)
    accounts = [row.account for row in table.data]
    what = {"asset_token": str(token_id), "block": table.at.block}
    found = await named(vault, caller, accounts, view=names.view, reason=names.reason, what=what)
    return NamedCapTablePage(
        data=[_with_name(row, found.get(row.account)) for row in table.data],
        next_cursor=table.next_cursor,
        at=table.at,
        total=table.total,
    )


def _with_name(row: ShareView, found: Named | None) -> NamedShareView:
    if found is None:
        return NamedShareView(**dict(row), person=None, name=None, erased=False)
    return NamedShareView(**dict(row), person=found.person_id, name=found.name, erased=found.erased)
