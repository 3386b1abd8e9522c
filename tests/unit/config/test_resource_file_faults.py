"""What is wrong with a resource file is said with its place, and no file blows up."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.faults import Fault, InvalidResourceError
from app.config.file import open_resource_file

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def refused(tmp_path: Path, text: str) -> str:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidResourceError) as caught:
        open_resource_file(tmp_path / "x.yaml")
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_aliases_that_explode_are_refused(tmp_path: Path):
    assert len(BOMB) < 400
    assert "with its aliases written out it has more than 200000 values" in refused(tmp_path, BOMB)
    merged = "a: &a {x: 1}\n" + "".join(
        f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "more than 200000 values" in refused(tmp_path, merged)
    assert "x.yaml:1:4: an alias stands for what it is part of" in refused(tmp_path, "a: &a [*a]\n")
    assert "nested too deeply" in refused(tmp_path, "[" * 5000)


def test_aliases_that_do_not_are_served(tmp_path: Path):
    file = tmp_path / "x.yaml"
    file.write_text("accounts:\n  - &one {id: a, limits: {requests: 1}}\n  - {<<: *one, id: b}\n", encoding="utf-8")
    assert [each["limits"] for each in open_resource_file(file).resources["accounts"]] == [{"requests": 1}] * 2


def test_every_variable_that_is_not_set_is_said_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOT_THIS", raising=False)
    said = refused(tmp_path, "accounts:\n  - config:\n      a: ${NOT_THIS}\n      b: [x, 'y${NOR_THAT}']\n")
    assert said.splitlines() == [
        "x.yaml:3:10: the environment variable NOT_THIS is not set (nor in .env or as a file of secrets)",
        "x.yaml:4:14: the environment variable NOR_THAT is not set (nor in .env or as a file of secrets)",
    ]


def test_what_is_not_yaml_is_said_with_its_place(tmp_path: Path):
    assert refused(tmp_path, "a: 1\nb: [\n").startswith("x.yaml:3:1: this is not YAML: ")
    advised = refused(tmp_path, 'url: /{{ order.id == "" ? "a" : "b" }}\n')
    assert "put a value that holds a colon and a space in quotes" in advised
    assert "is empty: list accounts and endpoints" in refused(tmp_path, "")
    assert "holds no mapping: list accounts and endpoints" in refused(tmp_path, "[]")


def test_the_place_of_a_fault_is_the_nearest_that_stands_there(tmp_path: Path):
    text = "policies:\n  - id: a\n  - id: b\n    cancel: {reason: x}\n"
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    file = open_resource_file(tmp_path / "x.yaml")
    faults = [
        Fault("policies", "b", ("cancel", "reason"), "wrong"),
        Fault("policies", "", ("id",), "wrong", number=0),
        Fault("policies", "b", ("when",), "is required"),
        Fault("accounts", "", (), "wrong"),
    ]
    said = str(file.located(InvalidResourceError(faults))).replace(f"{tmp_path}/", "")
    assert said.splitlines() == [
        "x.yaml:1:1: accounts: wrong",
        "x.yaml:2:5: policies[0]: id: wrong",
        "x.yaml:3:5: policy b: when: is required",
        "x.yaml:4:14: policy b: cancel.reason: wrong",
    ]
