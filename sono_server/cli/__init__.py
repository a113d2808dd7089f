"""The command `sono`."""

from .command import main

__all__ = ["main"]
