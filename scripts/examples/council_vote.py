"""Let holders decide: a governance token, its governor, a proposal, votes, and what the vote was about.

Every idempotency key is made from the reference and the step: run this again, or after it was cut off, and nothing
happens twice. Use a new --reference for another vote.

Environment: MUNIMENT_API_KEY, and MUNIMENT_URL (default http://127.0.0.1:8000). Needs httpx.
"""

import argparse
import os
import sys
import time
from typing import Any

import httpx

MEMBERS = {"Ada": 40, "Bruno": 35, "Chiyo": 25}
VOTES = {"Ada": "for", "Bruno": "against", "Chiyo": "for"}
RULES = {"voting_delay_blocks": 1, "voting_period_blocks": 20, "quorum_percent": 50, "timelock_delay_s": 2}
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


def until(api: httpx.Client, path: str, *states: str) -> Any:
    """Poll a proposal until it is in one of these states."""
    end_s = time.monotonic() + WAIT_TIMEOUT_S
    while (proposal := ask(api, "GET", path))["state"] not in states:
        if time.monotonic() > end_s:
            sys.exit(f"the proposal is still {proposal['state']}; run this again later")
        time.sleep(0.2)
    print(f"{proposal['state']}: for {proposal['tallies']['for']}, against {proposal['tallies']['against']}")
    return proposal


def authority(api: httpx.Client) -> Any:
    """The operation that deploys the issuer's authority: one serves all tokens, whoever comes first."""
    deployed = next((each for each in ask(api, "GET", "/contracts") if each["kind"] == "authority"), None)
    if deployed is None:
        return order(api, "contract:authority", "/authority", {})
    return ask(api, "GET", f"/operations/{deployed['operation_id']}")


def found(api: httpx.Client, reference: str) -> tuple[dict[str, str], str, Any]:
    """A council that may mint: its members' accounts, its token and its governor."""
    wait(api, authority(api))
    asset = order(api, f"{reference}:asset", "/assets", {"name": f"Council {reference}", "category": "other"})
    units = {"kind": "governance", "symbol": "CNCL", "cap": "1000"}
    deployment = order(api, f"{reference}:token", "/tokens", {"asset_id": asset["id"], "name": asset["name"], **units})
    token = f"/tokens/{deployment['token_id']}"
    accounts = {
        name: order(api, f"{reference}:account:{name}", "/accounts", {"label": name})["address"] for name in MEMBERS
    }
    wait(api, deployment)
    shares = [{"to": accounts[name], "amount": str(amount)} for name, amount in MEMBERS.items()]
    body = {"token_id": deployment["token_id"], "name": asset["name"], **RULES}
    wait(
        api,
        order(api, f"{reference}:mint", f"{token}/batch-mint", {"shares": shares}),
        order(api, f"{reference}:governor", "/governors", body),
    )
    # Units vote once their holder says through whom; and what acts after a vote is the timelock, so the role is its.
    (governor,) = ask(api, "GET", "/governors", params={"token_id": deployment["token_id"]})["data"]
    delegated = [
        order(api, f"{reference}:delegate:{name}", f"{token}/delegate", {"from": account, "to": account})
        for name, account in accounts.items()
    ]
    granted = order(api, f"{reference}:role", "/roles/grant", {"role": "minter", "account": governor["timelock"]})
    wait(api, *delegated, granted)
    return accounts, deployment["contract"], governor


def decide(api: httpx.Client, reference: str) -> None:
    """Propose to mint, vote on it, and carry it out."""
    accounts, token, governor = found(api, reference)
    call = {"contract": token, "function": "mint", "arguments": [accounts["Chiyo"], "50"]}
    proposal = {"description": "Fifty units for Chiyo, who mends the roof", "actions": [{"call": call}]}
    proposals = f"/governors/{governor['id']}/proposals"
    proposed = order(api, f"{reference}:propose", proposals, proposal)
    wait(api, proposed)
    path = f"{proposals}/{proposed['parameters']['proposal_id']}"

    until(api, path, "active", "succeeded", "queued", "executed")
    ballots = [
        order(api, f"{reference}:vote:{name}", f"{path}/vote", {"from": accounts[name], "support": support})
        for name, support in VOTES.items()
    ]
    wait(api, *ballots)
    until(api, path, "succeeded", "queued", "executed")
    wait(api, order(api, f"{reference}:queue", f"{path}/queue", {}))
    # The timelock waits by the clock of the chain's blocks.
    time.sleep(RULES["timelock_delay_s"] + 2)
    wait(api, order(api, f"{reference}:execute", f"{path}/execute", {}))
    until(api, path, "executed")

    names = {address: name for name, address in accounts.items()}
    for holder in ask(api, "GET", f"/tokens/{governor['token_id']}/holders")["data"]:
        print(f"{names[holder['account']]:<6} holds {holder['display']}")


def main() -> None:
    """Read the environment, and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default="roof-1", help="your name for this vote (default %(default)s)")
    reference = parser.parse_args().reference
    if "MUNIMENT_API_KEY" not in os.environ:
        sys.exit("set MUNIMENT_API_KEY: scripts/devnet prints one")
    url = os.environ.get("MUNIMENT_URL", "http://127.0.0.1:8000")
    headers = {"Authorization": f"Bearer {os.environ['MUNIMENT_API_KEY']}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as api:
        decide(api, reference)


if __name__ == "__main__":
    try:
        main()
    except httpx.TransportError as error:
        sys.exit(f"the API does not answer ({error}): is it up at MUNIMENT_URL? Run this again then")
