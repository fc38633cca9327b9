"""The backend as a server on loopback: what `maquette serve` starts and the Blender add-on speaks to."""
