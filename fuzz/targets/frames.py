"""Any bytes as frames, to a server and to a client: see `comparing`."""

from __future__ import annotations

from functools import partial

from fuzz.comparing import RUNS, first_fault
from fuzz.driving import SETTINGS
from sono_core import Role

from .checks import Target

_STRIDE = 5  # has no divisor in common with the number of runs, so that all take turns


def _check(role: Role, data: bytes) -> None:
    """Run in all settings of the role, each in another way and on another path."""
    settings = [setting for setting in SETTINGS if setting.role is role]
    for number, setting in enumerate(settings, len(data)):
        run = RUNS[number * _STRIDE % len(RUNS)]
        wrong = first_fault(data, setting, [run], str(len(data)))
        assert not wrong, wrong


# Bytes with a meaning in a frame's head, in UTF-8, or in deflate data.
TELLING = bytes.fromhex("00017d7e7f808182888a8bc1c2c188898afdfeff03e8edf0f4e2")
WORDS = (
    *(bytes((byte,)) for byte in TELLING),
    b"\x00\x00\xff\xff",
    b"\x03\x00",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
)
SERVER = Target("server", partial(_check, Role.SERVER), WORDS, per_byte=500e-6)
CLIENT = Target("client", partial(_check, Role.CLIENT), WORDS, per_byte=500e-6)
