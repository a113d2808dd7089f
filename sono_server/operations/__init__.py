"""What the operator of a server sees and sets: logs and settings."""

from .logs import configure
from .settings import changed, settings

__all__ = ["changed", "configure", "settings"]
