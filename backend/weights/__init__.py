"""Weights from elsewhere, and what is installed here."""
