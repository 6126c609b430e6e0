"""From a signed request to the credential that signed it: one way through, in an order that costs strangers the most.

Nothing is told of a signature that does not prove good, and its nonce is not taken: a stranger can neither learn which
credentials there are nor use up a nonce or fill a table.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import LiteralString

from pydantic import SecretStr
from starlette.requests import Request

from service.access import signatures, signing_secrets, wallets
from service.access.admission import Admission
from service.access.key_limits import read_limits
from service.access.key_states import ENDED, OPENS
from service.access.nonces import Nonces, Spent
from service.access.queries import STORED, Caller, StoredKey, StoredKeys, stored_key
from service.access.rates import QuotaExceeded, Quotas, Standing
from service.access.signature_problems import NonceReplayed, SignatureStale
from service.access.signatures import Given, NotSigned, Target
from service.access.wallets import Wallet, Wallets
from service.chain.reader import Chain
from service.chain.together import Together
from service.db import UNAVAILABLE, Database
from service.settings import Settings
from service.telemetry import logger
from service.web.limits import is_streamed

FIELDS = frozenset({"signature", "signature-input"})

_NOBODY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032 section 7.1


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether a request means to be signed: it has a field of a signature, so that nothing else will do."""
    return any(name in headers for name in FIELDS)


StoredWallets = Together[Wallet, list[StoredKey]]
"""Looks the credentials of wallets up, newest first, all that are asked for at once in one query."""


def stored_wallets(db: Database) -> StoredWallets:
    """The way to the wallets of a database."""
    query: LiteralString = f"""{STORED} WHERE (k.account, k.chain_id) IN (
        SELECT * FROM unnest(%s::bytea[], %s::bigint[])) ORDER BY k.created_at DESC"""

    async def find(wanted: Sequence[Wallet]) -> list[list[StoredKey]]:
        named = list(set(wanted))
        rows = await db.fetch(query, ([each.account for each in named], [each.chain_id for each in named]))
        found: dict[tuple[bytes | None, int | None], list[StoredKey]] = defaultdict(list)
        for stored in map(stored_key, rows):
            found[stored.account, stored.chain_id].append(stored)
        return [found[each.account, each.chain_id] for each in wanted]

    return Together(find, of_all=UNAVAILABLE, lists_max=2)


