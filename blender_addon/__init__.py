"""Maquette in Blender: a rigged, textured 3D head from one portrait.

Thin on purpose: the work is done by the backend, a process of its own. Reading order: `session` (what happens between
the button and the avatar), `client` and `backend_process` (how the backend is spoken to and kept), `avatar_import`.
What says "No bpy" can be imported outside Blender.
"""


def register() -> None:
    """Called by Blender when the extension is enabled."""
    from . import registration

    registration.register()


def unregister() -> None:
    """Called by Blender when the extension is disabled, also in the middle of a job."""
    from . import registration

    registration.unregister()
