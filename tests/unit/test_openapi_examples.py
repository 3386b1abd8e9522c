"""The OpenAPI document is valid, and every operation in it is documented with real examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.web import openapi
from app.web.problems import CONTENT_TYPE, Kind
from app.web.server import ROUTES

PUBLIC_URL = "https://rescind.example.com/base"
FORMATS = FormatChecker(("date-time", "date"))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """As it is served."""
    return dict(msgspec.json.decode(msgspec.json.encode(openapi.document(ROUTES, PUBLIC_URL))))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def media_types(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(where, content type, media type) of everything that an operation takes and returns."""
    for content_type, media_type in operation.get("requestBody", {}).get("content", {}).items():
        yield "request", content_type, media_type
    for status, response in operation["responses"].items():
        for content_type, media_type in response.get("content", {}).items():
            yield status, content_type, media_type


def examples(media_type: dict[str, Any]) -> list[Any]:
    several = [given["value"] for given in media_type.get("examples", {}).values()]
    return [media_type["example"], *several] if "example" in media_type else several


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_operation_has_a_tag_a_description_and_examples(document: dict[str, Any]) -> None:
    """What is missing is declared beside the route: `RouteTable(ApiTag(…))`, and `example(Body(…))` below the class."""
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    missing = []
    for name, operation in operations(document):
        if set(operation["tags"]) - described or len(operation["tags"]) != 1:
            missing.append(f"{name}: a tag with a description")
        if not operation["description"]:
            missing.append(f"{name}: a description")
        variables = [parameter for parameter in operation["parameters"] if parameter["in"] == "path"]
        bare_variables = [given["name"] for given in variables if not (given.get("example") and given["description"])]
        missing += [f"{name}: example and description of the variable {variable}" for variable in bare_variables]
        bare = [(where, kind) for where, kind, media_type in media_types(operation) if not examples(media_type)]
        missing += [f"{name}: an example of {where} ({kind})" for where, kind in bare]
    assert missing == []


def test_every_example_is_as_its_schema_says(document: dict[str, Any]) -> None:
    count, faults = 0, []
    for name, operation in operations(document):
        for where, _, media_type in media_types(operation):
            # With the components, so that references resolve.
            schema = {**media_type.get("schema", {}), "components": document["components"]}
            validator = Draft202012Validator(schema, format_checker=FORMATS)
            for value in examples(media_type):
                count += 1
                faults += [
                    f"{name} {where}: {fault.json_path}: {fault.message}" for fault in validator.iter_errors(value)
                ]
    assert faults == []
    assert count > 5 * len(ROUTES)


def test_every_problem_of_a_route_has_its_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            for slug, given in response.get("content", {}).get(CONTENT_TYPE, {}).get("examples", {}).items():
                problem = given["value"]
                assert problem["type"] == f"urn:rescind:problem:{slug}", name
                assert problem["status"] == int(status), name
                assert f"`{slug}`" in response["description"], name
        if operation["security"]:
            assert {"401", "403", "503"} <= set(operation["responses"]), name
            assert "Retry-After" in operation["responses"]["503"]["headers"], name
    assert all(kind.example for kind in Kind)


def test_urls_begin_with_the_public_url(document: dict[str, Any]) -> None:
    assert document["servers"][0]["url"] == PUBLIC_URL
    assert document["externalDocs"]["url"] == f"{PUBLIC_URL}/docs"
    assert openapi.document(ROUTES, "")["servers"][0]["url"] == "/"
