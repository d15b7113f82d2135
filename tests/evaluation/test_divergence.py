"""The divergence of a model from another: against plain arithmetic, and 0 from itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_model import golden

from fac_jax.evaluation.divergence import divergence
from fac_jax.evaluation.parity.model import training_batch
from fac_jax.generation.prepared import prepare
from fac_jax.losses.cross_entropy import next_labels
from fac_jax.types import IGNORE


@pytest.mark.slow
def test_divergence_is_the_mean_over_labels() -> None:
    g = golden("dense")
    batch, config = training_batch(g.arrays, g.config)
    exact, close = prepare(config, g.params), prepare(config, g.params, None, "int8")
    assert divergence(exact, exact, [batch]) == {"text_kl": 0, "speech_kl": 0}
    found = divergence(exact, close, [batch, batch])
    for stream, hidden, labels in (
        ("text", "hidden", batch.labels),
        ("speech", "speech_hidden", batch.speech_labels),
    ):
        logs = []
        for model, params in (exact, close):
            states = getattr(jax.jit(model.apply)({"params": params}, batch), hidden)
            logits = model.apply({"params": params}, states, method=f"{stream}_logits")
            logs.append(np.asarray(jax.nn.log_softmax(logits), np.float64))
        each = np.sum(np.exp(logs[0]) * (logs[0] - logs[1]), axis=-1)
        kept = np.asarray(next_labels(jnp.asarray(labels), jnp.asarray(batch.segment_ids))) != IGNORE
        assert found[f"{stream}_kl"] == pytest.approx(each[kept].mean(), rel=1e-3)
        assert found[f"{stream}_kl"] > 0
