"""The full-duplex variant of the 8B, from a half-duplex model and calls of one's own (docs/duplex.md).

python -m experiments.plan --config experiments/configs/duplex_8b.py --topology v5p:4x4x4
python -m experiments.train --config experiments/configs/duplex_8b.py --workdir runs/duplex_8b --config.mesh.fsdp=-1 \
    --config.model.init_from=DIR --config.data.sets.calls.path=calls.jsonl \
    --config.data.sets.spoken.path=rows.jsonl --config.data.sets.text.path=chats.jsonl

DIR is a half-duplex model, after the second stage of Core-Cocktail or a converted release (docs/checkpoints.md). With
calls of 70 s, conversations of 16 s and chats of 150 tokens, 60 % of the LLM positions are calls, 25 % conversations
and 15 % text, so that the model keeps what it knew; other lengths want other weights. All parameters train, the encoder
too: it has to learn to hear a call in blocks. A row of 2048 LLM positions is 410 s of calls. Not run at full size here:
docs/scaling.md has its plans.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.sft_8b import MODEL
from experiments.run.schema import DataConfig
from fac_jax.losses import Duplex

MIXTURE = {"calls": 5, "spoken": 9, "text": 3}  # of rows
BATCH = {"batch_rows": 64, "seq_len": 2048, "windows_per_row": 208, "segments": 32}
SINKS = 256  # of a long system prompt, and of what was said before a roll-over
FLOOR = 0.3  # that of the toy calls; `duplex.ears.quiet_maximum` measures it for calls of one's own


def get_config() -> ConfigDict:
    """Returns a config of one stage."""
    optimizer = {"rates": ("beside/=10",)}
    stage = base.stage(3000, 1e-5, MIXTURE, loss=Duplex(), optimizer=optimizer, data=BATCH)
    duplex = {"sinks": SINKS, "loudest_floor": FLOOR, "stream": "block"}
    data = DataConfig(sets={name: base.rows() for name in MIXTURE})
    return base.config({"preset": "8b", **MODEL, "duplex": duplex}, {"duplex": stage}, data=data)
