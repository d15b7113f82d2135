"""Trains with the release's own PyTorch classes, one order at a time; `training_speed.py` gives the orders.

    python tests/pytorch/release_training.py CHECKPOINT batch.npz --code=DIR

CHECKPOINT is a folder of the release's layout, batch.npz a training batch of the release's data loader, DIR a clone of
the release's repository. Every line of the input is one of

    forward     the loss
    gradients   the loss and its gradients
    update      the same, then clipping and AdamW

and is answered by one line of JSON with the seconds it took and the loss. The script needs what
`make .venv-release/.installed` installs, and nothing of this repository.
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
    parser.add_argument("npz", type=Path, help="the batch")
    parser.add_argument("--code", required=True, help="clone of the release's repository")
    given = parser.parse_args()
    sys.path.insert(0, given.code)
    from funaudiochat.register import register_funaudiochat

    register_funaudiochat()
    model = AutoModelForSeq2SeqLM.from_pretrained(
        given.checkpoint, torch_dtype=torch.float32, attn_implementation="sdpa"
    ).train()
    batch = dict(np.load(given.npz))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), weight_decay=0.01, fused=True)

    def loss_of() -> torch.Tensor:
        # The release writes into labels and text_ids: it gets copies.
        return model(**{name: torch.from_numpy(array.copy()) for name, array in batch.items()}).loss

    def run(order: str) -> float:
        with torch.set_grad_enabled(order != "forward"):
            loss = loss_of()
        if order != "forward":
            loss.backward()
            if order == "update":
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            model.zero_grad()
        return loss.item()

    print(json.dumps({"threads": torch.get_num_threads(), "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        loss = run(line.strip())
        print(json.dumps({"seconds": time.perf_counter() - start, "loss": loss}), flush=True)


if __name__ == "__main__":
    main()
