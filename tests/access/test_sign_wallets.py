"""Wallets that sign requests: by their key, as npm's ERC-8128 does it, and by the word of a contract."""

import base64
import json
import subprocess
import time
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from scripts import local, setup
from service.access import signatures, wallets
from service.access.signatures import NotSigned, Target
from service.access.wallets import Wallet, Wallets, WalletUnanswered, message_digest
from service.chain.reader import Chain, open_chain
from service.keys.signed import recover
from tests.access.signing import AUTHORITY, Signing, new_signing, register
from tests.rpc import rpc
from tests.web.answers import pointers, problem
from tests.web.shared import log, shared
from tests.world import World, make_settings

__all__ = ["log", "shared"]

CHAIN_ID = 31_337
ACCOUNT = bytes.fromhex("c0" * 20)
BODY = b'{"name":"12 Harbour Street","category":"house"}'
EXAMPLE = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # EIP-55
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
ORDER = 2 * HALF_ORDER + 1

SAYS_YES_TO_THE_HASH = "0x60043560643514600f5760006000fd5b631626ba7e60e01b60005260206000f3"
"""A contract whose isValidSignature takes the hash itself for a signature, and nothing else."""
SAYS_YES_IN_OTHER_WORDS = "0x600160005260206000f3"
SPINS = "0x5b600056"


@pytest.fixture
async def chain(tmp_path: Any, chain_url: str) -> Any:
    opened = open_chain(make_settings(SecretStr("postgresql://x@y/z"), chain_url, tmp_path))
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"erc8128:1:0x{'c0' * 20}", Wallet(1, ACCOUNT)),
        (f"erc8128:31337:0x{'C0' * 20}", Wallet(31_337, ACCOUNT)),
        (f"erc8128:01:0x{'c0' * 20}", None),
        (f"erc8128:0:0x{'c0' * 20}", None),
        (f"erc8128:1:{'c0' * 20}", None),
        (f"erc8128:1:0x{'c0' * 19}", None),
        (f"erc8128:1:0x{'c0' * 20}x", None),
        (f"ERC8128:1:0x{'c0' * 20}", None),
        (f"erc8128:1:{EXAMPLE}", Wallet(1, bytes.fromhex(EXAMPLE[2:]))),
        (f"erc8128:1:{EXAMPLE.replace('aA', 'AA')}", None),  # a wrong checksum
        ("", None),
    ],
)
def test_a_key_id_names_a_wallet_or_none(text: str, expected: Wallet | None) -> None:
    assert wallets.read_key_id(text) == expected


async def test_a_wallets_signature_is_its_own_and_low(chain: Chain) -> None:
    signing, text, judge = new_signing("wallet"), b"the base", Wallets(chain)
    wallet, made = Wallet(CHAIN_ID, signing.account), signing.sign(text)
    assert await judge.proves(wallet, made, text)
    assert await judge.proves(Wallet(1, signing.account), made, text)  # a key signs alike on every chain
    high = made[:32] + (ORDER - int.from_bytes(made[32:64])).to_bytes(32) + bytes([55 - made[64]])
    for bad in (high, made[:64], made + b"\0", made[:64] + b"\0", b"", bytes(65), made[:64] + bytes([made[64] ^ 7])):
        assert not await judge.proves(wallet, bad, text)
    assert not await judge.proves(wallet, made, text + b" ")
    assert not await judge.proves(Wallet(CHAIN_ID, ACCOUNT), made, text)


async def test_a_contract_says_itself_whether_it_signed(chain: Chain, chain_url: str) -> None:
    judge, wallet, text = Wallets(chain), Wallet(CHAIN_ID, ACCOUNT), b"the base"
    assert not await judge.proves(wallet, message_digest(text), text)  # no contract yet
    rpc(chain_url, "anvil_setCode", f"0x{ACCOUNT.hex()}", SAYS_YES_TO_THE_HASH)
    assert await judge.proves(wallet, message_digest(text), text)
    assert not await judge.proves(wallet, message_digest(b"another"), text)
    assert not await judge.proves(Wallet(1, ACCOUNT), message_digest(text), text)  # of another chain nobody is asked
    assert not await judge.proves(wallet, message_digest(text) + bytes(5_000), text)
    for code in (SAYS_YES_IN_OTHER_WORDS, SPINS):
        rpc(chain_url, "anvil_setCode", f"0x{ACCOUNT.hex()}", code)
        began = time.monotonic()
        assert not await judge.proves(wallet, message_digest(text), text)
        assert time.monotonic() - began < 3 * wallets.ASK_TIMEOUT_S


