"""Attempt files of every make: kinds, encodings, delimiters, headers, values, damages."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.attempt_files.options import FileOptions, Quote
from datasets.attempt_files.values.plans import Layout
from datasets.attempt_files.values.times import Ambiguous, TimeUnit

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

NAMES = ("attempt_id", "user_id", "question_id", "concept_id", "correct", "attempted_at")
VALUES = {
    "user_id": [
        "ann", "bob", "7", "7.0", "", "NULL", "é", "日本", "=1+1", '"x', "a\tb", "x" * 300,
    ],
    "concept_id": [
        "add", "carry", "[1, 2]", "['a']", "[draft]", "a~~b", "", "\x00", "c d", "3.5",
    ],
    "question_id": ["q1", "q2", "", "5\" disc", "'", "q;1", "nan"],
    "attempt_id": ["", "1", "2", "3.0", "x"],
    "correct": [
        "1", "0", "1.0", "true", "FALSE", "yes", "hint", "", "0.5", "-1", "nan", "2", "é",
    ],
    "attempted_at": [
        "2026-01-05T08:00:00Z", "2026-01-05 08:00:00", "2026-01-05 08:00:00 UTC", "1767600000",
        "1767600000123", "05.01.2026 08:00", "1/5/2026 8:00 AM", "", "infinity", "1901-01-01",
        "2025-10-26 02:30:00", "2999-01-01T00:00:00Z", "2026-13-45T99:00:00Z", "x", "-1",
        "1e30",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """One file, how it is to be read, and how many rows it was given."""

    path: Path
    options: FileOptions
    n_rows: int
    #: Whether nothing was done to its bytes.
    is_whole: bool


def make_file(rng: Random, folder: Path, number: int) -> Made:
    """A file drawn by chance; the same generator makes the same file."""
    names = _header(rng)
    rows = _rows(rng, names)
    kind = rng.choice(["csv", "csv", "tsv", "txt", "parquet", "jsonl", "psv"])
    delimiter = {"csv": rng.choice(",,;"), "tsv": "\t", "txt": "\t", "psv": "|"}.get(kind, ",")
    if kind == "parquet":
        body = _parquet(rng, names, rows)
    elif kind == "jsonl":
        body = "\n".join(
            json.dumps(dict(zip(names, row, strict=True))) for row in rows
        ).encode()
    else:
        body = _text(rng, names, rows, delimiter)
    damaged = _damaged(rng, body)
    ending, packed = _packed(rng, damaged, kind)
    path = folder / f"f{number}.{kind}{ending}"
    path.write_bytes(packed)
    options = _options(rng, None if kind in ("tsv", "txt", "parquet", "jsonl") else delimiter)
    return Made(path, options, len(rows), is_whole=damaged is body)


def _header(rng: Random) -> list[str]:
    names = [name for name in NAMES if rng.random() < 0.93]
    rng.shuffle(names)
    if rng.random() < 0.1:
        names = [name.upper().replace("_", " ") for name in names]
    if rng.random() < 0.1:
        names.append(rng.choice(["user_id", "extra", "", "kind"]))
    return names or ["user_id"]


def _rows(rng: Random, names: list[str]) -> list[list[str]]:
    """Each column keeps to one or two makes of values, as files do."""
    makes = {
        name: rng.choices(VALUES.get(name, ["1", ""]), k=rng.choice([1, 2, 5]))
        for name in names
        for name in names
    }
    for name, good in (("correct", "1"), ("attempted_at", VALUES["attempted_at"][0])):
        if name in makes and rng.random() < 0.6:
            makes[name] = [good]
    return [
        [
            str(n) if name == "attempt_id" and rng.random() < 0.9 else rng.choice(makes[name])
            for name in names
        ]
        for n in range(rng.choice([0, 1, 3, 30]))
    ]


def _text(rng: Random, names: list[str], rows: list[list[str]], delimiter: str) -> bytes:
    out = io.StringIO()
    ends = rng.choice(["\n", "\r\n"])
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE])
    writer = csv.writer(
        out, delimiter=delimiter, quoting=quoting, lineterminator=ends, escapechar="\\"
    )
    table = rows if rng.random() < 0.05 else [names, *rows]
    writer.writerows(table)
    encoding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"])
    return out.getvalue().encode(encoding, errors="replace")


def _parquet(rng: Random, names: list[str], rows: list[list[str]]) -> bytes:
    columns: dict[str, Any] = {}
    for place, name in enumerate(names):
        values = [row[place] for row in rows]
        make = rng.choice(["text", "text", "bytes", "float", "int", "bool", "list", "null"])
        columns[name] = {
            "text": lambda v: pa.array(v, pa.string()),
            "bytes": lambda v: pa.array([x.encode() for x in v], pa.binary()),
            "float": lambda v: pa.array([float(len(x)) / 2 for x in v], pa.float64()),
            "int": lambda v: pa.array([len(x) for x in v], pa.int64()),
            "bool": lambda v: pa.array([bool(x) for x in v], pa.bool_()),
            "list": lambda v: pa.array([[x] for x in v], pa.list_(pa.string())),
            "null": lambda v: pa.nulls(len(v)),
        }[make](values)
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def _damaged(rng: Random, body: bytes) -> bytes:
    chance = rng.random()
    if chance < 0.8 or not body:
        return body
    place = rng.randrange(len(body))
    if chance < 0.87:
        return body[:place]
    if chance < 0.93:
        return body[:place] + bytes([rng.randrange(256)]) + body[place + 1 :]
    if chance < 0.97:
        return body[:place] + rng.choice([b'"', b"\n", b"\x00", b"\t", b","]) + body[place:]
    return b""


def _packed(rng: Random, body: bytes, kind: str) -> tuple[str, bytes]:
    chance = rng.random()
    if chance < 0.75:
        return "", body
    if chance < 0.95:
        ending, pack = rng.choice(
            [
                (".gz", gzip.compress),
                (".bz2", bz2.compress),
                (".xz", lzma.compress),
                (".zst", lambda b: pa.compress(b, codec="zstd", asbytes=True)),
            ]
        )
        packed = pack(body)
        return ending, packed[: len(packed) - 3] if rng.random() < 0.2 else packed
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for n in range(rng.choice([0, 1, 1, 1, 2])):
            archive.writestr(f"inside{n}.{kind}", body)
    return ".zip", out.getvalue()


def _options(rng: Random, delimiter: str | None) -> FileOptions:
    given: dict[str, Any] = {"delimiter": delimiter}
    for chance, more in (
        (0.5, {"time_zone": rng.choice(["UTC", "Europe/Berlin"])}),
        (0.2, {"time_unit": rng.choice(list(TimeUnit))}),
        (0.1, {"ambiguous": rng.choice(list(Ambiguous))}),
        (0.2, {"integer_ids": True}),
        (0.2, {"first_attempts": True}),
        (0.1, {"concept_delimiter": rng.choice(["~~", ";"])}),
        (0.1, {"quote": rng.choice(list(Quote))}),
        (0.1, {"layout": rng.choice(list(Layout))}),
        (0.1, {"constants": {"user_id": "u"}}),
        (0.1, {"skip": (("correct", "-1"),)}),
        (0.1, {"partial_credit_from": 0.5}),
        (0.05, {"columns": NAMES}),
    ):
        if rng.random() < chance:
            given |= more
    return FileOptions(**given)
