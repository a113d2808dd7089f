"""Logs, settings and workers, for those who operate a server."""

from . import children, workers
from .applications import Application, parse_application
from .children import INHERITED, Inherited
from .logs import configure
from .settings import changed, settings
from .supervision import BOOT
from .supervisor import supervise

__all__ = [
    "BOOT",
    "INHERITED",
    "Application",
    "Inherited",
    "changed",
    "children",
    "configure",
    "parse_application",
    "settings",
    "supervise",
    "workers",
]
