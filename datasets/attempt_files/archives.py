"""Files that are compressed, read as the file that they hold."""

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

#: How compressed files begin, and the endings that their names have for it.
_SIGNS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_ENDINGS = frozenset({".gz", ".gzip", ".zst", ".zstd", ".zip", ".bz2", ".xz"})
#: What a decompressor raises where its input is broken or cut off.
ARCHIVE_ERRORS = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)


def compression_of(path: Path) -> str | None:
    """How a file is compressed, by its first bytes; None where it is not."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((kind for sign, kind in _SIGNS.items() if head.startswith(sign)), None)


def name_inside(path: Path) -> str:
    """The name of the file that is read: without the ending of its compression."""
    if compression_of(path) == "zip":
        return Path(_only_member(path)).name
    return path.stem if path.suffix.lower() in _ENDINGS else path.name


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed where it is compressed.

    Raises `FileFormatError`: if a zip holds no file, or several.
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
