"""Speed of training steps: plain, of preferences, and with against without grouping."""

import jax
import numpy as np

from experiments.benchmarks.measure import once
from experiments.benchmarks.step_program import step_parts, step_program
from experiments.benchmarks.workloads import (
    Conversation,
    Workload,
    packed_batch,
    preference_batch,
    seconds_of_audio,
)
from fac_jax.losses import Preference
from fac_jax.models.config import ModelConfig, replace


def train_figures(config: ModelConfig, work: Workload) -> dict[str, float]:
    """Measures a training step on both losses, alternating with a preference step on the same prompts.

    The preference step uses stored reference log-probabilities and twice the conversations of the plain step: the same
    replies, and a worse reply to each of their prompts.
    """
    batch = packed_batch(config, work.rows, work.packed, work.conversation)
    program, run = step_program(config, batch)
    _, prefer = step_program(config, preference_batch(batch, config, work.packed), loss=Preference())
    jax.block_until_ready((run(), prefer()))
    times = [(once(run), once(prefer)) for _ in range(work.updates)]
    seconds = min(plain for plain, _ in times)
    return {
        "steps/s": 1 / seconds,
        "audio seconds/s": seconds_of_audio(config, batch) / seconds,
        "LLM positions/s": batch.kind.size / seconds,
        "GFLOP/s": sum(step_parts(config, batch).values()) / seconds / 1e9,
        "DPO step / step": float(np.median([pairs / plain for plain, pairs in times])),
        "compile seconds": program.compile_seconds,
        "bytes": program.bytes,
    }


def grouping_figures(config: ModelConfig, one: Conversation, updates: int) -> dict[str, float]:
    """Measures what dual-resolution speech representations save: a step at the model's group size and one at k = 1.

    Both steps hear and speak the same seconds of audio. The batch is a single conversation, because both programs and
    their states lie in memory together.
    """
    batch = packed_batch(config, 1, 1, one)
    single = replace(config, group_size=1)
    ungrouped = packed_batch(single, 1, 1, one.ungrouped(config.group_size))
    (_, run), (_, run_fine) = (step_program(*what) for what in ((config, batch), (single, ungrouped)))
    jax.block_until_ready((run(), run_fine()))
    times = [(once(run), once(run_fine)) for _ in range(updates)]
    cost, cost_fine = (step_parts(*what) for what in ((config, batch), (single, ungrouped)))
    return {
        "seconds a step": min(grouped for grouped, _ in times),
        "k=1": min(single for _, single in times),
        "time / k=1": float(np.median([grouped / single for grouped, single in times])),
        "FLOPs / k=1": sum(cost.values()) / sum(cost_fine.values()),
        "backbone FLOPs / k=1": cost["backbone"] / cost_fine["backbone"],
    }
