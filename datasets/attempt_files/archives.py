"""Open compressed files as the file that they contain."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pyarrow as pa

from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Signatures at the start of compressed files, and the endings of their names.
_SIGNS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_ENDINGS = frozenset({".gz", ".gzip", ".zst", ".zstd", ".zip", ".bz2", ".xz"})
#: Errors that decompressors raise for corrupt or truncated input.
ARCHIVE_ERRORS = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)


def compression_of(path: Path) -> str | None:
    """Return the kind of compression, from the first bytes; None if it is not compressed."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((kind for sign, kind in _SIGNS.items() if head.startswith(sign)), None)


def name_inside(path: Path) -> str:
    """Return the name of the file inside: without the ending of the compression."""
    if compression_of(path) == "zip":
        return Path(_only_member(path)).name
    return path.stem if path.suffix.lower() in _ENDINGS else path.name


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, decompressed if it is compressed.

    Raises `FileFormatError` if a zip holds no file or several files.
    """
    kind = compression_of(path)
    if kind == "zip":
        member = _only_member(path)
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            yield file
    elif kind == "zstd":
        with pa.input_stream(str(path), compression="zstd") as stream:
            yield stream
    else:
        with _stream(path, kind) as file:
            yield file


def _stream(path: Path, kind: str | None) -> IO[bytes]:
    if kind == "gzip":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if kind == "bzip2":
        return cast("IO[bytes]", bz2.open(path, "rb"))
    if kind == "xz":
        return cast("IO[bytes]", lzma.open(path, "rb"))
    return path.open("rb")


def _only_member(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = [
            info.filename
            for info in archive.infolist()
            if not info.is_dir()
            and not info.filename.startswith("__MACOSX/")
            and not Path(info.filename).name.startswith(".")
        ]
    if len(names) != 1:
        held = ", ".join(sorted(names)[:5]) if names else "none"
        raise FileFormatError(
            f"{path} must hold one file, got {len(names)} ({held}): unpack it, and import "
            "the files that are attempt logs."
        )
    return names[0]
