"""Every problem that can be told is told by a test, and explained by the API."""

from pathlib import Path

import pytest

from service import app
from service.errors import Problem
from tests.world import World

TESTS = Path(__file__).resolve().parent.parent

TOLD_BY = {
    "account-exists": "tokens/test_refusals.py",
    "account-not-found": "tokens/test_refusals.py",
    "account-not-managed": "tokens/test_refusals.py",
    "account-of-another-person": "vault/test_persons.py",
    "action-invalid": "governance/test_refusals.py",
    "adoption-not-found": "tokens/test_adopt.py",
    "already-adopted": "tokens/test_adopt.py",
    "already-followed": "tokens/test_adopt.py",
    "already-submitted": "tokens/test_acts.py",
    "already-voted": "governance/test_refusals.py",
    "another-caller-needed": "vault/test_reveal_limits.py",
    "approval-by-requester": "transactions/test_operator.py",
    "approval-closed": "vault/test_reveal_limits.py",
    "approval-missing": "vault/test_reveal_limits.py",
    "approval-not-found": "vault/test_reveal_limits.py",
    "asset-already-tokenized": "tokens/test_refusals.py",
    "asset-not-found": "access/test_issuers.py",
    "attestation-from-future": "compliance/test_reserves.py",
    "attestation-invalid": "compliance/test_reserves.py",
    "attestation-stale": "compliance/test_reserves.py",
    "attester-missing": "compliance/test_reserves.py",
    "asset-token-not-found": "vault/test_records.py",
    "attribute-not-found": "vault/test_commitments.py",
    "authorization-already-used": "tokens/test_refusals.py",
    "bad-cursor": "web/test_bad_requests.py",
    "ballot-outdated": "governance/test_roads.py",
    "batch-invalid": "batches/test_refused.py",
    "batch-not-found": "batches/test_batches_apart.py",
    "batch-refused": "batches/test_cancelled.py",
    "block-in-future": "tokens/test_as_of.py",
    "block-not-mirrored": "tokens/test_as_of.py",
    "block-replaced": "ownership/test_exports.py",
    "body-too-large": "web/test_bad_requests.py",
    "call-refused": "tokens/test_refusals.py",
    "cannot-receive": "compliance/test_forced.py",
    "cap-exceeded": "tokens/test_acts.py",
    "commitment-not-found": "vault/test_commitments.py",
    "contract-exists": "deployments/test_roles.py",
    "contract-missing": "deployments/test_roles.py",
    "contract-not-deployed": "deployments/test_scheduled.py",
    "database-unavailable": "web/test_outages.py",
    "deed-exists": "tokens/test_acts.py",
    "deed-not-found": "tokens/test_facts.py",
    "digest-mismatch": "vault/test_documents.py",
    "document-hash-missing": "compliance/test_documents.py",
    "document-incomplete": "vault/test_documents.py",
    "document-not-found": "compliance/test_documents.py",
    "document-overrun": "vault/test_documents.py",
    "document-too-large": "vault/test_documents.py",
    "frozen-amount-changed": "tokens/test_acts.py",
    "governor-not-found": "access/test_issuers.py",
    "governor-setting-invalid": "governance/test_refusals.py",
    "headers-too-large": "access/test_keys_refused.py",
    "holdings-changed": "compliance/test_identities.py",
    "idempotency-key-reused": "operations/test_idempotency.py",
    "insufficient-allowance": "tokens/test_acts.py",
    "insufficient-balance": "tokens/test_refusals.py",
    "insufficient-unfrozen-balance": "tokens/test_acts.py",
    "internal-error": "operations/test_commit.py",
    "invalid-request": "web/test_bad_requests.py",
    "investor-invalid": "compliance/test_identities.py",
    "investor-still-blocked": "compliance/test_identities.py",
    "key-being-rotated": "access/test_keys.py",
    "key-exceeds-grantor": "access/test_keys.py",
    "key-expired": "access/test_keys.py",
    "key-in-url": "access/test_keys_refused.py",
    "key-limits-widened": "access/test_keys.py",
    "key-not-found": "access/test_keys.py",
    "key-not-in-state": "access/test_keys.py",
    "key-of-another-caller": "access/test_keys.py",
    "last-admin": "deployments/test_roles.py",
    "method-not-allowed": "web/test_bad_requests.py",
    "mirror-behind": "tokens/test_as_of.py",
    "mirror-empty": "tokens/test_as_of.py",
    "moment-ambiguous": "tokens/test_as_of.py",
    "moment-in-future": "tokens/test_walk.py",
    "no-code": "tokens/test_adopt.py",
    "node-away": "compliance/test_preview.py",
    "name-of-another-subject": "vault/test_persons.py",
    "nonce-spent": "tokens/test_acts.py",
    "nonce-spent-elsewhere": "transactions/test_recovering.py",
    "nonce-replayed": "access/test_sign_requests.py",
    "nonce-taken": "tokens/test_acts.py",
    "not-a-token": "tokens/test_adopt.py",
    "not-backed": "compliance/test_reserves.py",
    "not-cancellable": "governance/test_refusals.py",
    "not-mineable": "tokens/test_acts.py",
    "not-exportable": "vault/test_export.py",
    "not-of-this-policy": "vault/test_tokenizing.py",
    "not-ready": "deployments/test_scheduled.py",
    "not-scheduled": "deployments/test_scheduled.py",
    "not-the-holder": "tokens/test_acts.py",
    "not-what-was-prepared": "tokens/test_acts.py",
    "nothing-shown": "tokens/test_walk.py",
    "operation-already-executed": "tokens/test_refusals.py",
    "operation-cancelled": "transactions/test_replacing.py",
    "operation-not-found": "access/test_issuers.py",
    "person-not-found": "vault/test_persons.py",
    "policy-exists": "vault/test_policies.py",
    "policy-missing": "compliance/test_policies.py",
    "policy-not-for-documents": "vault/test_documents.py",
    "policy-needs-another": "vault/test_policies.py",
    "policy-not-found": "vault/test_policies.py",
    "policy-unfit": "vault/test_policies.py",
    "prepared-expired": "tokens/test_prepared_expiry.py",
    "prepared-not-found": "access/test_issuers.py",
    "problem-not-found": "web/test_problem_registry.py",
    "processor-unavailable": "vault/test_payments.py",
    "processor-unknown": "vault/test_payments.py",
    "proposal-not-found": "governance/test_refusals.py",
    "proposal-not-in-state": "governance/test_refusals.py",
    "proposer-restricted": "governance/test_refusals.py",
    "record-damaged": "vault/test_records.py",
    "request-erased": "vault/test_records.py",
    "reveal-refused": "vault/test_reveals.py",
    "reveal-suspended": "vault/test_reveal_limits.py",
    "reveal-unrecorded": "vault/test_reveals.py",
    "route-not-found": "web/test_bad_requests.py",
    "schedule-expired": "deployments/test_scheduled.py",
    "scheduled-by-another": "deployments/test_scheduled.py",
    "scheduled-not-found": "deployments/test_scheduled.py",
    "scope-missing": "transactions/test_operator.py",
    "signature-stale": "access/test_sign_requests.py",
    "signature-required": "access/test_sign_required.py",
    "secret-already-shown": "access/test_keys.py",
    "signer-is-ours": "governance/test_refusals.py",
    "signer-lacks-role": "tokens/test_refusals.py",
    "signer-not-found": "transactions/test_operator.py",
    "signer-shared": "transactions/test_operator.py",
    "space-exhausted": "vault/test_tokenizing.py",
    "state-not-kept": "compliance/test_preview.py",
    "subject-not-found": "compliance/test_documents.py",
    "suspension-not-found": "vault/test_reveal_limits.py",
    "timelock-not-ready": "governance/test_refusals.py",
    "token-not-deployed": "tokens/test_refusals.py",
    "token-not-found": "access/test_issuers.py",
    "token-not-paused": "tokens/test_refusals.py",
    "token-paused": "tokens/test_refusals.py",
    "token-unregulated": "compliance/test_policies.py",
    "too-few-votes-to-propose": "governance/test_refusals.py",
    "too-many-reports": "access/test_keys_refused.py",
    "too-many-webhooks": "webhooks/test_webhooks.py",
    "too-many-adoptions": "tokens/test_adopt.py",
    "transaction-not-found": "transactions/test_operator.py",
    "transaction-not-in-state": "transactions/test_operator.py",
    "transfer-restricted": "compliance/test_policies.py",
    "quota-exceeded": "access/test_quotas.py",
    "unauthorized": "access/test_authentication.py",
    "upload-offset-mismatch": "vault/test_documents.py",
    "value-of-another-subject": "vault/test_tokenizing.py",
    "value-unfit": "vault/test_records.py",
    "wallet-unanswered": "access/test_sign_wallets.py",
    "vault-document-not-found": "vault/test_documents.py",
    "vault-keys-unavailable": "vault/test_records.py",
    "vault-subject-not-found": "vault/test_records.py",
    "vault-token-not-found": "vault/test_records.py",
    "webhook-disabled": "webhooks/test_webhooks.py",
    "webhook-not-found": "webhooks/test_webhooks.py",
    "webhook-url-refused": "webhooks/test_webhooks.py",
    "wrong-token-kind": "compliance/test_reserves.py",
}


def test_every_problem_is_told_by_a_test() -> None:
    assert app is not None
    assert set(TOLD_BY) == set(Problem.registry)


@pytest.mark.parametrize(("slug", "path"), TOLD_BY.items())
def test_the_test_of_a_problem_names_it(slug: str, path: str) -> None:
    assert f'"{slug}"' in (TESTS / path).read_text()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_api_lists_and_explains_every_problem(shared: World) -> None:
    listed = (await shared.client.get("/problems")).json()
    assert [each["type"] for each in listed] == [f"/problems/{slug}" for slug in sorted(Problem.registry)]
    for each in listed:
        kind = Problem.registry[each["type"].rpartition("/")[2]]
        assert (each["title"], each["status"], each["reverts"]) == (kind.title, kind.status, list(kind.reverts))
        assert each["meaning"] == (kind.__doc__ or "").strip()
        assert (await shared.client.get(each["type"])).json() == each


@pytest.mark.asyncio(loop_scope="module")
async def test_a_problem_that_is_not_there_is_told_as_one(shared: World) -> None:
    answer = await shared.client.get("/problems/nothing")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/problem-not-found")
