"""hosts.py: hosts have the spelling that browsers give them, or are refused."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from sono_core.connect.hosts import parse_host

SPELT = {
    "example.com": "example.com",
    "EXAMPLE.Com.": "example.com.",
    "my_host": "my_host",
    "-a-.b--c.example": "-a-.b--c.example",
    "a!$&'()*+,;=~b": "a!$&'()*+,;=~b",
    "faß.example": "xn--fa-hia.example",
    "κλαρας.example": "xn--mxaaze5ah.example",
    "ΚΛΑΡΑΣ.example": "xn--mxaaze5an.example",
    "bücher.my_host": "xn--bcher-kva.my_host",
    "BÜCHER.example.": "xn--bcher-kva.example.",
    "bu\u0308cher.example": "xn--bcher-kva.example",
    "b%C3%BCcher.example": "xn--bcher-kva.example",
    "XN--BCHER-KVA.example": "xn--bcher-kva.example",
    "ex%61mple.com": "example.com",
    "日本語。example": "xn--wgv71a119e.example",
    "ｅｘａｍｐｌｅ．com": "example.com",
    "a\u00adb.example": "ab.example",
    "K.example": "k.example",
    "☃.net": "xn--n3h.net",
    "xn--n3h.net": "xn--n3h.net",
    "क्\u200dष.example": "xn--11b2ezcw70k.example",
    "שלום.example": "xn--9dbne9b.example",
    "0x7f.1": "127.0.0.1",
    "127.1": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "１２７.0.0.1": "127.0.0.1",
    "%31%32%37.1": "127.0.0.1",
    "1.2.65535": "1.2.255.255",
    "4294967295": "255.255.255.255",
    "0x.0x.0": "0.0.0.0",
    "00": "0.0.0.0",
    "a.0xz": "a.0xz",
    "1a.example": "1a.example",
    "[::1]": "::1",
    "[0:0::1]": "::1",
    "[2001:DB8::A]": "2001:db8::a",
    "[::FFFF:127.0.0.1]": "::ffff:7f00:1",
    "[::1.2.3.4]": "::102:304",
}

REFUSED = [
    "",
    "a b",
    "a<b",
    "a|b",
    "a^b",
    "a\x7fb",
    "a%",
    "%zz",
    "%ff",
    "%00",
    "ex%2Fample",
    "a%3Ab",
    "a%25b",
    "a\ufffdb",
    "a\u200db.example",
    "\u0301a.example",
    "xn--.example",
    "xn--a.example",
    "xn--é.example",
    "שa.example",
    "1.2.3.4.5",
    "256.1.1.1",
    "1.2.3.256",
    "1.2.65536",
    "4294967296",
    "09.1",
    "1.08",
    "a.1",
    "a.0x4",
    "foo.1.",
    "1.0x1g.1",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[1::2::3]",
    "[::12345]",
    "[v1.x]",
    "[]",
    "\ud800",
]

# Browsers accept them, but no resolver does; or they follow an older version of the standard.
STRICTER = [
    ".",
    "a..b",
    ".example",
    "a.example..",
    "\u00ad.example",
    f"{'a' * 64}.example",
    f"{'a.' * 127}a",
    "a" * 5000,
    "ä" * 64,
    "xn--ascii-.example",
    "xn--fa-hia-.example",
    "1.שלום",
]


@pytest.mark.parametrize(("text", "host"), SPELT.items())
def test_a_host_is_spelt_as_browsers_spell_it(text: str, host: str) -> None:
    assert parse_host(text) == host
    assert parse_host(f"[{host}]" if ":" in host else host) == host, "and stays so"


@pytest.mark.parametrize("text", [*REFUSED, *STRICTER])
def test_what_names_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_host(text)


def test_a_name_may_have_as_many_characters_as_dns_allows() -> None:
    label = "a" * 63
    longest = ".".join([label, label, label, "a" * 61])
    assert parse_host(longest) == longest
    assert parse_host(f"{longest}.") == f"{longest}."
    with pytest.raises(ValueError):
        parse_host(f"{longest}a")


def test_browsers_say_the_same() -> None:
    """With node, whose URL is that of browsers."""
    if not shutil.which("node"):
        pytest.skip("needs node")
    texts = [text for text in (*SPELT, *REFUSED) if "\ud800" not in text]
    script = """
        const said = (text) => {
            try { return new URL(`ws://${text}/`).hostname } catch { return null }
        };
        const texts = JSON.parse(require("fs").readFileSync(0));
        console.log(JSON.stringify(texts.map(said)));
    """
    node = subprocess.run(
        ["node", "-e", script], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    hosts = {text: f"[{host}]" if ":" in host else host for text, host in SPELT.items()}
    said = dict(zip(texts, json.loads(node.stdout), strict=True))
    assert said == {text: hosts.get(text) for text in texts}
