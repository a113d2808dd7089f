"""K3: the pure-Python path against peers in pure Python."""

from benchmarks.cases import Row
from benchmarks.targets import PURE

from . import run_alone
from .k1_mask import SIZES, masking
from .k2_decode import decoding
from .s2_echo import echo

PEER = "websockets (pure)"

ROW = Row(
    "K3",
    "pure Python: mask, decode, and echo as in S2",
    (
        *(masking(f"mask {name}", size, (PURE, PEER)) for name, size in SIZES.items()),
        decoding((PURE, PEER, "wsproto")),
        echo("echo", (PURE, PEER, "wsproto")),
    ),
    "websockets runs without its C.",
)

if __name__ == "__main__":
    run_alone(ROW)
