"""Files of orders: one id on a line, CSV with a heading, or JSON Lines; read line by line."""

from __future__ import annotations

import csv
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TextIO

import msgspec
import typer

from app.cli.failure import Failure

STANDARD_INPUT = "-"
ORDER = "order"
ORDER_COLUMNS = ("order", "order_id", "id")
"""Possible names of the column with the order's id."""
LINE_MAX = 100_000

OrderFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="One id on a line, CSV with a column `order`, or JSON Lines; - is standard input."
    ),
]


@dataclass(frozen=True, slots=True)
class OrderFileReader:
    """An open file of orders."""

    name: str
    lines: int | None
    """The number of lines; None if it is not known."""
    rows: Iterator[dict[str, str]]
    """Each with `order` and further fields. Raises `Failure` with file and line."""


@contextmanager
def open_order_file(path: Path, fields: Collection[str] = ()) -> Iterator[OrderFileReader]:
    """The orders in a file; besides the order's id a row may have `fields`. Raises `Failure`."""
    if str(path) == STANDARD_INPUT:
        yield OrderFileReader("standard input", None, _rows("standard input", sys.stdin, fields))
        return
    try:
        # A pipe can be read only once.
        lines = _count_lines(path) if path.is_file() else None
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield OrderFileReader(str(path), lines, _rows(str(path), file, fields))
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror or error}.") from error


def _count_lines(path: Path) -> int:
    """The number of lines, also if the last one has no end."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            count, last = count + chunk.count(b"\n"), chunk[-1:]
    return count + (last != b"\n")


def _rows(name: str, file: TextIO, fields: Collection[str]) -> Iterator[dict[str, str]]:
    try:
        lines = _bounded(name, file)
        first = next(lines, None)
        if first is None:
            return
        if first[1].lstrip().startswith("{"):
            yield from _from_json(name, _again(first, lines), fields)
        elif _is_heading(first[1]):
            yield from _from_csv(name, _again(first, lines), fields)
        else:
            for _, line in _again(first, lines):
                yield {ORDER: line.strip()}
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not UTF-8: {error}.") from error


def _bounded(name: str, file: TextIO) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers; a line that is too long is never read whole."""
    number = 0
    while line := file.readline(LINE_MAX + 1):
        number += 1
        if len(line) > LINE_MAX:
            raise Failure(f"{name}, line {number}: longer than {LINE_MAX} characters.")
        if line.strip():
            yield number, line


def _again(first: tuple[int, str], lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from lines


def _is_heading(line: str) -> bool:
    return any(cell.strip().lower() in ORDER_COLUMNS for cell in next(csv.reader([line]), []))


def _from_csv(name: str, lines: Iterator[tuple[int, str]], fields: Collection[str]) -> Iterator[dict[str, str]]:
    _, heading = next(lines)
    columns = [cell.strip().lower() for cell in next(csv.reader([heading]))]
    for number, line in lines:
        try:
            cells = next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise Failure(f"{name}, line {number}: not CSV ({error}); a value must not span lines.") from error
        if len(cells) != len(columns):
            raise Failure(f"{name}, line {number}: {len(cells)} values under {len(columns)} headings.")
        yield _row(name, number, dict(zip(columns, cells, strict=True)), fields)


def _from_json(name: str, lines: Iterator[tuple[int, str]], fields: Collection[str]) -> Iterator[dict[str, str]]:
    for number, line in lines:
        try:
            value = msgspec.json.decode(line.encode())
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise Failure(f"{name}, line {number}: not JSON ({error}).") from error
        if not isinstance(value, dict):
            raise Failure(f'{name}, line {number}: give an object such as {{"order": "4711"}}.')
        yield _row(name, number, value, fields)


def _row(name: str, number: int, values: Mapping[str, object], fields: Collection[str]) -> dict[str, str]:
    column = next((key for key in ORDER_COLUMNS if values.get(key) not in (None, "")), None)
    if column is None:
        raise Failure(f"{name}, line {number}: no order's id (`order`).")
    row = {field: values[field] for field in fields if values.get(field) not in (None, "")}
    row[ORDER] = values[column]
    for field, value in row.items():
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise Failure(f"{name}, line {number}: {field} is neither text nor a whole number.")
    return {field: str(value) for field, value in row.items()}
