"""Close codes: RFC 6455's (section 7.4.1), those of IANA's registry, and Sono's own.

1002, 1007, 1008 and 1009 are chosen where the peer's mistake is found (`websocket`), the codes
with which a session or a server ends a connection in `lifecycle.ends`. After which codes a client
connects again is decided in `connect.backoff`.
"""

import enum


class CloseCode(enum.IntEnum):
    """Why a connection was closed."""

    NORMAL_CLOSURE = 1000
    """The connection has served its purpose; clients do not reconnect."""
    GOING_AWAY = 1001
    """The server is stopping, or a browser is leaving the page."""
    PROTOCOL_ERROR = 1002
    """The peer broke a rule of framing: reserved bits, opcodes, masks, lengths, fragments."""
    UNSUPPORTED_DATA = 1003
    """The application does not accept this kind of message, binary for instance."""
    NO_STATUS_RECEIVED = 1005
    """The peer's Close frame held no code. Never sent."""
    ABNORMAL_CLOSURE = 1006
    """The connection ended without a Close frame. Never sent."""
    INVALID_PAYLOAD = 1007
    """A text that is not UTF-8, or compressed data that cannot be inflated."""
    POLICY_VIOLATION = 1008
    """A rule without a code of its own was broken; Sono sends it for too many fragments."""
    MESSAGE_TOO_BIG = 1009
    """A message or frame above `Limits.max_message` or `max_frame`."""
    MANDATORY_EXTENSION = 1010
    """The client needs an extension that the server did not agree to. Sono never sends it."""
    INTERNAL_ERROR = 1011
    """The application's handler raised an exception, or memory ran out."""
    SERVICE_RESTART = 1012
    """The server is restarting, and will be back at once."""
    TRY_AGAIN_LATER = 1013
    """The server is full, or short of memory and this peer held most of it; before the handshake
    it answers with status 503 instead."""
    BAD_GATEWAY = 1014
    """A gateway got no valid answer from the server behind it."""
    SLOW_READER = 4008
    """Sono's own: the peer reads too slowly; its queue is full, or nothing could be written."""
    SLOW_SENDER = 4009
    """Sono's own: the peer began a message, and did not finish it within `Timeouts.message`."""
    NO_HELLO = 4010
    """Sono's own, `sono.v2`: the client did not begin with `hello` in time."""
    TOKEN_REFUSED = 4011
    """Sono's own, `sono.v2`: the token is refused, missing or ended."""
    REPLACED = 4012
    """Sono's own, `sono.v2`: a newer connection has the session."""
    SESSION_ENDED = 4013
    """Sono's own, `sono.v2`: the application ended the session."""


NORMAL_ENDS = frozenset(
    (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED)
)
"""Ends that no application treats as an error."""
