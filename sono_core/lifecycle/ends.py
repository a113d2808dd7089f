"""The close codes and reasons with which this side ends a connection, in one place.

The codes for a peer's mistake in a frame or a payload are where the mistake is found:
`websocket.frames` (1002, 1008, 1009), `messages` (1007), `deflate` (1007, 1008, 1009) and `close`
(1002, 1007), and under ASGI `asgi` (1009).
"""

from sono_core.close_codes import CloseCode
from sono_core.events import Close

# Reported by `on_close` alone: no Close frame is sent, or none arrives.
ABORTED = Close(CloseCode.ABNORMAL_CLOSURE, "aborted", False)
CLOSE_UNANSWERED = Close(CloseCode.ABNORMAL_CLOSURE, "the close was not answered in time", False)
BROKEN = Close(CloseCode.ABNORMAL_CLOSURE, "the connection ended", False)
PING_UNANSWERED = Close(CloseCode.ABNORMAL_CLOSURE, "no answer to a ping", False)
STALLED = Close(CloseCode.SLOW_READER, "nothing could be written in time", False)
STILL_CLOSING = Close(CloseCode.ABNORMAL_CLOSURE, "the connection is closing", False)
TOO_SLOW = Close(CloseCode.SLOW_READER, "the peer reads too slowly", False)
NO_MEMORY = Close(CloseCode.INTERNAL_ERROR, "memory ran out", False)

# Sent to the peer.
HANDLER_FAILED = Close(CloseCode.INTERNAL_ERROR, "internal error")
UNFINISHED = Close(CloseCode.SLOW_SENDER, "the message took too long", False)
LARGEST_HOLDER = Close(CloseCode.TRY_AGAIN_LATER, "the server is short of memory", False)
TOO_MANY_CONNECTIONS = Close(CloseCode.TRY_AGAIN_LATER, "")
SERVER_STOPS: dict[int, Close] = {
    int(code): Close(code, "the server is stopping")
    for code in (CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART)
}
"""By the code that the server's operator chose: it is gone, or will be back at once."""
