"""GET /metrics: how the deployment is, in Prometheus' text format, for keys with the scope `metrics`.

Everything is read from Postgres when the question comes, so that each copy of the API tells the same of all processes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from service.access import key_queries, nonces
from service.access.http import Scraping
from service.access.key_states import Notice
from service.access.key_traffic import NEW_NETWORK, NOTED, RETIRING
from service.addresses import checksum
from service.db import acting_for_every_issuer
from service.mirror import queries as mirror
from service.operators import queries
from service.operators.queries import LeaseState, SignerState
from service.transactions import endpoints, overview, totals
from service.transactions.endpoints import EndpointSeen
from service.transactions.overview import Load
from service.transactions.tables import LIVE, Status
from service.transactions.totals import OUTSIDERS, Total
from service.vault import budgets
from service.vault import queries as vault
from service.web.http import Db
from service.webhooks import queries as webhooks

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], int | float]

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
async def read_metrics(request: Request, caller: Scraping, db: Db) -> Response:
    """Queues, nonces, fees, signers, endpoints, leases and the mirror, of the whole deployment; no issuer is named."""
    del caller
    chain_id: int = request.app.state.settings.chain_id
    with acting_for_every_issuer():
        async with db.read() as connection:
            loads = await overview.loads(connection, chain_id=chain_id)
            signers = await queries.signers(connection, chain_id=chain_id, addresses=[])
            sums = await totals.totals(connection, chain_id=chain_id)
            nodes = await endpoints.seen(connection, chain_id=chain_id)
            leases = await queries.leases(connection)
            seen = await mirror.status(connection, chain_id=chain_id)
            crowded_count = await vault.crowded_count(connection)
            suspended_count = await budgets.suspended_count(connection)
            hooks = await webhooks.totals(connection)
            refusals = await key_queries.refusals(connection)
            noticed = await key_queries.noticed(connection)
        replays = await nonces.replays(db)
    families = [*_live(loads), *_totals(sums), *_signers(signers), *_endpoints(nodes), *_leases(leases)]
    families += [
        *_mirror(seen),
        *_vault(crowded_count, suspended_count),
        *_webhooks(hooks),
        *_access(refusals, noticed, replays),
    ]
    return Response("".join(written(*family) for family in families), media_type=MEDIA_TYPE)


Family = tuple[str, str, str, Iterable[Sample]]
"""A name, `gauge` or `counter`, what it means, and its samples."""


def written(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> str:
    """A family of samples as text. Source: Prometheus, text exposition format 0.0.4."""
    lines = [f"# HELP muniment_{name} {meaning}", f"# TYPE muniment_{name} {kind}"]
    for labels, value in samples:
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"muniment_{name}{{{told}}} {value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _who(signer: bytes | None) -> str:
    return "outsiders" if signer is None or signer == OUTSIDERS else checksum(signer)


def _vault(crowded_count: int, suspended_count: int) -> Iterator[Family]:
    meaning = "Policies of the vault whose tokens use a hundredth of their space or more."
    yield "vault_crowded_policies", "gauge", meaning, [({}, crowded_count)]
    meaning = "API keys that passed a limit of a policy and must not reveal."
    yield "vault_suspended_keys", "gauge", meaning, [({}, suspended_count)]


def _access(counts: Mapping[str, int], noticed: Mapping[Notice, int], replays: nonces.Replays) -> Iterator[Family]:
    refusals = {"expired": 0} | {reason: count for reason, count in counts.items() if reason not in NOTED}
    meaning = "Requests that no credential let in, by reason."
    yield "access_refusals_total", "counter", meaning, [({"reason": each}, refusals[each]) for each in refusals]
    meaning = "Requests with keys whose successors are in use."
    yield "retiring_key_uses_total", "counter", meaning, [({}, counts.get(RETIRING, 0))]
    meaning = "Networks that keys in use came from for the first time."
    yield "new_networks_total", "counter", meaning, [({}, counts.get(NEW_NETWORK, 0))]
    meaning = "Keys that whoever keeps them should look at, by notice."
    yield "keys_noticed", "gauge", meaning, [({"notice": notice}, count) for notice, count in noticed.items()]
    yield "nonce_replays_total", "counter", "Signed requests that came again.", [({}, replays.total_count)]
    meaning = "Keys with three replays or more within five minutes."
    yield "nonce_replays_alarming_keys", "gauge", meaning, [({}, replays.alarming_count)]


def _webhooks(hooks: webhooks.Totals) -> Iterator[Family]:
    told = {
        "enabled": ("Webhooks that are sent to.", hooks.enabled),
        "disabled": ("Webhooks that are not sent to, for whatever reason.", hooks.disabled),
        "failing": ("Webhooks whose last message was not taken.", hooks.failing),
        "unreadable": ("Webhooks that nothing is sent to since a secret of theirs does not open.", hooks.unreadable),
        "pending_messages": ("Messages that are to be sent, for the first time or again.", hooks.pending),
        "dead_messages": ("Messages that were given up.", hooks.dead),
        "lag_entries": ("Journal entries that a webhook has not been given: the most of any.", hooks.lag_entries),
        "oldest_pending_seconds": ("Age of the oldest message that was not taken.", hooks.oldest_pending_s),
    }
    for name, (meaning, value) in told.items():
        yield f"webhooks_{name}", "gauge", meaning, [({}, value)]


def _live(loads: Iterable[Load]) -> Iterator[Family]:
    in_flight = (Status.PENDING, Status.SUBMITTED)
    yield (
        *("transactions_live", "gauge", "Transactions that are not final, by signer and status."),
        [
            ({"signer": _who(each.signer), "status": status}, each.counts.get(status, 0))
            for each in loads
            for status in LIVE
        ],
    )
    yield (
        *("nonces_in_flight", "gauge", "Nonces that were given out and are not mined."),
        [({"signer": _who(each.signer)}, sum(each.counts.get(status, 0) for status in in_flight)) for each in loads],
    )
    yield (
        *("transactions_oldest_unmined_seconds", "gauge", "Age of the oldest transaction that is not mined."),
        [({"signer": _who(each.signer)}, float(each.oldest_unmined_s or 0)) for each in loads],
    )


def _totals(sums: Iterable[Total]) -> Iterator[Family]:
    counters = {
        "replacements_count": ("replacements_total", "Versions that replaced an earlier one of the same nonce."),
        "cancellations_count": ("cancellations_total", "Empty versions that took a transaction back."),
        "gas_used": ("gas_used_total", "Gas of mined transactions."),
        "fees_wei": ("fees_wei_total", "What the chain took for mined transactions, in wei."),
    }
    rows = list(sums)
    yield (
        *("transactions_total", "counter", "Transactions that are final, by signer and end."),
        [
            ({"signer": _who(row.signer), "status": row.status}, row.transactions_count)
            for row in rows
            if row.status not in LIVE
        ],
    )
    for field, (name, meaning) in counters.items():
        counts: dict[str, int] = {}
        for row in rows:
            counts[_who(row.signer)] = counts.get(_who(row.signer), 0) + getattr(row, field)
        yield name, "counter", meaning, [({"signer": signer}, count) for signer, count in counts.items()]


def _signers(signers: Iterable[SignerState]) -> Iterator[Family]:
    seen = [(each.standing, {"signer": checksum(each.address)}) for each in signers if each.standing is not None]
    yield (
        *("signer_balance_wei", "gauge", "Ether that a signer has, in wei, as the sender last saw it."),
        [(label, standing.balance_wei) for standing, label in seen],
    )
    yield (
        *("signer_next_nonce", "gauge", "Nonces of a signer that the chain has counted."),
        [(label, standing.next_nonce) for standing, label in seen],
    )
    yield (
        *(
            "signer_foreign_nonces",
            "gauge",
            "Nonces that others spent with a signer's key since it was resumed.",
        ),
        [(label, standing.foreign_nonces) for standing, label in seen],
    )
    for name, meaning in (
        ("halt", "Nothing new is sent for a signer, and why."),
        ("alert", "What a signer's operator should look at."),
    ):
        yield (
            *(f"signer_{name}", "gauge", meaning),
            [({**label, name: told}, 1) for standing, label in seen if (told := getattr(standing, name)) is not None],
        )


def _endpoints(nodes: Iterable[EndpointSeen]) -> Iterator[Family]:
    rows = [({"endpoint": each.name}, each) for each in nodes]
    yield (
        *("endpoint_up", "gauge", "Whether an endpoint is in use; 0 as well where no sender tells of it any more."),
        [(label, int(each.state == "up")) for label, each in rows],
    )
    for name, kind, meaning, field in (
        ("behind_blocks", "gauge", "Blocks that an endpoint is below the best one.", "behind_blocks"),
        ("failures", "gauge", "Questions in a row without a usable answer.", "failures"),
        ("contradictions_total", "counter", "Answers that contradicted those of other endpoints.", "contradictions"),
        ("seen_age_seconds", "gauge", "Seconds since a sender told of an endpoint.", "seen_age_s"),
    ):
        yield f"endpoint_{name}", kind, meaning, [(label, getattr(each, field)) for label, each in rows]
    yield (
        *("endpoint_latency_seconds", "gauge", "What an endpoint took for its last answer."),
        [(label, each.latency_ms / 1000) for label, each in rows if each.latency_ms is not None],
    )


def _leases(leases: Iterable[LeaseState]) -> Iterator[Family]:
    rows = list(leases)
    yield (
        *("lease_held", "gauge", "Whether a worker holds a lease now."),
        [({"lease": row.name, "holder": row.holder}, int(row.held)) for row in rows],
    )
    yield (
        *("lease_epoch", "counter", "How often a lease has passed to a worker."),
        [({"lease": row.name}, row.epoch) for row in rows],
    )


def _mirror(seen: mirror.Status) -> Iterator[Family]:
    told: dict[str, tuple[str, Any]] = {
        "tip_block": ("The mirror's newest block.", seen.tip),
        "head_block": ("The node's newest block.", seen.head),
        "final_block": ("The newest block past reversal.", seen.final),
        "lag_blocks": ("Blocks that the mirror is behind the node.", seen.lag),
        "seen_age_seconds": ("Seconds since the indexer last heard from the node.", seen.seen_age_s),
    }
    for name, (meaning, value) in told.items():
        yield f"mirror_{name}", "gauge", meaning, [] if value is None else [({}, value)]
