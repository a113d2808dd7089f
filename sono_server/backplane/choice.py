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
    url: str | None, call_soon: Callable[[Callable[[], object]], object]
) -> Backplane | None:
    """The backplane at a URL, which has still to be started; None: that of this process alone.

    Args:
        url: None: what the environment says.
        call_soon: has a function called in the thread that will use it, from any thread.

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
        from .redis import RedisBackplane
    except ImportError as error:
        text = "a backplane on Redis needs redis-py and hiredis: pip install 'sono[redis]'"
        raise ImportError(text) from error
    return RedisBackplane(url, call_soon, Envelopes())
