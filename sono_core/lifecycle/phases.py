"""The phases in the life of a session, and what leads from one to the next.

A `Connection` knows the states of the protocol (RFC 6455); a session outlives them on both sides:
its transport may still have to be opened for messages, ended, or given up.
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
    """The protocol is over, and this side of the stream ends; the peer's half is waited for."""
    CONDEMNED = "condemned"
    """The connection is given up: the next tick ends it."""
    OVER = "over"
    """The transport is gone."""


class Step(enum.Enum):
    """What leads from one phase to another."""

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
"""What each step leads to; a step that is missing cannot be taken in that phase."""
