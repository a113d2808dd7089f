"""Close codes: those of RFC 6455, section 7.4.1, and IANA's registry, and Sono's own.

Where each is chosen: 1002, 1007, 1008 and 1009 where the peer's mistake is found (`websocket`);
those with which a session or a server ends a connection in `lifecycle.ends`; what clients make of
a code, in `connect.backoff`.
"""

import enum


class CloseCode(enum.IntEnum):
    """Why a connection was closed."""

    NORMAL_CLOSURE = 1000
    """The purpose of the connection is fulfilled: nobody comes back."""
    GOING_AWAY = 1001
    """A server stops, or a browser leaves the page."""
    PROTOCOL_ERROR = 1002
    """The peer broke a rule of framing: reserved bits, opcodes, masks, lengths, fragments."""
    UNSUPPORTED_DATA = 1003
    """A kind of message that the application does not take, binary ones for instance."""
    NO_STATUS_RECEIVED = 1005
    """The peer's Close frame held no code. Never sent."""
    ABNORMAL_CLOSURE = 1006
    """The connection ended without a Close frame. Never sent."""
    INVALID_PAYLOAD = 1007
    """A text that is not UTF-8, or compressed data that cannot be inflated."""
    POLICY_VIOLATION = 1008
    """A rule that no other code stands for; Sono sends it for too many fragments."""
    MESSAGE_TOO_BIG = 1009
    """A message or frame above `Limits.max_message` or `max_frame`."""
    MANDATORY_EXTENSION = 1010
    """A client needs an extension that the server did not agree to. Sono never does."""
    INTERNAL_ERROR = 1011
    """The application's handler raised."""
    SERVICE_RESTART = 1012
    """The server stops, and will be back at once."""
    TRY_AGAIN_LATER = 1013
    """The server has no room; before the handshake it says so with status 503."""
    BAD_GATEWAY = 1014
    """A gateway got no valid answer from the server behind it."""
    SLOW_READER = 4008
    """Sono's own: the peer does not read what is sent to it, and its queue is full."""


NORMAL_ENDS = frozenset(
    (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED)
)
"""Ends that no application treats as an error."""
