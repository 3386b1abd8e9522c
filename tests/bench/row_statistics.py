"""Makes the head of the dictionaries of rows (`app/store/row_compression.py`), and prints it: takes Python 3.14.

    python3.14 -m tests.bench.row_statistics DATABASE…

The databases are of release 0.1 (`tests/fixtures/release_0_1`), or any whose rows are not compressed. The head says how
frequent bytes, lengths and distances are in their rows where names are in the dictionary; it has none of their content.
"""

from __future__ import annotations

import base64
import sqlite3
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import msgspec

from app.store.row_compression import OWN_NAMES, _Names

try:
    from compression.zstd import ZstdDict, finalize_dict  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from backports.zstd import ZstdDict, finalize_dict  # type: ignore[import-not-found, unused-ignore]

LEVEL, SIZE_MAX = 3, 1 << 20


def main(files: list[str]) -> None:
    """Print the head."""
    samples: list[bytes] = []
    names: dict[str, _Names] = defaultdict(_Names)
    for file in files:
        with closing(sqlite3.connect(Path(file))) as db:
            for sql in ("SELECT account, order_pk, body FROM events", "SELECT account, pk, state FROM orders"):
                for account, order, row in db.execute(sql):
                    samples.append(row.encode())
                    names[account].add(msgspec.json.decode(row), order)
    content = OWN_NAMES + "".join(each.shown() for each in names.values()).encode()
    made = finalize_dict(ZstdDict(content, is_raw=True), samples, SIZE_MAX, LEVEL).dict_content
    sys.stdout.write(base64.b85encode(made[: len(made) - len(content)]).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
