"""Templates are checked when they are saved: faults are found then, and not when a message is to be sent."""

from typing import Any

from app.config.subscriptions import SubscriptionSpec
from app.config.template_check import faults_in_template


def faults(
    body: str, *, events: tuple[str, ...] = ("*",), content_type: str = "application/json", **more: Any
) -> list[str]:
    template = {"body": body, "content_type": content_type, "headers": more.pop("headers", {})}
    spec = {"id": "chat", "format": "template", "url": "https://chat.example/", "events": events, "template": template}
    found = faults_in_template(SubscriptionSpec.model_validate({**spec, **more}))
    return [f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in found]


def test_templates_that_are_right():
    assert faults('{"text": {{ notice.title | json }}, "at": {{ message.timestamp | json }}}') == []
    assert faults('{"a": [{% for f in notice.fields %}{{ f.value | json }},{% endfor %}null]}', digest="1h") == []
    assert (
        faults('{"n": [{% for n in notices %}{{ n.title | json }},{% endfor %}{{ notice.more }}]}', digest="1h") == []
    )
    assert faults("{{ notice.title }}", content_type="text/plain", headers={"Title": "{{ notice.title }}"}) == []
    assert faults('{"o": {{ data.snapshot.attributes.city | json }}}', events=("order.*",), payload="full") == []
    assert faults('{"o": {{ data.cancellation.note | json }}, "v": {{ data.verdict.reason | json }}}') == []
    assert (
        faults('{% if message.type == "policy.proposed" %}{"url": {{ notice.link | json }}}{% else %}{}{% endif %}')
        == []
    )


def test_faults():
    for body, said in {
        '{"text": "{{ notice.title }}"}': "with quotes in its text: add | json to the values",
        '{"text": {{ notice.title }}}': "gives no JSON for a message of type order.verdict_changed; for other text",
        "{{ notice.titel | json }}": "no message that it receives has notice.titel; did you mean 'title'?",
        "{{ data.cancelation.id | json }}": "has data.cancelation; did you mean 'cancellation'?",
        "{{ notices.first | json }}{{ order.id }}": "there is no 'order'",
        "{{ notice.title | jsn }}": "line 1: unknown filter 'jsn'",
        "{% for a in (1..99999) %}{% endfor %}": "too many steps",
        "{{ notice }}": "with a message of type order.verdict_changed: line 1: an object cannot stand in text",
    }.items():
        [fault] = faults(body)
        assert fault.startswith("template.body: "), fault
        assert said in fault, fault
    [fault] = faults("{{ data.cancellation.id | json }}", events=("account.*",))
    assert "no message that it receives has data.cancellation" in fault
    [fault] = faults("{}", headers={"X-A": "{{ notice.titel }}"})
    assert fault.startswith("template.headers.X-A: ")
