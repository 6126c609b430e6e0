"""Each role opens its operations and no other; no credential is given more than who asks has."""

from collections.abc import Iterator
from typing import Any

import pytest

from service.access import commands, key_commands
from service.access.apikeys import Scope
from service.access.key_problems import KeyNotInState, ScopeMissing
from service.access.roles import INCLUDED, SCOPES, Role, within
from tests.access import desk
from tests.web.answers import problem
from tests.world import PEPPER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

READS_THAT_ARE_POSTS = {"search_vault", "lookup_vault_tokens", "preview_transfer"}
"""Questions too large or too telling for a URL."""

FOR_ANYBODY = {"report_leaked_keys", "read_time", "read_problem", "list_problems"}

FOR_ANY_KEY = {"who_am_i", "read_approval", "give_approval"}
"""What asks for no more than a credential."""


def operations(world: World) -> Iterator[tuple[str, str, str, set[str] | None]]:
    """Method, path, name and scopes of each operation that the API tells of; no scopes where a credential will do."""
    for path, methods in world.app.openapi()["paths"].items():
        for method, told in methods.items():
            asked = told.get("x-required-scopes")
            yield method.upper(), path, told["operationId"], None if asked is None else set(asked)


async def new_key(world: World, **given: Any) -> str:
    """A key of the shared issuer, as the operator's command makes it."""
    async with world.db.transaction() as session:
        made = await commands.create_key(
            session, issuer="Harbour Estates", environment="test", pepper=PEPPER, **{"caller": "tests", **given}
        )
    return made.text


async def refused(world: World, key: str) -> set[str]:
    """Which operations a key does not open, of all that there are."""
    found = set()
    headers = {"Authorization": f"Bearer {key}", "content-type": "application/json"}
    for method, path, name, _ in operations(world):
        answer = await world.client.request(method, path.replace("{format}", "csv"), headers=headers, content=b"{}")
        told = answer.headers.get("content-type", "") == "application/problem+json"
        if told and answer.json()["type"] == f"/problems/{ScopeMissing.slug}":
            found.add(name)
    return found


@pytest.mark.parametrize("role", Role)
async def test_a_role_opens_the_operations_whose_scopes_it_has_and_no_others(shared: World, role: Role) -> None:
    key = await new_key(shared, caller=f"table {role}", role=role)
    beyond = {name for _, _, name, asked in operations(shared) if asked and not asked <= within(role)}
    assert await refused(shared, key) == beyond


async def test_an_auditor_reads_and_does_nothing_else(shared: World) -> None:
    key = await new_key(shared, caller="table only reads", role=Role.AUDITOR)
    asked = {name: (method, scopes) for method, _, name, scopes in operations(shared)}
    writes = {name for name, (method, _) in asked.items() if method != "GET"}
    shut = await refused(shared, key)
    assert writes - shut == READS_THAT_ARE_POSTS | ((FOR_ANYBODY | FOR_ANY_KEY) & writes)
    assert {name for name, (_, scopes) in asked.items() if scopes and "vault:reveal" in scopes} <= shut
    assert not {name for name, (_, scopes) in asked.items() if scopes in ({"read"}, {"read", "exports"})} & shut


async def test_every_operation_tells_its_scopes(shared: World) -> None:
    untold = {name for _, _, name, asked in operations(shared) if asked is None}
    assert untold == FOR_ANYBODY | FOR_ANY_KEY
    told = set().union(*(asked for _, _, _, asked in operations(shared) if asked))
    assert told <= {*Scope} - {Scope.ISSUE}
    for method, _, name, asked in operations(shared):
        assert method != "GET" or not any(scope.endswith(":write") for scope in asked or ()), name


async def test_a_migrated_key_opens_with_issue_what_it_did(shared: World) -> None:
    key = await new_key(shared, scopes=[Scope.ISSUE])
    shut = await refused(shared, key)
    opens = INCLUDED[Scope.ISSUE]
    assert shut == {name for _, _, name, asked in operations(shared) if asked and not asked <= opens}
    assert "mint" not in shut


