"""Logs and settings, for those who operate a server."""

from .logs import configure
from .settings import changed, settings

__all__ = ["changed", "configure", "settings"]
