"""The units of figures, and how to write them."""

from .measure import Unit


def duration(nanoseconds: float) -> str:
    """The number with three digits."""
    if nanoseconds < 1e3:
        return f"{nanoseconds:.3g} ns"
    if nanoseconds < 1e6:
        return f"{nanoseconds / 1e3:.3g} µs"
    return f"{nanoseconds / 1e6:.3g} ms"


def number(value: float) -> str:
    """The number with three digits; thousands as k, millions as M."""
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if value >= factor * 0.9995:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes, or KiB and MiB with three digits."""
    for factor, letter in ((2**20, "MiB"), (2**10, "KiB")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.0f} B"


MESSAGES = Unit("messages per second of server CPU time", number)
DELIVERIES = Unit("deliveries per second of server CPU time", number)
ROUND_TRIPS = Unit("round trips per second of client CPU time", number)
HANDSHAKES = Unit("connections per second of server CPU time", number)
RETURNS = Unit("returns per second of server CPU time", number)
REQUESTS = Unit("requests per second of server CPU time", number)
PUBLICATIONS = Unit("publications per second of server CPU time", number)
DELIVERY_COST = Unit("server CPU time of one delivery", duration, less_is_better=True)
CALL = Unit("CPU time of one call", duration, less_is_better=True)
MESSAGE = Unit("CPU time of one message", duration, less_is_better=True)
CONNECTION_SIZE = Unit("memory of the server a connection", size, less_is_better=True)
WAIT = Unit("wait for an answer, p99", duration, less_is_better=True)
LATENCY = Unit("latency", duration, less_is_better=True)
MEMORY = Unit("memory that the server took on top", size, less_is_better=True)
