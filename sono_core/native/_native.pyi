from collections.abc import Callable, Iterator

from sono_core.events import BinaryMessage, Event, TextMessage
from sono_core.websocket import Frame

def apply_mask(data: bytes, mask: bytes, /) -> bytes: ...

class MessageRules:
    def __init__(
        self,
        masked: bool,
        legal: tuple[bytes, bytes],
        max_message: int,
        max_frame: int,
        max_fragments: int,
        max_compressed_message: int,
        max_compressed_frame: int,
        text: type[TextMessage],
        binary: type[BinaryMessage],
        control: Callable[[int, bytes], Frame],
        judge_header: Callable[[bytes, bool, int, int, int], None],
        judge_text: Callable[[], None],
    ) -> None: ...

class MessageReader:
    def __init__(
        self, rules: MessageRules, inflate: Callable[[bytes, int, bool], list[bytes]] | None
    ) -> None: ...
    def feed(self, data: bytes, /) -> None: ...
    def next(self) -> TextMessage | BinaryMessage | Frame | None: ...
    def deliver(
        self,
        on_message: Callable[[str | bytes], object],
        outbox: Outbox,
        pause: int,
        messages: int,
        size: int,
        /,
    ) -> tuple[int, int, int]: ...
    def events(self, otherwise: Callable[[], Event | None], /) -> Iterator[Event]: ...
    def stop(self) -> None: ...

class Outbox:
    room: int
    @property
    def size(self) -> int: ...
    def append(self, data: bytes, /) -> None: ...
    def append_frame(self, opcode: int, payload: bytes, rsv1: bool, mask: bytes, /) -> None: ...
    def peek(self) -> bytes: ...
    def advance(self, size: int, /) -> None: ...
    def take(self) -> bytes: ...
    def clear(self) -> None: ...
