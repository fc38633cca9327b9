"""MediaPipe's face and person networks as plain functions of arrays; nothing else here speaks to MediaPipe.

The networks ship inside MediaPipe's wheel, so they work offline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

_STDERR_LOCK = threading.RLock()


@dataclasses.dataclass(frozen=True)
class FaceBox:
    """A detected face in pixels: box centre and width, confidence, and the two eyes (the person's right one first)."""

    centre: Float[np.ndarray, "2"]
    width: float
    score: float
    eyes: Float[np.ndarray, "2 2"]

    @property
    def roll(self) -> float:
        """Angle of the line of the eyes to the picture's rows, radians, clockwise positive."""
        dx, dy = self.eyes[1] - self.eyes[0]
        return float(np.arctan2(dy, dx))


class MediaPipeModels:
    """Context manager that owns the networks; images are uint8 RGB, coordinates pixels with centres at +0.5."""

    def __enter__(self) -> MediaPipeModels:
        with _quiet_stderr(), contextlib.ExitStack() as stack:
            from mediapipe.python.solutions import face_detection, face_mesh, selfie_segmentation

            def start(graph: Any) -> Any:
                return stack.enter_context(graph)

            self._near_faces = start(face_detection.FaceDetection(model_selection=0, min_detection_confidence=0.3))
            self._far_faces = start(face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.3))
            self._mesh = start(
                face_mesh.FaceMesh(
                    static_image_mode=True, refine_landmarks=True, max_num_faces=1, min_detection_confidence=0.3
                )
            )
            self._person = start(selfie_segmentation.SelfieSegmentation(model_selection=0))
            # The graphs open their parts, and report on it, in worker threads; a first image waits for that.
            blank = np.zeros((64, 64, 3), np.uint8)
            for graph in (self._near_faces, self._far_faces, self._mesh, self._person):
                graph.process(blank)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        with _quiet_stderr():
            self._stack.close()

    def faces(self, image: UInt8[np.ndarray, "H W 3"]) -> list[FaceBox]:
        """Faces of any size above about a twentieth of the picture, from both detectors (so a face may come twice)."""
        height, width = image.shape[:2]
        boxes = []
        for detector in (self._far_faces, self._near_faces):
            with _quiet_stderr():
                result = detector.process(image)
            for detection in result.detections or ():
                box = detection.location_data.relative_bounding_box
                points = detection.location_data.relative_keypoints
                centre = np.array([(box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height])
                eyes = np.array([[p.x * width, p.y * height] for p in points[:2]])
                boxes.append(FaceBox(centre, box.width * width, float(detection.score[0]), eyes))
        return boxes

    def landmarks(self, image: UInt8[np.ndarray, "S S 3"]) -> Float[np.ndarray, "478 3"] | None:
        """Face mesh with irises of the one face in a square picture; z in pixels too, negative towards the viewer."""
        size = len(image)
        with _quiet_stderr():
            result = self._mesh.process(image)
        if not result.multi_face_landmarks:
            return None
        return np.array([[p.x, p.y, p.z] for p in result.multi_face_landmarks[0].landmark]) * size

    def person(self, image: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
        """Probability that a pixel shows a person, from a 256 x 256 network."""
        with _quiet_stderr():
            return self._person.process(image).segmentation_mask


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what C++ code writes to the error stream; its worker threads pass by Python's `sys.stderr`."""
    with _STDERR_LOCK:
        sys.stderr.flush()
        kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(sink, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(sink)
