"""Notices: the words for every type, and that no data of others acts in a destination or breaks its limits."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec

from app.core.outbound import examples
from app.core.outbound.message import Message
from app.core.outbound.notices import slack
from app.core.outbound.notices.mail import Letterhead, digest_mail, mail
from app.core.outbound.notices.notice import Link, Notice, one_line
from app.core.outbound.notices.pagerduty import dedup_key, pagerduty_body
from app.core.outbound.notices.slack import slack_body, slack_digest_body
from app.core.outbound.notices.texts import TYPES, digest_of, notice_of
from app.core.outbound.types import OUTBOUND_TYPES

GOLDEN = Path(__file__).with_name("notices.txt")
ID = "msg_0d39a8f1e2004001"
LINK = Link("Review and decide", "https://rescind.example/approvals/gAAAAAB-_x==")
HEAD = Letterhead("rescind@acme.example", ("ops@acme.example", "lead@acme.example"), "mail")
HOSTILE = (
    "<!channel> <@U012AB3CD> <https://evil.example|Approve> &lt;!here&gt; *bold* _it_ `code` ~no~ [x](http://evil) "
    "<script>alert(1)</script><img src=x onerror=alert(1)> \"quoted\" 'single' "
    "\r\nBcc: victim@evil.example\r\n\r\nbody "
    "\u202egnp.exe\u202c \u2066 \0 \x1b[31m \U000e0041 {{ data }} {% for %} $(rm -rf /) ; rm -rf ~ "
) + "A" * 10_000


def notice(type: str, link: Link | None = None) -> Notice:
    return notice_of(ID, examples.message(1, type, examples.NOW, examples.ACCOUNT), link)


def hostile(value: Any) -> Any:
    """The value with every text in it hostile."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    return [hostile(item) for item in value] * 50 if isinstance(value, list) else value


def hostile_notices() -> list[Notice]:
    made = []
    for type in OUTBOUND_TYPES:
        message = examples.message(1, type, examples.NOW, examples.ACCOUNT)
        data = msgspec.json.encode(hostile(msgspec.json.decode(message.data)))
        made.append(notice_of(ID, Message(id=1, account=HOSTILE, type=type, at=message.at, data=data), LINK))
    return made


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_every_type_has_words_of_its_own_as_they_stand_in_the_golden_file():
    assert set(OUTBOUND_TYPES) == TYPES
    told = []
    for type in OUTBOUND_TYPES:
        made = notice(type)
        lines = [
            f"{type} [{made.severity}]",
            made.title,
            made.text,
            *(f"  {name}: {value}" for name, value in made.fields),
        ]
        told.append("\n".join([*lines, f"  $ {made.hint}", f"  {made.alert}"]))
    text = "\n\n".join(told) + "\n"
    if not GOLDEN.exists():
        GOLDEN.write_text(text, encoding="utf-8")  # delete the file to write it anew, and read what changed
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_a_link_takes_the_place_of_the_command():
    assert notice("policy.proposed").hint == "rescind cancellations approve can_0d39a8f1e2004001"
    assert notice("policy.proposed", LINK).hint == ""
    assert LINK.url in slack_body(notice("policy.proposed", LINK)).decode()


def test_an_example_is_said_to_be_a_test_and_alerts_nobody():
    message = examples.message(1, "account.paused", examples.NOW, examples.ACCOUNT, test=True)
    made = notice_of(ID, message)
    assert made.title.startswith("Test: ")
    assert made.alert is None
    assert msgspec.json.decode(pagerduty_body(made, "key", "rescind"))["payload"]["severity"] == "info"


def test_text_of_others_is_one_line_of_visible_characters_within_its_length():
    for made in hostile_notices():
        for text in (made.title, made.text, made.hint, *(value for _, value in made.fields)):
            assert len(text) <= 1000
            assert text.isprintable(), text
            assert not set(text) & set("\u202e\u2066\r\n\0\x1b\U000e0041"), text
    assert one_line("ab\ncd", 4) == "ab …"
    assert one_line("abcd", 4) == "abcd"


