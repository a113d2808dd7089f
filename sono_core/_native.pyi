from collections.abc import Callable, Iterator

from .events import BinaryMessage, Event, TextMessage
from .frames import Frame

def apply_mask(data: bytes, mask: bytes, /) -> bytes: ...

class MessageReader:
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
        inflate: Callable[[bytes, bytearray, bool], None],
    ) -> None: ...
    def feed(self, data: bytes, /) -> None: ...
    def next(self) -> TextMessage | BinaryMessage | Frame | None: ...
    def events(self, otherwise: Callable[[], Event | None], /) -> Iterator[Event]: ...
    def stop(self) -> None: ...
