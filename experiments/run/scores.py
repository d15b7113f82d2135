"""Scores of a model on held-out rows: losses, and what it answers against the replies of the rows."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Final, cast

import numpy as np

from data_pipelines.records.audio import with_waves
from data_pipelines.records.record import to_conversation
from experiments.run.data import Run
from experiments.run.setup import recipe_of
from fac_jax.audio.io import resampled
from fac_jax.batching.conversation import Conversation, Turn, prompt
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import Example, encode
from fac_jax.evaluation.divergence import divergence
from fac_jax.evaluation.speech.heard import Listener
from fac_jax.evaluation.speech.transcripts import accuracy, normalize, word_error_rate
from fac_jax.generation.prepared import prepare as prepare_model
from fac_jax.generation.respond import Response, respond
from fac_jax.generation.slots import Decoding
from fac_jax.losses import Sft
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.kernels import Quantized, training_kernels
from fac_jax.progress import passing
from fac_jax.training.evals import Evaluator
from fac_jax.training.recipe import start_params
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import bind
from fac_jax.types import Batch, Params

ROWS: Final = 32  # prompts answered together
SPARE_STEPS: Final = 4  # LLM positions of an answer over those of the longest reply


def stages_by_set(run: Run) -> dict[str, StageConfig]:
    """Returns for every set with rows to evaluate on the last stage that trains on it."""
    found: dict[str, StageConfig] = {}
    for stage in run.config.stages:
        for name in stage.data.sources if stage.steps else ():
            if run.sets[name].held_out is not None:
                found[name] = stage
    return found


def losses(run: Run, params: Params) -> dict[str, float]:
    """Returns the loss and its metrics of every set with rows to evaluate on, as "SET/NAME".

    A set has the loss, and the batches, of the last stage that trains on it.
    The reference of a preference loss is the model that its stage started from, as in training.

    Raises:
      InputError: that model is not in the workdir any more.
    """
    found: dict[str, float] = {}
    by_set = stages_by_set(run)
    for stage in dict.fromkeys(stage.name for stage in by_set.values()):
        names = tuple(name for name, one in by_set.items() if one.name == stage)
        one = by_set[names[0]]
        evals = dataclasses.replace(run.config.evals, sets=names)
        some = dataclasses.replace(run, config=dataclasses.replace(run.config, evals=evals))
        start = start_params(recipe_of(run), one, run.workdir) if one.loss.needs_reference else params
        batches = some.eval_data(one, start, run.workdir / one.name)
        reference = start if one.loss.needs_reference in ("frozen", "adapter_off") else None
        kernels = training_kernels(run.layout, run.config.attention, one.data.segments)
        objective = bind(one.loss, FunAudioChat(run.config.model, kernels), run.layout, one.precision)
        scores = Evaluator(objective, batches, run.config.evals.batches)(params, reference)
        found |= {name: value for name, value in scores.items() if "/" in name}
    return found


def divergences(
    run: Run, params: Params, quantize: Quantized | None, quantize_tables: bool
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields, for every set of conversations with rows to evaluate on, how far a quantised model is (`divergence`)."""
    exact = prepare_model(run.config.model, params, run.layout)
    approximate = prepare_model(run.config.model, params, run.layout, quantize, quantize_tables)
    for name, stage in stages_by_set(run).items():
        if not isinstance(stage.loss, Sft):
            continue
        evals = dataclasses.replace(run.config.evals, sets=(name,))
        some = dataclasses.replace(run, config=dataclasses.replace(run.config, evals=evals))
        batches = some.eval_data(stage, params, run.workdir / stage.name)[name]
        read = itertools.islice(batches(), run.config.evals.batches)
        yield name, divergence(exact, approximate, (cast(Batch, one.batch) for one in read))


def answers(
    run: Run,
    params: Params,
    most: int | None = None,
    quantize: Quantized | None = None,
    quantize_tables: bool = False,
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields, for every set of conversations with rows to evaluate on, how the model answers their prompts.

    Calls are left out: `experiments.score_calls` scores them.
    "exact" is the share of replies whose text is right after normalisation, "word_error_rate" that of all replies whose
    right text has words ("<beep>" has none), "finished" the share that ended by themselves. Where replies are spoken
    and the run has all renderings of a closed set of replies, "heard" is the share of waveforms that are nearest to
    the right one; replies without words have no such share.
    """
    model, decoder = prepare_model(run.config.model, params, run.layout, quantize, quantize_tables)
    for name in stages_by_set(run):
        rows = run.sets[name].held_out
        assert rows is not None
        records = (rows.records[int(number)] for number in np.flatnonzero(rows.wanted(pairs=False)))
        asked_in_turn = (record for record in records if record.timing is None)  # calls have no prompt to answer
        conversations = [to_conversation(with_waves(record)) for record in itertools.islice(asked_in_turn, most)]
        if not conversations:
            continue
        asked, decoding = _prompts(run, conversations)
        replies = respond(model, decoder, asked, run.tokenizer, decoding, ROWS, layout=run.layout)
        found = list(passing(f"asking {name}", len(asked))(replies))
        yield name, _scored(run, conversations, found)


def _prompts(run: Run, conversations: list[Conversation]) -> tuple[list[Example], Decoding]:
    config = run.config.model
    whole = add_features(conversations, run.codec, config)
    asked = [encode(prompt(c), run.tokenizer, config, add_generation_prompt=True) for c in whole]
    lengths = [len(encode(c, run.tokenizer, config)) - len(p) for c, p in zip(whole, asked, strict=True)]
    spoken = any(turn.role == "assistant" and turn.speech is not None for c in whole for turn in c.turns[-1:])
    return asked, Decoding("joint" if spoken else "text", max_steps=max(lengths) + SPARE_STEPS)


def _scored(run: Run, conversations: list[Conversation], replies: list[Response]) -> dict[str, float]:
    expected, said = [c.turns[-1].text for c in conversations], [reply.text for reply in replies]
    scores = {"exact": accuracy(expected, said), "finished": float(np.mean([reply.finished for reply in replies]))}
    worded = [pair for pair in zip(expected, said, strict=True) if normalize(pair[0])]
    if worded:
        scores["word_error_rate"] = word_error_rate(*zip(*worded, strict=True))
    return scores | _heard(run, conversations, replies)


def _heard(run: Run, conversations: list[Conversation], replies: list[Response]) -> dict[str, float]:
    pairs = [(c.turns[-1], reply) for c, reply in zip(conversations, replies, strict=True) if c.turns[-1].text]
    clean = {turn.text: turn.wave for turn, _ in pairs if turn.wave is not None}
    if run.codec is None or not pairs or len(clean) < len({turn.text for turn, _ in pairs}):
        return {}
    codec, listener = run.codec, Listener(clean, run.codec.heard_rate)

    def right(turn: Turn, reply: Response) -> bool:
        if not reply.units.size:
            return False
        wave = resampled(codec.decode(reply.units), codec.rate, codec.heard_rate)
        return listener.hear(wave) == turn.text

    found = [right(*pair) for pair in passing("listening", len(pairs))(pairs)]
    return {"heard": float(np.mean(found))}
