"""Tries the resource file that a recipe has made on the recipe's own example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from multidict import CIMultiDict

from app.config.resolve import Endpoint
from app.dev.recipes.folder import Recipe
from app.dev.recipes.trials import responses_of
from app.dev.suite.cases import NOW, inbound
from app.dev.trial import signing
from app.dev.trial.calls import GivenAnswer
from app.dev.trial.report import Trial
from app.dev.trial.run import Wanted, run
from app.dev.trial.source import read_source
from app.dev.trial.webhooks import Given
from app.kit.sign import CannotSign


def try_example(recipe: Recipe, fixture: str, file: Path, secrets: Mapping[str, str], base: str) -> Trial:
    """What the file makes of a fixture's webhook, with stand-ins for its secrets.

    Args:
        recipe: the recipe.
        fixture: the fixture of the recipe's example.
        file: the resource file.
        secrets: the secret of each `${NAME}` in the file.
        base: the URL of the server, as the source would call it.
    """
    example = recipe.spec.example
    at = recipe.fixtures[fixture].moment(NOW)
    source = read_source(file, secrets, at)
    endpoint = source.endpoint(None)
    names = [*recipe.fixtures[fixture].after, fixture]
    webhooks = [_signed(endpoint, _given(recipe, name, endpoint, base), at) for name in names]
    return run(source, endpoint, webhooks, Wanted(at, reason=example.reason or None, note=example.note))


def try_probed(recipe: Recipe, file: Path, secrets: Mapping[str, str]) -> Trial:
    """What the file makes of the answer to a probe of the recipe's example: of an order that no webhook tells of.

    Args as of `try_example`.
    """
    example = recipe.spec.example
    source = read_source(file, secrets, NOW)
    answer = next(one for one in recipe.answers if one.name == example.probe)
    given = [GivenAnswer(f"answers.json ({answer.name})", response) for response in responses_of(answer)]
    wanted = Wanted(NOW, example.order, example.reason or None, example.note, given, flow="probe", answers_tokens=True)
    return run(source, source.target(None, None), [], wanted)


def _signed(endpoint: Endpoint, given: Given, at: datetime) -> Given:
    """The webhook as its source would sign it; taken for authentic where the source alone can sign."""
    try:
        return signing.sign(endpoint, given, at)
    except CannotSign as error:
        return replace(given, trusted=str(error))


def _given(recipe: Recipe, name: str, endpoint: Endpoint, base: str) -> Given:
    request = recipe.fixtures[name].request
    headers = [*CIMultiDict(request.headers).items()]
    body = inbound({}, request.body, {}).body
    url = f"{base.rstrip('/')}/webhooks/{endpoint.spec.id}"
    return Given(f"fixtures/{name}.json", headers, body, [*request.query.items()], request.method, url)
