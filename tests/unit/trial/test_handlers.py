"""Every handler can be tried: its sample is signed, accepted and folded, and the calls of its order are made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.config.registry import handlers
from app.config.secret_values import secrets_in
from app.contract import Handler
from app.dev.suite.cases import NOW, scenario
from app.dev.trial.run import Wanted, run
from app.dev.trial.signing import sample, sign
from app.dev.trial.source import TrialSource, read_source

SECRET = "whsec_c2VjcmV0LW9mLXRoZS10cmlhbA=="


def _source(handler: Handler, folder: Path) -> TrialSource:
    given = scenario(handler)
    secrets = given.get("secrets") or ["${SECRET}"]
    account = {"id": "shop", "provider": handler.name, "config": given["config"], "rules": given.get("rules", {})}
    verify = {**given.get("options", {}), "secrets": secrets}
    resources = {"accounts": [account], "endpoints": [{"id": "shop-in", "account": "shop", "verify": verify}]}
    file = folder / "shop.yaml"
    file.write_text(json.dumps(resources), encoding="utf-8")
    return read_source(file, {"SECRET": SECRET}, NOW)


@pytest.mark.parametrize("handler", handlers().values(), ids=handlers())
def test_a_sample_goes_all_the_way(handler: Handler, tmp_path: Path) -> None:
    source = _source(handler, tmp_path)
    endpoint = source.endpoint(None)
    webhook = sign(endpoint, sample(endpoint, "https://rescind.example.com/webhooks/shop-in", NOW), NOW)
    trial = run(source, endpoint, [webhook], Wanted(NOW))
    assert trial.ok, trial.failure
    assert [one.status for one in trial.webhooks] == ["accepted"]
    [order] = trial.orders
    assert order.cancel is not None
    assert order.cancel.calls[-1].purpose in ("cancel", "read")
    secrets = {*endpoint.secrets, *secrets_in(endpoint.account.config)}
    assert secrets
    assert not [secret for secret in secrets if secret in repr(trial)]
