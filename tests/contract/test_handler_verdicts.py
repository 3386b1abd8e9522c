"""The suite over all handlers, which ships with the package: verdicts."""

from app.dev.suite.test_verdicts import *  # noqa: F403
