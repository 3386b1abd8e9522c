"""The pieces of the suite over all handlers, which ships with the package."""

from app.dev.suite.cases import *  # noqa: F403
