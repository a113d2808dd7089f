"""Why something was not done for a client that nobody can be found for, or not now."""

from sono_core.messaging.lossless.packets import Failure

NO_STREAMS = (1013, "what keeps the streams did not answer")
NO_MEMBER = "not-a-member"
"""The code of what is refused to who is not in a channel."""
LEAVING = Failure("unavailable", "the session is just going elsewhere", True)
UNAVAILABLE = Failure("unavailable", NO_STREAMS[1], True)
UNKNOWN = Failure("unknown", "its server was lost, and nobody knows whether it was done")


def unknown_client(client: str) -> Failure:
    """Why nobody is told what is for a client alone."""
    return Failure("unknown-client", f"there is no client {client[:200]}")
