# pyright: reportInvalidTypeForm=false
"""Where the backend is and where it keeps its files."""

from typing import Any

import bpy

from .api import DEVICES

_MODES = [
    ("MANAGED", "Installed by the Add-on", "An environment of its own, made and removed from the panel"),
    ("ENVIRONMENT", "Existing Environment", "A Python 3.11 in which you have installed Maquette"),
    ("REMOTE", "Running Backend", "A backend that runs already, here or on another machine"),
]
_DEVICE_ITEMS = [
    ("auto", "Automatic", "An NVIDIA card if its driver answers, else the processor"),
    ("cpu", "Processor", "Works everywhere"),
    ("cuda", "CUDA", "An NVIDIA card; a much larger download"),
    ("mps", "Metal", "The GPU of a Mac"),
]
assert [item[0] for item in _DEVICE_ITEMS] == list(DEVICES)


class MaquettePreferences(bpy.types.AddonPreferences):
    """Shown in Edit > Preferences > Add-ons."""

    bl_idname = __package__

    mode: bpy.props.EnumProperty(name="Backend", description="Whose backend is used", items=_MODES)
    data_folder: bpy.props.StringProperty(
        name="Data Folder",
        description="Environment and avatars, some gigabytes. Empty: a folder that goes away with the extension",
        subtype="DIR_PATH",
    )
    python: bpy.props.StringProperty(
        name="Python",
        description="Python 3.11 that makes or is the environment. Empty: one is looked for",
        subtype="FILE_PATH",
    )
    device: bpy.props.EnumProperty(name="Device", description="What the packages are chosen for", items=_DEVICE_ITEMS)
    url: bpy.props.StringProperty(name="Address", description="Of the running backend, such as http://192.168.1.7:8123")
    token: bpy.props.StringProperty(
        name="Token", description="The secret that the backend was started with", subtype="PASSWORD"
    )

    def draw(self, context: Any) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(self, "mode")
        if self.mode == "REMOTE":
            layout.prop(self, "url")
            layout.prop(self, "token")
            layout.label(text="Pictures are sent to this address", icon="INFO")
        else:
            layout.prop(self, "python")
            layout.prop(self, "device")
        layout.prop(self, "data_folder")
        if not self.data_folder:
            layout.label(text="Uninstalling the extension deletes avatars kept in its own folder", icon="INFO")


CLASSES = (MaquettePreferences,)
