"""Masking keys. RFC 6455, section 5.3."""

from collections.abc import Callable


class MaskingKeys:
    """Fresh masking keys, one a frame, out of a secure source (section 5.3).

    The source is asked for many keys at once: a system call a frame would cost more than the
    frame.

    Args:
        random: gives that many unpredictable bytes, `os.urandom` for one.
    """

    __slots__ = ("_pool", "_position", "_random")

    _KEYS = 256

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._pool = b""
        self._position = 0

    def __call__(self) -> bytes:
        """The next key, 4 bytes."""
        if self._position == len(self._pool):
            self._pool = self._random(4 * self._KEYS)
            self._position = 0
        self._position += 4
        return self._pool[self._position - 4 : self._position]
