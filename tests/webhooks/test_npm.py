"""Webhooks as Node.js receivers see them: npm's library and Node's own Ed25519, both ways."""

import json
import subprocess
import time

import pytest

from scripts import local, setup
from service.webhooks.signing import NotVerified, Secrets, public_text, signed_headers, verify

SECRETS, OLD, OTHER = (Secrets(bytes([each]) * 32, bytes([each + 1]) * 32) for each in (1, 3, 5))
BODY = '{"type":"operation.succeeded","data":{"label":"Zürich ✓"}}'

SCRIPT = """
const crypto = require("node:crypto");
const { Webhook } = require("standardwebhooks");
const given = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const hook = new Webhook(given.secret);
const told = { read: hook.verify(given.body, given.headers) };
told.readByOld = new Webhook(given.oldSecret).verify(given.body, given.headers);
told.readByOther = (() => {
  try {
    return new Webhook(given.otherSecret).verify(given.body, given.headers);
  } catch (error) {
    return error.constructor.name;
  }
})();
try {
  hook.verify(given.body + " ", given.headers);
} catch (error) {
  told.refused = error.constructor.name;
}
told.signature = [given.oldSecret, given.secret]
  .map((secret) => new Webhook(secret).sign("msg_npm_1", new Date(given.now * 1000), given.body))
  .join(" ");
const [, text] = given.headers["webhook-signature"].split(" ").find((each) => each.startsWith("v1a,")).split(",");
const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(given.publicKey, "base64")]);
const key = crypto.createPublicKey({ key: spki, format: "der", type: "spki" });
const content = [given.headers["webhook-id"], given.headers["webhook-timestamp"], given.body].join(".");
told.asymmetric = crypto.verify(null, Buffer.from(content), key, Buffer.from(text, "base64"));
console.log(JSON.stringify(told));
"""


def test_what_we_sign_while_secrets_rotate_npms_library_and_node_verify_and_the_other_way_round() -> None:
    now_s = int(time.time())
    given = {
        "secret": SECRETS.secret,
        "publicKey": public_text(SECRETS.public_key).removeprefix("whpk_"),
        "oldSecret": OLD.secret,
        "otherSecret": OTHER.secret,
        "headers": signed_headers([SECRETS, OLD], id="msg_1_7", timestamp_s=now_s, body=BODY.encode()),
        "body": BODY,
        "now": now_s,
    }
    folder = setup.node_folder()
    assert folder is not None
    ended = subprocess.run(
        [str(folder / "node"), "-e", SCRIPT],
        input=json.dumps(given),
        cwd=local.ROOT / "contracts",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["read"], told["refused"], told["asymmetric"]) == (json.loads(BODY), "WebhookVerificationError", True)
    assert (told["readByOld"], told["readByOther"]) == (json.loads(BODY), "WebhookVerificationError")
    signed = {"webhook-id": "msg_npm_1", "webhook-timestamp": str(now_s), "webhook-signature": told["signature"]}
    for each in (SECRETS, OLD):
        verify(each.secret, signed, BODY.encode(), now_s=now_s)
    with pytest.raises(NotVerified):
        verify(OTHER.secret, signed, BODY.encode(), now_s=now_s)
