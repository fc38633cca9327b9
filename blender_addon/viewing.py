"""Where an avatar stands in the scene and how the 3D viewport looks at it."""

from __future__ import annotations

import math
from typing import Any

import bpy
import numpy as np
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Euler, Vector

SLOT_WIDTH = 0.6  # metres between avatars that stand side by side

_SOLID = {"MESH", "CURVE", "SURFACE", "FONT", "META"}
_LOOKED_AT = 500  # objects; enough for a scene that an artist begins with
_PLACES = 12
_SMALL = 0.15  # of the viewport's height: an avatar that fills less is looked for, not seen
_HALF_SENSOR = 36.0  # millimetres: the viewport's camera is twice as wide as a new one's
_MARGIN = 1.15
_DOWN, _ASIDE = math.radians(8), math.radians(25)  # from where a face is looked at: a little from above and its left


def free_place(scene: Any) -> Vector:
    """The 3D cursor, as for all that Blender adds, or the first place along +X of it that is not inside of something.

    The scene that Blender begins with has a cube there, in which nobody would find a head.
    """
    start, half = scene.cursor.location, SLOT_WIDTH / 2
    spans = []
    for thing in list(scene.objects)[:_LOOKED_AT]:
        if thing.type in _SOLID and not thing.hide_get():
            low, high = _bounds([thing])
            low, high = low - np.array(start), high - np.array(start)
            if low[1] < half and high[1] > -half and low[2] < SLOT_WIDTH and high[2] > 0:
                spans.append((low[0], high[0]))
    for place in range(_PLACES):
        x = place * SLOT_WIDTH
        if not any(low < x + half and high > x - half for low, high in spans):
            return start + Vector((x, 0, 0))
    return start.copy()  # a room is around: better in the middle of it than far outside


def find_avatar(armature: Any) -> None:
    """Let the largest viewport show an avatar that has just arrived.

    Textures become visible in Solid mode, as when Blender imports pictures as planes; and where the avatar would be out
    of sight or tiny, the view turns to it. Not when the user looks through a camera or at one object alone, or has
    begun something else.
    """
    active = bpy.context.view_layer.objects.active
    if active is None or active.mode != "OBJECT" or active.parent != armature:
        return
    windows = [] if bpy.app.background else bpy.context.window_manager.windows
    views = [area for window in windows for area in window.screen.areas if area.type == "VIEW_3D"]
    if not views:
        return
    area = max(views, key=lambda each: each.width * each.height)
    space = area.spaces.active
    show_textures(space)
    if space.local_view is None and space.region_3d.view_perspective != "CAMERA":
        region = next(each for each in area.regions if each.type == "WINDOW")
        if _seen_height(armature, space, region) < _SMALL:
            look_at(armature, space, region)
    area.tag_redraw()


def show_textures(space: Any) -> None:
    """Solid mode is grey unless it is told otherwise; a choice of the user's stays."""
    if space.shading.type == "SOLID" and space.shading.color_type == "MATERIAL":
        space.shading.color_type = "TEXTURE"


def look_at(armature: Any, space: Any, region: Any) -> None:
    """Look an avatar in the face, so that it fills the region."""
    low, high = _bounds(armature.children)
    radius = float(np.linalg.norm(high - low)) / 2
    narrow = min(region.width, region.height) / max(region.width, region.height)
    half_angle = math.atan(_HALF_SENSOR / space.lens * narrow)
    view = space.region_3d
    if view.view_perspective == "CAMERA":
        view.view_perspective = "PERSP"
    turned = armature.matrix_world.to_euler().z
    view.view_rotation = Euler((math.pi / 2 - _DOWN, 0, turned + _ASIDE)).to_quaternion()
    view.view_location = Vector((low + high) / 2)
    view.view_distance = _MARGIN * radius / math.sin(half_angle)


def _seen_height(armature: Any, space: Any, region: Any) -> float:
    """How much of the region's height the avatar fills; 0 when its middle is out of sight."""
    low, high = _bounds(armature.children)
    view = space.region_3d
    middle = location_3d_to_region_2d(region, view, Vector((low + high) / 2))
    if middle is None or not (0 <= middle.x <= region.width and 0 <= middle.y <= region.height):
        return 0.0
    corners = [Vector((x, y, z)) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    points = [location_3d_to_region_2d(region, view, corner) for corner in corners]
    heights = [point.y for point in points if point is not None]
    return (max(heights) - min(heights)) / region.height if len(heights) == len(points) else 1.0


def _bounds(things: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of objects in the scene's space, metres."""
    corners = np.array([thing.matrix_world @ Vector(corner) for thing in things for corner in thing.bound_box])
    return corners.min(0), corners.max(0)
