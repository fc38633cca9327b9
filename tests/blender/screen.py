"""What the add-on's panels show, read by running their own `draw` with a layout that writes down what it is told.

Without a window Blender never draws, so this is how a program in the bpy module looks at the sidebar. Runs in every
Blender, and needs nothing but what the panels themselves import.
"""

import re
from types import SimpleNamespace

import bpy

DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d ?")


class Paper:
    """Stands for `UILayout`: lines of text, progress bars and buttons, in the order in which they are drawn."""

    items: list
    enabled: bool

    def __init__(self):
        self.__dict__["items"] = []
        self.__dict__["enabled"] = True

    def __setattr__(self, name, value):
        if name == "enabled":
            self.__dict__[name] = value

    def __getattr__(self, name):
        return lambda *arguments, **named: None  # properties, icons and pictures say nothing

    def _inner(self, *arguments, **named):
        paper = Paper()
        self.items.append(paper)
        return paper

    row = column = box = grid_flow = split = _inner

    def panel(self, name, *, default_closed=False):
        return Paper(), None if default_closed else self._inner()

    def label(self, *, text="", icon="NONE"):
        self.items.append(("text", text))

    def progress(self, *, factor=0.0, text="", **named):
        self.items.append(("progress", text))

    def operator(self, identifier, *, text=None, **named):
        group, name = identifier.split(".")
        label = getattr(getattr(bpy.ops, group), name).get_rna_type().name if text is None else text
        self.items.append(("button" if self.enabled else "grey button", label))
        return SimpleNamespace()

    def boxes(self):
        return [item for item in self.items if isinstance(item, Paper)]

    def lines(self):
        """Flat; the lines of a column of labels, which are one wrapped sentence, are joined again."""
        if self.items and all(isinstance(item, tuple) and item[0] == "text" for item in self.items):
            return [("text", " ".join(text for _, text in self.items if text))]
        found = []
        for item in self.items:
            found += item.lines() if isinstance(item, Paper) else [item]
        return found


def read(panel):
    """The lines of a panel class: ``[(kind, words), ...]``."""
    paper = Paper()
    panel.draw(SimpleNamespace(layout=paper), bpy.context)
    return paper.lines()


def words(lines, *kinds):
    return [text for kind, text in lines if kind in kinds and text]


def look(panels):
    """What a user reads: the backend's state and its button, and below the big button what became of the jobs."""
    panels._WIDTH = 1000  # so that sentences come whole
    backend = read(panels.MAQUETTE_PT_backend)
    generate = read(panels.MAQUETTE_PT_generate)
    big = next(i for i, (kind, text) in enumerate(generate) if "button" in kind and text == "Generate Avatar")
    below = generate[big + 1 :]
    off = ("Choose a portrait or write a prompt first", words(backend, "text")[0])  # why the big button is grey
    history = words(read(panels.MAQUETTE_PT_history), "text")
    return {
        "state": words(backend, "text")[0],
        "button": words(backend, "button")[0],
        "problem": words(backend, "text")[1:],
        "job": words(below, "progress"),
        "sentences": [text for text in words(below, "text") if text.rstrip(".") not in off],
        "buttons": words(below, "button"),
        "history": [DATE.sub("", text) for text in history if DATE.sub("", text)],
    }
