"""What an account is configured with."""

from __future__ import annotations

from pydantic import Field

from app.contract import BaseConfig
from app.kit.config import HeaderSecret, timeout_s
from app.dev.skeleton.words import TITLE


class Config(BaseConfig):
    """An account's credentials, and where the API is. What the documents leave open is an `undocumented` field."""

    # Replace: the API's address, and the credentials. What is a secret is encrypted at rest, and shown nowhere.
    base_url: str = Field("https://api.example.com", description="Where the API is.")
    api_key: HeaderSecret = Field(description="The account's API key, sent as a bearer token.")
    timeout_s: float = timeout_s(TITLE)
