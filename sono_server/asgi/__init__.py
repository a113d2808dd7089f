"""Sono inside an ASGI server."""

from .application import ASGIApplication

__all__ = ["ASGIApplication"]
