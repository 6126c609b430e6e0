"""POST /v1/tokens/{token_id}/…: what roles and holders ask of a token, one route for each row of two tables."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, WithJsonSchema, create_model

from service.access.apikeys import Scope
from service.access.http import REFUSED, Following
from service.access.key_amounts import insist_on_token
from service.access.step_http import APPROVABLE, critical
from service.access.step_problems import CRITICAL
from service.addresses import Address
from service.amounts import parse_amount
from service.db import ReadConnection
from service.deployments import problems as deployments
from service.deployments.calls import RoleCall, send_call
from service.errors import Problem
from service.operations.http import CALL, LedgerDep, TokensAsking, accepted
from service.operations.submit import NonceTaken
from service.operations.views import OperationView
from service.tokens import acting, problems, queries
from service.tokens.acting import HolderCall, holder_call
from service.tokens.controls import ALICE, BOB, CONTROLS, Control, ControlOrder
from service.tokens.moves import MOVES, Move, MoveOrder
from service.tokens.queries import Prepared, standing_target, standing_token, target_of
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import Db
from service.web.orders import Order

router = APIRouter(route_class=StrictJsonRoute)

DeedInPath = Annotated[
    int,
    PathParameter(description="The deed's id, in decimal digits."),
    BeforeValidator(lambda text: parse_amount(str(text))),
    WithJsonSchema({"type": "string", "pattern": "^(0|[1-9][0-9]{0,77})$", "examples": ["1"]}),
]

_TOKEN: tuple[type[Problem], ...] = (
    *CALL,
    problems.TokenNotFound,
    problems.TokenNotDeployed,
    problems.WrongTokenKind,
    problems.TokenPaused,
    problems.InsufficientBalance,
    problems.TransferRestricted,
    deployments.SignerLacksRole,
    deployments.OperationAlreadyExecuted,
)
_CONTROL = (
    *_TOKEN,
    problems.TokenNotPaused,
    problems.FrozenAmountChanged,
    problems.CannotReceive,
    problems.CapExceeded,
    problems.NotBacked,
    problems.DeedNotFound,
    problems.DeedExists,
    problems.NotTheHolder,
    deployments.ContractMissing,
)
_MOVE = (
    *_TOKEN,
    problems.InsufficientUnfrozenBalance,
    problems.InsufficientAllowance,
    problems.AuthorizationAlreadyUsed,
    problems.DeedNotFound,
    problems.NotTheHolder,
)
_MANAGED = (problems.AccountNotFound, problems.AccountNotManaged)
_PREPARE = (problems.NodeAway, problems.SignerIsOurs)

Road = Literal["signature", "transaction"]

ROAD_FIELD = Field(
    "signature",
    description="`signature`: the holder signs a message, and the issuer's signer relays it and pays. "
    "`transaction`: the holder signs a transaction, and pays.",
)


class PreparedView(BaseModel):
    """Something for a holder to sign: `typed_data` with eth_signTypedData_v4, or `transaction`."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str = Field(examples=["token.transfer"])
    road: Road
    token_id: UUID | None
    account: Address = Field(description="Who is to sign.")
    typed_data: dict[str, Any] | None = Field(examples=[{"domain": {}, "types": {}, "message": {}}])
    transaction: dict[str, Any] | None = Field(examples=[None])
    parameters: dict[str, Any] = Field(examples=[{"from": ALICE, "to": BOB, "amount": "250"}])
    valid_until: datetime
    operation_id: UUID | None = Field(description="What became of it.")


class SubmitOrder(Order):
    """What the holder signed."""

    model_config = ConfigDict(json_schema_extra={"example": {"signed": "0x" + "5a" * 65}})

    signed: Annotated[StrictStr, Field(max_length=262_146, pattern=r"^0x([0-9a-fA-F]{2})+$")] = Field(
        description="The signature (r, s and v: 65 bytes), or the raw signed transaction."
    )


def _control(control: Control) -> Any:
    """The endpoint of one request of a role."""

    async def ask_contract(
        token_id: UUID, order: ControlOrder, ask: TokensAsking, ledger: LedgerDep, response: Response, *deed: int
    ) -> OperationView:
        request = ask(order)

        async def find() -> RoleCall:
            target = await standing_target(
                ledger.db, issuer_id=request.caller.issuer_id, id=token_id, kinds=control.token_kinds
            )
            return RoleCall(control.kind, target, order.function, order.arguments(deed))

        return accepted(await send_call(ledger, request, find), response)

    return _endpoint(ask_contract, control.path, control.order, control.name, control.summary)


def _move(move: Move, order_type: type[MoveOrder]) -> Any:
    """The endpoint of one request of a managed holder."""

    async def act(
        token_id: UUID, order: MoveOrder, ask: TokensAsking, ledger: LedgerDep, response: Response, *deed: int
    ) -> OperationView:
        request = ask(order)
        return accepted(await acting.act(ledger, request, _reader(move, request, token_id, order, deed)), response)

    return _endpoint(act, move.path, order_type, move.name, move.summary)


