"""Lets unmodified clients of other projects talk to the shipped model: python talks.py PYTHON_OF_THE_CLIENTS."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

import fac_jax
from fac_jax.audio.io import RATE, load
from fac_jax.demo import MODEL

HERE = Path(__file__).parent
CLIENT_RATE = 24_000


def main(python: str) -> None:
    """Runs every client, and raises if one fails."""
    wave = load(MODEL / "sounds" / "0-asked.flac")
    expected = fac_jax.load(MODEL).respond(wave).text
    quiet = np.zeros(RATE, np.float32)
    asked = soxr.resample(np.concatenate([quiet[: RATE // 2], wave, quiet]), RATE, CLIENT_RATE)
    command = [sys.executable, "-m", "experiments.serve", f"--checkpoint={MODEL}", "--name=demo", "--port=0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert server.stdout is not None
    try:
        line = next(line for line in server.stdout if line.startswith("Talk to it"))
        port = re.findall(r":(\d+)/", line)[0]
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/asked.wav"
            soundfile.write(file, np.clip(asked, -1, 1), CLIENT_RATE, subtype="PCM_16")
            for client in ("livekit_talk.py", "pipecat_talk.py"):
                subprocess.run([python, str(HERE / client), port, file, expected], check=True)
    finally:
        server.kill()


if __name__ == "__main__":
    main(sys.argv[1])
