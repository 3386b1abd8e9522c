"""What the tests of this handler share: reading one webhook."""

from __future__ import annotations

import json
from typing import Any

from app.contract import Ignored, InboundRequest, ParsedEvent, Unrecognized
from handlers.planomatic.config import Config
from handlers.planomatic.webhook import parse

CONFIG = Config.model_validate({"api_key": "k"})


def observe(body: bytes | dict[str, Any], config: Config = CONFIG) -> ParsedEvent:
    """The one event in a webhook."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    parsed = parse(InboundRequest({}, {}, raw), config)
    assert not isinstance(parsed, (Ignored, Unrecognized)), parsed.reason
    [seen] = parsed
    return seen
