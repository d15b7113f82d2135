"""Losses and gradients against the recorded training step of the release."""

import jax
import numpy as np
import pytest
from golden_model import CASES, golden

from fac_jax.checkpoint.release import to_release
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.training.objectives import sft_loss


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_match_the_release(case, figures):
    g = golden(case)
    batch, config = g.training_batch()
    model = FunAudioChat(config)

    def objective(params):
        return sft_loss(model, params, batch, 1.0, 1.0, chunk=16)

    with jax.default_matmul_precision("highest"):
        (loss, metrics), grads = jax.jit(jax.value_and_grad(objective, has_aux=True))(g.params)

    router = metrics.get("router_loss")
    recorded_text = g.arrays["train/text_loss"]
    if router is not None:  # the release's text loss holds it already
        figures(f"{case}: router loss, relative", _relative(router, g.arrays["train/aux_loss"]), 1e-5)
        recorded_text = recorded_text - config.text.moe.aux_loss_coef * g.arrays["train/aux_loss"]
    figures(f"{case}: loss, relative", _relative(loss, g.arrays["train/loss"]), 1e-5)
    figures(f"{case}: text loss, relative", _relative(metrics["text_loss"], recorded_text), 1e-5)
    figures(f"{case}: speech loss, relative", _relative(metrics["speech_loss"], g.arrays["train/speech_loss"]), 1e-5)

    ours = {name: np.linalg.norm(np.asarray(grad, np.float64)) for name, grad in to_release(grads, config).items()}
    recorded = dict(zip(g.arrays["train/grad_names"].tolist(), g.arrays["train/grad_norms"].tolist(), strict=True))
    unread = {name for name, norm in ours.items() if norm == 0} - set(recorded)
    assert unread <= {"continuous_audio_tower.audio_bos_eos_token.weight"}
    assert set(recorded) <= set(ours)
    worst = max(abs(ours[name] - norm) / max(norm, 1e-12) for name, norm in recorded.items() if norm > 0)
    figures(f"{case}: gradient norm of every parameter, relative", worst, 1e-3)


def _relative(ours, theirs) -> float:
    return abs(float(ours) - float(theirs)) / abs(float(theirs))
