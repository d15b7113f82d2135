"""A server in a process of its own, as `experiments.serve` starts it with the model that ships."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from openai import OpenAI

from fac_jax.demo import MODEL

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"Talk to it: (http://[^:]+:(\d+)/)")


class ServerProcess:
    """The server; it listens once this is made.

    Attributes:
      process: its process.
      seconds: from its start until it was ready.
      port: where it listens.
      url: of its page.
    """

    def __init__(self, folder: Path, port: int = 0, *options: str) -> None:
        """Starts it in a folder, which keeps its compiled programs; port 0 is any that is free."""
        command = [sys.executable, "-m", "experiments.serve", f"--checkpoint={MODEL}", "--name=demo", f"--port={port}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        environment.pop("XLA_FLAGS", None)  # with which tests compile quickly, and run slowly
        begun = time.monotonic()
        out = folder / f"{time.time_ns()}.log"  # a pipe that nobody reads would stop the server
        with out.open("w") as file:
            self.process = subprocess.Popen([*command, *options], cwd=folder, env=environment, stdout=file)
        while (found := ADDRESS.search(out.read_text())) is None:
            assert self.process.poll() is None, out.read_text()
            time.sleep(0.05)
        self.seconds = time.monotonic() - begun
        self.url, self.port = found[1], int(found[2])

    def client(self) -> OpenAI:
        """A client of the unmodified SDK."""
        return OpenAI(base_url=f"{self.url}v1", api_key="none")

    def kill(self) -> None:
        """Ends it as `kill -9` does."""
        self.process.kill()
        self.process.wait()
