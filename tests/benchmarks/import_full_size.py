"""A checkpoint of full size is imported, from file to file: ``python -m tests.benchmarks.import_full_size FOLDER``.

The published names and shapes, all zero: 5.5 GB are read and as much is written, so this is no part of the test run.
"""

import sys
import tempfile
import time
from pathlib import Path

from backend.cli import main
from backend.morphable.weights import load_morphable
from tests.weights.test_importing import published, save


def measure(folder: Path) -> None:
    """Import below `folder`, load what came out, and say how long both took."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = save(Path(place) / "facescape_flame.ckpt", published())
        begun = time.perf_counter()
        assert main(["weights", "import", str(path), "--out", str(Path(place) / "flame")]) == 0
        imported = time.perf_counter()
        model = load_morphable(Path(place) / "flame")
        count = sum(parameter.numel() for parameter in model.parameters())
        assert count > 1.3e9, count
        print(f"{count / 1e9:.2f} G parameters: imported in {imported - begun:.0f} s, loaded in ", end="")
        print(f"{time.perf_counter() - imported:.0f} s")


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
