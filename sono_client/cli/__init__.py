"""`sono connect`, `sono listen` and `sono emit`."""

from .commands import add_commands
from .terminal import Mistake

__all__ = ["Mistake", "add_commands"]
