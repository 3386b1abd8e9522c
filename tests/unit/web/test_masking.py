from __future__ import annotations

from urllib.parse import parse_qs, urlencode

from app.runtime.redaction import REDACTED
from app.web.masking import mask

PRIVATE = frozenset({"email", "customer"})


def test_private_fields_of_a_form_are_masked_by_any_part_of_their_name_and_by_what_they_hold() -> None:
    fields = {
        "id": "o-1",
        "email": "robin@example.com",
        "customer[phone]": "+15551234",
        "order[customer][name]": "Robin",
        "order.email": "robin@example.com",
        "payload": '{"email": "robin@example.com"}',
        "hidden": '{"\\u0065mail": "robin@example.com"}',
        "emails_sent": "2",
    }
    shown = mask(urlencode(fields), PRIVATE)
    assert "obin" not in shown
    assert "5551234" not in shown
    kept = {name: values[0] for name, values in parse_qs(shown).items() if values[0] != REDACTED}
    assert kept == {"id": "o-1", "emails_sent": "2"}
