"""What an account at Shoplazza is configured with: one shop, and one app's access to it."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from app.contract import BaseConfig
from app.kit.config import HeaderSecret, timeout_s, undocumented

SHOP_DOMAINS = ("myshoplaza.com", "myshoplazza.com", "shoplazza.com")
"""Under which the documents show shops: the first in every URL of the API, the others in prose and in examples."""

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SHOP = re.compile(rf"{_LABEL}(?:\.(?:{'|'.join(map(re.escape, SHOP_DOMAINS))}))?")
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+")


class Config(BaseConfig):
    """An account at Shoplazza: a shop, as one installed app sees it."""

    webhooks_signed_by = "client_secret"

    shop_domain: str = Field(
        description="The shop: acme stands for acme.myshoplaza.com; or the full domain, such as acme.myshoplazza.com.",
    )
    access_token: HeaderSecret = Field(
        description="The app's token for this shop, with the scopes read_order and write_order."
    )
    client_secret: HeaderSecret | None = Field(
        None,
        description="The app's client secret, by which webhooks are verified where their endpoint names no secrets of "
        "its own. No call needs it.",
    )
    base_url: str = Field(
        "", description="Where the API is, if not at https:// and the shop's domain: a sandbox or a proxy."
    )
    api_version: str = Field(
        "2022-01", pattern="^[0-9]{4}-[0-9]{2}$", description="The version of the API, as in its URLs."
    )
    other_shop_domains: tuple[str, ...] = undocumented(
        (), "Further domains that X-Shoplazza-Shop-Domain may name for this shop, such as its own domain."
    )
    number_is_alias: bool = undocumented(
        False,
        "Whether an order can be looked up by its number. Where several orders have one in common, the answer lists "
        "them.",
    )
    timeout_s: float = timeout_s("Shoplazza")

    @property
    def host(self) -> str:
        """The shop's full domain."""
        shop = self.shop_domain.lower()
        return shop if "." in shop else f"{shop}.{SHOP_DOMAINS[0]}"

    @property
    def api_url(self) -> str:
        """What the URL of every call begins with."""
        return f"{self.base_url or f'https://{self.host}'}/openapi/{self.api_version}"

    def is_this_shop(self, domain: str) -> bool:
        """Does `domain` name this account's shop? Under Shoplazza's own domains, only its first label counts."""
        domain = domain.strip().lower()
        if domain == self.host or domain in self.other_shop_domains:
            return True
        handle, _, parent = domain.partition(".")
        return parent in SHOP_DOMAINS and handle == self.host.partition(".")[0]

    @field_validator("shop_domain")
    @classmethod
    def _check_shop_domain(cls, value: str) -> str:
        if not value.isascii() or not _SHOP.fullmatch(value.lower()):
            raise ValueError(
                f"give the shop's name, such as acme, or its domain under {', '.join(SHOP_DOMAINS)}, "
                "without https:// and without a path; for anything else there is base_url"
            )
        return value

    @field_validator("other_shop_domains")
    @classmethod
    def _check_other_domains(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        domains = tuple(domain.lower() for domain in value)
        for domain in domains:
            if not _DOMAIN.fullmatch(domain):
                raise ValueError(f"{domain!r} is no domain, such as shop.example.com")
        return domains
