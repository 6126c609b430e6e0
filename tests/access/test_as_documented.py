"""Whatever is asked of any operation: no fault of ours, no answer but the documented ones, and nothing for strangers.

`scripts/test tests/access/test_as_documented.py --hypothesis-profile=long` asks all that schemathesis finds at the
edges of the schemas, and much that Hypothesis draws, for some ten minutes; without it a sample is asked.
"""

import asyncio
import itertools
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from hypothesis import settings
from requests import PreparedRequest
from schemathesis.core.parameters import ParameterLocation

from service.access.rates import quotas_of
from service.client.credentials import BearerCredential, Credential, Ed25519Credential
from service.client.signing import Message
from tests.access import documented
from tests.access.desk import key_id
from tests.access.documented import Asked, Operation
from tests.access.signing import AUTHORITY, new_signing, register
from tests.web.shared import log, shared
from tests.world import World

__all__ = ["log", "shared"]

LONG = settings.get_current_profile_name() == "long"

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(7_200 if LONG else 300)]

SEED = 9_421
BASE_URL = f"http://{AUTHORITY}"
AT_ONCE = 4

PROOFS = {"authorization", "signature", "signature-input", "content-digest"}

ALIASES = {
    **dict.fromkeys(("from", "to", "account", "holder", "wallet"), "address"),
    **{name: f"{name}_id" for name in ("policy", "commitment", "document", "approval", "person")},
}
"""Under which names fields of bodies find what is known."""


class Asking:
    """Asks of a world what was drawn from its document, mostly about what exists in it, and judges the answers.

    Args:
        key: proves who asks what no signature can cover.
        own_ids: of credentials that nothing is done to.
    """

    def __init__(self, world: World, operations: list[Operation], key: str, *own_ids: str) -> None:
        self.world = world
        self.chance = random.Random(SEED)
        self.key = key
        self.own_ids = own_ids
        self.told: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.wrong: list[str] = []
        self.known: defaultdict[str, list[str]] = defaultdict(list)
        self._numbers = itertools.count()
        self._paths = {each.path: re.findall(r"{(\w+)}", each.path) for each in operations}
        self._names = {"token", *(name for names in self._paths.values() for name in names)}

    async def ask_all(self, cases: Iterable[Asked], credential: Credential | None) -> list[httpx.Response]:
        """The answers, which came to some at once."""
        left, answers = list(cases), []
        while left:
            answers += await asyncio.gather(*(self._ask(case, credential) for case in left[:AT_ONCE]))
            del left[:AT_ONCE]
        return answers

    async def _ask(self, case: Asked, credential: Credential | None) -> httpx.Response:
        sent = documented.prepared(self._about_what_exists(case), BASE_URL)
        content = documented.content_of(sent)
        headers = self._headers(sent, content, credential)
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        answer = await self.world.client.request(str(sent.method), str(sent.url), headers=raw, content=content)
        self.told[case.operation.label][answer.status_code] += 1
        if (found := documented.violations(case, sent, answer)) is not None:
            self.wrong.append(found)
        if answer.is_success and answer.headers.get("content-type") == "application/json":
            self._learn(case.operation.path, answer.json())
        return answer

    def _headers(self, sent: PreparedRequest, content: bytes, credential: Credential | None) -> dict[str, str]:
        given = {
            name.lower(): str(value, "latin-1") if isinstance(value, bytes) else value
            for name, value in sent.headers.items()
        }
        headers = {name: value for name, value in given.items() if name not in PROOFS}
        if content:
            headers.setdefault("content-type", "application/json")
        if credential is None:
            return headers
        proof = credential if "".join(headers.values()).isascii() else BearerCredential(self.key)
        made = proof.headers(Message(str(sent.method), str(sent.url), headers, content or None), time.time())
        return headers | {name.lower(): value for name, value in made.items()}

    def _about_what_exists(self, case: Asked) -> Asked:
        """Leave what a request says wrong as it is, and fill in what is known."""
        if "Idempotency-Key" in case.headers and documented.is_good(case, ParameterLocation.HEADER):
            case.headers["Idempotency-Key"] = f"asked-{next(self._numbers)}"
        if documented.is_good(case, ParameterLocation.PATH):
            for name, value in (case.path_parameters or {}).items():
                case.path_parameters[name] = self._one_of(name, value)
        if documented.is_good(case, ParameterLocation.BODY):
            case.body = self._filled(case.body)
        if case.query and documented.is_good(case, ParameterLocation.QUERY):
            # Together most parameters contradict each other, and blocks to come are waited for.
            count = self.chance.choice([0, 0, 1, 1, len(case.query)])
            names = self.chance.sample(sorted(case.query), count)
            case.query = {name: 1 if name == "min_block" else case.query[name] for name in names}
        return case

    def _filled(self, given: Any) -> Any:
        if isinstance(given, list):
            return [self._filled(each) for each in given]
        if isinstance(given, dict):
            return {name: self._one_of(name, self._filled(value)) for name, value in given.items()}
        return given

    def _one_of(self, name: str, drawn: Any) -> Any:
        known = self.known.get(name) or self.known.get(ALIASES.get(name, ""))
        if not known or not isinstance(drawn, str) or self.chance.random() < 0.2:
            return drawn
        # Most is known of what was there first.
        return known[0] if self.chance.random() < 0.5 else self.chance.choice(known)

    def _learn(self, path: str, told: Any) -> None:
        """Keep what a later request can be about, of an answer or of each row of a list."""
        below = [names[-1] for each, names in self._paths.items() if names and each == f"{path}/{{{names[-1]}}}"]
        for row in told.get("data", [told]) if isinstance(told, dict) else told:
            for name, value in row.items() if isinstance(row, dict) else ():
                for each in below if name == "id" else [name]:
                    if (
                        each in self._names
                        and isinstance(value, str)
                        and value not in (*self.own_ids, *self.known[each])
                    ):
                        self.known[each].append(value)


