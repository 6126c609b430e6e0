"""The way out: what is not public is not reached, however it is written and whenever a name begins to mean it."""

import asyncio
import json
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.webhooks import egress
from service.webhooks.egress import Egress, WebhookUrlRefused, insist_on_public, is_public, open_egress, parse_url
from tests.webhooks.receiver import open_receiver, saying

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


async def test_a_url_in_any_form_of_a_private_address_is_refused_at_once() -> None:
    hosts = ("127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "localhost", "[::1]")
    for host in (*hosts, "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "169.254.169.254", "[64:ff9b::7f00:1]", "0"):
        url = parse_url(f"https://{host}/", private=False)
        with pytest.raises(WebhookUrlRefused, match="not public"):
            await insist_on_public(url, private=False)


async def test_every_form_of_a_private_address_is_refused_where_the_socket_is_made() -> None:
    async with open_receiver() as receiver, open_egress(private=False) as way:
        port = receiver.url.rpartition(":")[2]
        for host in ("127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]"):
            answer = await way.post(f"http://{host}:{port}/", {}, b"{}")
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
        await insist_on_public(parse_url("https://rebinds.example/", private=False), private=False)
        answer = await way.post(f"http://rebinds.example:{port}/", {}, b"{}")
        assert (answer.status, answer.reason, len(asked)) == (None, "address-refused", 2)
        assert receiver.heard == []


async def test_of_several_addresses_none_that_is_private_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        told = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.2"))
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in told]

    async with open_receiver() as receiver, open_egress(private=False) as way:
        monkeypatch.setattr(socket, "getaddrinfo", mixed)
        answer = await way.post(f"http://mixed.example:{receiver.url.rpartition(':')[2]}/", {}, b"{}")
        assert (answer.reason, receiver.heard) == ("address-refused", [])
        with pytest.raises(WebhookUrlRefused):
            await insist_on_public(parse_url("https://mixed.example/", private=False), private=False)


async def test_a_redirect_is_not_followed_and_no_cookie_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with open_receiver() as receiver, open_egress(private=True) as way:
        receiver.behaviours["/moved"] = saying(302, Location=f"{receiver.url}/there", Set_Cookie="a=b; Path=/")
        for _ in range(2):
            answer = await way.post(f"{receiver.url}/moved", {}, b"{}")
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
        answer = await way.post(f"{receiver.url}/", {}, b"{}")
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


async def test_names_that_nobody_answers_for_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    release, usual = threading.Event(), socket.getaddrinfo

    def stuck(host: Any, *given: Any, **named: Any) -> Any:
        if host == "stuck.example":
            release.wait(20)
        return usual("127.0.0.1" if host == "stuck.example" else host, *given, **named)

    async with open_receiver() as receiver, open_egress(private=True) as way:
        monkeypatch.setattr(socket, "getaddrinfo", stuck)
        waiting = [asyncio.create_task(way.post("http://stuck.example:1/", {}, b"{}")) for _ in range(40)]
        await asyncio.sleep(0)
        url = receiver.url.replace("127.0.0.1", "localhost")
        assert (await asyncio.wait_for(way.post(url, {}, b"{}"), timeout=10)).status == 204
        assert not any(each.done() for each in waiting)
        release.set()
        assert {(await each).reason for each in waiting} == {"connection-refused"}


async def reason(way: Egress, url: str) -> str | None:
    return (await way.post(url, {}, json.dumps({}).encode())).reason


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
            answer = await way.post(f"{receiver.url}/", {}, b"{}")
            assert least_s <= answer.retry_after_s <= most_s, text
