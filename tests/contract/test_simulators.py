"""The suite over all handlers and their simulators, which ships with the package."""

from app.dev.suite.test_simulators import *  # noqa: F403
