"""The client's side of `sono.v2`: one state machine for both clients, without I/O and clocks."""

from .limits import DEFAULT_CLIENT_LIMITS, ClientLimits
from .machine import ClientMachine, Keep
from .pending import Done, Outcome, Pending
from .status import State, Status
from .told import (
    Departed,
    Entered,
    Missed,
    Opened,
    PresenceChanged,
    Refused,
    Settled,
    TokenWanted,
    Told,
)

__all__ = [
    "DEFAULT_CLIENT_LIMITS",
    "ClientLimits",
    "ClientMachine",
    "Departed",
    "Done",
    "Entered",
    "Keep",
    "Missed",
    "Opened",
    "Outcome",
    "Pending",
    "PresenceChanged",
    "Refused",
    "Settled",
    "State",
    "Status",
    "TokenWanted",
    "Told",
]
