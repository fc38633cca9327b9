"""`maquette serve --data DIR --with-parent`, with workers whose pipeline is `stand_in.py`'s."""

import sys
from pathlib import Path

from backend.server.serve import serve

if __name__ == "__main__":
    worker = [sys.executable, str(Path(__file__).with_name("stand_in.py"))]
    serve("127.0.0.1", 0, Path(sys.argv[1]), with_parent=True, log=sys.stderr, worker=worker)
