"""What to enter at a provider so that its webhooks reach an endpoint: by the scheme that verifies them.

A handler that knows its provider's form describes that instead (`Handler.setup`), with these as a start.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from app.contract import Handler, Setup, SetupField, VerifyOptions
from app.kit.signing import QUERY_TOKEN, scheme_of

KEPT_BY_SENDER = frozenset({"public_key", "sns"})
"""Schemes whose private key the sender alone has; the endpoint has at most a public one."""
ISSUED_BY_SENDER = frozenset({"stripe", "shopify"}) | KEPT_BY_SENDER
"""Schemes whose secret the sender issues: nobody can give it one."""
URL_UNKNOWN = (
    "The signature holds the URL that was called, which the server does not know: until RESCIND_PUBLIC_URL is set "
    "where it runs, every webhook is refused."
)
WHERE = "In the settings of the source, where a webhook (a callback, a notification URL) is added."


def issued_by_provider(handler: Handler, options: VerifyOptions) -> bool:
    """Whether the provider issues the secret that signs its webhooks, so that it cannot be generated here."""
    if options.scheme == "handler":
        return handler.config.webhooks_signed_by is not None
    return options.scheme in ISSUED_BY_SENDER


def setup_of(handler: Handler, url: str, options: VerifyOptions, config: object) -> Setup:
    """What to enter at the provider for an endpoint at `url`."""
    if handler.setup is not None and options.scheme == "handler":
        return handler.setup(url, options, config)
    scheme = "token" if options.scheme == "handler" and handler.proof_in_headers else options.scheme
    return _SCHEMES.get(scheme, _signed)(url, options)


def token_setup(url: str, options: VerifyOptions, where: str = WHERE, name: str = "URL") -> Setup:
    """The form of a provider that proves itself by a token: in the URL, unless the endpoint names a header."""
    secret = secret_of(options)
    if options.header is None:
        token = f"{url}?{QUERY_TOKEN}={quote(secret, '')}"
        note = "If the form takes headers too, leave the query out of the URL and send it as `Authorization: Bearer …`."
        return Setup(where, (SetupField(name, token),), (note,))
    value = f"Bearer {secret}" if options.header.lower() == "authorization" else secret
    fields = (SetupField(name, url), SetupField("Header", options.header), SetupField("Header's value", value))
    return Setup(where, fields)


def secret_of(options: VerifyOptions) -> str:
    """The secret to enter; "" where the provider issues it."""
    return options.secrets[0].get_secret_value() if options.secrets else ""


def secret_fields(options: VerifyOptions, name: str = "Secret") -> tuple[SetupField, ...]:
    """The form's field for the secret; none where the provider issues it."""
    secret = secret_of(options)
    return (SetupField(name, secret),) if secret else ()


def _basic(url: str, options: VerifyOptions) -> Setup:
    fields = (SetupField("URL", url), SetupField("User", options.username), *secret_fields(options, "Password"))
    return Setup(WHERE, fields)


def _signed(url: str, options: VerifyOptions) -> Setup:
    notes = (_how_signed(options),) if options.scheme == "hmac" else ()
    return Setup(WHERE, (SetupField("URL", url), *secret_fields(options)), notes)


def _how_signed(options: VerifyOptions) -> str:
    scheme = scheme_of(options)
    written = "hexadecimal" if options.encoding == "hex" else options.encoding
    signer = f"HMAC-{options.algorithm.upper()}"
    if options.key != "text":
        signer += f", by the key that the secret spells in {options.key}"
    where = f"in the header {options.header or scheme.header}"
    if options.signature is not None:
        where = f"at `{options.signature}`" + (f" of each item at `{options.items}`" if options.items else "")
    time = f", and the time in the header {options.timestamp_header}" if options.timestamp_header else ""
    return f"The source must sign `{scheme.signed}` by {signer}, and send that {written} {where}{time}."


def _standard_webhooks(url: str, options: VerifyOptions) -> Setup:
    note = "If the sender shows a secret of its own instead, enter that here: rescind endpoints rotate --secret."
    return Setup(WHERE, (SetupField("Endpoint URL", url), *secret_fields(options, "Signing secret")), (note,))


def _github(url: str, options: VerifyOptions) -> Setup:
    fields = (
        SetupField("Payload URL", url),
        SetupField("Content type", "application/json"),
        *secret_fields(options),
    )
    return Setup("On GitHub, in the repository's or organization's Settings, Webhooks, Add webhook.", fields)


def _stripe(url: str, _options: VerifyOptions) -> Setup:
    note = "Stripe then shows a signing secret (whsec_…): enter that here."
    return Setup("In Stripe's Workbench, Webhooks, Add destination.", (SetupField("Endpoint URL", url),), (note,))


def _public_key(url: str, options: VerifyOptions) -> Setup:
    where = "in verify.secrets" if options.keys is None else "from where verify.keys says"
    note = f"The source signs by {options.algorithm} with a key that it alone has; its public key is taken {where}."
    return Setup(WHERE, (SetupField("URL", url),), (note,))


def _sns(url: str, options: VerifyOptions) -> Setup:
    fields = (SetupField("Protocol", "HTTPS"), SetupField("Endpoint", url))
    note = f"Only messages of these topics are accepted: {', '.join(options.topics)}."
    return Setup(
        "In Amazon SNS, Topics, the topic, Create subscription; without raw message delivery.", fields, (note,)
    )


def _shopify(url: str, _options: VerifyOptions) -> Setup:
    note = "Shopify signs with the app's client secret, or with the key under Notifications, Webhooks: enter that here."
    fields = (SetupField("URL", url), SetupField("Format", "JSON"))
    return Setup("In Shopify's admin, Settings, Notifications, Webhooks.", fields, (note,))


_SCHEMES: dict[str, Callable[[str, VerifyOptions], Setup]] = {
    "token": token_setup,
    "basic": _basic,
    "standard_webhooks": _standard_webhooks,
    "github": _github,
    "stripe": _stripe,
    "shopify": _shopify,
    "public_key": _public_key,
    "sns": _sns,
}
