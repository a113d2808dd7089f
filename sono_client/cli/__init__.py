"""`sono connect`, `sono listen` and `sono emit`."""

from .commands import add_commands
from .streams import OutputLost, complain, say, standard_streams, tell
from .terminal import Mistake

__all__ = ["Mistake", "OutputLost", "add_commands", "complain", "say", "standard_streams", "tell"]
