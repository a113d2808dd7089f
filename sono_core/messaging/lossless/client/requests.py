"""The server's requests that the application has to answer. docs/protocol.md, 4.7."""


class Questions:
    """Which of the server's requests are open.

    Args:
        limit: how many they may be.
        age: seconds after which one may be forgotten: the server no longer waits for it.
    """

    __slots__ = ("_age", "_asked", "_limit")

    def __init__(self, limit: int, age: float) -> None:
        self._limit = limit
        self._age = age
        self._asked: dict[int, float] = {}  # when each came, the oldest first

    def __len__(self) -> int:
        return len(self._asked)

    def __contains__(self, request: int) -> bool:
        return request in self._asked

    def ask(self, request: int, now: float) -> bool:
        """Another request; whether there is room for it."""
        for other, asked_at in list(self._asked.items()):
            if now - asked_at < self._age:
                break
            del self._asked[other]
        if len(self._asked) >= self._limit:
            return False
        self._asked[request] = now
        return True

    def answer(self, request: int) -> bool:
        """A reply is given; whether it was asked for, and is the first."""
        return self._asked.pop(request, None) is not None

    def clear(self) -> None:
        """The session is gone, and nobody waits any more."""
        self._asked.clear()
