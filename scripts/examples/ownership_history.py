"""Who owned a token, when: its cap table now or as of a block, every holder's history, and every transfer.

Environment: MUNIMENT_API_KEY, and MUNIMENT_URL (default http://127.0.0.1:8000). Needs httpx.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

import httpx


def rows(api: httpx.Client, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    """Every row of a list, page after page."""
    cursor = None
    while True:
        given = {**parameters, "cursor": cursor}
        answer = api.get(path, params={name: value for name, value in given.items() if value is not None})
        page: dict[str, Any] = answer.json()
        if answer.is_error:
            sys.exit(f"GET {path}: {page['title']}: {page['detail']}")
        yield from page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def main() -> None:
    """Print what the mirror knows of one token."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("token_id", nargs="?", help="the token (default: the newest one)")
    parser.add_argument("--at-block", type=int, help="as of the end of this block (default: now)")
    asked = parser.parse_args()
    if "MUNIMENT_API_KEY" not in os.environ:
        sys.exit("set MUNIMENT_API_KEY: scripts/devnet prints one")
    api = httpx.Client(
        base_url=os.environ.get("MUNIMENT_URL", "http://127.0.0.1:8000"),
        headers={"Authorization": f"Bearer {os.environ['MUNIMENT_API_KEY']}"},
        timeout=30,
    )
    token_id = asked.token_id or next((row["id"] for row in rows(api, "/v1/tokens", limit=1)), None)
    if token_id is None:
        sys.exit("there is no token yet: run scripts/examples/tokenize_house.py")
    names = {row["address"]: row["label"] for row in rows(api, "/v1/accounts")}

    # Every read names the block that it describes; one block for all of them makes one picture.
    status = api.get("/v1/status").raise_for_status().json()
    block = status["chain"]["tip"] if asked.at_block is None else asked.at_block
    token = f"/v1/tokens/{token_id}"

    print(f"token {token_id} as of block {block}")
    print("\nholders")
    for holder in rows(api, f"{token}/holders", at_block=block):
        print(f"  {names.get(holder['account'], ''):<14} {holder['account']}  {holder['display']:>8}")

    transfers = list(rows(api, f"{token}/transfers", at_block=block))
    print("\nhistory")
    for account in dict.fromkeys(row["to"] for row in reversed(transfers) if row["to"]):
        for held in rows(api, f"{token}/holders/{account}/history", at_block=block):
            until = "on" if held["to_block"] is None else f"until {held['to_block']}"
            print(f"  {names.get(account, account):<14} {held['display']:>8}  from block {held['from_block']} {until}")

    print("\ntransfers")
    for row in reversed(transfers):
        sender, recipient = (names.get(row[side] or "", row[side] or "") for side in ("from", "to"))
        print(f"  block {row['block']:>6}  {row['kind']:<8} {row['display']:>8}  {sender:<14} -> {recipient}")


if __name__ == "__main__":
    try:
        main()
    except httpx.TransportError as error:
        sys.exit(f"the API does not answer ({error}): is it up at MUNIMENT_URL? Run this again then")
