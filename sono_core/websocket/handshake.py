"""The opening handshake of both roles, from its first byte to the open connection.

RFC 6455, section 4. Holds a connection's state until it is open, and is dropped then. `upgrade`
has the rules for requests, and `http` reads heads.
"""

import base64
import re
from collections.abc import Callable, Collection

from sono_core.arguments import require_type
from sono_core.errors import HandshakeFailure, LocalProtocolError
from sono_core.events import Accept, Reject, Request
from sono_core.headers import Headers
from sono_core.http import (
    HeadReader,
    UpgradeResponseReader,
    checked_fields,
    encode_head,
    is_host,
    is_token,
    parse_extensions,
    parse_request,
    reject_response,
)
from sono_core.limits import Limits
from sono_core.quoting import shown_path, shown_url

from . import deflate
from .deflate import Agreement, Deflate
from .origin import AllowedHosts
from .upgrade import (
    Upgrade,
    accept_key,
    accept_response,
    check_upgrade,
    connection_options,
    upgrade_protocols,
)

_is_target = re.compile(r"/[!\"$-~]*").fullmatch  # ASCII that can be seen, without #
_LONG_HEAD = 4096  # bytes of a request that is counted for as long as the connection is open


class ServerHandshake:
    """A server's side: reads the request, then writes the answer (section 4.2).

    Args:
        limits: of the request's head, and of what may follow it.
        options: how permessage-deflate may be negotiated, or None.
        origins: allowed besides the server's own.
        rewrite: changes the request before it is reported.
        hosts: names under which a page is of the server's own origin; None for any.
        date: gives the time for the field Date of responses.
        scheme: `Request.scheme`.
    """

    __slots__ = (
        "_date",
        "_hosts",
        "_limits",
        "_options",
        "_origins",
        "_overflow",
        "_reader",
        "_request",
        "_rewrite",
        "_scheme",
        "_upgrade",
        "agreement",
        "request_memory",
        "rest",
    )

    def __init__(
        self,
        limits: Limits,
        options: Deflate | None,
        origins: Collection[str],
        rewrite: Callable[[Request], Request] | None = None,
        hosts: AllowedHosts | None = None,
        date: Callable[[], str] | None = None,
        scheme: str = "http",
    ) -> None:
        self._limits = limits
        self._options = options
        self._origins = origins
        self._reader = HeadReader(limits)
        self._rewrite = rewrite
        self._hosts = hosts
        self._date = date
        self._scheme = scheme
        self._request: Request | None = None
        self._overflow = False
        self._upgrade: Upgrade | None = None
        self.agreement: Agreement | None = None
        self.request_memory: int = 0
        """Bytes of memory that the request takes, if it is a long one; the application keeps it."""
        self.rest: bytearray = bytearray()
        """What followed the request: frames, if it becomes a WebSocket."""

    @property
    def held(self) -> int:
        """Bytes of memory held until the request is answered."""
        return self._reader.held + self.request_memory + len(self.rest)

    def feed(self, data: bytes) -> Request | None:
        """The request, once its head is complete; `rest` keeps what follows it.

        Raises:
            HandshakeFailure: 400, 414, 431, 501 or 505.
        """
        if self._request:
            self._put_by(data)
            return None
        found = self._reader.feed(data)
        if found is None:
            return None
        head, rest = found
        if len(head) > _LONG_HEAD:
            self.request_memory = 2 * len(head)
        request = parse_request(head, self._scheme)
        self._request = self._rewrite(request) if self._rewrite else request
        if rest:
            self._put_by(rest)
        return self._request

    def _put_by(self, data: bytes) -> None:
        if len(self.rest) + len(data) > self._limits.max_early_data:
            self._overflow = True
            self.rest.clear()
        if not self._overflow:
            self.rest += data

    def check(self) -> Upgrade:
        """Check that the request is a valid upgrade.

        Raises:
            HandshakeFailure: it is not.
        """
        assert self._request is not None  # `LEGAL` guarantees it
        if self._overflow:
            raise HandshakeFailure(400, "too much data before the answer")
        if self._upgrade is None:
            self._upgrade = check_upgrade(self._request, self._origins, self._options, self._hosts)
        return self._upgrade

    def accept(self, accept: Accept) -> bytes:
        """The 101, if the request is a valid upgrade.

        Raises:
            HandshakeFailure: it is not.
            LocalProtocolError: the subprotocol was not offered, or a header is illegal.
        """
        upgrade = self.check()
        response = accept_response(upgrade, accept)
        self.agreement = upgrade.agreement
        return response

    def reject(self, reject: Reject) -> bytes:
        """Any other response.

        Raises:
            LocalProtocolError: the status or a header is illegal.
        """
        method = self._request.method if self._request else "GET"
        return reject_response(reject, method, self._date() if self._date else None)


