"""Replies with the release's own PyTorch classes, one order at a time; `decoding_speed.py` gives the orders.

    python tests/pytorch/release_decoding.py CHECKPOINT FOLDER --code=DIR

CHECKPOINT is a folder of the release's layout, DIR a clone of the release's repository. FOLDER holds prompts, ROWS.npz,
as the release's processor makes them. Every line of the input is

    ROWS STEPS

and is answered by one line of JSON with the seconds that greedy replies of STEPS text ids took, and their ids. The
script needs what `make .venv-release/.installed` installs, and nothing of this repository.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM


def main() -> None:
    """Parses the command line and obeys the input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder of the release's layout")
    parser.add_argument("prompts", type=Path, help="folder of prompts")
    parser.add_argument("--code", required=True, help="clone of the release's repository")
    given = parser.parse_args()
    sys.path.insert(0, given.code)
    from funaudiochat.register import register_funaudiochat

    register_funaudiochat()
    model = AutoModelForSeq2SeqLM.from_pretrained(
        given.checkpoint, torch_dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    switches = {"only_crq_sampling": True, "force_text_abos": True, "disable_speech": False, "text_greedy": True}
    model.sp_gen_kwargs.update(switches)
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        rows, steps = map(int, line.split())
        prompt = {name: torch.from_numpy(array) for name, array in np.load(given.prompts / f"{rows}.npz").items()}
        start = time.perf_counter()
        ids, speech = model.generate(**prompt, max_new_tokens=steps, do_sample=False, repetition_penalty=1.0)
        seconds = time.perf_counter() - start
        text = ids[:, prompt["input_ids"].shape[1] :]
        print(json.dumps({"seconds": seconds, "text": text.tolist(), "speech": speech.tolist()}), flush=True)


if __name__ == "__main__":
    main()
