"""Length framing of EPP over TCP (RFC 5734 section 4), for both ends of the line.

A message travels as a 4-byte big-endian length that counts itself, and then the XML. These functions know nothing of
sockets, so the blocking client and the asyncio simulator share them.
"""

from __future__ import annotations

import struct

HEADER_BYTES = 4
DEFAULT_LIMIT = 1 << 20
"""Largest frame accepted unless told otherwise, in bytes with the header; real answers have a few kilobytes."""


class FrameError(Exception):
    """The bytes received cannot be a frame: its length is impossible or over the limit."""


def encode(payload: bytes) -> bytes:
    """The frame that carries `payload`."""
    return struct.pack(">I", HEADER_BYTES + len(payload)) + payload


def payload_length(header: bytes, limit: int = DEFAULT_LIMIT) -> int:
    """How many bytes follow the 4-byte `header`.

    Raises FrameError for an empty payload and for a frame over `limit` bytes, so that the other side cannot make us
    allocate what it likes.
    """
    (total,) = struct.unpack(">I", header)
    if not HEADER_BYTES < total <= limit:
        raise FrameError(f"a frame of {total} bytes is outside {HEADER_BYTES + 1}–{limit}")
    return int(total) - HEADER_BYTES
