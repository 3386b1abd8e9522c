"""Ids as people see them."""

from __future__ import annotations

import pytest

from app.runtime import ids


def test_what_is_no_id_is_said_with_its_form() -> None:
    assert ids.read(ids.RECEIPT, ids.show(ids.RECEIPT, 77)) == 77
    for text in ("rcp_x", "rcp_", "can_0000000000000001", "rcp_zzzzzzzzzzzzzzzz", "rcp_0x00000000000001"):
        with pytest.raises(ValueError, match=r"is not an id of this kind \(rcp_ and 16 hex digits\)"):
            ids.read(ids.RECEIPT, text)
