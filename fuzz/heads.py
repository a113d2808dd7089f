"""Seeds of the targets that read HTTP: requests, responses, a proxy's answers, header values."""

from __future__ import annotations

from .targets.response import ACCEPT

_KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="
_DEFLATE = b"permessage-deflate"
_MESSAGE = b"\x81\x85\x00\x00\x00\x00hello"
_CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"

_UPGRADE = {
    b"Host": b"host",
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Key": _KEY,
    b"Sec-WebSocket-Version": b"13",
}
_SWITCHING = {
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Accept": ACCEPT,
}


def _head(start: bytes, fields: dict[bytes, bytes], *more: bytes) -> bytes:
    lines = [name + b": " + value for name, value in fields.items()]
    return b"\r\n".join([start, *lines, *more, b"", b""])


def _request(*more: bytes, start: bytes = b"GET / HTTP/1.1", **changed: bytes) -> bytes:
    """An upgrade with fields changed (an empty value removes one) and added."""
    fields = _UPGRADE | {name.replace("_", "-").encode(): value for name, value in changed.items()}
    return _head(start, {name: value for name, value in fields.items() if value}, *more)


def _offer(extensions: bytes) -> bytes:
    return _request(Sec_WebSocket_Extensions=extensions)


REQUESTS = {
    "upgrade": _request(),
    "upgrade-frames": _request() + _MESSAGE + _CLOSE,
    "upgrade-reserved-bits": _request() + b"\xb1\x80\x00\x00\x00\x00",
    "upgrade-early-data": _request() + _MESSAGE * 8,
    "upgrade-deflate": _offer(_DEFLATE + b"; client_max_window_bits") + _MESSAGE,
    "upgrade-offers": _offer(b'x; a=1; b="c\\d", ' + _DEFLATE + b"; server_max_window_bits=9"),
    "upgrade-offer-unclosed": _offer(b'a; b="' + b"\\c" * 40),
    "upgrade-subprotocols": _request(Sec_WebSocket_Protocol=b"chat, superchat"),
    "upgrade-subprotocol-spaces": _request(Sec_WebSocket_Protocol=b"b" + b" " * 90 + b"x"),
    "upgrade-origin": _request(Origin=b"http://host"),
    "upgrade-origin-foreign": _request(Origin=b"http://host.evil"),
    "upgrade-connection-list": _request(Connection=b"keep-alive, upGRADE"),
    "upgrade-version-8": _request(Sec_WebSocket_Version=b"8"),
    "upgrade-key-short": _request(Sec_WebSocket_Key=b"AAAA"),
    "upgrade-key-not-canonical": _request(Sec_WebSocket_Key=_KEY.replace(b"A=", b"B=")),
    "upgrade-key-twice": _request(b"Sec-WebSocket-Key: " + _KEY),
    "upgrade-no-upgrade": _request(Upgrade=b""),
    "upgrade-no-host": _request(Host=b""),
    "upgrade-host-twice": _request(b"Host: host"),
    "upgrade-host-ipv6": _request(Host=b"[::1]:8080"),
    "upgrade-post": _request(b"Content-Length: 0", start=b"POST / HTTP/1.1"),
    "upgrade-body": _request(b"Content-Length: 5") + b"hello",
    "upgrade-chunked": _request(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "upgrade-coding-unknown": _request(b"Transfer-Encoding: gzip"),
    "upgrade-smuggled": _request(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    "upgrade-http-1.0": _request(start=b"GET / HTTP/1.0"),
    "upgrade-http-2.0": _request(start=b"GET / HTTP/2.0"),
    "options-asterisk": b"OPTIONS * HTTP/1.0\r\n\r\n",
    "upgrade-absolute": _request(start=b"GET http://host/ HTTP/1.1"),
    "upgrade-fragment": _request(start=b"GET /#a HTTP/1.1"),
    "upgrade-target-not-ascii": _request(start=b"GET /\xff HTTP/1.1"),
    "upgrade-not-ascii": _request(b"X: \xff\xfe"),
    "upgrade-origin-not-ascii": _request(Origin=b"http://\xff"),
    "upgrade-folded": _request(b"X: a", b" b"),
    "upgrade-bare-line-feed": _request(b"X: a\nY: b"),
    "upgrade-nul": _request(b"X: a\0"),
    "upgrade-many-fields": _request(*[b"a: b"] * 70),
    "upgrade-some-fields": _request(*[b"a: b"] * 7),
    "upgrade-long-line": _request(b"X: " + b"x" * 130),
    "upgrade-longest-line": _request(b"X: " + b"x" * 115),
    "long-target": b"GET /" + b"x" * 130,
    "half": _request()[:-2],
    "line-feeds": b"\n\n",
    "nothing": b"",
    "control": b"\x00\x01GET / HTTP/1.1\r\n\r\n",
    "get": b"GET /a?b HTTP/1.1\r\nHost: host\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nHost: host\r\n\r\n",
    "expect": b"PUT / HTTP/1.1\r\nHost: host\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303"),
}


def _response(*more: bytes, start: bytes = b"HTTP/1.1 101 Switching Protocols") -> bytes:
    return _head(start, _SWITCHING, *more)


def _refusal(status: int, *more: bytes, body: bytes = b"") -> bytes:
    return _head(b"HTTP/1.1 %d -" % status, {b"Content-Length": b"%d" % len(body)}, *more) + body


_CHUNKED = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"
_AGREED = b"Sec-WebSocket-Extensions: " + _DEFLATE
RESPONSES = {
    "switching": _response() + b"\x81\x05hello\x88\x02\x03\xe8",
    "switching-masked": _response() + _MESSAGE,
    "switching-phraseless": _response(start=b"HTTP/1.1 101"),
    "switching-folded": _response(b"X: a", b" b", b"\tc"),
    "switching-folded-protocol": _response(b"Sec-WebSocket-Protocol:", b" superchat"),
    "switching-http-1.0": _response(start=b"HTTP/1.0 101 Switching Protocols"),
    "switching-after-interim": b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" * 2 + _response(),
    "tls-after-interim": b"HTTP/1.1 103 Early\r\n\r\n\x16\x03\x01",
    "switching-wrong-accept": _response().replace(ACCEPT, b"x" * 28),
    "switching-accept-twice": _response(b"Sec-WebSocket-Accept: " + ACCEPT),
    "switching-no-upgrade": _response().replace(b"Upgrade: websocket\r\n", b""),
    "switching-subprotocol": _response(b"Sec-WebSocket-Protocol: superchat"),
    "switching-subprotocols": _response(b"Sec-WebSocket-Protocol: chat, superchat"),
    "switching-subprotocol-not-offered": _response(b"Sec-WebSocket-Protocol: other"),
    "switching-deflate": _response(
        _AGREED + b"; server_no_context_takeover; client_max_window_bits=9"
    ),
    "switching-deflate-takeover": _response(_AGREED),
    "switching-deflate-twice": _response(_AGREED, _AGREED),
    "switching-extension-not-offered": _response(b"Sec-WebSocket-Extensions: other"),
    **{
        f"switching-window-{bits or 'empty'}": _response(
            _AGREED + b"; server_no_context_takeover; server_max_window_bits=" + bits.encode()
        )
        for bits in ("0", "7", "8", "15", "16", "999", "08", "")
    },
    "refusal": _refusal(403, body=b"no\n"),
    "refusal-long-body": _refusal(503, b"Retry-After: 9", body=b"x" * 100),
    "refusal-cut": _refusal(403, body=b"hello")[:-2],
    "refusal-until-the-end": b"HTTP/1.1 404 Not Found\r\n\r\nhello",
    "refusal-http-1.0": b"HTTP/1.0 404 Not Found\r\n\r\nhello",
    "refusal-chunked": _CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    "refusal-chunked-trailers": _CHUNKED + b"5;a=b\r\nhello\r\n0\r\nX: a\r\n\r\n",
    "refusal-chunked-wrong": _CHUNKED + b"5\r\nhello\r\nz\r\n\r\n",
    "refusal-two-lengths": _refusal(403, b"Content-Length: 9", body=b"hello"),
    "refusal-no-content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "redirect": _refusal(302, b"Location: ws://other/"),
    "status-largest": _refusal(599),
    "status-too-large": _refusal(600),
    "status-short": b"HTTP/1.1 20 OK\r\n\r\n",
    "http-0.1": b"HTTP/0.1 103 Early\r\n\r\n" + _response(),
    "half": _response()[:-2],
    "nothing": b"",
    "other-protocol": b"SSH-2.0-server\r\n",
}

TUNNELS = {
    "opened": b"HTTP/1.1 200 OK\r\n\r\n",
    "opened-http-1.0": b"HTTP/1.0 200 Connection established\r\nProxy-Agent: a\r\n\r\n",
    "opened-phraseless": b"HTTP/1.1 299\r\n\r\nhello",
    "opened-with-length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "opened-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "opened-after-interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 8 + b"HTTP/1.1 200 OK\r\n\r\nrest",
    "tls-after-interim": b"HTTP/1.1 100 Continue\r\n\r\n\x15\x03\x01",
    "interim-too-many": b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + b"HTTP/1.1 200 OK\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n\r\nrest",
    "refused": b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\n\r\n",
    "refused-redirect": b"HTTP/1.1 302 -\r\nLocation: http://other/\r\n\r\n",
    "refused-long-phrase": b"HTTP/1.1 502 " + b"x" * 100 + b"\r\n\r\n",
    "refused-phrase-not-ascii": b"HTTP/1.1 502 \xff\xfe\r\n\r\n",
    "opened-http-5.1": b"HTTP/5.1 200 OK\r\n\r\n",
    "half": b"HTTP/1.1 200 OK\r\n",
    "control": b"HTTP/1.1 200 \x00\r\n\r\n",
    "many-fields": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10 + b"\r\n",
    "no-http": b"SSH-2.0-proxy\r\n",
}

VALUES = {
    "offer": _DEFLATE + b"; client_max_window_bits",
    "offer-all": _DEFLATE
    + b"; server_no_context_takeover; client_no_context_takeover"
    + b"; server_max_window_bits=12; client_max_window_bits=9",
    "offers": _DEFLATE + b'; server_max_window_bits="10", ' + _DEFLATE,
    "offer-window-8": _DEFLATE + b"; server_max_window_bits=8, " + _DEFLATE,
    "offer-flag-with-value": _DEFLATE + b"; server_no_context_takeover=1",
    "offer-repeated": _DEFLATE + b"; client_max_window_bits; client_max_window_bits=9",
    "offer-unknown": _DEFLATE + b"; constructor; __proto__=a",
    "quoted": b'a; b="c"; d="\\e"',
    "quoted-no-token": b'a; b="c d"',
    "quoted-unclosed": b'a; b="' + b"\\c" * 50,
    "quoted-semicolons": b'a; b="' + b";" * 50 + b'"',
    "value-of-a-name": b"a=b",
    "empty-elements": b", ,a,, b ,\t,",
    "ends-with-semicolon": b"a;",
    "spaces": b"b" + b" " * 100 + b"x",
    "tokens": b"chat, superchat,\tv1.2~!#$%&'*+-.^_`|",
    "origin": b"http://host:80 host",
    "origin-port": b"host:8080 host:8080",
    "origin-ipv6": b"http://[::1] [::1]",
    "origin-ipv6-port": b"[::1]:443 [::1]",
    "origin-ipv6-suffix": b"[::1].evil [::1]",
    "origin-ipv6-prefix": b"evil[::1] [::1]",
    "origin-case": b"HOST.example host.EXAMPLE",
    "origin-user": b"user@host host",
    "origin-suffix": b"host.evil host",
    "not-ascii": b"\xe9t\xe9",
}
