"""Morphable Diffusion (Chen et al. 2024): one portrait and a posed body model become 16 views that agree in 3D.

Inside this room the authors' conventions hold (`views`, `meshes`); nothing outside it needs to know them.
"""
