"""API keys of an older version: they become credentials, and come back without opening more than they may."""

import psycopg
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
