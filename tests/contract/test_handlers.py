"""The suite over all handlers, which ships with the package: what comes in."""

from app.dev.suite.test_handlers import *  # noqa: F403