@dataclass(frozen=True, slots=True)
class SignedRequests:
    """Who signed a request.

    Args:
        authority: what callers call this API, from our settings: what a request calls it proves nothing.
        kek: opens the secrets of HMAC credentials.
    """

    keys: StoredKeys
    of_wallets: StoredWallets
    nonces: Nonces
    wallets: Wallets
    authority: str
    kek: SecretStr = field(repr=False)

    async def caller_of(
        self, request: Request, admission: Admission, quotas: Quotas, address: str | None
    ) -> tuple[Caller, list[Standing]]:
        """The caller that signed a request, where it may come in now, and how its quotas stand then.

        What a quota refuses has spent no nonce: the same signature is good later.

        Args:
            address: where the request comes from.

        Raises:
            Unauthorized: nobody did, or not with a credential that opens anything; for every reason alike.
            KeyExpired, SignatureStale, NonceReplayed, QuotaExceeded, WalletUnanswered: as their names say.
        """
        try:
            stored, given = await self._proven(request)
        except NotSigned as error:
            raise admission.refused("signature", error.key_id, address) from None
        key_id, issuer_id = stored.caller.key_id, stored.caller.issuer_id
        if stored.state not in OPENS or not stored.begins:
            return await admission.admit(stored, address), []  # which lets it in never
        try:
            with quotas.taken(key_id, issuer_id) as standings:
                await self._spend(stored, given)
                return replace(await admission.admit(stored, address), signed=True), standings
        except (NonceReplayed, SignatureStale, QuotaExceeded) as problem:
            admission.refused(problem.slug, key_id, address)
            raise

    async def _proven(self, request: Request) -> tuple[StoredKey, Given]:
        """The credential that signed a request, and its signature; state and time are not judged yet.

        Raises:
            NotSigned: for every reason that is told to nobody.
            WalletUnanswered: a contract wallet could not be asked.
        """
        target = self._target(request)
        given = signatures.read(_the_one(target, "signature-input"), _the_one(target, "signature"))
        named = given.word("keyid")
        wallet = wallets.read_key_id(named)
        streamed = is_streamed(request.scope)
        body = b"" if streamed else await request.body()
        has_body = _announces_body(target) if streamed else bool(body)
        signatures.insist_on_profile(given, target, wallet=wallet is not None, has_body=has_body)
        signed = signatures.base(given, target)
        stored = await (self.keys.ask(named) if wallet is None else self._of_wallet(wallet))
        if not await self._proves(stored, wallet, given, signed) or stored is None:
            key_id = "" if stored is None else stored.caller.key_id
            raise NotSigned("the signature is not by a credential of ours", key_id=key_id)
        digest = target.one("content-digest")
        # Of a body that is read as it comes, the route compares what came with the digest.
        if digest is not None and not streamed and not signatures.fits_digest(digest, body):
            raise NotSigned("the body has another digest", key_id=stored.caller.key_id)
        return stored, given

    def _target(self, request: Request) -> Target:
        raw: Sequence[tuple[bytes, bytes]] = request.scope["headers"]
        headers: dict[str, list[str]] = defaultdict(list)
        for name, value in raw:
            headers[name.decode("latin-1").lower()].append(value.decode("latin-1"))
        if "authorization" in headers:
            raise NotSigned("a key came beside the signature, which does not cover it")
        path, query = request.scope["raw_path"].decode("latin-1"), request.scope["query_string"].decode("latin-1")
        return Target(request.method, self.authority, path, query, headers)

    async def _of_wallet(self, wallet: Wallet) -> StoredKey | None:
        """The newest credential of a wallet that opens anything; None too where several callers claim the wallet, as
        they could before accounts were asked: not where all but one are suspended, either."""
        found = await self.of_wallets.ask(wallet)
        usable = [each for each in found if each.state in OPENS and each.begins]
        if len({each.caller.id for each in found if each.state not in ENDED}) > 1:
            logger().warning("wallet_claimed_twice", detail=f"0x{wallet.account.hex()}")
            return None
        return next(iter([*usable, *found]), None)

    async def _proves(self, stored: StoredKey | None, wallet: Wallet | None, given: Given, signed: bytes) -> bool:
        """Whether the credential made the signature; its kind decides how that is judged, never the message."""
        kind = None if stored is None else stored.caller.kind
        if stored is not None and kind == "wallet" and wallet is not None:
            return await self.wallets.proves(wallet, given.signature, signed)
        if stored is not None and kind == "ed25519" and stored.public_key is not None:
            return signatures.proves(kind, stored.public_key, given, signed)
        if stored is not None and kind == "hmac" and stored.sealed_secret is not None:
            return signatures.proves(kind, self._secret(stored, stored.sealed_secret), given, signed)
        # What nobody has costs the same, so that time does not tell it apart.
        signatures.proves("ed25519", _NOBODY, given, signed)
        return False

    def _secret(self, stored: StoredKey, sealed: bytes) -> bytes:
        try:
            return signing_secrets.opened(self.kek, stored.caller.key_id, sealed)
        except signing_secrets.SecretUnreadable:
            logger().error("signing_secret_unreadable", detail=stored.caller.key_id)
            raise NotSigned("the credential's secret does not open") from None

    async def _spend(self, stored: StoredKey, given: Given) -> None:
        created, key_id = given.number("created"), stored.caller.key_id
        until = min(created + read_limits(dict(stored.caller.limits)).window_s, given.number("expires"))
        # A wallet's next credential must not take what was taken for the one before.
        named = given.word("keyid").lower() if stored.caller.kind == "wallet" else key_id
        spent = await self.nonces.spend(named, given.word("nonce"), created=created, until=until)
        if spent is Spent.STALE:
            raise SignatureStale("sign the request again, by this clock", server_time=int(time.time()))
        if spent is Spent.FENCED:
            detail = "the database was started or replaced since: sign the request again in a few seconds"
            raise SignatureStale(detail, server_time=int(time.time()), retry_after_s=signatures.SKEW_S)
        if spent is Spent.REPLAYED:
            raise NonceReplayed("sign the request again, with a fresh nonce")


def _the_one(target: Target, name: str) -> str:
    found = target.one(name)
    if found is None:
        raise NotSigned("a header of the signature is missing")
    return found


def _announces_body(target: Target) -> bool:
    return "transfer-encoding" in target.headers or target.one("content-length") not in (None, "0")


def open_signed_requests(settings: Settings, db: Database, keys: StoredKeys, chain: Chain) -> SignedRequests:
    """What a process judges signed requests by."""
    kek = settings.key_encryption_key
    return SignedRequests(keys, stored_wallets(db), Nonces(db), Wallets(chain), settings.authority, kek)
