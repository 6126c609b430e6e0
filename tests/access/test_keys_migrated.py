"""API keys of an older version: they become credentials, and come back without opening more than they may."""

import threading
import time

import psycopg
import pytest
from pydantic import SecretStr

from service import migrate
from tests.repository.test_migrations import empty_url

__all__ = ["empty_url"]

BEFORE = """
INSERT INTO issuers (id, name, signer) VALUES (gen_random_uuid(), 'Harbour Estates', decode(repeat('11', 20), 'hex'));
INSERT INTO callers (id, issuer_id, name) SELECT gen_random_uuid(), id, 'shop' FROM issuers;
INSERT INTO api_keys (id, caller_id, secret_hmac, scopes, revoked_at)
SELECT repeat(given.name, 11), id, decode(repeat('22', 32), 'hex'), '{metrics}', ended
FROM callers, (VALUES ('A', NULL::timestamptz), ('B', now())) AS given (name, ended)
"""

SINCE = """
UPDATE credentials SET scopes = '{metrics,keys:read}', expires_at = now() + interval '1 day' WHERE id = repeat('A', 11);
INSERT INTO credentials (id, family_id, version, caller_id, environment, kind, name, scopes, secret_hmac,
    pepper_version, activated_at)
SELECT repeat('C', 11), gen_random_uuid(), 1, id, 'test', 'bearer', 'since', '{issue,keys:admin}',
    decode(repeat('33', 32), 'hex'), 1, now() FROM callers;
INSERT INTO credentials (id, family_id, version, caller_id, environment, kind, name, scopes, public_key)
SELECT repeat('D', 11), gen_random_uuid(), 1, id, 'test', 'ed25519', 'signs', '{issue}',
    decode(repeat('44', 32), 'hex') FROM callers
"""


def test_keys_of_an_older_version_go_on_and_come_back_with_no_more_rights(empty_url: SecretStr) -> None:
    migrate.upgrade(empty_url, "0029")
    with psycopg.connect(empty_url.get_secret_value()) as connection:
        connection.execute(BEFORE)
    migrate.upgrade(empty_url, "0030")
    with psycopg.connect(empty_url.get_secret_value()) as connection:
        kept = "SELECT id, kind, name, scopes, environment, activated_at IS NOT NULL, revoked_at IS NOT NULL"
        rows = connection.execute(f"{kept} FROM credentials ORDER BY id").fetchall()
        assert rows == [
            ("A" * 11, "bearer", "shop", ["metrics"], None, True, False),
            ("B" * 11, "bearer", "shop", ["metrics"], None, True, True),
        ]
        connection.execute(SINCE)
    migrate.downgrade(empty_url, "0029")
    with psycopg.connect(empty_url.get_secret_value()) as connection:
        rows = connection.execute("SELECT id, scopes, revoked_at IS NOT NULL FROM api_keys ORDER BY id").fetchall()
    assert rows == [("A" * 11, ["metrics"], True), ("B" * 11, ["metrics"], True), ("C" * 11, ["issue"], False)]


SINCE_0036 = """
INSERT INTO credentials (id, family_id, version, caller_id, environment, kind, name, scopes, public_key, limits,
    revoked_for, revoked_at)
SELECT repeat(given.name, 11), gen_random_uuid(), 1, c.id, 'test', 'ed25519', 'signs', '{issue}',
    decode(repeat('44', 32), 'hex'), given.limits::jsonb, given.ended, CASE WHEN given.ended <> '' THEN now() END
FROM callers c, (VALUES ('A', '{"amount_max": "5", "amount_unapproved_max": "0"}', NULL),
    ('B', '{"amount_unapproved_per_day": "7"}', 'leaked'), ('C', '{"amount_max": "5"}', NULL)
) AS given (name, limits, ended)
"""


def test_what_an_older_version_cannot_hold_a_key_to_ends_it(empty_url: SecretStr) -> None:
    migrate.upgrade(empty_url, "0036")
    with psycopg.connect(empty_url.get_secret_value()) as connection:
        connection.execute(BEFORE[: BEFORE.index("INSERT INTO api_keys")])
        connection.execute(SINCE_0036)
    migrate.downgrade(empty_url, "0035")
    with psycopg.connect(empty_url.get_secret_value()) as connection:
        query = "SELECT limits, revoked_for, revoked_at IS NOT NULL FROM credentials ORDER BY id"
        rows = connection.execute(query).fetchall()
    assert rows == [
        ({"amount_max": "5"}, "a limit that is no longer known", True),
        ({}, "leaked", True),
        ({"amount_max": "5"}, None, False),
    ]


def test_callers_are_let_in_while_a_migration_waits_for_what_is_counted(empty_url: SecretStr) -> None:
    migrate.upgrade(empty_url, "0036")
    url, failed = empty_url.get_secret_value(), []

    def upgrade() -> None:
        try:
            migrate.upgrade(empty_url, "0037")
        except Exception as error:
            failed.append(error)

    with psycopg.connect(url) as counting, psycopg.connect(url, autocommit=True) as asking:
        counting.execute("LOCK TABLE credential_uses IN ROW EXCLUSIVE MODE")
        counting.execute("LOCK TABLE amounts_taken IN ROW EXCLUSIVE MODE")
        migrating = threading.Thread(target=upgrade)
        migrating.start()
        until_s = time.monotonic() + 2
        waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'amounts_taken'::regclass"
        while not asking.execute(waits).fetchall() and time.monotonic() < until_s:
            time.sleep(0.01)
        asking.execute("SET lock_timeout = '100ms'")
        asking.execute("SELECT FROM credentials")
        counting.rollback()
        # Not even at its end does it wait for uses: whoever writes them wants credentials next.
        counting.execute("LOCK TABLE credential_uses IN ROW EXCLUSIVE MODE")
        migrating.join()
    assert failed == []


REMOVED = """
INSERT INTO webhooks (id, issuer_id, url, description, types, position, disabled_at, disabled_for, removed_at)
SELECT id, id, 'https://example.com', '', '{a}', 0, now(), 'caller', now() FROM gen_random_uuid() AS id
"""


def test_removed_webhooks_that_are_not_cleared_away_keep_an_older_version_away(empty_url: SecretStr) -> None:
    migrate.upgrade(empty_url, "0038")
    with psycopg.connect(empty_url.get_secret_value()) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(REMOVED)
    with pytest.raises(RuntimeError, match=r"1 webhooks are removed.*let the dispatcher run"):
        migrate.downgrade(empty_url, "0037")
