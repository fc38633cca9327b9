"""Trained weights: which are here, whether they are whole, and how others' become ours."""
