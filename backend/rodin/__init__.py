"""Rodin (Wang et al. 2023): diffusion of tri-planes, conditioned on a portrait's latent and its aligned features."""