class ClientHandshake:
    """A client's side: writes the request, then checks the response against it (section 4.1).

    Args:
        limits: of the response's head and of a refusal's body.
        options: how to offer permessage-deflate, or None.
        random: a secure source of bytes, such as `os.urandom`.
    """

    __slots__ = ("_key", "_options", "_reader", "_subprotocols", "agreement", "rest")

    def __init__(
        self, limits: Limits, options: Deflate | None, random: Callable[[int], bytes]
    ) -> None:
        self._reader = UpgradeResponseReader(limits)
        self._options = options
        self._key = base64.b64encode(random(16)).decode()
        self._subprotocols: tuple[str, ...] = ()
        self.agreement: Agreement | None = None
        self.rest: bytes = b""
        """What followed the 101."""

    def request(self, request: Request) -> bytes:
        """The upgrade request.

        Raises:
            LocalProtocolError: the method is not GET, or the host, the target, a subprotocol
                or a header is illegal.
            TypeError: the subprotocols are not a tuple.
        """
        if not isinstance(request.subprotocols, (tuple, list)):  # a str would offer letters
            raise TypeError("subprotocols must be a tuple of str")
        if request.method != "GET":
            raise LocalProtocolError("an upgrade's method must be GET")
        if request.http_version != "1.1":
            raise LocalProtocolError("an upgrade's http_version must be 1.1")
        if not is_host(request.host):
            raise LocalProtocolError(f"host '{shown_url(request.host)}' is illegal")
        target = request.target
        if not _is_target(target):
            raise LocalProtocolError(f"target '{shown_path(target)}' is not in origin form")
        for number, subprotocol in enumerate(request.subprotocols):
            require_type(f"subprotocols[{number}]", subprotocol, str)
            if not is_token(subprotocol):  # not quoted: some programs send secrets there
                raise LocalProtocolError(f"subprotocols[{number}] is not a token")
            if subprotocol in request.subprotocols[:number]:
                raise LocalProtocolError(f"subprotocols[{number}] is repeated")
        fields = [
            ("host", request.host),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", self._key),
            ("sec-websocket-version", "13"),
        ]
        if request.subprotocols:
            fields.append(("sec-websocket-protocol", ", ".join(request.subprotocols)))
        if self._options:
            fields.append(("sec-websocket-extensions", deflate.offer(self._options)))
        head = encode_head(f"GET {target} HTTP/1.1", [*fields, *checked_fields(request.headers)])
        self._subprotocols = request.subprotocols
        return head

    def feed(self, data: bytes) -> Accept | Reject | None:
        """The answer, or None until it has come; `b""` is the end of the stream.

        Raises:
            HandshakeFailure: the answer is not valid.
        """
        response = self._reader.feed(data)
        if response is None:
            return None
        status, headers, rest = response
        if status != 101:
            return Reject(status, headers, rest)
        self.rest = rest
        return self._accept(headers)

    @property
    def refused(self) -> Reject | None:
        """A refusal whose head has come, with its body as far as that has; None before."""
        found = self._reader.refused
        return Reject(*found) if found else None

    def _accept(self, headers: Headers) -> Accept:
        """Check the headers of a 101 against the request (section 4.1)."""
        if upgrade_protocols(headers.get("upgrade", "")) != ("websocket",):
            raise HandshakeFailure(0, "Upgrade is not websocket")
        if "upgrade" not in connection_options(headers.get("connection", "")):
            raise HandshakeFailure(0, "Connection does not name Upgrade")
        if headers.get_all("sec-websocket-accept") != [accept_key(self._key)]:
            raise HandshakeFailure(0, "Sec-WebSocket-Accept does not fit the key")
        subprotocols = headers.get_all("sec-websocket-protocol")
        if subprotocols and (len(subprotocols) > 1 or subprotocols[0] not in self._subprotocols):
            raise HandshakeFailure(0, "the subprotocol was not offered")
        self.agreement = self._agree(headers.get_all("sec-websocket-extensions"))
        return Accept(subprotocols[0] if subprotocols else None, headers)

    def _agree(self, values: list[str]) -> Agreement | None:
        if len(values) > 1:
            raise HandshakeFailure(0, "Sec-WebSocket-Extensions is repeated")
        try:
            extensions = parse_extensions(values)
            if not extensions:
                return None
            name, parameters = extensions[0]
            if len(extensions) > 1 or name != deflate.NAME or self._options is None:
                raise ValueError("an extension was not offered")
            return deflate.agree(parameters, self._options)
        except ValueError as error:
            raise HandshakeFailure(0, str(error)) from None