def patient(world: World) -> None:
    """So many requests, and failures, are no attack here."""
    world.app.state.quotas = quotas_of(
        world.settings.model_copy(update=dict.fromkeys(("address_failures_max", "key_requests_max"), 10**6))
    )


async def test_whatever_is_asked_is_answered_as_documented(shared: World) -> None:
    patient(shared)
    signing = new_signing()
    await register(shared.db, shared.settings, signing, like_key=key_id(shared.key))
    credential = Ed25519Credential(signing.key_id, signing.secret)
    *operations, revoke_all = documented.operations(shared.app.openapi())
    asking = Asking(shared, operations, shared.key, signing.key_id, key_id(shared.key))
    token_id, holder = await shared.token(), await shared.account()
    await shared.mint(token_id, holder, 1_000)
    asking.known |= {"token_id": [token_id], "address": [holder], "account": [holder]}
    await asking.ask_all((next(documented.edges(each)) for each in operations), credential)
    await shared.finish()
    for number, operation in enumerate(operations):
        cases = list(documented.edges(operation)) if LONG else documented.some_edges(operation, 2, asking.chance)
        # Hypothesis takes ten times as long to draw one.
        if LONG or number % 20 == 0:
            cases += documented.drawn(operation, 40 if LONG else 2)
        await asking.ask_all(cases, credential)
    await asking.ask_all([next(documented.edges(revoke_all))], credential)

    assert asking.wrong == []
    assert [label for label, told in asking.told.items() if told[401]] == []
    done = [label for label, told in asking.told.items() if any(status < 300 for status in told)]
    assert len(done) > len(operations) / 3, set(asking.told) - set(done)


async def test_whatever_a_stranger_asks_is_refused(shared: World) -> None:
    patient(shared)
    stranger, document = new_signing(), shared.app.openapi()
    operations = documented.operations(document)
    nobodys = f"munsk_test_{'0' * 60}"
    asking = Asking(shared, operations, nobodys)
    proofs = (None, BearerCredential(nobodys), Ed25519Credential(stranger.key_id, stranger.secret))
    for number, operation in enumerate(operations):
        if "security" in document["paths"][operation.path][operation.method]:
            cases = documented.edges(operation) if LONG else itertools.islice(documented.edges(operation), 2)
            answers = await asking.ask_all(cases, proofs[number % len(proofs)])
            told = {each.status_code for each in answers if each.request.method == operation.method.upper()}
            assert 401 in told, operation.label
            # What is too large is read by nobody.
            assert told <= {401, 413}, operation.label
    assert asking.wrong == []
    assert not any(status < 400 for told in asking.told.values() for status in told)


async def test_an_answer_that_is_not_as_documented_is_found(shared: World) -> None:
    operation = next(each for each in documented.operations(shared.app.openapi()) if each.label == "GET /v1/assets")
    case = next(documented.edges(operation))
    sent, unknown = documented.prepared(case, BASE_URL), {"type": "/problems/asset-not-found"}
    for answer, expected in (
        (httpx.Response(200, json={"data": [], "next_cursor": None}), None),
        (httpx.Response(200, json={"data": [{}], "next_cursor": None}), "schema"),
        (httpx.Response(200, text="[]"), "Content-Type"),
        (httpx.Response(410, json=unknown), "status code"),
        (httpx.Response(500, json={"type": "/problems/internal-error"}), "500"),
    ):
        found = documented.violations(case, sent, answer)
        assert found is None if expected is None else expected.lower() in str(found).lower(), found
