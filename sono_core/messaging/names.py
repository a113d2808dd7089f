"""Names of channels and events: the same rules in every dialect. docs/protocol.md."""

import re

from sono_core.arguments import require_type
from sono_core.limits import Limits

RESERVED_EVENTS = frozenset(("error", "grab"))
"""Events that the server alone sends, and answers in the classic dialect.

No other dialect allows them either, because clients of any dialect receive what one client sends.
"""

_illegal = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search


def check_name(name: str, what: str, limits: Limits) -> None:
    """Check the name of a channel or an event; `what` says which of the two it is.

    Raises:
        ValueError: it is empty, too long or holds a control character or a lone surrogate.
    """
    if not 0 < len(name) <= limits.max_name:
        raise ValueError(f"{what}: 1 to {limits.max_name} characters")
    if found := _illegal(name):
        kind = "control characters" if found[0] < "\ud800" else "lone surrogates"
        raise ValueError(f"{what}: {kind} are not allowed")


def check_event(event: str, limits: Limits) -> None:
    """Whether the caller may use a name for its own events.

    Raises:
        TypeError: it is not a str.
        ValueError: the name is reserved or illegal.
    """
    require_type("event", event, str)
    if event in RESERVED_EVENTS:
        raise ValueError(f"the event name {event!r} is reserved")
    try:
        check_name(event, "event", limits)
    except ValueError as error:
        raise ValueError(f"event {event!r}: {error}") from None


def check_channel(name: str, limits: Limits) -> None:
    """Whether a channel may have that name.

    Raises:
        TypeError: it is not a str.
        ValueError: the name is illegal.
    """
    require_type("channel", name, str)
    try:
        check_name(name, "channel", limits)
    except ValueError as error:
        raise ValueError(f"channel {name!r}: {error}") from None
