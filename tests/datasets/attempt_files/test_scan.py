"""Lines, blocks and headers of a text file, counted against plain Python."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.attempt_files import text
from datasets.attempt_files.options import Quote
from datasets.attempt_files.text import (
    TextFormat,
    numbered,
    ragged_line,
    scan,
    text_format,
)
from datasets.errors import FileFormatError

QUOTED = TextFormat(delimiter=",", is_quoted=True, columns=("a", "b"), has_header=True)
PIECES = st.lists(st.sampled_from([b"a", b"b,c", b"\n", b"\r", b"\r\n", b"", b'"d"']))


def file_of(folder, content: bytes):
    path = folder / "log.csv"
    path.write_bytes(content)
    return path


@given(pieces=PIECES, block=st.integers(1, 9), header=st.booleans(), marked=st.booleans())
@settings(max_examples=150)
def test_every_line_that_is_not_empty_is_a_row(tmp_path_factory, pieces, block, header, marked):
    """However long the blocks are, and whatever ends a line; a header is no row."""
    content = (b"\xef\xbb\xbf" if marked else b"") + b"".join(pieces)
    path = file_of(tmp_path_factory.getbasetemp(), content)
    lines = re.split(rb"\r\n|\r|\n", b"".join(pieces))
    expected = sum(line != b"" for line in (lines[1:] if header else lines))
    form = TextFormat(delimiter=",", is_quoted=False, columns=("a",), has_header=header)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK_BYTES", max(block, 4) if marked else block)
        found = scan(path, form)
    assert found.n_rows == expected
    assert found.digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("block", [6, 7, 8, 1_000])
def test_an_open_quote_is_named_by_its_line_whatever_the_blocks(tmp_path, monkeypatch, block):
    path = file_of(tmp_path, b'a,b\n1,2\n"3",4\n\n5,"6\n7,8\n')
    monkeypatch.setattr(text, "BLOCK_BYTES", block)
    with pytest.raises(FileFormatError, match=r"line 5: .* got '5,\"6'\. If the marks"):
        scan(path, QUOTED)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\n1,2\n\n3,4\n", None),
        (b"a,b,c\n1,2\n3\n", r"line 3: expected 2 fields, .* got 1: '3'\."),
        (b"a,b\n1,2,3\n", r"line 2: expected 2 fields, .* got 3: '1,2,3'\."),
        (b'a,b\n"1,1",2\n3,4,\n', r"line 3: .* got 3: '3,4,'\. It ends with the delimiter"),
        (b"a,b\n1,2,3,\n", r"line 2: .* got 4: '1,2,3,'\.$"),
    ],
)
def test_the_first_line_that_does_not_fit_is_named(tmp_path, content, said):
    found = ragged_line(file_of(tmp_path, content), QUOTED)
    assert (found is None) if said is None else re.search(said, found)


def test_without_names_in_the_file_its_first_line_is_a_row(tmp_path):
    path = file_of(tmp_path, b"1\n2,3\n")
    form = text_format(path, ",", None, ["a", "b"])
    assert (form.columns, form.has_header) == (("a", "b"), False)
    assert ragged_line(path, form).startswith("line 1: expected 2 fields")
    assert scan(path, form).n_rows == 2


def test_columns_of_one_name_are_numbered_from_the_second_on():
    first, second, other, third = numbered(["x", "x", "y", "x"])
    assert (first, other) == ("x", "y")
    assert (second, third) == (f"x{text.REPEATED}2", f"x{text.REPEATED}3")


@pytest.mark.parametrize(
    ("delimiter", "quote", "quoted"),
    [(",", None, True), ("\t", None, False), ("\t", Quote.DOUBLE, True),
     (",", Quote.NONE, False)],
)  # fmt: skip
def test_tabs_are_not_quoted_unless_the_user_says_so(tmp_path, delimiter, quote, quoted):
    path = file_of(tmp_path, f"a{delimiter}b\n".encode())
    form = text_format(path, delimiter, quote, [])
    assert (form.is_quoted, form.columns, form.has_header) == (quoted, ("a", "b"), True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"sep=;\na;b\n", r"begins with 'sep=;', a line for spreadsheets"),
        (b"\n1,2\n", "a line of column names"),
        (b" , \n1,2\n", "a line of column names"),
        (b"\xff\xfea\x00", "is UTF-16"),
    ],
)
def test_a_first_line_without_names_is_refused(tmp_path, content, said):
    with pytest.raises(FileFormatError, match=said):
        text_format(file_of(tmp_path, content), ",", None, [])