async def test_a_role_is_a_caller_s_own_for_good(shared: World) -> None:
    await new_key(shared, caller="an operator", role=Role.OPERATOR)
    for given in (
        {"role": Role.AUDITOR},
        {"scopes": [Scope.KEYS_ADMIN]},
        {"role": Role.OPERATOR, "scopes": [Scope.READ, Scope.VAULT_REVEAL]},
    ):
        with pytest.raises(commands.RoleUnfit):
            await new_key(shared, caller="an operator", **given)
    key = await new_key(shared, caller="an operator")
    told = (await shared.get("/v1/whoami", key=key)).json()
    assert (told["role"], told["scopes"]) == ("operator", sorted(SCOPES[Role.OPERATOR]))
    with pytest.raises(commands.RoleUnfit, match="at most"):
        await new_key(shared, caller="too long", role=Role.AUDITOR, expires_in_s=400 * 86_400)


async def test_a_credential_that_has_more_than_its_role_opens_no_more(shared: World) -> None:
    key = await new_key(shared, caller="grown", role=Role.AUDITOR)
    await desk.sql(shared, "UPDATE credentials SET scopes = '{issue,keys:admin}' WHERE id = :id", id=desk.key_id(key))
    assert (await shared.get("/v1/assets", key=key)).status_code == 200
    problem(await shared.post("/v1/assets", {"name": "x", "category": "house"}, key=key), "scope-missing")
    problem(await shared.post("/v1/keys", {"name": "x", "scopes": ["issue"]}, key=key), "scope-missing")


async def test_a_caller_makes_an_auditor_for_a_time_and_no_other_role(shared: World) -> None:
    order = {"name": "audit 2026", "caller": "Auditors Ltd", "role": "auditor"}
    made = await shared.post("/v1/keys", order)
    assert made.status_code == 201, made.text
    told = made.json()
    assert (told["caller"], told["scopes"]) == ("Auditors Ltd", ["exports", "read", "vault:search"])
    assert told["expires_at"] is not None
    assert (await shared.get("/v1/tokens", key=told["secret"])).status_code == 200
    again = {**order, "name": "another"}
    problem(await shared.post("/v1/keys", again), "key-of-another-caller")
    for change, exceeds in (
        ({"role": "issuer-admin"}, ["role"]),
        ({"expires_in_s": 400 * 86_400}, ["life"]),
        ({"scopes": ["read", "tokens:write"]}, ["tokens:write"]),
    ):
        body = {"name": "x", "caller": "others", "role": "auditor", **change}
        assert problem(await shared.post("/v1/keys", body), "key-exceeds-grantor")["exceeds"] == exceeds
    for missing in ({"caller": "others"}, {"role": "auditor"}, {}):
        problem(await shared.post("/v1/keys", {"name": "x", **missing}), "invalid-request")


async def test_no_key_gives_by_making_or_changing_what_it_has_not(shared: World) -> None:
    narrow = await desk.make(shared, "tokens:write", "keys:admin")
    for scopes, exceeds in ((["issue"], ["issue"]), (["tokens:write", "read"], ["read"])):
        answer = await shared.post("/v1/keys", {"name": "x", "scopes": scopes}, key=narrow["secret"])
        assert problem(answer, "key-exceeds-grantor")["exceeds"] == exceeds
    answer = await desk.patch(shared, narrow["id"], {"scopes": ["issue", "keys:admin"]}, key=narrow["secret"])
    assert problem(answer, "key-limits-widened")["exceeds"] == ["issue"]
    wide = await desk.make(shared, "issue", "keys:admin")
    assert (await desk.patch(shared, wide["id"], {"scopes": ["read", "keys:admin"]})).json()["scopes"] == [
        "keys:admin",
        "read",
    ]
    problem(await shared.post("/v1/assets", {"name": "x", "category": "house"}, key=wide["secret"]), "scope-missing")


