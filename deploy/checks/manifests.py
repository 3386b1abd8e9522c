"""What `kustomize build` makes of deploy/kubernetes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from programs import DEPLOY, run

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("overlays/sqlite", "overlays/postgres", "example")
WORKLOADS = ("StatefulSet", "Deployment")

Resource = dict[str, Any]


@cache
def rendered(overlay: str) -> str:
    """The resources of an overlay as YAML; the example with the secrets of its example file."""
    with TemporaryDirectory() as directory:
        copied = Path(shutil.copytree(KUBERNETES, Path(directory) / "kubernetes"))
        shutil.copy(copied / "example" / "secrets.env.example", copied / "example" / "secrets.env")
        return run("kustomize", "build", copied / overlay)


@cache
def resources(overlay: str) -> list[Resource]:
    return [resource for resource in yaml.safe_load_all(rendered(overlay)) if resource is not None]


def of_kind(overlay: str, *kinds: str) -> Resource:
    """The only resource of these kinds."""
    (found,) = (resource for resource in resources(overlay) if resource["kind"] in kinds)
    return found


def pod(overlay: str) -> Resource:
    """The template of the pods."""
    return dict(of_kind(overlay, *WORKLOADS)["spec"]["template"])


def containers(overlay: str) -> Iterator[Resource]:
    spec = pod(overlay)["spec"]
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def server(overlay: str) -> Resource:
    """The container that serves."""
    (found,) = (container for container in containers(overlay) if container["name"] == "rescind")
    return found


def data(overlay: str, kind: str, name: str) -> dict[str, str]:
    """What a ConfigMap or Secret has, by its name without the hash."""
    maps = [each for each in resources(overlay) if each["kind"] == kind and each["metadata"]["name"].startswith(name)]
    return dict(maps[0]["data"]) if maps else {}
