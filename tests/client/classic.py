"""The clients as they are in the classic dialect, whatever else the server knows."""

from __future__ import annotations

from typing import Any

from sono_client import AsyncSonoClient, SonoClient


class ClassicClient(SonoClient):
    """The blocking one."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, dialect="classic", **options)


class AsyncClassicClient(AsyncSonoClient):
    """The one on asyncio."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, dialect="classic", **options)
