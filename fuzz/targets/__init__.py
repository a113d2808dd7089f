"""The fuzz targets, by name. Each is a rule that any bytes are held to; `fuzz/corpus` has a folder
of seeds for each.
"""

from __future__ import annotations

from . import asgi, deflate, frames, headers, packets, request, response, tunnel, v2
from .checks import Target

__all__ = ["TARGETS", "Target"]

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        frames.SERVER,
        frames.CLIENT,
        request.TARGET,
        response.TARGET,
        deflate.TARGET,
        packets.TARGET,
        v2.TARGET,
        headers.TARGET,
        tunnel.TARGET,
        asgi.TARGET,
    )
}
