"""One issuer never reads, touches or even notices what another has."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi.routing import iter_route_contexts

from service.access import apikeys
from tests.tokens.others import Others, adopt
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN_ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
UNKNOWN_ACCOUNT = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


SAME = {
    "governor_id": UNKNOWN_ID,
    "deed_id": "1",
    "proposal_id": "1",
    "investor": "0x" + "8f" * 32,
    "scheduled_id": "0x" + "8f" * 32,
}
"""What neither has, or what says nothing of whose it is."""


@dataclass(frozen=True, slots=True)
class Estates:
    """Two issuers in one world: what the first has, and the second one's key."""

    world: World
    key: str  # of the other issuer
    asset_id: str
    token_id: str
    operation_id: str
    prepared_id: str
    account: str
    other_token_id: str
    transaction_id: str
    batch_id: str
    adoption_id: str
    policy_id: str
    document_id: str
    commitment_id: str
    approval_id: str
    suspension_id: str
    person_id: str
    webhook_id: str
    factor_id: str

    @property
    def first(self) -> dict[str, str]:
        """Path parameters that name what the first issuer has."""
        named = {"asset_id": self.asset_id, "token_id": self.token_id, "operation_id": self.operation_id}
        accounts = dict.fromkeys(("address", "account", "wallet", "signer"), self.account)
        named |= {"prepared_id": self.prepared_id, "transaction_id": self.transaction_id, "batch_id": self.batch_id}
        named |= {"adoption_id": self.adoption_id, "policy_id": self.policy_id}
        named |= {"document_id": self.document_id, "commitment_id": self.commitment_id}
        named |= {"approval_id": self.approval_id, "suspension_id": self.suspension_id}
        named |= {"person_id": self.person_id, "webhook_id": self.webhook_id, "factor_id": self.factor_id}
        named["key_id"] = apikeys.find(self.world.key)[0].id
        return {**SAME, **named, **accounts}

    @property
    def nothing(self) -> dict[str, str]:
        """Path parameters that name nothing."""
        ids = ("asset_id", "token_id", "operation_id", "prepared_id", "transaction_id", "batch_id", "adoption_id")
        others = (
            "policy_id",
            "document_id",
            "commitment_id",
            "approval_id",
            "suspension_id",
            "person_id",
            "webhook_id",
            "factor_id",
        )
        return {
            **SAME,
            **dict.fromkeys((*ids, *others), UNKNOWN_ID),
            "key_id": "AxO7whPXdOT",
            **dict.fromkeys(("address", "account", "wallet", "signer"), UNKNOWN_ACCOUNT),
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def estates(shared: World) -> AsyncIterator[Estates]:
    token_id, account = await shared.token(), await shared.account()
    minted = await shared.mint(token_id, account, 10)
    await shared.finish()
    token = (await shared.get(f"/v1/tokens/{token_id}")).json()
    key, first_key = await shared.new_issuer("Quay Estates"), shared.key
    order = {"from": UNKNOWN_ACCOUNT, "to": account, "amount": "1"}
    await shared.mint(token_id, UNKNOWN_ACCOUNT, 1)
    await shared.finish()
    prepared = await shared.post(f"/v1/tokens/{token_id}/transfer/prepare", order)
    shared.key = key
    await shared.authority()
    other_token_id = await shared.token()
    shared.key = first_key
    ids = (token["asset_id"], token_id, minted.json()["id"], prepared.json()["id"])
    transactions = (await shared.get("/v1/transactions", status="confirmed")).json()["data"]
    (sent,) = (each["id"] for each in transactions if (each["operation"] or {}).get("id") == ids[2])
    batch = await shared.post(f"/v1/tokens/{token_id}/batches/mint", {"rows": [{"to": account, "amount": "1"}]})
    await shared.finish()
    adoption = await adopt(shared, Others(shared).plain())
    policy = await shared.post("/v1/vault/policies", bodies(shared, "create_vault_policy", {}))
    of_documents = {"name": "deeds", "data_class": "document", "format": {"kind": "prefix"}, "kind": "vault"}
    deeds = (await shared.post("/v1/vault/policies", of_documents)).json()["id"]
    kept = [
        await shared.post(f"/v1/vault/{path}", {**bodies(shared, name, {}), "policy": deeds})
        for path, name in (("documents", "register_document"), ("commitments", "commit_to_attributes"))
    ]
    made = (batch.json()["id"], adoption["id"], policy.json()["id"], *(each.json()["id"] for each in kept))
    made += await limits(shared, policy.json()["id"])
    person = await shared.post("/v1/vault/persons", {"reference": "investor-17"})
    webhook = await shared.post("/v1/webhooks", bodies(shared, "create_webhook", {}))
    factor = await shared.post("/v1/second-factors", bodies(shared, "add_second_factor", {}))
    made += (person.json()["id"], webhook.json()["id"], factor.json()["id"])
    yield Estates(shared, key, *ids, account, other_token_id, sent, *made)


async def limits(world: World, policy_id: str) -> tuple[str, str]:
    """A request for approval, and the suspension of the key that it was made with."""
    headers = {"Authorization": f"Bearer {world.key}"}
    rules = {"purposes": ["payment"], "views": ["plain"], "daily_max": 0}
    await world.client.patch(f"/v1/vault/policies/{policy_id}", headers=headers, json={"reveal": rules})
    items = [{"value": "4111 1111 1111 1111"}]
    made = await world.post("/v1/vault/tokenize", {"policy": policy_id, "items": items})
    wish = {"tokens": [made.json()["data"][0]["token"]], "purpose": "payment", "reason": "a test", "view": "plain"}
    asked = await world.post("/v1/vault/approvals", wish)
    suspended = await world.post("/v1/vault/reveal", wish)
    return asked.json()["id"], problem(suspended, "reveal-suspended")["suspension"]


def bodies(world: World, name: str, named: dict[str, str]) -> dict[str, Any]:
    """A well-formed body for a route: its own example, of what the path does not name."""
    document = world.app.openapi()
    (operation,) = (
        each for methods in document["paths"].values() for each in methods.values() if each["operationId"] == name
    )
    content = operation.get("requestBody", {"content": {}})["content"]
    if "application/json" not in content:
        return {}
    schema = content["application/json"]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    example = schema["example"]
    return {**example, **({"asset_id": named["asset_id"]} if "asset_id" in example else {})}


SLUGS = {
    "asset_id": "asset-not-found",
    "token_id": "token-not-found",
    "operation_id": "operation-not-found",
    "governor_id": "governor-not-found",
    "prepared_id": "prepared-not-found",
    "transaction_id": "transaction-not-found",
    "batch_id": "batch-not-found",
    "adoption_id": "adoption-not-found",
    "policy_id": "policy-not-found",
    "document_id": "vault-document-not-found",
    "commitment_id": "commitment-not-found",
    "approval_id": "approval-not-found",
    "suspension_id": "suspension-not-found",
    "key_id": "key-not-found",
    "person_id": "person-not-found",
    "webhook_id": "webhook-not-found",
    "factor_id": "second-factor-not-found",
    "/v1/approvals": "step-up-not-found",
    "signer": "signer-not-found",
    "investor": "contract-missing",
    "wallet": "contract-missing",
    "scheduled_id": "scheduled-not-found",
}


def shape(answer: httpx.Response, estates: Estates) -> str:
    """An answer's status, headers and body with the ids taken out."""
    headers = sorted(each for each in answer.headers.items() if each[0] != "ratelimit")
    told = f"{answer.status_code} {headers} {answer.text}"
    for name in {*estates.first.values(), *estates.nothing.values()} - {"1"}:
        told = told.replace(name, "id")
    return told.replace(f"'{answer.headers['content-length']}'", "length")


async def ask(estates: Estates, method: str, path: str, name: str, named: dict[str, str]) -> httpx.Response:
    filled = path.format(**named)
    if method == "GET":
        query = {"subject": UNKNOWN_ACCOUNT, "name": "deed"} if path.endswith("/record") else {}
        return await estates.world.get(filled, key=estates.key, **query)
    body = bodies(estates.world, name, named)
    if method == "POST":
        return await estates.world.post(filled, body, key=estates.key)
    headers = {"Authorization": f"Bearer {estates.key}"}
    return await estates.world.client.request(method, filled, headers=headers, json=body)


async def test_what_another_issuer_has_is_not_there_on_any_route(estates: Estates) -> None:
    asked = 0
    for route in iter_route_contexts(estates.world.app.routes):
        path = str(route.path)
        if not path.startswith("/v1") or ("{" not in path and route.name != "deploy_token"):
            continue
        for method in route.methods or ():
            foreign = await ask(estates, method, path, str(route.name), estates.first)
            unknown = await ask(estates, method, path, str(route.name), estates.nothing)
            first_parameter = path.partition("{")[2].partition("}")[0] or "asset_id"
            by_path = SLUGS.get(path.partition("/{")[0])
            problem(foreign, by_path or SLUGS.get(first_parameter, "account-not-found"))
            assert shape(foreign, estates) == shape(unknown, estates), path
            asked += 1
    assert asked >= 60


@pytest.mark.parametrize(
    "query", ["", "?at_block=0", "?at_block=1", "?at_block=999999", "?min_block=0", "?limit=1", "?cursor=x"]
)
async def test_no_parameter_tells_anothers_token_from_none(estates: Estates, query: str) -> None:
    for path in ("", "/holders", "/transfers", f"/holders/{UNKNOWN_ACCOUNT}/history"):
        foreign = await estates.world.get(f"/v1/tokens/{estates.token_id}{path}{query}", key=estates.key)
        unknown = await estates.world.get(f"/v1/tokens/{UNKNOWN_ID}{path}{query}", key=estates.key)
        assert foreign.status_code >= 400
        assert shape(foreign, estates) == shape(unknown, estates)


async def test_lists_hold_ones_own_alone(estates: Estates) -> None:
    for path, mine in (("assets", 1), ("tokens", 1), ("operations", 2), ("accounts", 0)):
        answer = await estates.world.get(f"/v1/{path}", key=estates.key)
        assert len(answer.json()["data"]) == mine
        assert estates.token_id not in answer.text
    answer = await estates.world.get("/v1/operations", key=estates.key, token_id=estates.token_id)
    assert answer.json()["data"] == []


async def test_ones_own_token_does_not_open_anothers_account(estates: Estates) -> None:
    body = {"from": estates.account, "to": UNKNOWN_ACCOUNT, "amount": "1"}
    answer = await estates.world.post(f"/v1/tokens/{estates.other_token_id}/transfer", body, key=estates.key)
    problem(answer, "account-not-found")


async def test_registering_anothers_managed_account_gives_no_use_of_its_key(estates: Estates) -> None:
    world = estates.world
    answer = await world.post("/v1/accounts", {"address": estates.account}, key=estates.key)
    assert answer.status_code == 201
    assert answer.json()["managed"] is False
    body = {"from": estates.account, "to": UNKNOWN_ACCOUNT, "amount": "1"}
    answer = await world.post(f"/v1/tokens/{estates.other_token_id}/transfer", body, key=estates.key)
    problem(answer, "account-not-managed")
    for path in ("holdings", "transfers"):
        answer = await world.get(f"/v1/accounts/{estates.account}/{path}", key=estates.key)
        assert answer.json()["data"] == []


async def test_two_issuers_may_know_the_same_account(estates: Estates) -> None:
    for key, label in ((estates.key, "theirs"), (estates.world.key, "ours")):
        body = {"address": UNKNOWN_ACCOUNT, "label": label}
        assert (await estates.world.post("/v1/accounts", body, key=key)).status_code == 201
        assert (await estates.world.get(f"/v1/accounts/{UNKNOWN_ACCOUNT}", key=key)).json()["label"] == label
