"""What TLS costs by itself: Python's `ssl` on blocking sockets, one connection after the other.

It upgrades any request and answers any Close, and checks nothing: what is left is `ssl`.
"""

import base64
import hashlib
import re
import socket

from . import common

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)
_CLOSE = b"\x88\x02\x03\xe8"  # 1000
_key = re.compile(rb"(?i)\r\nsec-websocket-key: *([^\r]+)\r\n").search


def serve(connection: socket.socket) -> None:
    """Open it, and close it behind whatever comes."""
    found = _key(connection.recv(4096))
    if found:
        accept = base64.b64encode(hashlib.sha1(found[1] + _GUID, usedforsecurity=False).digest())
        connection.sendall(_SWITCHING % accept)
        connection.recv(4096)
        connection.sendall(_CLOSE)


def main() -> None:
    """Run the server."""
    options = common.parse()
    context = common.context(options.tls)
    listener = socket.create_server(("127.0.0.1", options.port), backlog=common.BACKLOG)
    common.announce(listener)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            serve(connection)
        except OSError:  # it is gone, or speaks no TLS
            pass
        finally:
            connection.close()


if __name__ == "__main__":
    main()
