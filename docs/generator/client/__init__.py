"""The Python client's generated modules: models, problems, and a class for each tag of the OpenAPI document."""
