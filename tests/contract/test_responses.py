"""The suite over all handlers, which ships with the package: what goes out."""

from app.dev.suite.test_responses import *  # noqa: F403
