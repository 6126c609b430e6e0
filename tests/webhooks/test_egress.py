"""The way out: what is not public is not reached, however it is written and whenever a name begins to mean it."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.webhooks import egress
from service.webhooks.egress import Egress, WebhookUrlRefused, insist_on_public, is_public, open_egress, parse_url
from tests.webhooks.receiver import open_receiver, saying

ISSUER = UUID(int=1)

NOT_PUBLIC = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254"),
    *("192.0.2.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.0.8"),
    *("::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1"),
    *("2002:7f00:1::1", "2002:808:808::1", "2001:0:53aa:64c::1", "4000::1", "nothing", ""),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_of_the_internet_at_large_is_told_as_such(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001::200e"])
def test_an_address_of_the_internet_at_large_is_told_as_such(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com/", "file:///etc/passwd", "//example.com/", "example.com", ""),
        *("https://", "https:///x", "https://example.com:80/", "https://example.com:22/", "https://example.com:70000/"),
        *("https://user@example.com/", "https://user:pass@example.com/", "https://@example.com/"),
        *(
            "https://example.com/#part",
            "https://exa mple.com/",
            "https://example.com\\@evil.example/",
            "https://é.example",
        ),
        *("https://example.com/\r\nHost: x", "https://example.com/\0", "https://" + "a" * 2_000, "http://127.0.0.1/"),
        *("https://[::1", "https://example.com:x/", "https://[::1%25lo]:x/"),
    ],
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(WebhookUrlRefused):
        parse_url(url, private=False)


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://example.com/", "https://example.com:9999/"])
def test_a_devnet_too_goes_nowhere_but_to_the_internet_and_to_itself(url: str) -> None:
    with pytest.raises(WebhookUrlRefused):
        parse_url(url, private=True)


@pytest.mark.parametrize(
    "host",
    [
        *("0x7f.1", "2130706433", "0177.0.0.1", "127.1", "0", "0x7f000001", "017700000001", "127.0.0.1.", "1.2.3.4.5"),
        *("0x8.8.8.8", "134744072", "010.8.8.8", "8.8.2056", "8.8.8.8.", "08.8.8.8", "8.8.8.256", "a.0x", "a.7", "0X8"),
        *(
            "example.com.",
            "a..example",
            ".example",
            "%31%32%37.0.0.1",
            "example%2ecom",
            "８.8.8.8",
            "8。8。8。8",
            "ⅷ.8.8.8",
        ),
        *("[::ffff:127.0.0.1]", "[::ffff:8.8.8.8]", "[2606:4700::8.8.8.8]", "[fe80::1%25eth0]", "[v1.a]", "[]"),
        *(
            "8.8.8.8@example.com",
            "example.com:443@8.8.8.8",
            "8.8.8.8:0443x",
            "8.8.8.8:+443",
            "8.8.8.8:４４３",
            "8.8.8.8:80",
        ),
    ],
)
def test_a_host_that_parsers_may_read_in_different_ways_is_refused(host: str) -> None:
    for private in (False, True):
        with pytest.raises(WebhookUrlRefused):
            parse_url(f"https://{host}/", private=private)


@pytest.mark.parametrize(
    "host",
    [
        *("8.8.8.8", "8.8.8.8:443", "[2606:4700:4700::1111]", "[2606:4700:4700:0:0:0:0:1111]:8443", "EXAMPLE.com"),
        *("7.example", "0x7f.example", "a_b.example:8443", "xn--e1afmkfd.example", "1.1.1.1.example"),
    ],
)
def test_a_host_that_every_parser_reads_alike_is_taken(host: str) -> None:
    parse_url(f"https://{host}/path?query=@", private=False)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "[::ffff:7f00:1]", "[::ffff:808:808]", "[64:ff9b::1]"],
)
async def test_a_url_of_a_private_address_is_refused_at_once(host: str) -> None:
    url = parse_url(f"https://{host}/", private=False)
    with pytest.raises(WebhookUrlRefused, match="not public"):
        await insist_on_public(url, private=False, issuer_id=ISSUER)


async def test_every_form_of_a_private_address_is_refused_where_the_socket_is_made() -> None:
    async with open_receiver() as receiver, open_egress(private=False) as way:
        port = receiver.url.rpartition(":")[2]
        for host in ("127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]"):
            answer = await way.post(f"http://{host}:{port}/", {}, b"{}", issuer_id=ISSUER)
            assert (answer.status, answer.reason) == (None, "address-refused"), host
        assert receiver.heard == []


async def test_a_name_that_rebinds_between_two_look_ups_reaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def rebinding(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async with open_receiver() as receiver, open_egress(private=False) as way:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        port = int(receiver.url.rpartition(":")[2])
        await insist_on_public(parse_url("https://rebinds.example/", private=False), private=False, issuer_id=ISSUER)
        answer = await way.post(f"http://rebinds.example:{port}/", {}, b"{}", issuer_id=ISSUER)
        assert (answer.status, answer.reason, len(asked)) == (None, "address-refused", 2)
        assert receiver.heard == []


async def test_of_several_addresses_none_that_is_private_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        told = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.2"))
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in told]

    async with open_receiver() as receiver, open_egress(private=False) as way:
        monkeypatch.setattr(socket, "getaddrinfo", mixed)
        answer = await way.post(f"http://mixed.example:{receiver.url.rpartition(':')[2]}/", {}, b"{}", issuer_id=ISSUER)
        assert (answer.reason, receiver.heard) == ("address-refused", [])
        with pytest.raises(WebhookUrlRefused):
            await insist_on_public(parse_url("https://mixed.example/", private=False), private=False, issuer_id=ISSUER)


async def test_a_redirect_is_not_followed_and_no_cookie_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with open_receiver() as receiver, open_egress(private=True) as way:
        receiver.behaviours["/moved"] = saying(302, Location=f"{receiver.url}/there", Set_Cookie="a=b; Path=/")
        for _ in range(2):
            answer = await way.post(f"{receiver.url}/moved", {}, b"{}", issuer_id=ISSUER)
            assert (answer.status, answer.taken) == (302, False)
        assert [each.path for each in receiver.heard] == ["/moved", "/moved"]
        assert all("cookie" not in each.headers for each in receiver.heard)


async def test_an_answer_without_an_end_costs_what_is_allowed_and_counts_by_its_status() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 100_000_000:
            await response.write(b"x" * 65_536)
            sent += 65_536
        return response

    async with open_receiver() as receiver, open_egress(private=True) as way:
        receiver.behaviours["/"] = endless
        answer = await way.post(f"{receiver.url}/", {}, b"{}", issuer_id=ISSUER)
    assert answer.status == 200
    assert sent < 50_000_000


async def test_a_certificate_that_nobody_vouches_for_ends_the_way(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    made = made.not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    pem = tmp_path / "both.pem"
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(plain + made.sign(key, SHA256()).public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    async with open_receiver(context) as receiver, open_egress(private=True) as way:
        assert await reason(way, receiver.url.replace("127.0.0.1", "localhost")) == "tls-failed"
        assert receiver.heard == []


async def test_what_does_not_answer_is_told_in_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    monkeypatch.setattr(egress, "TIMEOUT_S", 0.2)
    async with open_receiver() as receiver, open_egress(private=True) as way:
        receiver.behaviours |= {"/hang": hang, "/cut": cut}
        assert await reason(way, f"{receiver.url}/hang") == "timeout"
        assert await reason(way, f"{receiver.url}/cut") == "no-answer"
        assert await reason(way, "http://127.0.0.1:1/") == "connection-refused"
        assert await reason(way, receiver.url.replace("http", "https")) == "tls-failed"
        assert await reason(way, "http://nobody.invalid/") == "name-unknown"


async def test_names_that_nobody_answers_for_hold_up_no_other_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    release, all_stuck, usual, stuck_count = threading.Event(), threading.Event(), socket.getaddrinfo, 0

    def stuck(host: Any, *given: Any, **named: Any) -> Any:
        nonlocal stuck_count
        if host == "stuck.example":
            stuck_count += 1
            if stuck_count == egress.LOOK_UPS_EACH_MAX:
                all_stuck.set()
            release.wait(20)
        return usual("127.0.0.1" if host == "stuck.example" else host, *given, **named)

    monkeypatch.setattr(egress, "LOOK_UPS_MAX", egress.LOOK_UPS_EACH_MAX + 1)
    async with open_receiver() as receiver, open_egress(private=True) as way:
        monkeypatch.setattr(socket, "getaddrinfo", stuck)
        waiting = [
            asyncio.create_task(way.post("http://stuck.example:1/", {}, b"{}", issuer_id=ISSUER)) for _ in range(40)
        ]
        await asyncio.to_thread(all_stuck.wait, 10)
        for each in waiting[:10]:
            each.cancel()  # what nobody waits for any more still has its thread
        url = receiver.url.replace("127.0.0.1", "localhost")
        answer = await asyncio.wait_for(way.post(url, {}, b"{}", issuer_id=UUID(int=2)), timeout=10)
        assert (answer.status, stuck_count) == (204, egress.LOOK_UPS_EACH_MAX)
        assert not any(each.done() for each in waiting[10:])
        release.set()
        assert {(await each).reason for each in waiting[10:]} == {"connection-refused"}


async def test_a_name_that_nobody_answers_for_holds_up_no_request_of_another_issuer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def stuck(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host == "stuck.example":
            release.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    monkeypatch.setattr(egress, "LOOK_UP_TIMEOUT_S", 0.5)
    stuck_url, url = (parse_url(f"https://{name}.example/", private=False) for name in ("stuck", "inside"))
    began_s = time.monotonic()
    # Nothing is known of it, and where the socket is made it is judged in any case.
    await asyncio.gather(*(insist_on_public(stuck_url, private=False, issuer_id=ISSUER) for _ in range(40)))
    assert time.monotonic() - began_s < 5
    with pytest.raises(WebhookUrlRefused):
        await insist_on_public(url, private=False, issuer_id=UUID(int=2))
    release.set()


def test_a_name_that_nobody_answers_for_does_not_hold_up_the_end_of_a_process() -> None:
    asked = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=20, check=True)
    assert asked.stdout == "asked twice\n"


ENDING = """
import asyncio, socket, time, uuid
from service.webhooks import egress

