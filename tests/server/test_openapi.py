"""The server's own description of itself, and schemathesis trying to break its promises.

``MAQUETTE_FUZZ_SECONDS=600 pytest tests/server/test_openapi.py`` is the long run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.server.app import LONGEST_WAIT
from tests.server.driver import TOKEN, Server, finished, memory_mb

SECONDS = int(os.environ.get("MAQUETTE_FUZZ_SECONDS", "10"))

# What a schema cannot say: that an id must be of something that is there, and that unknown query words are let pass.
NOT_CHECKED = "positive_data_acceptance,negative_data_rejection"


def test_every_route_says_what_it_takes_and_how_it_refuses(server: Server) -> None:
    described = server.ask("GET", "/openapi.json")
    operations = {
        (method.upper(), path): operation
        for path, item in described["paths"].items()
        for method, operation in item.items()
    }
    assert set(operations) == {
        ("GET", "/v1/hello"),
        ("GET", "/v1/estimate"),
        ("POST", "/v1/uploads"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/{job}"),
        ("POST", "/v1/jobs/{job}/cancel"),
        ("DELETE", "/v1/jobs/{job}"),
        ("GET", "/v1/jobs/{job}/files/{name}"),
    }
    refusal = {"$ref": "#/components/schemas/Refusal"}
    for operation in operations.values():
        for status in ("401", "404", "422"):
            assert operation["responses"][status]["content"]["application/json"]["schema"] == refusal
    fields = described["components"]["schemas"]["AvatarRequest"]["properties"]
    assert {"portraits", "prompt", "engine", "seed", "quality", "mesh"} <= set(fields)


@pytest.mark.slow
def test_no_request_that_schemathesis_makes_up_breaks_it(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        job = server.submit("quick").id  # something to find, by those who look
        assert finished(server.end_of(job))
        command = [sys.executable, "-m", "schemathesis.cli", "fuzz", f"http://127.0.0.1:{server.port}/openapi.json"]
        options = ["--header", f"Authorization: Bearer {TOKEN}", "--exclude-checks", NOT_CHECKED, "--no-color"]
        limits = ["--max-time", str(SECONDS), "--continue-on-failure", "--suppress-health-check", "all"]
        limits += ["--request-timeout", str(2 * LONGEST_WAIT)]  # made-up requests ask for long waits, too
        before = memory_mb(server.process.pid)
        result = subprocess.run(
            [*command, *options, *limits], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
        assert memory_mb(server.process.pid) - before < 40
        assert server.ask("GET", "/v1/hello")["pid"] == server.process.pid
