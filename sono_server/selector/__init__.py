"""The built-in server: one thread, on `selectors`."""

from .server import Server, serve

__all__ = ["Server", "serve"]
