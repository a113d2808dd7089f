"""The phases of a session, and the steps that lead from one to the next.

A `Connection` has the states of the protocol (RFC 6455). A session has phases beyond them: its
stream may still have to be ended, or its connection given up.
"""

import enum


class Phase(enum.Enum):
    """Where a session stands."""

    OPENING = "opening"
    """The opening handshake is under way."""
    OPEN = "open"
    """Messages may be exchanged."""
    CLOSING = "closing"
    """The closing handshake is under way."""
    ENDING = "ending"
    """The protocol is over, and this side ends the stream; the peer's half is awaited."""
    CONDEMNED = "condemned"
    """The connection is given up: the next tick ends it."""
    OVER = "over"
    """The transport is gone."""


class Step(enum.Enum):
    """What takes a session from one phase to another."""

    ACCEPT = "accept"
    """The opening handshake succeeded."""
    CLOSE = "close"
    """This side sent its Close frame, and the peer's is awaited."""
    FINISH = "finish"
    """Nothing more will be sent or received: refused, closed on both sides, or failed."""
    CONDEMN = "condemn"
    """The application aborts, or the peer reads too slowly."""
    LOSE = "lose"
    """The stream ended on both sides, failed, or a deadline passed."""


# Enum's own is written in Python.
Phase.__hash__ = object.__hash__  # type: ignore[method-assign]
Step.__hash__ = object.__hash__  # type: ignore[method-assign]

TRANSITIONS: dict[Phase, dict[Step, Phase]] = {
    Phase.OPENING: {
        Step.ACCEPT: Phase.OPEN,
        Step.FINISH: Phase.ENDING,
        Step.CONDEMN: Phase.CONDEMNED,
        Step.LOSE: Phase.OVER,
    },
    Phase.OPEN: {
        Step.CLOSE: Phase.CLOSING,
        Step.FINISH: Phase.ENDING,
        Step.CONDEMN: Phase.CONDEMNED,
        Step.LOSE: Phase.OVER,
    },
    Phase.CLOSING: {
        Step.FINISH: Phase.ENDING,
        Step.CONDEMN: Phase.CONDEMNED,
        Step.LOSE: Phase.OVER,
    },
    Phase.ENDING: {Step.CONDEMN: Phase.CONDEMNED, Step.LOSE: Phase.OVER},
    Phase.CONDEMNED: {Step.CONDEMN: Phase.CONDEMNED, Step.LOSE: Phase.OVER},
    Phase.OVER: {},
}
"""The phase that each step leads to; a step that is missing is illegal in that phase."""
