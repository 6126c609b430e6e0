"""`muniment call`: the whole REST API from the command line, against a running deployment."""

import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3

from scripts import local
from scripts.stack import Stack
from service import cli
from service.chain import artifacts
from service.client import waiting
from service.client.calls import UNTOLD, Call, read_calls, words
from service.remote.wire import Deployment
from tests.flows.liars import Said, listing, server
from tests.tokens.others import odd_code

NOBODY = "http://127.0.0.1:1"
SOMEONE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote where."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The answer of a command with `--json`: its whole output."""
        assert self.code == 0, self.out + self.err
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The last line of a command that could not be carried out."""
        assert self.code == 2, self.out + self.err
        assert self.out == ""
        assert "Traceback" not in self.err
        return self.err.splitlines()[-1].removeprefix("muniment: ")


Muniment = Callable[..., Ended]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A deployment with all its processes, final after two blocks."""
    folder = Path(tempfile.mkdtemp(prefix="muniment-test-"))
    running = Stack(folder, finality="depth:2", block_time_s=0.1, throw_away=True)
    try:
        running.start(lambda _: None)
        yield running
    finally:
        running.stop()


@pytest.fixture
def muniment(stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Muniment:
    """Run `muniment call`; no output ever holds the API key."""

    def run(*arguments: str, stdin: str = "", **environment: str | None) -> Ended:
        given = {"MUNIMENT_URL": stack.api_url, "MUNIMENT_API_KEY": stack.api_key(), **environment}
        for name, value in given.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["muniment", "call", *arguments])
        monkeypatch.setattr(sys, "stdin", StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert stack.api_key() not in told.out + told.err
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, told.out, told.err)

    if not any(each["kind"] == "authority" for each in run("list_contracts", "--json").json):
        assert run("deploy_authority", "--json").json["status"] == "succeeded"
    return run


@pytest.fixture
def document(stack: Stack) -> dict[str, Any]:
    """What the deployment says of itself."""
    return Deployment(stack.api_url, None).document()


@pytest.fixture
def calls(document: dict[str, Any]) -> dict[str, Call]:
    """What the deployment offers."""
    return read_calls(document)


@pytest.fixture
def token(muniment: Muniment) -> str:
    """A deployed token's id."""
    return make_token(muniment)


def make_token(muniment: Muniment, *given: str) -> str:
    """Deploy a token through the command line; its id."""
    asset = muniment("register_asset", "name=12 Harbour Street", "category=house", "--json").json["id"]
    asked = ("deploy_token", f"asset_id={asset}", "name=Harbour", "symbol=HARB", *given)
    operation = muniment(*asked, "--json").json
    assert operation["status"] == "succeeded"
    return str(operation["token_id"])


@pytest.fixture
def holder(muniment: Muniment) -> str:
    """A managed account."""
    return str(muniment("register_account", f"label=holder {next(NUMBERS)}", "--json").json["address"])


