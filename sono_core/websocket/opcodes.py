"""Opcodes and sizes of frames. RFC 6455, sections 5.2 and 5.5."""

# Opcodes (section 5.2): plain integers, because they are compared for every frame.
CONTINUATION = 0x0

TEXT = 0x1

BINARY = 0x2

CLOSE = 0x8

PING = 0x9

PONG = 0xA

MAX_CONTROL_PAYLOAD = 125
"""The most payload bytes of a control frame (section 5.5)."""

MAX_HEADER = 14
"""The most bytes of a frame's header: 2, a length of 8 and a masking key (section 5.2)."""
