"""permessage-deflate (RFC 7692): negotiation, inflation within bounds, deflation."""

import math
import zlib
from collections.abc import Generator

import msgspec

from sono_core.close_codes import CloseCode
from sono_core.errors import ProtocolFailure
from sono_core.events import Role
from sono_core.http import Extension

NAME = "permessage-deflate"
_TAIL = b"\x00\x00\xff\xff"  # ends every flush, and is left out of messages (section 7.2.1)
_WINDOW_MEMORY = 48 * 1024  # bytes of an inflater that waits for its next message
_DEFLATER_MEMORY = 256 * 1024  # bytes of a deflater
_STEP = 32 * 1024  # bytes inflated at once: zlib needs room for them twice
_PIECE = 16 * 1024  # bytes given to zlib at once: it copies what it does not consume
# In one message; each costs a new stream, and the peer only two bytes.
_MAX_FINAL_BLOCKS = 1024
_Pieces = Generator[bytes, None, tuple["zlib._Decompress", int]]
_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}  # no leading zeros (section 7.1.2.1)


class Deflate(msgspec.Struct, frozen=True, kw_only=True):
    """How permessage-deflate is used where both sides agree to it.

    Raises:
        ValueError: a value is out of its range.
    """

    context_takeover: bool = False
    """Keep the window from message to message: smaller frames, at about 300 KiB a connection."""
    max_window_bits: int = 15
    """Base-2 logarithm of this side's compression window, 9 to 15."""
    level: int = 6
    """zlib's level, 1 (fastest) to 9 (smallest)."""
    threshold: int = 1024
    """Bytes below which a message is sent as it is."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_window_bits", 9, 15),
            ("level", 1, 9),
            ("threshold", 0, 1 << 62),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"{name} must be an int from {low} to {high}")


DEFAULT_DEFLATE = Deflate()


class Agreement(msgspec.Struct, frozen=True):
    """The parameters that both sides agreed to (section 7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None

    def header(self) -> str:
        """The extension's element of a Sec-WebSocket-Extensions field."""
        parts = [NAME]
        for name in self.__struct_fields__:
            if value := getattr(self, name):
                parts.append(name if value is True else f"{name}={value}")
        return "; ".join(parts)

    def inflater(self, role: Role) -> "Inflater":
        """The inflater for what the peer of `role` sends."""
        if role is Role.SERVER:
            return Inflater(self.client_max_window_bits, not self.client_no_context_takeover)
        return Inflater(self.server_max_window_bits, not self.server_no_context_takeover)

    def deflater(
        self, role: Role, options: Deflate, shared: "SharedDeflaters | None"
    ) -> "Deflater":
        """The deflater for what `role` sends; a shared one unless there is context takeover."""
        if role is Role.SERVER:
            bits, takeover = self.server_max_window_bits, not self.server_no_context_takeover
        else:
            bits, takeover = self.client_max_window_bits, not self.client_no_context_takeover
        if takeover or shared is None:
            return Deflater(bits or 15, takeover, options.level)
        return shared.get(bits or 15, options.level)


class _UnacceptableError(Exception):
    """These parameters cannot be agreed to."""


def _parse(parameters: list[tuple[str, str | None]], *, in_offer: bool) -> dict[str, int | None]:
    """The parameters by name, 1 for a flag; unknown, repeated or ill-formed ones are refused."""
    values: dict[str, int | None] = {}
    for name, text in parameters:
        if name in values:
            raise _UnacceptableError(f"{name} is repeated")
        if name.endswith("_no_context_takeover"):
            acceptable = text is None
            values[name] = 1
        else:
            valueless = in_offer and name == "client_max_window_bits" and text is None
            acceptable = valueless or text in _WINDOW_BITS
            values[name] = _WINDOW_BITS.get(text or "")
        if name not in Agreement.__struct_fields__ or not acceptable:
            raise _UnacceptableError(f"{name} is unknown or has an illegal value")
    return values


def offer(options: Deflate) -> str:
    """A client's offer, as an element of Sec-WebSocket-Extensions."""
    parts = [NAME, "client_max_window_bits"]
    if not options.context_takeover:
        parts[1:1] = ["server_no_context_takeover", "client_no_context_takeover"]
    return "; ".join(parts)


def answer(offers: list[Extension], options: Deflate) -> Agreement | None:
    """What a server agrees to: the first acceptable offer, or None (section 5.1)."""
    for name, parameters in offers:
        if name != NAME:
            continue
        try:
            asked = _parse(parameters, in_offer=True)
        except _UnacceptableError:
            continue
        bits = asked.get("server_max_window_bits")
        if bits == 8:  # zlib cannot deflate into windows below 9 bits
            continue
        return Agreement(
            bool(asked.get("server_no_context_takeover")) or not options.context_takeover,
            bool(asked.get("client_no_context_takeover")) or not options.context_takeover,
            _narrowed(bits, options),
        )
    return None


def _narrowed(bits: int | None, options: Deflate) -> int | None:
    """The window for this side's own compression; None for the full one.

    A window that the peer asked for is named even if it is the full one: a server agrees by
    repeating it (section 7.1.2.1).
    """
    if bits is None and options.max_window_bits == 15:
        return None
    return min(bits or 15, options.max_window_bits)


def agree(parameters: list[tuple[str, str | None]], options: Deflate) -> Agreement:
    """What a server's response means to the client that made `offer` (section 7.1).

    Raises:
        ValueError: the response is not a legal answer to the offer.
    """
    try:
        given = _parse(parameters, in_offer=False)
    except _UnacceptableError as error:
        raise ValueError(f"{NAME}: {error}") from None
    if given.get("client_max_window_bits") == 8:
        raise ValueError(f"{NAME}: a compression window of 8 bits is not supported")
    if not options.context_takeover and not given.get("server_no_context_takeover"):
        raise ValueError(f"{NAME}: server_no_context_takeover was requested but not granted")
    return Agreement(
        bool(given.get("server_no_context_takeover")),
        bool(given.get("client_no_context_takeover")) or not options.context_takeover,
        given.get("server_max_window_bits"),
        _narrowed(given.get("client_max_window_bits"), options),
    )


class Inflater:
    """Inflates the peer's messages, never past a limit (section 7.2.2).

    Args:
        bits: base-2 logarithm of the peer's window; None for the full one, 15.
        takeover: whether the window is kept from message to message.
    """

    __slots__ = ("_bits", "_final_blocks", "_rest", "_stream", "_takeover")

    def __init__(self, bits: int | None, takeover: bool) -> None:
        self._bits = bits or 15
        self._takeover = takeover
        self._final_blocks = 0  # of the message under way
        self._rest: _Pieces | None = None  # of what was inflated in part
        self._stream: zlib._Decompress | None = None  # an idle connection without takeover has none

    @property
    def memory(self) -> int:
        """Bytes of memory that it keeps between messages."""
        return _WINDOW_MEMORY if self._takeover else 0

    def inflate(
        self, data: bytes | bytearray, room: int, final: bool, most: float = math.inf
    ) -> list[bytes]:
        """Inflate `data` into pieces, so that a bomb never takes more memory than it may.

        An empty piece stands for each final block: that its work may be counted.

        Args:
            room: the most bytes that may come out.
            final: whether the data ends its message.
            most: pieces. If there are so many, the next call goes on, without data, until there
                are fewer.

        Raises:
            ProtocolFailure: 1009 beyond the room, 1007 for data that is not deflate's, 1008 for
                too many final blocks.
        """
        rest, self._rest = self._rest, None
        if rest is None:
            stream = self._stream or zlib.decompressobj(-self._bits)
            rest = _inflated(stream, self._bits, self._final_blocks, data, room, final)
        pieces: list[bytes] = []
        try:
            while len(pieces) < most:
                pieces.append(next(rest))
        except StopIteration as end:
            stream, blocks = end.value
            self._final_blocks = 0 if final else blocks
            self._stream = None if final and not self._takeover else stream
        else:
            self._rest = rest
        return pieces

    @staticmethod
    def _next_stream(bits: int, blocks: int) -> "zlib._Decompress":
        """A block with BFINAL ends zlib's stream, not the message (section 7.2.3.4)."""
        if blocks > _MAX_FINAL_BLOCKS:
            raise ProtocolFailure(CloseCode.POLICY_VIOLATION, "too many final blocks")
        return zlib.decompressobj(-bits)


def _inflated(
    stream: "zlib._Decompress",
    bits: int,
    blocks: int,
    data: bytes | bytearray,
    room: int,
    final: bool,
) -> _Pieces:
    """The pieces of `Inflater.inflate`, each when it is asked for.

    It refers to no `Inflater`, so that one that is left in the middle is freed at once.

    Returns:
        The stream that goes on, and the final blocks of the message so far.
    """
    for start in range(0, len(data) or 1, _PIECE):
        piece = data[start : start + _PIECE]
        if final and start + _PIECE >= len(data):
            piece += _TAIL
        more = True  # zlib may hold output after it has taken all input
        while piece or more:
            step = min(_STEP, room + 1)
            try:
                inflated = stream.decompress(piece, step)
            except zlib.error:
                raise ProtocolFailure(
                    CloseCode.INVALID_PAYLOAD, "message is not deflate data"
                ) from None
            more = len(inflated) == step
            room -= len(inflated)
            if room < 0:
                raise ProtocolFailure(CloseCode.MESSAGE_TOO_BIG, "message too big")
            piece = stream.unused_data if stream.eof else stream.unconsumed_tail
            if inflated:
                yield inflated
            if stream.eof:
                blocks += 1
                stream = Inflater._next_stream(bits, blocks)
                yield b""
    return stream, blocks


class Deflater:
    """Deflates messages (section 7.2.1).

    Without takeover no message depends on the one before, so one deflater serves any number of
    connections: see `SharedDeflaters`.
    """

    __slots__ = ("_flush", "_stream", "parameters", "takeover")

    def __init__(self, bits: int, takeover: bool, level: int) -> None:
        self.takeover: bool = takeover
        self.parameters: tuple[int, int] = (bits, level)
        """Base-2 logarithm of the window, and zlib's level."""
        self._stream: zlib._Compress | None = None  # made when needed: it takes 256 KiB
        # a full flush makes zlib forget its window
        self._flush = zlib.Z_SYNC_FLUSH if takeover else zlib.Z_FULL_FLUSH

    @property
    def memory(self) -> int:
        """Bytes of memory that it keeps for one connection between messages."""
        return _DEFLATER_MEMORY if self.takeover else 0

    def deflate(self, data: bytes) -> bytes:
        """The compressed payload of a whole message."""
        if self._stream is None:
            bits, level = self.parameters
            self._stream = zlib.compressobj(level, wbits=-bits)
        compressed = self._stream.compress(data) + self._stream.flush(self._flush)
        return compressed[: -len(_TAIL)]


class SharedDeflaters:
    """The deflaters that the connections of one loop share: one for each window and level.

    Not thread-safe: compressing a message takes two calls, which must not interleave.
    """

    __slots__ = ("_deflaters",)

    def __init__(self) -> None:
        self._deflaters: dict[tuple[int, int], Deflater] = {}

    def get(self, bits: int, level: int) -> Deflater:
        """The deflater without context takeover for that window and level."""
        deflater = self._deflaters.get((bits, level))
        if deflater is None:
            deflater = self._deflaters[bits, level] = Deflater(bits, False, level)
        return deflater
