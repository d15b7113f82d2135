"""The continuous audio encoder: with it, and without, where the Shared LLM hears the codec's tokens alone (DrVoice).

python -m experiments.sweep --config experiments/configs/ablations/continuous_encoder.py \
    --workdir runs/ablations/continuous_encoder

Six runs. Expected: spoken questions are answered right less often without. What pre-alignment gives the encoder and
its adapter goes to the adapter of tokens then, without CTC; the speech that the LLM says comes back to it through that
one too, which the recipe leaves to stage 1 otherwise. The units are fitted on the assistant's voice in both variants.
"""

from ml_collections import ConfigDict

from experiments.configs.ablations import UNTIL_STAGE2, ablation
from experiments.sweeps.axes import points

ALIGNED = "stages.pre_alignment."
WITHOUT = {
    "model.user_audio": "tokens",
    f"{ALIGNED}trainable": ("speech_embedder/discrete/", "refined_head/"),
    f"{ALIGNED}loss.ctc_weight": 0.0,
}


def get_config() -> ConfigDict:
    """Returns a sweep of two kinds of user audio and three seeds."""
    return ablation({"encoder": points({"with": {}, "without": WITHOUT})}, UNTIL_STAGE2)
