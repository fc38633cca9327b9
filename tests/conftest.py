"""The same code gets the same verdict every time: property tests draw their examples from a fixed seed."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
