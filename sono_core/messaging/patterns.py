"""Patterns of channel names, the same wherever an application names channels by one."""

import re
from collections.abc import Callable
from fnmatch import translate

from sono_core.arguments import require_type


def matcher(pattern: str) -> Callable[[str], object]:
    """A function that says, of a name, whether the pattern matches all of it.

    Args:
        pattern: `*`, `?` and `[…]` mean what they do in `fnmatch`; upper and lower case differ.

    Raises:
        TypeError: it is not a str.
    """
    require_type("a pattern", pattern, str)
    return re.compile(translate(pattern)).match