@contextmanager
def nothing_sent(stack: Stack) -> Iterator[None]:
    """The sender stands still until the end of the block, so that no operation comes to its end."""
    pid = stack.processes["sender"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def operations(muniment: Muniment) -> list[str]:
    """The ids of all operations."""
    return [each["id"] for each in muniment("list_operations", "--all", "--json").json["data"]]


# What can be called


def test_every_call_is_listed_by_tag_without_an_api_key(muniment: Muniment, calls: dict[str, Call]) -> None:
    told = muniment(MUNIMENT_API_KEY=None)
    assert told.code == 0
    lines = told.out.splitlines()
    for call in calls.values():
        (line,) = [line for line in lines if re.search(rf"(^| ){call.name} +{call.method} ", line)]
        assert call.path in line
        assert call.summary[:60] in line
    tags = [line.split()[0] for line in lines if re.match(r" {1,2}[a-z]", line)]
    assert len(tags) == len(set(tags))
    listed = muniment("--json").json
    assert {each["name"] for each in listed} == set(calls)
    assert {"name": "mint", "tag": "tokens", "method": "POST", "path": "/v1/tokens/{token_id}/mint"}.items() <= next(
        each for each in listed if each["name"] == "mint"
    ).items()


def test_a_calls_fields_are_shown_with_type_need_meaning_and_example(muniment: Muniment) -> None:
    told = muniment("list_holders", "--help-fields").out
    assert re.search(r"token_id +path +uuid +yes", told)
    assert re.search(r"limit +query +integer +no +Rows in one page. Default: 100\.", told)
    told = muniment("batch_mint", "--help-fields").out
    assert re.search(r"shares +body +list of {to, amount} +yes", told)
    assert "muniment call batch_mint token_id=… shares='[{" in told
    fields = {each["name"]: each for each in muniment("mint", "--help-fields", "--json").json["fields"]}
    assert (fields["amount"]["type"], fields["amount"]["required"], fields["amount"]["place"]) == (
        "string",
        True,
        "body",
    )
    assert fields["to"]["example"] == SOMEONE


def test_no_call_has_one_name_for_two_fields(calls: dict[str, Call]) -> None:
    assert len(calls) > 100
    for call in calls.values():
        names = [each.name for each in call.fields]
        assert len(names) == len(set(names)), call.name


def test_every_call_of_the_api_can_be_made_from_its_own_example(
    muniment: Muniment, document: dict[str, Any], calls: dict[str, Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Read anew for each of two hundred calls, it would take longer than all of them.
    monkeypatch.setattr(Deployment, "document", lambda _: document)
    for call in calls.values():
        given = {
            each.name: uuid.uuid4().hex if each.example is UNTOLD else words(each.example)
            for each in call.fields
            if each.place != "body" and each.required
        }
        given |= {name: words(value) for name, value in body_example(document, call).items()}
        told = muniment(call.name, *(f"{name}={value}" for name, value in given.items()), "--no-wait", "--json")
        assert told.code in {0, 1}, told.err
        answer = json.loads(told.out)
        if told.code == 1:
            kind = answer["type"].removeprefix("/problems/")
            assert kind not in {"invalid-request", "route-not-found", "method-not-allowed", "unauthorized"}, answer


def body_example(document: dict[str, Any], call: Call) -> dict[str, Any]:
    """The body that the document shows for a call."""
    if not call.has_body:
        return {}
    asked = document["paths"][call.path][call.method.lower()]["requestBody"]
    if "application/json" not in asked["content"]:
        return {}
    schema = asked["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    example: dict[str, Any] = schema["example"]
    return example


# Writes


def test_a_token_is_made_minted_and_read_from_the_command_line_alone(
    muniment: Muniment, stack: Stack, token: str, holder: str
) -> None:
    told = muniment("mint", f"token_id={token}", f"to={holder}", "amount=1000")
    assert told.code == 0
    assert re.search(r"^status +succeeded$", told.out, re.MULTILINE)
    assert re.search(r"^parameters\.amount +1000$", told.out, re.MULTILINE)
    assert re.search(r"^idempotency key [0-9a-f-]{36}$", told.err)
    assert muniment("read_holder", f"token_id={token}", f"account={holder}", "--json").json["amount"] == "1000"
    table = muniment("list_holders", f"token_id={token}")
    assert re.search(rf"{holder} +1000 +1000", table.out)
    assert re.search(r"^at\.final +(true|false)$", table.out, re.MULTILINE)

    assert stack.anvil is not None
    address = muniment("read_token", f"token_id={token}", "--json").json["address"]
    chain = Web3(Web3.HTTPProvider(stack.anvil.url))
    contract = chain.eth.contract(Web3.to_checksum_address(address), abi=list(artifacts.load("AssetToken").abi))
    assert contract.functions.balanceOf(holder).call() == 1_000


def test_lists_are_json_and_a_whole_body_comes_from_a_file_or_stdin(
    muniment: Muniment, token: str, holder: str, tmp_path: Path
) -> None:
    shares = json.dumps([{"to": holder, "amount": "5"}, {"to": SOMEONE, "amount": "7"}])
    body = f'{{"shares": {shares}}}'
    file = tmp_path / "body.json"
    file.write_text(body)
    for given, stdin in (((f"shares={shares}",), ""), (("--body", str(file)), ""), (("--body", "-"), body)):
        told = muniment("batch_mint", f"token_id={token}", *given, "--json", stdin=stdin)
        assert told.json["status"] == "succeeded"
    assert muniment("read_token", f"token_id={token}", "--json").json["total_supply"] == "36"


def test_a_write_without_waiting_is_pending_and_its_key_leads_to_the_same_operation(
    muniment: Muniment, token: str, holder: str
) -> None:
    call = ("mint", f"token_id={token}", f"to={holder}", "amount=7")
    told = muniment(*call, "--no-wait", "--json")
    first = told.json
    assert first["status"] == "pending"
    assert f"read_operation operation_id={first['id']}" in told.err
    key = re.findall(r"idempotency key (\S+)", told.err)[0]
    assert f"--key {key}" in told.err
    again = muniment(*call, "--key", key, "--json")
    assert (again.json["id"], again.json["status"]) == (first["id"], "succeeded")
    assert "idempotency key" not in again.err
    assert muniment("read_token", f"token_id={token}", "--json").json["total_supply"] == "7"

    other = muniment(*call[:3], "amount=8", "--key", key, "--json")
    assert other.code == 1
    assert json.loads(other.out)["type"] == "/problems/idempotency-key-reused"
    assert "belongs to another request" in other.err


def test_an_operation_that_is_not_final_in_time_goes_on(
    muniment: Muniment, stack: Stack, token: str, holder: str
) -> None:
    call = ("mint", f"token_id={token}", f"to={holder}", "amount=7", "--key", str(uuid.uuid4()))
    with nothing_sent(stack):
        told = muniment(*call, "--timeout", "0.3", "--json")
        assert told.code == 2
        first = json.loads(told.out)["id"]
        assert "not final after 0.3 s; the operation goes on: ask again by" in told.err
        assert f"`muniment call read_operation operation_id={first}`" in told.err
    assert muniment(*call, "--json").json["id"] == first


def test_an_operation_that_fails_says_why_and_exits_1(
    muniment: Muniment, stack: Stack, token: str, holder: str
) -> None:
    assert muniment("mint", f"token_id={token}", f"to={holder}", "amount=10").code == 0
    burn = ("burn", f"token_id={token}", f"from={holder}", "amount=10", "--key")
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    with nothing_sent(stack):
        for key in (first, second):
            assert muniment(*burn, key, "--no-wait").code == 0
    assert muniment(*burn, first).code == 0
    told = muniment(*burn, second)
    assert told.code == 1
    assert re.search(r"^status +failed$", told.out, re.MULTILINE)
    assert "ERC20InsufficientBalance" in told.err


def test_a_contract_of_others_is_adopted_and_read_by_the_processes_that_run(muniment: Muniment, stack: Stack) -> None:
    assert stack.anvil is not None
    chain = Web3(Web3.HTTPProvider(stack.anvil.url))
    maker = list(chain.eth.accounts)[9]
    sent = chain.eth.send_transaction({"from": maker, "data": odd_code("PlainERC20"), "gas": 3_000_000})
    address = chain.eth.wait_for_transaction_receipt(sent)["contractAddress"]
    told = muniment("adopt_token", f"address={address}", "--json")
    assert (told.json["status"], told.json["blocks"]) == ("live", told.json["blocks_total"])
    held = muniment("read_holder", f"token_id={told.json['token_id']}", f"account={maker}", "--json").json
    assert held["amount"] == str(10**18)
    again = muniment("adopt_token", f"address={address}", "--json")
    assert json.loads(again.out)["type"] == "/problems/already-adopted"


def test_a_wallet_is_registered_once_its_account_has_signed_what_the_refusal_told(muniment: Muniment) -> None:
    wallet = Account.from_key(os.urandom(32))
    order = ("create_key", "name=treasury", "kind=wallet", 'scopes=["issue"]', f"account={wallet.address}")
    told = muniment(*order, "chain_id=1", "--json")
    asked = json.loads(told.out)
    assert (told.code, asked["type"]) == (1, "/problems/wallet-unproved")
    made = bytes(wallet.sign_typed_data(full_message=asked["typed_data"]).signature).hex()
    proof = (f"signature=0x{made}", f"signature_expires_at={asked['signature_expires_at']}")
    assert muniment(*order, "chain_id=1", *proof, "--json").json["account"] == wallet.address


# Refusals


def test_a_problem_is_told_with_its_rule(muniment: Muniment, holder: str) -> None:
    token = make_token(muniment, "kind=deed", "soulbound=true")
    document_hash = f"document_hash=0x{'8f' * 32}"
    assert muniment("deed_issue", f"token_id={token}", "deed_id=1", f"to={holder}", document_hash).code == 0
    call = ("deed_transfer", f"token_id={token}", "deed_id=1", f"from={holder}", f"to={SOMEONE}")
    told = muniment(*call)
    assert (told.code, told.out) == (1, "")
    problem = json.loads(muniment(*call, "--json").out)
    assert problem["type"] == "/problems/transfer-restricted"
    rule = problem["rule"]
    for told_words in (
        problem["title"],
        problem["detail"],
        f"rule {rule['name']}: {rule['text']} (code {rule['code']}",
    ):
        assert told_words in told.err


def test_what_cannot_be_asked_is_one_sentence_with_the_fields_and_nothing_is_sent(
    muniment: Muniment, token: str
) -> None:
    before = operations(muniment)
    mint = ("mint", f"token_id={token}")
    for arguments, sentence in (
        ((*mint, f"to={SOMEONE}", "amuont=1"), "mint has no field 'amuont' (did you mean amount?) and needs amount"),
        ((*mint, f"to={SOMEONE}"), "mint needs amount"),
        (("mint",), "mint needs token_id, to, amount"),
        ((*mint, "amount"), "'amount' is not NAME=VALUE: write `muniment call mint token_id=… "),
        ((*mint, "amount=1", "amount=2"), "amount is given twice"),
        ((*mint, "--body", "/nowhere"), "--body /nowhere can't be read"),
        ((*mint, "--body", "-"), "--body is not valid JSON"),
        (("deploy_authority", "enforcer_delay_s=soon"), "enforcer_delay_s is integer, not 'soon'"),
        (("register_asset", "name=x", "category=boat"), "category is one of house, shares, painting, loyalty, other"),
        (("batch_mint", mint[1], "shares=5"), "shares is list of {to, amount}, not '5'"),
        (("read_token", "token_id=.."), "token_id can't be '..': it is a part of the path"),
        (("read_token", "token_id=x", "--key", "k"), "read_token takes no --key"),
        (("register_asset", "--key", "two words"), "--key is 1 to 128 visible ASCII characters"),
        (("read_status", "--all"), "read_status has no pages"),
    ):
        told = muniment(*arguments, "--json")
        assert told.sentence.startswith(sentence), told.err
        assert re.search(rf"^{arguments[0]}: (GET|POST) /v1/", told.err)
    assert operations(muniment) == before


def test_an_unknown_call_is_told_with_the_nearest_names(muniment: Muniment) -> None:
    told = muniment("batch-mnt").sentence
    assert told.startswith("there is no call 'batch-mnt' (did you mean batch_mint")
    assert told.endswith("?): `muniment call` lists all")
    assert "did you mean" not in muniment("zzzzzz").sentence


def test_without_an_api_key_nothing_is_sent(muniment: Muniment) -> None:
    for key in (None, "", "  "):
        assert muniment("list_assets", MUNIMENT_API_KEY=key).sentence.startswith("set MUNIMENT_API_KEY")
    secret = "munsk_test_must\nnot_be_told"
    told = muniment("list_assets", MUNIMENT_API_KEY=secret)
    assert told.sentence.startswith("MUNIMENT_API_KEY: ")
    assert "not_be_told" not in told.err
    assert muniment("list_problems", MUNIMENT_API_KEY=None).code == 0
    unknown = muniment("list_assets", MUNIMENT_API_KEY="munsk_test_unknown")
    assert (unknown.code, unknown.err.splitlines()[0]) == (1, "muniment: A valid API key is required")


def test_an_api_that_is_away_or_no_api_is_one_sentence(muniment: Muniment, stack: Stack) -> None:
    assert stack.anvil is not None
    for arguments in ((), ("list_assets",), ("pause", "token_id=x")):
        assert muniment(*arguments, MUNIMENT_URL=NOBODY).sentence.startswith(f"{NOBODY} does not answer (")
    assert muniment(MUNIMENT_URL=stack.anvil.url).code == 2
    for url in ("ftp://127.0.0.1", "http://user:secret@127.0.0.1:1", "http://", "http://127.0.0.1:1/?a", "http://a b"):
        assert muniment(MUNIMENT_URL=url).sentence == "MUNIMENT_URL: write http://host:port or https://host"
    assert muniment(MUNIMENT_URL="http://127.0.0.1:no").code == 2


# Reads


def test_all_pages_are_read_as_one(muniment: Muniment) -> None:
    for _ in range(5):
        muniment("register_asset", f"name=asset {next(NUMBERS)}", "category=other")
    whole = muniment("list_assets", "limit=500", "--json").json
    assert len(whole["data"]) >= 5
    assert whole["next_cursor"] is None
    page = muniment("list_assets", "limit=2", "--json").json
    assert len(page["data"]) == 2
    for given in (("limit=2",), ()):
        assert muniment("list_assets", *given, "--all", "--json").json == whole
    rest = muniment("list_assets", "limit=2", f"cursor={page['next_cursor']}", "--all", "--json").json
    assert page["data"] + rest["data"] == whole["data"]
    told = muniment("list_assets", "limit=2")
    assert f"cursor={page['next_cursor']}" in told.err
    assert page["data"][0]["id"] in told.out


# Terminals, and servers that lie


def test_a_terminal_shows_progress_and_an_interruption_says_how_to_ask_again(
    muniment: Muniment, stack: Stack, token: str, holder: str
) -> None:
    command = [sys.executable, "-m", "service.cli", "call", "mint", f"token_id={token}", f"to={holder}", "amount=7"]
    environment = {**os.environ, "MUNIMENT_URL": stack.api_url, "MUNIMENT_API_KEY": stack.api_key(), "TERM": "xterm"}
    ours, theirs = pty.openpty()
    with nothing_sent(stack):
        process = subprocess.Popen(
            command, cwd=local.ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        seen = _read_until(ours, "token.mint pending: transaction")
        process.send_signal(signal.SIGINT)
        seen += _read_until(ours, "--key")
        assert process.wait(30) == 130
    os.close(ours)
    assert stack.api_key() not in seen
    (begun,) = re.findall(r"interrupted; the operation goes on: .*operation_id=([0-9a-f-]{36})", seen)
    assert begun in operations(muniment)


def _read_until(terminal: int, words: str) -> str:
    seen = b""
    end_s = time.monotonic() + 30
    while words.encode() not in seen:
        assert time.monotonic() < end_s, seen.decode()
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65_536)
    return seen.decode()


def test_the_api_key_follows_no_redirect(muniment: Muniment) -> None:
    with server({}) as (elsewhere, keys):
        answers = {"/openapi.json": listing(), "/it": (302, {"Location": f"{elsewhere}/it"}, "")}
        with server(answers) as (url, _):
            assert "answers 302" in muniment("ask_it", MUNIMENT_URL=url).sentence
        assert keys == []


def test_an_answer_that_is_no_answer_of_the_api_is_one_sentence(muniment: Muniment) -> None:
    away = '{"title": "The database is away", "detail": "try again"}'
    answers: dict[str, Said] = {
        "no JSON": (200, {}, "<html>"),
        "answers 502": (502, {}, "<html>Bad Gateway"),
        "The database is away: try again": (503, {}, away),
    }
    for told, answer in answers.items():
        with server({"/openapi.json": listing(), "/it": answer}) as (url, _):
            assert told in muniment("ask_it", MUNIMENT_URL=url).sentence
    for document in ("[]", "{}", "<html>"):
        with server({"/openapi.json": (200, {}, document)}) as (url, _):
            assert "set MUNIMENT_URL" in muniment("ask_it", MUNIMENT_URL=url).sentence


def test_a_write_whose_end_is_not_known_says_how_to_ask_again(
    muniment: Muniment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "AWAY_MAX_S", 0.0)
    taken = '{"id": "0199", "kind": "it.asked", "status": "pending"}'
    accepted: Said = (202, {"Location": "/v1/operations/0199"}, taken)
    unauthorized: Said = (401, {}, '{"title": "A valid API key is required", "detail": "send one"}')
    goes_on = "the operation goes on: ask again by `muniment call read_operation operation_id=0199`"
    for first, then, told in (
        ((502, {}, ""), unauthorized, "; it may have been taken: repeat the call with --key mine"),
        (accepted, (502, {}, ""), f"; {goes_on}, or repeat the call with --key mine"),
        (accepted, unauthorized, f"A valid API key is required; {goes_on}, or repeat the call with --key mine"),
    ):
        answers: dict[str, Said] = {"/openapi.json": listing("post"), "/it": first, "/v1/operations/0199": then}
        with server(answers) as (url, _):
            assert muniment("ask_it", "--key", "mine", MUNIMENT_URL=url).sentence.endswith(told)


def test_a_name_that_someone_wrote_moves_no_cursor(muniment: Muniment) -> None:
    row = {"label": "Ada\x1b[2J\r\u202egnip [red]", "more": None}
    with server({"/openapi.json": listing(), "/it": (200, {}, json.dumps({"data": [row]}))}) as (url, _):
        told = muniment("ask_it", MUNIMENT_URL=url).out
        assert r"Ada\x1b[2J\r\u202egnip [red]" in told
        assert muniment("ask_it", "--json", MUNIMENT_URL=url).json == {"data": [row]}
