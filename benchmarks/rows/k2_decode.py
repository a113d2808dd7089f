"""K2: decode 64 KiB of masked 128 B text messages into events."""

from benchmarks.cases import Row, Timed
from benchmarks.codec import DECODERS, MESSAGES
from benchmarks.units import MESSAGE

from . import run_alone


def decoding(subjects: tuple[str, ...]) -> Timed:
    """Each call decodes the whole 64 KiB."""
    return Timed(name="decode", unit=MESSAGE, subjects=subjects, functions=DECODERS, parts=MESSAGES)


ROW = Row(
    "K2",
    "decode 64 KiB of masked text messages of 128 B",
    (decoding(("sono", "websockets", "aiohttp", "wsproto")),),
    "Sono is timed at `Connection.receive_data`; aiohttp is its compiled reader alone.",
)

if __name__ == "__main__":
    run_alone(ROW)
