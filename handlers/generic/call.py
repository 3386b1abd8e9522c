"""The calls to a source as they are configured: templates of requests, and tables of what responses mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from app.contract import CancelOutcome
from app.kit.cel.expression import InvalidExpression, Scope
from app.kit.paths.path import Path
from handlers.generic.template import CALL, SECRETS, template
from handlers.generic.throttle import Throttle
from handlers.generic.words import Part

HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"

_STATUS = re.compile(r"[1-5](\d\d|xx)")
_URL = re.compile(r"[!$%&'()*+,./0-9:;=?@A-Za-z_~-]+")
_NOT_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})
_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_PROBE_OUTCOMES = frozenset(
    {
        CancelOutcome.SUCCEEDED,
        CancelOutcome.REFUSED,
        CancelOutcome.RETRY,
        CancelOutcome.THROTTLED,
        CancelOutcome.UNAUTHORIZED,
    }
)


def _status(value: Any) -> Any:
    """A status or a class of them, as text."""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not _STATUS.fullmatch(text):
        raise ValueError('give a status such as 409, or a class of them such as "4xx"')
    return text


class AnswerRow(Part):
    """What some responses mean; the first row of a table that fits decides."""

    status: Annotated[str, BeforeValidator(_status)] | None = Field(
        None, description='The status (409) or the class of them ("4xx"); none: any.'
    )
    when: Path | None = Field(
        None, description="A JMESPath over the response's JSON that must be true (error.code == 'too_late')."
    )
    outcome: CancelOutcome = Field(description="What such a response means.")
    detail: Path | None = Field(None, description="The path to the reason in such a response.")
    doubtful: bool = Field(
        default=True,
        description="For retry: the call may have taken effect, so a probe checks a later refusal.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.status is None and self.when is None:
            raise ValueError("say which answers it is about: a status, a condition in `when`, or both")
        if self.outcome is CancelOutcome.PROBE_FIRST:
            raise ValueError("outcome: an answer cannot mean probe_first, which says that nothing was sent; use retry")
        return self

    def fits(self, status: int) -> bool:
        """Is the row about responses with that status?"""
        return self.status is None or self.status in (str(status), f"{status // 100}xx")


def check_headers(headers: dict[str, str], credentials: Sequence[str]) -> dict[str, str]:
    """`headers`, if they can be sent; raises ValueError. `credentials`: names, one of which credentials must read."""
    for name, text in headers.items():
        if not re.fullmatch(HEADER_NAME, name):
            raise ValueError(f"{name!r} is no name of a header")
        if name.lower() in _NOT_OURS:
            raise ValueError(f"leave out {name}: it follows from the request itself")
        expressions = "".join(_EXPRESSION.findall(text))
        if name.lower() in _CREDENTIALS and not any(credential in expressions for credential in credentials):
            raise ValueError(
                f"take what {name} holds from api_key or secrets: {{{{ secrets.api_key }}}}; "
                "what is written here in full is shown to everyone who may read the configuration"
            )
    return headers


class Call(Part):
    """A request to the source. Strings are templates: `{{ CEL }}` stands for the expression's value."""

    names: ClassVar[Scope] = CALL
    """What its URL may use; headers and body may use the secrets too."""

    method: Literal["POST", "DELETE", "PUT", "PATCH", "GET"] = Field("POST", description="The method.")
    url: str = Field(
        max_length=2000,
        description="Path and query, appended to base_url; values are percent-encoded. No secrets.",
    )
    headers: dict[str, str] = Field({}, description="Headers, by name.")
    body: Any = Field(
        None, description="The body: JSON whose strings are templates, or one text, which is sent unchanged."
    )
    encoding: Literal["json", "form"] = Field("json", description="The format of the body.")
    answers: tuple[AnswerRow, ...] = Field(
        (), max_length=100, description="What responses mean; for the defaults see the README."
    )
    detail: Path | None = Field(None, description="The path to the reason in a response, if its row has none.")
    throttle: Throttle | None = Field(
        None, description="When the account waits by what a response says of its limit; by default as the account's."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        try:
            parts = template(value, cls.names).parts
        except InvalidExpression as error:
            hint = " (secrets may stand in headers and in the body, not in a URL)" if SECRETS in value else ""
            raise ValueError(f"{error}{hint}") from None
        literal = "".join(part if isinstance(part, str) else "x" for part in parts)
        if not isinstance(parts[0], str) or not literal.startswith("/") or literal.startswith("//"):
            raise ValueError("begin with one slash: it is what follows base_url, such as /orders/{{ order.id }}/cancel")
        if not _URL.fullmatch(literal) or not {".", ".."}.isdisjoint(literal.partition("?")[0].split("/")):
            raise ValueError("write it as a URL is sent: no spaces, no #, no dots alone between slashes")
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: dict[str, str]) -> dict[str, str]:
        return check_headers(value, (SECRETS, "token"))

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        if self.encoding == "form" and not isinstance(self.body, dict):
            raise ValueError("a form needs a body of names and values")
        if self.encoding == "form" and any(isinstance(field, dict | list) for field in self.body.values()):
            raise ValueError("the values of a form are text, not lists or objects")
        return self


class Cancel(Call):
    """The call that cancels an order."""

    probe_before: bool = Field(
        default=False,
        description="Probe the order before each try: the call is made, if the verdict still allows it, of what that "
        "probe says. Needs `probe`.",
    )


class Probe(Call):
    """The call that returns the state of an order. It must change nothing at the source, as it may be sent twice."""

    method: Literal["POST", "DELETE", "PUT", "PATCH", "GET"] = Field("GET", description="The method: GET or POST.")
    read_as: Path | None = Field(
        None,
        description="Gives the response the shape of an event, so that `fields` apply to it: {data: {order: @}}.",
    )

    @field_validator("answers")
    @classmethod
    def _check_answers(cls, value: tuple[AnswerRow, ...]) -> tuple[AnswerRow, ...]:
        for row in value:
            if row.outcome not in _PROBE_OUTCOMES:
                accepted = ", ".join(sorted(_PROBE_OUTCOMES))
                raise ValueError(f"a probe's answer cannot mean {row.outcome}; it can mean {accepted}")
        return value

    @field_validator("method")
    @classmethod
    def _check_method(cls, value: str) -> str:
        if value not in ("GET", "POST"):
            raise ValueError("a probe reads: use GET, or POST where the source wants it so")
        return value
