"""What an identity looks like, as plain arrays: colour maps, strands, shells and light. No bpy here."""

LOOKS_VERSION = 3
"""Raised by hand whenever a change of code changes a picture of the same identity, be it here or in the scene and the
renderer: a set that was begun with one version is never gone on with by another."""
