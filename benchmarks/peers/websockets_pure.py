"""The peer `websockets` without its C."""

import sys


def main() -> None:
    """Run the script of `websockets`, which imports the library: so it must come second."""
    sys.modules["websockets.speedups"] = None  # type: ignore[assignment]
    from .websockets import main as run

    run()


if __name__ == "__main__":
    main()
