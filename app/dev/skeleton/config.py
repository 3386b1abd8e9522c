"""What an account is configured with."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from app.contract import BaseConfig


class Config(BaseConfig):
    """An account's credentials, and where the API is.

    What the provider does not document (the name of a key, say) is a field here, with a likely default and
    `json_schema_extra=UNDOCUMENTED` (of `app.contract`); the README's table then tells what was guessed.
    """

    # Replace: the API's address, and the test system's if there is one.
    base_url: str = Field("https://api.example.com", description="Where the API is.")
    # Replace: the credentials. What is a SecretStr is encrypted at rest, and shown nowhere.
    api_key: SecretStr = Field(min_length=1, description="The account's API key, sent as a bearer token.")
    timeout_s: float = Field(15.0, gt=0, le=120, description="How long to wait for an answer, in seconds.")

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value()
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("only visible ASCII characters fit in a header: remove spaces and line ends from the key")
        return value
