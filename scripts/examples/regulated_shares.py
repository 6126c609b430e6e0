"""Tokenize shares for verified investors alone: identities, a policy, a preview, and a refusal with its reason.

Every idempotency key is made from the reference and the step: run this again, or after it was cut off, and nothing
happens twice. Use a new --reference for another company.

Environment: MUNIMENT_API_KEY, and MUNIMENT_URL (default http://127.0.0.1:8000). Needs httpx.
"""

import argparse
import hashlib
import os
import sys
import time
from typing import Any

import httpx

INVESTORS = {"Ada": (756, 2), "Bruno": (528, 2), "Chiyo": (392, 2)}  # country by ISO 3166-1, and level
POLICY = {"level_min": 2, "country_rule": "only", "countries": [756, 528], "holders_max": 99, "holding_max": "900"}
WAIT_TIMEOUT_S = 120


def ask(api: httpx.Client, method: str, path: str, **given: Any) -> Any:
    """One request; a refusal ends the script with the problem's own words."""
    answer = api.request(method, f"/v1{path}", **given)
    body = answer.json()
    if answer.is_error:
        sys.exit(f"{method} {path}: {body['title']}: {body['detail']}")
    return body


def order(api: httpx.Client, key: str, path: str, body: dict[str, Any]) -> Any:
    """A write: the same key and body bring the first result again, whenever they are sent."""
    return ask(api, "POST", path, json=body, headers={"Idempotency-Key": key})


def wait(api: httpx.Client, *operations: dict[str, Any]) -> None:
    """Poll until all are in a block and in the mirror: what needs them can be asked for now."""
    end_s = time.monotonic() + WAIT_TIMEOUT_S
    for operation in operations:
        found = operation
        while found["transaction"]["block"] is None and found["status"] != "succeeded":
            if found["status"] == "failed":
                sys.exit(f"{found['kind']} failed: {found['problem']['title']}: {found['problem']['detail']}")
            if time.monotonic() > end_s:
                sys.exit(f"operation {found['id']} is still pending; run this again later")
            time.sleep(0.2)
            found = ask(api, "GET", f"/operations/{found['id']}")
        ask(api, "GET", "/roles", params={"min_block": found["transaction"]["block"] or 0})
        print(f"  {found['kind']:<17} in block {found['transaction']['block']}")


def contract(api: httpx.Client, kind: str) -> Any:
    """The operation that deploys the issuer's contract of a kind: one serves all tokens, whoever comes first."""
    deployed = next((each for each in ask(api, "GET", "/contracts") if each["kind"] == kind), None)
    if deployed is not None:
        return ask(api, "GET", f"/operations/{deployed['operation_id']}")
    path, body = ("/authority", {}) if kind == "authority" else ("/contracts", {"kind": kind})
    return order(api, f"contract:{kind}", path, body)


def tokenize(api: httpx.Client, reference: str) -> None:
    """Issue the shares, and try to sell some of them."""
    for kind in ("authority", "compliance"):
        wait(api, contract(api, kind))

    company = {"name": f"Harbour Works {reference}", "category": "shares"}
    asset = order(api, f"{reference}:asset", "/assets", company)
    token_order = {"asset_id": asset["id"], "name": asset["name"], "symbol": "HWS", "compliance": True}
    deployment = order(api, f"{reference}:token", "/tokens", token_order)
    token = f"/tokens/{deployment['token_id']}"

    # An investor's id is 32 bytes that mean nothing outside; who is behind it stays with you.
    accounts, checked = {}, []
    for name, (country, level) in INVESTORS.items():
        accounts[name] = order(api, f"{reference}:account:{name}", "/accounts", {"label": name})["address"]
        investor = "0x" + hashlib.sha256(f"{reference}:{name}".encode()).hexdigest()
        identity = {"investor": investor, "country": country, "level": level}
        link = {"wallet": accounts[name], "investor": investor}
        checked.append(order(api, f"{reference}:identity:{name}", "/identities", identity))
        checked.append(order(api, f"{reference}:wallet:{name}", "/wallets/link", link))
    wait(api, deployment, *checked)

    # The first policy comes before the first mint: the registry counts from the first unit.
    wait(api, order(api, f"{reference}:policy", f"{token}/policy", POLICY))
    wait(api, order(api, f"{reference}:mint", f"{token}/mint", {"to": accounts["Ada"], "amount": "900"}))

    for buyer in ("Bruno", "Chiyo"):
        sale = {"from": accounts["Ada"], "to": accounts[buyer], "amount": "100"}
        preview = ask(api, "POST", f"{token}/preview", json=sale)
        if preview["allowed"]:
            wait(api, order(api, f"{reference}:sale:{buyer}", f"{token}/transfer", sale))
        elif preview["rule"] is not None:
            print(f"100 shares to {buyer} would be refused: {preview['rule']['name']}: {preview['rule']['text']}")

    names = {address: name for name, address in accounts.items()}
    for holder in ask(api, "GET", f"{token}/holders")["data"]:
        print(f"{names[holder['account']]:<6} holds {holder['display']}")


def main() -> None:
    """Read the environment, and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default="works-1", help="your name for this company (default %(default)s)")
    reference = parser.parse_args().reference
    if "MUNIMENT_API_KEY" not in os.environ:
        sys.exit("set MUNIMENT_API_KEY: scripts/devnet prints one")
    url = os.environ.get("MUNIMENT_URL", "http://127.0.0.1:8000")
    headers = {"Authorization": f"Bearer {os.environ['MUNIMENT_API_KEY']}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as api:
        tokenize(api, reference)


if __name__ == "__main__":
    try:
        main()
    except httpx.TransportError as error:
        sys.exit(f"the API does not answer ({error}): is it up at MUNIMENT_URL? Run this again then")
