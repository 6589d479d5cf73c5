"""After the warm-up an extraction compiles nothing more."""

from __future__ import annotations

from datasets import row_kernels
from datasets.extracts.extraction import ExtractOptions, extract_attempts
from datasets.sequences.data_report import describe
from datasets.sequences.readers import shard_sequences
from datasets.sequences.warm_up import compile_row_kernels
from tests.datasets.attempt_rows import NOW, Row, add, many

BESIDE = ExtractOptions(compact_from=1e9, max_quarantine=1.0)


def compiled() -> dict[str, int]:
    """How many kinds of arguments each kernel has been compiled for."""
    kernels = vars(row_kernels).items()
    return {name: len(k.signatures) for name, k in kernels if hasattr(k, "signatures")}


def test_after_the_warm_up_nothing_is_compiled(engine, tmp_path):
    compile_row_kernels()
    before = compiled()
    assert sum(before.values()) > 10
    add(engine, *many(300), Row(concept=None, key="broken"), Row(minute=1e7, key="ahead"))
    for options in (BESIDE, BESIDE, ExtractOptions(full=True, max_quarantine=1.0)):
        extract = extract_attempts(engine, tmp_path, at=NOW, options=options)
        describe(extract)
        for _ in shard_sequences(extract, 0):
            pass
        add(engine, *many(30, seed=extract.rows.read))
    assert compiled() == before