@pytest.mark.parametrize(
    ("wide", "exceeds"),
    [
        ({"scopes": ["keys:admin", "vault:reveal"]}, ["vault:reveal"]),
        ({"limits": {"networks": ["126.0.0.0/7"]}}, ["limits"]),
        ({"expires_in_s": 9_000}, ["life"]),
    ],
)
async def test_no_key_starts_rotates_or_resumes_one_that_does_more(
    shared: World, wide: dict[str, Any], exceeds: list[str]
) -> None:
    limits = {"networks": ["127.0.0.0/8"]}
    narrow = (await desk.make(shared, "keys:admin", limits=limits, expires_in_s=7_200))["secret"]
    usual = {"scopes": ["keys:admin"], "limits": limits, "expires_in_s": 3_600}
    other = await desk.make(shared, **{**usual, **wide})
    path = f"/v1/keys/{other['id']}"
    assert problem(await shared.post(f"{path}/rotate", key=narrow), "key-exceeds-grantor")["exceeds"] == exceeds
    new = await desk.rotate(shared, other["id"], overlap_starts="first-use")
    answer = await shared.post(f"/v1/keys/{new['id']}/activate", key=narrow)
    assert problem(answer, "key-exceeds-grantor")["exceeds"] == exceeds
    assert (await shared.post(f"{path}/suspend", {"reason": "x"}, key=narrow)).status_code == 200
    assert problem(await shared.post(f"{path}/resume", key=narrow), "key-exceeds-grantor")["exceeds"] == exceeds
    assert await desk.state(shared, other["id"]) == "suspended"
    assert (await shared.post(f"{path}/resume")).json()["state"] == "active"
    assert (await shared.post(f"/v1/keys/{new['id']}/activate")).json()["state"] == "active"


async def test_a_key_starts_rotates_and_resumes_one_that_does_as_much(shared: World) -> None:
    limits, other = {"networks": ["127.0.0.0/8"]}, await desk.make(shared, "keys:admin")
    asking = (await desk.make(shared, "keys:admin", "issue"))["secret"]
    less = await desk.make(shared, "issue", limits=limits, expires_in_s=60)
    for made in (other, less):
        assert (await shared.post(f"/v1/keys/{made['id']}/suspend", {"reason": "x"}, key=asking)).status_code == 200
        assert (await shared.post(f"/v1/keys/{made['id']}/resume", key=asking)).status_code == 200
        new = await desk.rotate(shared, made["id"], key=asking, overlap_starts="first-use")
        assert (await shared.post(f"/v1/keys/{new['id']}/activate", key=asking)).status_code == 200


async def test_a_role_that_shrank_what_a_key_opens_shrinks_what_it_resumes(shared: World) -> None:
    key = await new_key(shared, caller="administrators", role=Role.KEY_ADMIN)
    await desk.sql(shared, "UPDATE credentials SET scopes = '{issue,keys:admin}' WHERE id = :id", id=desk.key_id(key))
    other = await desk.make(shared, "issue")
    assert (await shared.post(f"/v1/keys/{other['id']}/suspend", {"reason": "x"}, key=key)).status_code == 200
    answer = await shared.post(f"/v1/keys/{other['id']}/resume", key=key)
    assert problem(answer, "key-exceeds-grantor")["exceeds"] == ["issue"]


async def test_a_key_that_is_ended_while_it_asks_resumes_nothing(shared: World) -> None:
    made, other = await desk.make(shared, "keys:admin"), await desk.make(shared, "keys:admin")
    caller = await shared.app.state.admission.by_key(made["secret"], None)
    for ended in (made, other):
        assert (await shared.post(f"/v1/keys/{ended['id']}/suspend", {"reason": "x"})).status_code == 200
    async with shared.db.transaction() as session:
        with pytest.raises(KeyNotInState):
            await key_commands.resume(session, key_commands.By.caller(caller), other["id"])
