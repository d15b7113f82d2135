"""Sends a server what its OpenAPI description allows, and what it does not.

    python requests_by_schema.py SCHEMATHESIS [SECONDS]

SCHEMATHESIS is the program of schemathesis, in an environment of its own. The server has a key and an engine by a
script. It fails on an answer of 5xx, on a status or a body that the description does not have, and on bad input that is
taken for good.
"""

import os
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

from fake_engine import FakeEngine
from served import KEY, app_of, running

from fac_jax.serving.config import Limits

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CHECKS += ",negative_data_rejection,ignored_auth"


def main(program: str, seconds: int = 120) -> int:
    """Runs the program for so many seconds at most; returns its exit code."""
    limits = Limits(events_per_second=1e6, body_bytes=1 << 20)
    with running(app_of(FakeEngine(), limits, keys=(KEY,))) as server:
        url = f"http://127.0.0.1:{server.port}"
        command = [program, "run", f"{url}/openapi.json", f"--header=Authorization: Bearer {KEY}", f"--checks={CHECKS}"]
        command += ["--phases=examples,coverage,fuzzing,stateful", f"--max-time={seconds}", "--seed=1", "--workers=1"]
        known = {"SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(Path(__file__).parent)}
        known["FUZZED_MODEL"] = FakeEngine.model
        code = subprocess.run(command, env=os.environ | known, check=False).returncode
        with urlopen(f"{url}/health") as answer:
            assert answer.status == 200
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