async def test_a_contract_that_cannot_be_asked_proves_nothing_and_is_no_refusal(tmp_path: Any) -> None:
    settings = make_settings(SecretStr("postgresql://x@y/z"), "http://127.0.0.1:1", tmp_path)
    nobody = open_chain(settings)
    with pytest.raises(WalletUnanswered):
        await Wallets(nobody).proves(Wallet(CHAIN_ID, ACCOUNT), bytes(65), b"the base")
    await nobody.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_contract_wallet_signs_requests(shared: World) -> None:
    made = new_signing("wallet")
    key = shared.key.split("_")[2][:11]
    await register(shared.db, shared.settings, made, like_key=key)
    contract = _Contract("wallet", made.key_id, made.secret, label="eth")
    headers = contract.headers("POST", "/v1/assets", BODY, headers={"idempotency-key": "by-contract"})
    problem(await shared.client.post("/v1/assets", headers=headers, content=BODY), "unauthorized")
    rpc(shared.chain_url, "anvil_setCode", f"0x{made.account.hex()}", SAYS_YES_TO_THE_HASH)
    assert (await shared.client.post("/v1/assets", headers=headers, content=BODY)).status_code == 201
    signed = shared.app.state.signed_requests
    nobody = open_chain(shared.settings.model_copy(update={"rpc_url": SecretStr("http://127.0.0.1:1")}))
    shared.app.state.signed_requests = replace(signed, wallets=Wallets(nobody))
    headers = contract.headers("GET", "/v1/status")
    problem(await shared.client.get("/v1/status", headers=headers), "wallet-unanswered")
    shared.app.state.signed_requests = signed
    await nobody.close()


class _Contract(Signing):
    """Signs as the contract takes it."""

    def sign(self, text: bytes) -> bytes:
        return message_digest(text)


NPM = """
const given = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
import("@slicekit/erc8128").then(async ({ signRequest, verifyRequest }) => {
  const { url, method, headers, body, signer, options } = given;
  const request = new Request(url, { method, headers, body });
  const seen = {};
  if (signer) {
    const signMessage = async (message) => {
      seen.message = Buffer.from(message).toString("hex");
      return given.signature ?? "0x" + "00".repeat(65);
    };
    const signed = await signRequest(request, { ...signer, signMessage }, options);
    seen.headers = Object.fromEntries(signed.headers);
  } else {
    const verifyMessage = async (asked) => Object.assign(seen, asked) && true;
    const nonceStore = { consume: async () => true };
    seen.result = await verifyRequest({ request, verifyMessage, nonceStore });
  }
  console.log(JSON.stringify(seen));
});
"""


def npm(**given: Any) -> dict[str, Any]:
    """What npm's implementation makes of a request."""
    folder = setup.node_folder()
    assert folder is not None
    run = {"input": json.dumps(given), "cwd": local.ROOT / "contracts", "capture_output": True, "text": True}
    ended = subprocess.run([str(folder / "node"), "-e", NPM], check=False, **run)  # type: ignore[call-overload]
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


@pytest.mark.asyncio(loop_scope="module")
async def test_what_npms_implementation_signs_is_taken_once(shared: World) -> None:
    made = new_signing("wallet")
    await register(shared.db, shared.settings, made, like_key=shared.key.split("_")[2][:11])
    asked: dict[str, Any] = {
        "url": f"http://{AUTHORITY}/v1/assets?a=%20b",
        "method": "POST",
        "headers": {"content-type": "application/json", "idempotency-key": "by-npm"},
        "body": BODY.decode(),
        "signer": {"address": f"0x{made.account.hex()}", "chainId": CHAIN_ID},
        "options": {"components": ["content-type", "idempotency-key"], "nonce": "n" * 22, "created": int(time.time())},
    }
    message = bytes.fromhex(npm(**asked)["message"])
    headers = npm(**asked, signature="0x" + made.sign(message).hex())["headers"]
    assert headers["signature-input"].startswith("eth=(")
    answer = await shared.client.post("/v1/assets?a=%20b", headers=headers, content=BODY)
    # Whoever signed it is known; its query, which is there to be signed, is no assets'.
    assert pointers(answer) == ["query a"]
    again = await shared.client.post("/v1/assets?a=%20b", headers=headers, content=BODY)
    problem(again, "nonce-replayed")
    problem(await shared.client.post("/v1/assets?a=b", headers=headers, content=BODY), "unauthorized")


def test_npms_implementation_takes_what_the_profile_asks_of_a_wallet() -> None:
    made = new_signing("wallet")
    headers = made.headers("POST", "/v1/assets?a=%20b", BODY, headers={"idempotency-key": "for-npm"})
    url = f"http://{AUTHORITY}/v1/assets?a=%20b"
    told = npm(url=url, method="POST", headers=headers, body=BODY.decode())
    assert told["result"]["ok"], told
    assert told["result"]["binding"] == "request-bound"
    message, proof = bytes.fromhex(told["message"]["raw"][2:]), bytes.fromhex(told["signature"][2:])
    assert recover(message_digest(message), proof) == made.account
    assert told["address"] == f"0x{made.account.hex()}"
    found = signatures.read(headers["signature-input"], headers["signature"])
    target = Target("POST", AUTHORITY, "/v1/assets", "a=%20b", {name: [value] for name, value in headers.items()})
    assert signatures.base(found, target) == message
    refused = npm(url=url, method="POST", headers=headers, body=BODY.decode() + " ")
    assert refused["result"]["reason"] == "digest_mismatch"


def test_a_wallets_signature_over_less_than_the_request_is_refused() -> None:
    made = new_signing("wallet")
    class_bound = Signing("wallet", made.key_id, made.secret, label="eth", components=["@authority"])
    headers = class_bound.headers("GET", "/v1/status")
    found = signatures.read(headers["signature-input"], headers["signature"])
    assert base64.b64decode(headers["signature"][5:-1]) == found.signature
    with pytest.raises(NotSigned, match="too little"):
        signatures.insist_on_profile(found, Target("GET", AUTHORITY, "/v1/status", "", {}), wallet=True, has_body=False)
