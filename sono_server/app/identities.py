"""How long an identity holds, as the application says it."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sono_core.messaging.lossless.server import EXPIRES_AT


class Known(NamedTuple):
    """Who somebody is."""

    identity: Any
    lasts: float | None
    """For how many seconds from now on; None: without end."""


ANYBODY = Known(None, None)
"""Who somebody is if nobody asks."""


def known(identity: Any, now: float) -> Known | None:
    """What `authenticate` has returned; None if it is nobody, or has ended.

    Args:
        now: seconds since the epoch.

    Raises:
        TypeError: `expires_at` is neither a number nor a datetime with a time zone.
    """
    if identity is None or identity is False:
        return None
    if isinstance(identity, Mapping):
        ends = identity.get(EXPIRES_AT)
    else:
        ends = getattr(identity, EXPIRES_AT, None)
    if ends is None:
        return Known(identity, None)
    if isinstance(ends, datetime) and ends.tzinfo is not None:
        ends = ends.timestamp()
    if isinstance(ends, bool) or not isinstance(ends, (int, float)) or math.isnan(ends):
        raise TypeError(
            f"{EXPIRES_AT} must be seconds since the epoch or a datetime with a time zone, not of "
            f"type {type(ends).__name__}"
        )
    if ends <= now:
        return None
    return Known(identity, None if math.isinf(ends) else ends - now)
