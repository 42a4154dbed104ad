"""Decompression of a request's body by its Content-Encoding, with the size limit kept while doing so. Pure.

Input is fed in slices so small that even one of a bomb expands to at most 16 MiB, and the rest is not looked at once
the limit is passed: memory stays below the limit and one such slice, whatever is sent.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from spanbridge.collector.errors import Invalid, TooLarge

_MAX_STREAMS = 10_000
"""gzip members or zstd frames in one body; empty ones cost their sender 20 bytes and us far more."""

_ZSTD_WINDOW = 32 << 20
"""Encoders at their highest levels write windows up to this; RFC 9659 asks them to keep to 8 MiB over HTTP."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class _Format(NamedTuple):
    """How to read a compressed format.

    Attributes:
        start: Returns a decompressor of one stream.
        step: Input bytes that expand to 16 MiB at most.
        streams: How many streams may follow one another.
    """

    start: Callable[[], _Decompressor]
    step: int
    streams: int


def _zstd() -> _Decompressor:
    import zstandard  # noqa: PLC0415  memory, for a coding that few clients use

    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()


# deflate expands 1032 to 1, a zstd block of 4 bytes to 128 KiB
_GZIP = _Format(lambda: zlib.decompressobj(wbits=31), 16 << 10, _MAX_STREAMS)
_ZLIB = _Format(zlib.decompressobj, 16 << 10, 1)
_RAW_DEFLATE = _Format(lambda: zlib.decompressobj(wbits=-15), 16 << 10, 1)
_ZSTD = _Format(_zstd, 512, _MAX_STREAMS)


def _deflate_of(body: bytes | bytearray) -> _Format:
    """Return what "deflate" means here: zlib by RFC 9110 8.4.1.2, but some send it raw; RFC 1950 tells which."""
    has_header = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB if has_header else _RAW_DEFLATE


_FORMATS: Mapping[str, Callable[[bytes | bytearray], _Format]] = {
    "gzip": lambda _: _GZIP,
    "deflate": _deflate_of,
    "zlib": lambda _: _ZLIB,
    "zstd": lambda _: _ZSTD,
}

CODINGS = frozenset(_FORMATS)
"""The codings that `decompress` knows."""


def decompress(coding: str, body: bytes | bytearray, limit: int) -> bytes | bytearray:
    """Return the body without its coding.

    Args:
        coding: One of `CODINGS`, or empty for none.
        body: The body as it was sent.
        limit: Bytes that it may expand to.

    Raises:
        Invalid: The body is not of that coding, or is cut short.
        TooLarge: It expands to more than the limit.
    """
    if not coding:
        return body
    try:
        return _expand(_FORMATS[coding](body), body, limit)
    except _broken() as error:
        raise Invalid(f"the body is not valid {coding}") from error


def _broken() -> tuple[type[Exception], ...]:
    """Return what the libraries in use raise about a body; zstandard only if it was imported."""
    zstd = sys.modules.get("zstandard")
    return (zlib.error, zstd.ZstdError) if zstd else (zlib.error,)


def _expand(form: _Format, body: bytes | bytearray, limit: int) -> bytearray:
    plain = bytearray()
    stream, streams = form.start(), 1
    for start in range(0, len(body), form.step):
        data = bytes(body[start : start + form.step])
        while data:
            if stream.eof:
                stream, streams = form.start(), streams + 1
                if streams > form.streams:
                    raise Invalid("the body goes on after the end of its compressed stream")
            plain += stream.decompress(data)
            if len(plain) > limit:
                raise TooLarge(f"the request expands to more than the limit of {limit} bytes")
            data = stream.unused_data
    if not stream.eof:
        raise Invalid("the compressed body is cut short")
    return plain
