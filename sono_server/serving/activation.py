"""What systemd hands over: sockets that listen already, and where it wants to be told things.

sd_listen_fds(3) and sd_notify(3), without libsystemd.
"""

import contextlib
import os
import socket

from .listeners import prepare

_FIRST = 3  # SD_LISTEN_FDS_START
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_NOTIFY = "NOTIFY_SOCKET"


def activated(host: str | None, port: int | None, unix: str | None) -> list[socket.socket]:
    """The listening sockets that this process was started with; none if it was started otherwise.

    The environment variables that tell of them are removed: they are not meant for children.

    Args:
        host, port, unix: what was asked for; where there are such sockets, it must be nothing.

    Raises:
        ValueError: something was; LISTEN_FDS is no number, or a descriptor does not listen.
    """
    values = {name: os.environ.get(name) for name in _VARIABLES}
    if values["LISTEN_PID"] != str(os.getpid()):  # those of our parent's parent, perhaps
        return []
    for name in _VARIABLES:
        os.environ.pop(name, None)
    count = values["LISTEN_FDS"] or "0"
    if not count.isdecimal():
        raise ValueError(f"LISTEN_FDS must be a number, not {count!r}")
    listeners: list[socket.socket] = []
    for name, value in (("host", host), ("port", port), ("unix", unix)):
        if int(count) and value is not None:
            raise ValueError(f"{name} is given, although LISTEN_FDS hands over listening sockets")
    for number in range(_FIRST, _FIRST + int(count)):
        try:
            listener = socket.socket(fileno=number)
            listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            listens = False
        if not listens:
            raise ValueError(f"descriptor {number} of LISTEN_FDS is not a listening socket")
        listener.set_inheritable(False)
        prepare(listener)
        listeners.append(listener)
    return listeners


def notify(state: str) -> None:
    """Tell the service manager something, such as `READY=1`. Does nothing where there is none."""
    address = os.environ.get(_NOTIFY)
    if not address:
        return
    if address.startswith("@"):  # a name without a file
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),  # it may have gone; we need not
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.connect(address)
        sock.send(state.encode())
