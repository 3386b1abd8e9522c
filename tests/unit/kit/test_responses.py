"""Response tables: what a status, a pattern or both come to."""

from __future__ import annotations

import re

import pytest

from app.contract import CancelOutcome, Facts, HttpResponse
from app.kit.responses import STANDARD, ProviderResponse, ResponseKind, ResponseTable, Row

Kind = ResponseKind
TABLE = ResponseTable(
    "Acme",
    kinds={
        (400, re.compile("^key")): Kind.NOT_ALLOWED,
        (500, re.compile("NotFound")): Kind.CRASHED_NOT_FOUND,
        404: Kind.NOT_FOUND,
        202: Kind.TAKEN,
        re.compile("slow down"): Kind.THROTTLED,
    },
    rows={Kind.REJECTED: Row("Acme said {said} to {who}.", probe=CancelOutcome.REFUSED)},
)


@pytest.mark.parametrize(
    ("status", "errors", "kind"),
    [
        (200, [], Kind.DONE),
        (202, [], Kind.TAKEN),
        (302, [], Kind.MISDIRECTED),
        (400, [], Kind.REJECTED),
        (400, ["other", "key is wrong"], Kind.NOT_ALLOWED),
        (422, ["key is wrong"], Kind.REJECTED),
        (404, ["key is wrong"], Kind.NOT_FOUND),
        (408, [], Kind.LOST),
        (429, [], Kind.THROTTLED),
        (500, ["what"], Kind.CRASHED),
        (500, ["code = NotFound"], Kind.CRASHED_NOT_FOUND),
        (502, [], Kind.LOST),
        (503, ["slow down"], Kind.UNAVAILABLE),
        (422, ["slow down"], Kind.THROTTLED),
        (200, ["slow down"], Kind.THROTTLED),
        (100, [], Kind.LOST),
    ],
)
def test_the_first_row_that_fits_counts_and_else_http(status: int, errors: list[str], kind: Kind) -> None:
    assert TABLE.kind_of(status, errors) is kind


def test_what_is_not_the_providers_is_neither_a_success_nor_a_refusal() -> None:
    for status in (200, 202):
        assert TABLE.kind_of(status, readable=False) is Kind.UNREADABLE
        assert TABLE.kind_of(status, genuine=False) is not Kind.UNREADABLE
    for status in (400, 404):
        assert TABLE.kind_of(status, genuine=False) is Kind.MISDIRECTED
        assert TABLE.kind_of(status, readable=False) is not Kind.MISDIRECTED
    for status in (401, 429, 500, 503, 504):
        assert TABLE.kind_of(status, readable=False, genuine=False) is TABLE.kind_of(status)


def test_a_sentence_names_the_status_and_the_words_without_secrets() -> None:
    read = TABLE.read(HttpResponse(200), Kind.REJECTED, {}, "no {who} s3cret", status=400, secrets=["s3cret"], who="us")
    assert read.detail == "Acme said 400, no {who} [secret] to us."
    assert (read.words, read.said) == ("no {who} [secret]", "400, no {who} [secret]")
    # The full stop belongs to the secret, or else ends the provider's sentence.
    assert TABLE.read(HttpResponse(400), Kind.CLOSED, {}, "No. s3cret.", secrets=["s3cret."]).words == "No. [secret]"
    assert TABLE.read(HttpResponse(400), Kind.REJECTED, {}, "No. ", who="us").detail == "Acme said 400, No to us."
    assert TABLE.read(HttpResponse(503), Kind.UNAVAILABLE, None).detail == "Acme answered 503."


@pytest.mark.parametrize("kind", list(ResponseKind))
def test_every_kind_comes_to_something(kind: ResponseKind) -> None:
    assert kind in STANDARD
    read = ResponseTable("Acme").read(HttpResponse(500, {"retry-after": "7"}), kind, None)
    assert read.detail.endswith(".")
    result, unavailable = TABLE.cancel_result(read), TABLE.probe_unavailable(read)
    assert result.outcome is STANDARD[kind].cancel
    assert result.misdirected == unavailable.misdirected == (kind is Kind.MISDIRECTED)
    assert result.after_s == (7.0 if result.outcome in (CancelOutcome.RETRY, CancelOutcome.THROTTLED) else None)
    assert result.may_have_applied == (kind in (Kind.CRASHED, Kind.UNAVAILABLE))
    assert result.ambiguous == (kind is Kind.CRASHED)
    assert unavailable.after_s == 7.0


def test_a_row_changes_only_what_it_says() -> None:
    rejected = ProviderResponse(Kind.REJECTED, "No.")
    assert TABLE.cancel_result(rejected, Facts(provider_status="x")).facts == Facts(provider_status="x")
    assert TABLE.cancel_result(rejected).outcome is CancelOutcome.REFUSED
    assert TABLE.probe_unavailable(rejected).outcome is CancelOutcome.REFUSED
    assert ResponseTable("Acme").probe_unavailable(rejected).outcome is CancelOutcome.RETRY


def test_a_crash_that_is_not_retried_is_not_marked_as_one_that_is() -> None:
    table = ResponseTable("Acme", rows={Kind.CRASHED: Row(cancel=CancelOutcome.INDETERMINATE)})
    result = table.cancel_result(ProviderResponse(Kind.CRASHED, "It crashed.", after_s=3.0))
    assert (result.outcome, result.may_have_applied, result.ambiguous, result.after_s) == (
        CancelOutcome.INDETERMINATE,
        False,
        False,
        None,
    )
