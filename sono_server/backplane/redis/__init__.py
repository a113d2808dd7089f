"""The backplane of many processes: on Redis 7 or later, or Valkey."""

from .backplane import RedisBackplane
from .commands import Bounds
from .wire import Codec

__all__ = ["Bounds", "Codec", "RedisBackplane"]