def _prepare(move: Move, order_type: type[MoveOrder]) -> Any:
    """The endpoint that gives a holder with its own key something to sign."""

    async def prepare(
        token_id: UUID, order: Any, ask: TokensAsking, ledger: LedgerDep, response: Response, *deed: int
    ) -> PreparedView:
        request = ask(order)
        read = _reader(move, request, token_id, order, deed)
        prepared = await acting.prepare(ledger, request, order.road, read)
        response.headers["Location"] = f"/v1/prepared/{prepared.id}"
        return PreparedView.model_validate(prepared)

    summary = f"For a holder with its own key: {move.summary[0].lower()}{move.summary[1:]}"
    return _endpoint(prepare, move.path, order_type, f"prepare_{move.name}", summary)


def _reader(move: Move, request: Any, token_id: UUID, order: MoveOrder, deed: Sequence[int]) -> acting.Read:
    async def read(connection: ReadConnection, life: timedelta) -> HolderCall:
        issuer_id = request.caller.issuer_id
        token, label = await standing_token(connection, issuer_id=issuer_id, id=token_id, kinds=move.token_kinds)
        return holder_call(request, move.kind, target_of(token), order.act(tuple(deed)), acting.until(label, life))

    return read


def _endpoint(act: Any, path: str, order_type: type[Order], name: str, summary: str) -> Any:
    """A function whose signature FastAPI can read: with the deed where the path names one, and the body's type."""
    if "{deed_id}" in path:

        async def of_deed(
            token_id: UUID, deed_id: DeedInPath, order: Any, ask: TokensAsking, ledger: LedgerDep, response: Response
        ) -> Any:
            return await act(token_id, order, ask, ledger, response, deed_id)

        endpoint: Any = of_deed
    else:

        async def of_token(token_id: UUID, order: Any, ask: TokensAsking, ledger: LedgerDep, response: Response) -> Any:
            return await act(token_id, order, ask, ledger, response)

        endpoint = of_token
    endpoint.__annotations__["order"] = order_type
    endpoint.__name__, endpoint.__doc__ = name, summary
    return endpoint


def _preparing(move: Move) -> type[MoveOrder]:
    """The same body, with the road that the holder takes."""
    extra: Any = move.order.model_config["json_schema_extra"]
    config = {"json_schema_extra": {"example": {**extra["example"], "road": "signature"}}}
    return create_model(
        f"Prepare{move.order.__name__}",
        __base__=type(move.order.__name__, (move.order,), {"model_config": config}),
        __doc__=move.order.__doc__,
        road=(Road, ROAD_FIELD),
    )


def _add_routes() -> None:
    for control in CONTROLS:
        path = f"/tokens/{{token_id}}/{control.path}"
        tag = "deeds" if control.kind.startswith("deed.") else "tokens"
        router.add_api_route(
            path,
            _control(control),
            methods=["POST"],
            status_code=202,
            tags=[tag],
            response_model=OperationView,
            dependencies=critical(Scope.TOKENS_WRITE) if control.is_critical else [],
            openapi_extra=APPROVABLE if tag == "tokens" and not control.is_critical else None,
            responses=documented(*_CONTROL, *(CRITICAL if tag == "tokens" or control.is_critical else ())),
        )
    for move in MOVES:
        path = f"/tokens/{{token_id}}/{move.path}"
        tag = "deeds" if move.kind.startswith("deed.") else "tokens"
        common: dict[str, Any] = {"methods": ["POST"], "tags": [tag]}
        router.add_api_route(
            path,
            _move(move, move.order),
            status_code=202,
            response_model=OperationView,
            responses=documented(*_MOVE, *_MANAGED, *(CRITICAL if tag == "tokens" else ())),
            openapi_extra=APPROVABLE if tag == "tokens" else None,
            **common,
        )
        router.add_api_route(
            f"{path}/prepare",
            _prepare(move, _preparing(move)),
            status_code=201,
            response_model=PreparedView,
            responses=documented(*_MOVE, *_PREPARE),
            **common,
        )


_add_routes()


@router.get("/prepared/{prepared_id}", tags=["prepared"], responses=documented(*REFUSED, problems.PreparedNotFound))
async def read_prepared(prepared_id: UUID, caller: Following, db: Db) -> PreparedView:
    """What a holder was given to sign, and what became of it."""
    async with db.read() as connection:
        found: Prepared = await queries.prepared(connection, issuer_id=caller.issuer_id, id=prepared_id)
    insist_on_token(caller, found.token_id)
    return PreparedView.model_validate(found)


@router.post(
    "/prepared/{prepared_id}/submit",
    status_code=202,
    tags=["prepared"],
    openapi_extra=APPROVABLE,
    responses=documented(
        *(*_MOVE, *CRITICAL),
        problems.PreparedNotFound,
        problems.PreparedExpired,
        problems.AlreadySubmitted,
        problems.NotWhatWasPrepared,
        problems.NonceSpent,
        problems.NotMineable,
        problems.NodeAway,
        NonceTaken,
    ),
)
async def submit_prepared(
    prepared_id: UUID, order: SubmitOrder, ask: TokensAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Hand in what the holder signed; the service carries it to the chain, once."""
    signed = bytes.fromhex(order.signed[2:])
    return accepted(await acting.submit_prepared(ledger, ask(order), prepared_id, signed), response)
