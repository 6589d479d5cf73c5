"""Ids are opaque: whatever they hold goes in and comes out, or is set aside."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from datasets.attempt_files.options import FileOptions
from datasets.errors import NothingAcceptedError
from datasets.extracts.extraction import extract_attempts
from datasets.id_codes import IdCodes, stable_hash
from datasets.identity import idempotency_key, with_idempotency_keys
from datasets.imports.file_import import ImportOptions, import_file
from datasets.row_kernels import hash_bytes, id_fits
from tests.datasets.attempt_rows import NOW, Row
from tests.datasets.extracts.plain_hashes import plain_hash

anything = st.text(max_size=40) | st.sampled_from(
    ["x" * 255, "x" * 256, "\U0001f600" * 250, "\U0001f600" * 251, "\0", "a\0b",
     "'; DROP TABLE x", '"', "\\", "%", "\ufeff", "\u202e", "e\u0301", "é", " ", "NULL"]
)  # fmt: skip
#: Text that Python can hold and UTF-8 cannot: lone surrogates, as some writers let through.
surrogates = st.text(
    st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF), min_size=1, max_size=3
)


def is_allowed(identifier: str) -> bool:
    """What docs/tables.md says of an id, in plain Python."""
    try:
        data = identifier.encode()
    except UnicodeEncodeError:
        return False
    return len(identifier) <= 255 and len(data) <= 1000 and "\0" not in identifier


def import_users(engine: Engine, folder, users: list[bytes]):
    """Import one attempt of each user, whatever the bytes are."""
    table = pa.table(
        {
            "user_id": pa.array(users, pa.binary()),
            "concept_id": ["c"] * len(users),
            "correct": pa.array([1] * len(users), pa.int8()),
            "attempted_at": pa.array([Row().at] * len(users), pa.timestamp("us", tz="UTC")),
        }
    )
    pq.write_table(table, folder / "ids.parquet")
    return import_file(
        engine,
        folder / "ids.parquet",
        ImportOptions(file=FileOptions()),
        quarantine_root=folder / "q",
        at=NOW,
    )


@pytest.mark.slow
def test_any_id_goes_through_file_table_and_extraction_as_it_is(engine, tmp_path_factory):
    @settings(max_examples=25)
    @given(st.lists(anything | surrogates, min_size=1, max_size=12))
    def goes_through(users: list[str]) -> None:
        folder = tmp_path_factory.mktemp("ids")
        with engine.begin() as conn:
            for table in ("attempts", "bkt_user_skill_state"):
                conn.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - two names
        encoded = [u.encode("utf-8", "surrogatepass") for u in users]
        allowed = [user for user in users if is_allowed(user)]
        if not allowed:
            with pytest.raises(NothingAcceptedError):
                import_users(engine, folder, encoded)
            return
        report = import_users(engine, folder, encoded)
        assert report.rows.accepted == len(allowed)
        assert report.rows.quarantined == len(users) - len(allowed)
        extract = extract_attempts(engine, folder, at=NOW)
        assert extract.users["user_id"].to_pylist() == sorted(set(allowed), key=str.encode)
        assert extract.rows.accepted == len(allowed)

    goes_through()


@given(anything | surrogates)
def test_the_kernel_judges_an_id_as_plain_python_does(identifier):
    data = np.frombuffer(identifier.encode("utf-8", "surrogatepass"), np.uint8)
    assert id_fits(data, 0, data.size) == is_allowed(identifier)


@given(st.binary(max_size=12))
def test_bytes_fit_where_python_can_decode_them(data):
    try:
        expected = "\0" not in data.decode()
    except UnicodeDecodeError:
        expected = False
    assert id_fits(np.frombuffer(data, np.uint8), 0, len(data)) == expected


@given(st.lists(st.lists(anything | st.none(), max_size=30), max_size=8))
def test_codes_are_consistent_over_batches(batches):
    """What Polars' categoricals are not: equal ids have equal codes, in whatever batch."""
    codes_of = IdCodes()
    codes = [codes_of.encode(pa.array(batch, pa.string())).tolist() for batch in batches]
    seen: dict[str, int] = {}
    for batch, found in zip(batches, codes, strict=True):
        for identifier, code in zip(batch, found, strict=True):
            assert code == (
                -1 if identifier is None else seen.setdefault(identifier, len(seen))
            )
    assert len(codes_of) == len(seen)
    assert codes_of.ids(np.arange(len(seen))).to_pylist() == list(seen)
    assert codes_of.lookup(pa.array([*seen, "never seen"])).tolist() == [*range(len(seen)), -1]


def test_codes_survive_growth_and_slices():
    codes_of = IdCodes()
    ids = [f"{i}-" + "x" * (i % 50) for i in range(30_000)]
    array = pa.array([*ids, None, *ids])
    codes = codes_of.encode(array.slice(7, len(array) - 9))
    expected = [*range(len(ids) - 7), -1]
    assert codes[: len(expected)].tolist() == expected
    assert codes_of.lookup(pa.array(ids[7:])).tolist() == expected[:-1]


def test_ids_with_equal_hashes_have_different_codes():
    """Comparison is exact: a collision of 64 bits costs time, never a wrong user."""
    codes_of = IdCodes()
    codes_of.encode(pa.array(["a"]))
    other = np.frombuffer(b"b", np.uint8)
    codes_of.known.hashes[0] = hash_bytes(other, 0, 1)
    codes_of.known.slots[:] = -1
    codes_of.known.slots[int(codes_of.known.hashes[0]) % codes_of.known.slots.size] = 0
    assert codes_of.encode(pa.array(["b"])).tolist() == [1]


#: Frozen: digests and folds that are stored stand on these.
FROZEN_HASHES = {
    "": 0x12C36DC332D09808,
    "a": 0x910E78A3747EFF81,
    "student-0001": 0x66993793436C3535,
    "6f9619ff-8b86-d011-b42d-00c04fc964ff": 0xACF55BA0039C1865,
    "é": 0x3D06AAEE61E71686,
}


@pytest.mark.parametrize("identifier", FROZEN_HASHES)
def test_the_hash_of_an_id_never_changes(identifier):
    assert (
        stable_hash(identifier) == FROZEN_HASHES[identifier] == plain_hash(identifier.encode())
    )


@given(anything)
def test_the_hash_is_the_one_of_plain_python(identifier):
    assert stable_hash(identifier) == plain_hash(identifier.encode())


def test_the_key_of_an_identity_never_changes():
    framed = b"".join(
        len(part).to_bytes(8, "little") + part for part in (b"s", b"1", "é".encode())
    )
    assert idempotency_key("s", "1", "é") == hashlib.sha256(framed).hexdigest()
    assert (
        idempotency_key("", "1", "fractions")
        == "22bea3b25da31588690bedb7cede538f5e62bfe73c67855c2cb3f1d0eb617909"
    )


def test_keys_of_a_frame_are_those_of_its_rows():
    frame = pl.DataFrame({"attempt_id": ["1", "", "é1"], "concept_id": ["a", "1a", "a"]})
    keys = with_idempotency_keys(frame, "quelle")["idempotency_key"].to_list()
    rows = zip(frame["attempt_id"], frame["concept_id"], strict=True)
    assert keys == [idempotency_key("quelle", attempt, concept) for attempt, concept in rows]
