"""What to enter at Superloop so that its webhooks arrive."""

from __future__ import annotations

from app.contract import Setup, VerifyOptions
from app.kit.setup import token_setup
from handlers.superloop.config import Config


def setup(url: str, options: VerifyOptions, _config: Config) -> Setup:
    """Superloop documents no signature: the token is part of the callback URL, unless a header can be set."""
    return token_setup(url, options, "In Superloop Connect, where notifications are set up.", "Callback URL")
