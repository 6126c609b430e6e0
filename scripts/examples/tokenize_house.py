"""Tokenize a house: register it, deploy its token, open accounts for three investors, mint, and transfer.

Every write carries an idempotency key that is made from the reference and the step, never at random: run this again,
or after it was cut off, and nothing happens twice. Use a new --reference for another house.

Environment: MUNIMENT_API_KEY, and MUNIMENT_URL (default http://127.0.0.1:8000). Needs httpx.
"""

import argparse
import os
import sys
import time
from typing import Any

import httpx

INVESTORS = {"Ada": 500, "Bruno": 300, "Chiyo": 200}
WAIT_TIMEOUT_S = 120


def write(api: httpx.Client, path: str, idempotency_key: str, body: dict[str, Any]) -> Any:
    """Send an order. A lost answer is no harm: the same key and body bring the first result again."""
    for attempt in range(5):
        try:
            answer = api.post(path, json=body, headers={"Idempotency-Key": idempotency_key})
            if answer.status_code < 500:
                return read(answer)
        except httpx.TransportError:
            if attempt == 4:
                raise
        time.sleep(0.5 * 2**attempt)
    return read(answer)


def read(answer: httpx.Response) -> Any:
    """The answer's body; a refusal ends the script with the problem's own words."""
    body = answer.json()
    if answer.is_error:
        sys.exit(f"{answer.request.method} {answer.request.url.path}: {body['title']}: {body['detail']}")
    return body


def wait_for(api: httpx.Client, operation: dict[str, Any]) -> dict[str, Any]:
    """Poll an operation until it has succeeded, which means that its block is past reversal."""
    end_s = time.monotonic() + WAIT_TIMEOUT_S
    while operation["status"] == "pending":
        if time.monotonic() > end_s:
            sys.exit(f"operation {operation['id']} is still pending; run this again later")
        time.sleep(0.5)
        operation = read(api.get(f"/v1/operations/{operation['id']}"))
    if operation["status"] == "failed":
        sys.exit(f"{operation['kind']} failed: {operation['problem']['title']}: {operation['problem']['detail']}")
    print(f"  {operation['kind']:<15} final in block {operation['transaction']['block']}")
    return operation


def deploy_authority(api: httpx.Client) -> None:
    """The contract that says who may do what on all tokens of the issuer: once, by whoever comes first."""
    known = next((each for each in read(api.get("/v1/contracts")) if each["kind"] == "authority"), None)
    if known is None:
        wait_for(api, write(api, "/v1/authority", "contract:authority", {}))
    else:
        wait_for(api, read(api.get(f"/v1/operations/{known['operation_id']}")))


def main() -> None:
    """Tokenize one house."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default="harbour-12", help="your name for this house (default %(default)s)")
    reference = parser.parse_args().reference
    if "MUNIMENT_API_KEY" not in os.environ:
        sys.exit("set MUNIMENT_API_KEY: scripts/devnet prints one")
    api = httpx.Client(
        base_url=os.environ.get("MUNIMENT_URL", "http://127.0.0.1:8000"),
        headers={"Authorization": f"Bearer {os.environ['MUNIMENT_API_KEY']}"},
        timeout=30,
    )

    deploy_authority(api)
    house = {"name": "12 Harbour Street", "category": "house", "description": f"Land registry folio {reference}"}
    asset = write(api, "/v1/assets", f"{reference}:asset", house)
    print(f"asset {asset['id']}: {asset['name']}")

    token_order = {"asset_id": asset["id"], "name": asset["name"], "symbol": "HARB12", "decimals": 0}
    deployment = wait_for(api, write(api, "/v1/tokens", f"{reference}:token", token_order))
    token_id = deployment["token_id"]
    print(f"token {token_id} at {deployment['contract']}")

    accounts = {
        name: write(api, "/v1/accounts", f"{reference}:account:{name}", {"label": name})["address"]
        for name in INVESTORS
    }
    # Ask for all mints first and wait afterwards: they travel together.
    mints = [
        write(
            api,
            f"/v1/tokens/{token_id}/mint",
            f"{reference}:mint:{name}",
            {"to": accounts[name], "amount": str(amount)},
        )
        for name, amount in INVESTORS.items()
    ]
    for mint in mints:
        wait_for(api, mint)

    sale = {"from": accounts["Ada"], "to": accounts["Chiyo"], "amount": "120"}
    wait_for(api, write(api, f"/v1/tokens/{token_id}/transfer", f"{reference}:sale:1", sale))

    holders = read(api.get(f"/v1/tokens/{token_id}/holders"))
    names = {address: name for name, address in accounts.items()}
    print(f"cap table at block {holders['at']['block']}:")
    for holder in holders["data"]:
        print(f"  {names.get(holder['account'], ''):<6} {holder['account']}  {holder['display']:>6}")
    print(f"\nnext: python scripts/examples/ownership_history.py {token_id}")


if __name__ == "__main__":
    try:
        main()
    except httpx.TransportError as error:
        sys.exit(f"the API does not answer ({error}): is it up at MUNIMENT_URL? Run this again then")
