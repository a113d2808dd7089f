"""What the nodes of one backplane say to each other about sessions: volatile, in control streams.

Whatever is said may be lost, and is said again. docs/architecture.md, sessions that go elsewhere.
"""

import msgspec


class LetGo(msgspec.Struct, frozen=True, array_like=True, tag="let-go"):
    """Another node has claimed a session: let it go, and say so."""

    session: str
    generation: int
    """That it has now."""
    claimant: str
    """The node that is to be told."""


class LetGone(msgspec.Struct, frozen=True, array_like=True, tag="let-gone"):
    """A node says nothing more for a session, and does nothing more that was asked in it."""

    session: str
    generation: int
    """As it was claimed."""
    accepted: int
    """The highest number that was accepted; all up to it have their results. 0: it is not known."""


Said = LetGo | LetGone


def control(node: str) -> str:
    """The stream in which a node hears the others."""
    return f"!{node}"
