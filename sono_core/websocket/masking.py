"""Masking keys. RFC 6455, section 5.3."""

from collections.abc import Callable


class MaskingKeys:
    """Masking keys from a secure source, a fresh one for each frame (section 5.3).

    It draws many keys at once, because a system call for each frame would cost more than the
    frame.

    Args:
        random: returns that many unpredictable bytes, as `os.urandom` does.
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
