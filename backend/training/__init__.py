"""Training of the learned engines, and of nothing else: inference imports nothing from here."""
