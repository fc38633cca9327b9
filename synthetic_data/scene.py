"""From a `Person` to a Blender scene. Only this file, `materials` and `render` import bpy, and numpy beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from synthetic_data import materials
from synthetic_data.person import SEGMENTS, Person, Thing
from synthetic_data.surface import Patch

if TYPE_CHECKING:
    from jaxtyping import Float

_DATA_KINDS = (
    "objects",
    "meshes",
    "hair_curves",
    "materials",
    "images",
    "textures",
    "lights",
    "cameras",
    "worlds",
    "node_groups",
)


def purge() -> None:
    """Remove everything the last scene left; without it a process grows by 40 MB with each identity."""
    for kind in _DATA_KINDS:
        collection = getattr(bpy.data, kind)
        for block in list(collection):
            if getattr(block, "type", "") != "RENDER_RESULT":
                collection.remove(block)
    bpy.data.orphans_purge(do_recursive=True)


def build_scene(person: Person) -> None:
    """Replace the content of the current Blender scene by this person, in the head frame, metres."""
    purge()
    for thing in person.things:
        material = _material(thing)
        if thing.patch is not None:
            add_mesh(thing.name, thing.patch, material, thing.segment, window=thing.window)
        elif thing.points is not None and thing.radius is not None:
            add_strands(thing.name, thing.points, thing.radius, material, thing.segment)
    _light(person)


def dress_scene(person: Person) -> None:
    """Give the scene that `build_scene` has made of the same geometry and textures other finishes and another light:
    the renderer then keeps what it has sorted of the geometry."""
    for thing in person.things:
        data = bpy.data.objects[thing.name].data
        before = data.materials[0]
        data.materials[0] = _material(thing)
        bpy.data.materials.remove(before)
    before = bpy.context.scene.world
    _light(person)
    bpy.data.worlds.remove(before)


def _light(person: Person) -> None:
    if (before := bpy.data.images.get("environment")) is not None:
        bpy.data.images.remove(before)
    radiance = person.surroundings
    image = add_image("environment", np.concatenate([radiance, np.ones((*radiance.shape[:2], 1))], -1))
    bpy.context.scene.world = materials.world(image)


def _material(thing: Thing) -> Any:
    images = {}
    for name, pixels in thing.textures.items():
        called = f"{thing.name} {name}"
        images[name] = bpy.data.images.get(called) or add_image(called, pixels)
    match thing.finish:
        case "skin":
            return materials.skin(images, **thing.values)
        case "eye":
            return materials.eye()
        case "hair":
            return materials.hair(**thing.values)
        case "dyed hair":
            return materials.dyed_hair(thing.colour)
        case "plain hair":
            return materials.plain_hair(thing.colour)
    painted = thing.patch is not None and "colour" in thing.patch.attributes
    return materials.finish(thing.finish, thing.colour, texture=images.get("pattern"), painted=painted)


def add_mesh(
    name: str, patch: Patch, material: Any, segment: str, *, window: tuple[float, float, float, float] | None = None
) -> Any:
    """A smooth-shaded mesh object with one material, point attributes and a segmentation class.

    `window` adds a second UV layer, "window": this part (left, bottom, right, top) of the first fills the square.
    """
    mesh = bpy.data.meshes.new(name)
    count = len(patch.faces)
    mesh.vertices.add(len(patch.vertices))
    mesh.vertices.foreach_set("co", _flat(patch.vertices))
    mesh.loops.add(3 * count)
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(patch.faces, np.int32).ravel())
    mesh.polygons.add(count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
    mesh.polygons.foreach_set("loop_total", np.full(count, 3, np.int32))
    mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", _flat(patch.corner_uvs))
    if window is not None:
        # Rounded first, so that a person from a file gives the same bits.
        inside = (patch.corner_uvs.astype(np.float32) - window[:2]) / np.subtract(window[2:], window[:2])
        mesh.uv_layers.new(name="window").uv.foreach_set("vector", _flat(inside))
    for key, values in patch.attributes.items():
        kind, field = ("FLOAT_COLOR", "color") if values.shape[1] == 4 else ("FLOAT_VECTOR", "vector")
        mesh.attributes.new(key, kind, "POINT").data.foreach_set(field, _flat(values))
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    return _add_object(name, mesh, material, segment)


def add_strands(
    name: str, points: Float[np.ndarray, "N P 3"], radii: Float[np.ndarray, " P"], material: Any, segment: str
) -> Any:
    """A hair-curves object."""
    count, length, _ = points.shape
    curves = bpy.data.hair_curves.new(name)
    curves.add_curves([length] * count)
    curves.position_data.foreach_set("vector", _flat(points))
    radius = curves.attributes.new("radius", "FLOAT", "POINT")
    radius.data.foreach_set("value", np.tile(radii, count).astype(np.float32))
    return _add_object(name, curves, material, segment)


def add_image(name: str, pixels: Float[np.ndarray, "H W 4"]) -> Any:
    """A linear float image from rows that run downwards (Blender's own run upwards)."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height, alpha=True, float_buffer=True)
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"  # alpha is a mask here and must not multiply the colours
    image.pixels.foreach_set(_flat(pixels[::-1]))
    image.update()
    return image


def _add_object(name: str, data: Any, material: Any, segment: str) -> Any:
    data.materials.append(material)
    thing = bpy.data.objects.new(name, data)
    thing.pass_index = SEGMENTS[segment]
    bpy.context.scene.collection.objects.link(thing)
    return thing


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).ravel()
