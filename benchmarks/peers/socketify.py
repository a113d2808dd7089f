"""The peer `socketify`: uWebSockets from Python."""

from typing import Any

from socketify import App, CompressOptions

from . import common

ALL = "all"


def main(mode: str, port: int, deflate: bool) -> None:
    """Serve."""
    application = App(lifespan=False)

    def echo(ws: Any, message: str | bytes, opcode: Any) -> None:
        ws.send(message, opcode, deflate)

    def enter(ws: Any) -> None:
        ws.subscribe(ALL)

    def fanout(ws: Any, message: str | bytes, opcode: Any) -> None:
        application.publish(ALL, message, opcode, deflate)

    handlers: dict[str, dict[str, Any]] = {
        "echo": {"message": echo},
        "fanout": {"open": enter, "message": fanout},
    }
    shared = CompressOptions.SHARED_COMPRESSOR | CompressOptions.SHARED_DECOMPRESSOR
    application.ws(
        "/*",
        {
            **handlers[mode],
            "compression": int(shared) if deflate else int(CompressOptions.DISABLED),
            "max_payload_length": common.MAX_MESSAGE,
            "max_backpressure": common.MAX_MESSAGE,  # socketify would drop messages beyond it.
        },
    )
    application.listen(
        {"host": "127.0.0.1", "port": port}, lambda config: common.announce(config.port)
    )
    application.run()


if __name__ == "__main__":
    options = common.parse()
    main(options.mode, options.port, options.deflate)
