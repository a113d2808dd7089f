"""Which backplane it is: chosen by a URL."""

import os
from collections.abc import Callable

from sono_core.arguments import require_type
from sono_core.messaging.lossless import Backplane

from .envelopes import Envelopes

ENVIRONMENT = "SONO_BACKPLANE"
"""The environment variable that chooses where the program does not."""
MEMORY = "memory"
"""Chooses that of one process, in its memory."""


def opened(
    url: str | None,
    call_soon: Callable[[Callable[[], object]], object],
    *,
    listens: bool = True,
    patience: float = 10.0,
) -> Backplane | None:
    """The backplane at a URL, which has still to be started; None: that of this process alone.

    Args:
        url: None: what the environment says.
        call_soon: has a function called in the thread that will use it, from any thread.
        listens: whether it hears what is told.
        patience: seconds that what is asked waits while it does not answer.

    Raises:
        ImportError: what it needs is not installed.
        TypeError, ValueError: the URL is none.
    """
    if url is None:
        url = os.environ.get(ENVIRONMENT) or MEMORY
    require_type("backplane", url, str)
    if url == MEMORY:
        return None
    try:
        from .redis import Bounds, RedisBackplane
    except ImportError as error:
        text = "a backplane on Redis needs redis-py and hiredis: pip install 'sono[redis]'"
        raise ImportError(text) from error
    bounds = Bounds(age=patience)
    return RedisBackplane(url, call_soon, Envelopes(), bounds=bounds, listens=listens)
