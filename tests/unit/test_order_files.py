"""Files of orders, in whatever way they are given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cli.order_files import open_order_file


@pytest.mark.parametrize(
    ("text", "lines"), [("", 0), ("1\n2\n", 2), ("1\n2", 2), ("\n1\n\n2\n", 4), ("\ufefforder\n1\n2", 3)]
)
def test_how_long_a_file_is_is_known_before_it_is_read(tmp_path: Path, text: str, lines: int):
    file = tmp_path / "orders"
    file.write_text(text, encoding="utf-8")
    with open_order_file(file) as orders:
        assert orders.lines == lines
        assert [row["order"] for row in orders.rows] == (["1", "2"] if lines else [])


def test_a_pipe_is_read_only_once():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        pipe.write("1\n2\n")
    try:
        with open_order_file(Path(f"/dev/fd/{reading}")) as orders:
            assert orders.lines is None
            assert [row["order"] for row in orders.rows] == ["1", "2"]
    finally:
        os.close(reading)