def test_slack_gets_no_markup_from_data_and_nothing_beyond_its_limits():
    for made in hostile_notices():
        for body in (slack_body(made), slack_digest_body(digest_of([made] * 300))):
            shown = msgspec.json.decode(body)
            assert len(shown["blocks"]) <= 50
            assert sum(map(len, strings(shown))) < 13_000
            links = 0
            for block in shown["blocks"]:
                texts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
                for text in filter(None, texts):
                    assert 0 < len(text["text"]) <= {"header": 150}.get(block["type"], 2000), block
                    if text["type"] == "mrkdwn":
                        assert text["text"] == f"<{LINK.url}|{LINK.label}>"
                        links += 1
                    else:
                        assert "<" not in text["text"]
                        assert ">" not in text["text"]
                        assert re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);|&\w*…)*", text["text"], re.DOTALL), text
                assert len(block.get("fields", ())) <= 10
            assert links in (1, 20)
            assert "<" not in shown["text"]
            assert shown["mrkdwn"] is shown["unfurl_links"] is False
    assert slack.escape("a & <b>") == "a &amp; &lt;b&gt;"
    assert slack._plain("<" * 500, 100)["text"].endswith("&lt;…")


def test_pagerduty_events_stay_within_their_limits_and_ends_resolve_what_began():
    for made in hostile_notices():
        body = pagerduty_body(made, "key", "rescind")
        event = msgspec.json.decode(body)
        assert len(body) < 65_536
        assert len(event["dedup_key"]) <= 255
        if event["event_action"] == "trigger":
            assert len(event["payload"]["summary"]) <= 1024
            assert event["payload"]["severity"] in ("info", "warning", "error", "critical")
            assert event["links"] == [{"href": LINK.url, "text": LINK.label}]
    for begins, ends in (
        ("account.paused", "account.resumed"),
        ("breaker.opened", "breaker.closed"),
        ("policy.halted", "policy.resumed"),
        ("policy.proposed", "cancellation.revoked"),
        ("cancellation.failed", "cancellation.succeeded"),
    ):
        first, last = (msgspec.json.decode(pagerduty_body(notice(type), "key", "rescind")) for type in (begins, ends))
        assert (first["event_action"], last["event_action"]) == ("trigger", "resolve")
        assert first["dedup_key"] == last["dedup_key"]
    assert dedup_key(notice("order.closing_soon")) == f"rescind:{ID}"
    assert dedup_key(notice("endpoint.failing")) != dedup_key(notice("subscription.failing"))


def parsed(message: EmailMessage) -> EmailMessage:
    """A mail as its receiver reads it."""
    read = message_from_bytes(message.as_bytes(), policy=policy.default)
    assert isinstance(read, EmailMessage)
    return read


def test_no_data_adds_a_header_or_markup_to_a_mail():
    allowed = {"From", "To", "Subject", "Date", "Message-ID", "References", "List-Id", "Auto-Submitted"}
    allowed |= {"X-Auto-Response-Suppress", "MIME-Version", "Content-Type"}
    for made in hostile_notices():
        for built in (mail(made, HEAD), digest_mail(digest_of([made] * 110), HEAD)):
            read = parsed(built)
            assert set(read.keys()) <= allowed
            assert read["To"] == "ops@acme.example, lead@acme.example"
            assert read["Message-ID"] == f"<{ID}.mail@acme.example>"
            assert len(read["Subject"]) <= 160
            text, html = (part.get_content() for part in read.iter_parts())
            assert "\x1b" not in text
            tags = set(re.findall(r"<(\w+)", html))
            assert tags <= {
                "html",
                "body",
                "h1",
                "p",
                "table",
                "tr",
                "th",
                "td",
                "a",
                "br",
                "small",
                "ul",
                "li",
                "b",
                "code",
            }
            assert set(re.findall(r"href='([^']*)'", html)) == {LINK.url}
            assert len(built.as_bytes()) < 1_000_000


def test_a_mail_that_is_sent_again_is_the_same_mail():
    assert mail(notice("account.paused"), HEAD)["Message-ID"] == mail(notice("account.paused"), HEAD)["Message-ID"]
    threads = [
        mail(notice(type), HEAD)["References"] for type in ("account.paused", "account.resumed", "breaker.opened")
    ]
    assert threads[0] == threads[1] != threads[2]


def test_a_digest_counts_what_it_does_not_tell():
    notices = [notice("order.verdict_changed")] * 130 + [notice("policy.matched")] * 20
    digest = digest_of(notices)
    assert (len(digest.notices), digest.more) == (100, 50)
    assert digest.counts == (("order.verdict_changed", 130), ("policy.matched", 20))
    assert "and 130 more" in slack_digest_body(digest).decode()
    assert "and 50 more" in parsed(digest_mail(digest, HEAD)).get_body(("plain",)).get_content()