asked = []
def silent(*given, **named):
    asked.append(given)
    time.sleep(60)
socket.getaddrinfo = silent
egress.LOOK_UP_TIMEOUT_S = egress.TIMEOUT_S = 0.2

async def end():
    url = egress.parse_url("https://silent.example/", private=False)
    await egress.insist_on_public(url, private=False, issuer_id=uuid.UUID(int=1))
    async with egress.open_egress(private=False) as way:
        await way.post(str(url), {}, b"{}", issuer_id=uuid.UUID(int=1))

asyncio.run(end())
print("asked twice" if len(asked) == 2 else asked)
"""


async def reason(way: Egress, url: str) -> str | None:
    return (await way.post(url, {}, json.dumps({}).encode(), issuer_id=ISSUER)).reason


async def test_retry_after_is_read_in_both_forms_and_bounded() -> None:
    async with open_receiver() as receiver, open_egress(private=True) as way:
        for text, least_s, most_s in (
            ("120", 120, 120),
            ("Wed, 21 Oct 2099 07:28:00 GMT", 86_400, 86_400),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
            ("9" * 300, 86_400, 86_400),
            ("soon", 0, 0),
            ("-5", 0, 0),
        ):
            receiver.behaviours["/"] = saying(503, Retry_After=text)
            answer = await way.post(f"{receiver.url}/", {}, b"{}", issuer_id=ISSUER)
            assert least_s <= answer.retry_after_s <= most_s, text
