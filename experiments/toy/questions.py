"""Asks a trained model held-out questions, and scores the text and the sound of its replies."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
from rich.progress import track

from data_pipelines.worlds.schema import PAIR_SPLITS, PairRow, Row
from data_pipelines.worlds.storage import read_rows
from data_pipelines.worlds.views import conversations
from experiments.run.data import Run
from fac_jax.audio.io import resampled
from fac_jax.batching.conversation import Conversation, prompt
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import Example, encode
from fac_jax.evaluation.reports.pages.page import Sound
from fac_jax.evaluation.reports.report import ScoredResponse, evenly_spaced
from fac_jax.evaluation.speech.heard import Listener
from fac_jax.evaluation.speech.transcripts import exact_match
from fac_jax.generation import respond as generation
from fac_jax.generation.prepared import prepare as prepare_model
from fac_jax.generation.slots import Decoding
from fac_jax.models.config import ModelConfig
from fac_jax.types import InputError, Params

Items: TypeAlias = dict[str, dict[str, float]]  # what each question gave, by metric and by the question's id


ROWS = 32  # prompts answered together
TEXT, JOINT_STEPS = Decoding("text", max_steps=20), 24  # toy replies take 7 ids of text, 14 groups of 5 of speech


def world_rows(run: Run, split: str) -> list[Row]:
    """Returns the questions, facts and sentences of a stored split of the toy world ("text", "train", "dev", "test").

    Raises:
      InputError: the run has no toy world.
    """
    return [row for row in _stored(run.world, split) if isinstance(row, Row)]


def held_out_pairs(run: Run) -> list[PairRow]:
    """Returns the preference pairs of the toy world to judge by; raises as `world_rows`."""
    return [row for row in _stored(run.world, PAIR_SPLITS["test"]) if isinstance(row, PairRow)]


@functools.cache
def _stored(folder: Path | None, split: str) -> list[Row | PairRow]:
    if folder is None:
        raise InputError("these questions are about the toy world: set data.world")
    return list(read_rows(folder, split))


def evaluate(
    params: Params, run: Run, questions: Sequence[Row], sounds: int
) -> tuple[dict[str, float], list[ScoredResponse], Items]:
    """Computes the accuracies on held-out questions, and returns them with the spoken answers.

    Every question is asked in three ways: as text for a text reply, aloud for a text reply, and aloud for a spoken
    reply. *Heard* is judged on the waveform, against clean renderings of every reply of the world.

    Args:
      params: parameters of the run's model (scanned layers).
      run: codec, tokenizer, model and toy world.
      questions: rows with spoken questions and replies.
      sounds: number of answers that keep their sounds for the report.

    Returns:
      `text_qa_accuracy`, `s2t_accuracy`, `s2s_text_accuracy`, `s2s_heard_accuracy` and the ceiling of the last,
      `codec_heard_accuracy` (right replies through the codec); the answer to each question; and the value of each.
    """
    config, codec = run.config.model, run.codec
    assert codec is not None
    model, decoder = prepare_model(config, params, run.layout)

    def ask(rows: Sequence[Row], task: str, decoding: Decoding) -> list[generation.Response]:
        asked = prompts(run, rows, task)
        found = generation.respond(model, decoder, asked, run.tokenizer, decoding, ROWS, layout=run.layout)
        return list(track(found, description=f"asking {task}", total=len(asked)))

    distinct = list({row.question: row for row in questions}.values())
    expected = [row.reply for row in questions]
    written = ask(distinct, "text_qa", TEXT)
    items = {"text_qa_accuracy": right(distinct, [a.text for a in written])}
    items["s2t_accuracy"] = right(questions, [a.text for a in ask(questions, "s2t", TEXT)])

    clean = renderings(run)
    listener = Listener(clean, codec.heard_rate)

    def listen(units: np.ndarray) -> tuple[np.ndarray, str]:
        wave = codec.decode(units) if units.size else np.zeros(0, np.float32)
        return wave, listener.hear(resampled(wave, codec.rate, codec.heard_rate))

    spoken = ask(questions, "s2s", joint(JOINT_STEPS, config))
    ceiling = list(dict.fromkeys(expected))
    everything = [answer.units for answer in spoken] + codec.encode_batch([clean[reply] for reply in ceiling])
    with ThreadPoolExecutor() as pool:
        sounded = list(track(pool.map(listen, everything), description="listening", total=len(everything)))
    audible = evenly_spaced(sounds, len(questions))
    answers = [
        ScoredResponse(
            question=row.question,
            voice=row.voice,
            expected=row.reply,
            written=answer.text,
            heard=heard,
            question_sound=Sound(row.user_audio) if i in audible and row.user_audio is not None else None,
            reply_sound=Sound(wave, codec.rate) if i in audible and wave.size else None,
        )
        for i, (row, answer, (wave, heard)) in enumerate(zip(questions, spoken, sounded, strict=False))
    ]
    ids = [row.id for row in questions]
    items["s2s_text_accuracy"] = {name: float(a.written_right) for name, a in zip(ids, answers, strict=True)}
    items["s2s_heard_accuracy"] = {name: float(a.heard_right) for name, a in zip(ids, answers, strict=True)}
    heard_through_codec = [heard for _, heard in sounded[len(spoken) :]]
    items["codec_heard_accuracy"] = {r: float(h == r) for h, r in zip(heard_through_codec, ceiling, strict=True)}
    return means(items), answers, items


def joint(steps: int, model: ModelConfig) -> Decoding:
    """Returns joint decoding of as much speech as `steps` groups of 5 hold, in at least `steps` steps for the text."""
    return Decoding("joint", max_steps=max(steps, -(-5 * steps // model.group_size)))


def right(rows: Sequence[Row], replies: Sequence[str]) -> dict[str, float]:
    """Returns 1 for a right reply and 0 for a wrong one, by row id."""
    return {row.id: float(exact_match(row.reply, reply)) for row, reply in zip(rows, replies, strict=True)}


def means(items: Items) -> dict[str, float]:
    """Averages the values of the questions for every metric."""
    return {name: float(np.mean(list(values.values()))) for name, values in items.items()}


def abilities(params: Params, run: Run, spoken: Sequence[Row], known: Sequence[Row]) -> tuple[dict[str, float], Items]:
    """Computes the accuracies of a model, and returns them with the value of each question.

    They are `text_accuracy` (facts that only text has taught), `spoken_accuracy` (speech in, text out),
    `heard_accuracy` (speech in, speech out, judged on the waveform), and two of `evaluate`:
    `text_qa_accuracy` and `s2s_text_accuracy`. Questions and replies are spoken in the rows of `spoken`, and only
    text in those of `known`; the other arguments are those of `evaluate`.
    """
    model, decoder = prepare_model(run.config.model, params, run.layout)
    asked = prompts(run, known, "text_facts")
    written = generation.respond(model, decoder, asked, run.tokenizer, TEXT, ROWS, layout=run.layout)
    _, _, asked_aloud = evaluate(params, run, spoken, sounds=0)
    items = {
        "text_accuracy": right(known, [answer.text for answer in written]),
        "spoken_accuracy": asked_aloud["s2t_accuracy"],
        "heard_accuracy": asked_aloud["s2s_heard_accuracy"],
        "text_qa_accuracy": asked_aloud["text_qa_accuracy"],
        "s2s_text_accuracy": asked_aloud["s2s_text_accuracy"],
    }
    return means(items), items


def prompts(run: Run, rows: Sequence[Row], task: str) -> list[Example]:
    """Encodes the prompts of a task: its conversations without their replies."""
    return encode_prompts(run, [prompt(c) for c in conversations(rows, task)])


def encode_prompts(run: Run, asked: Sequence[Conversation]) -> list[Example]:
    """Encodes conversations that end with a question."""
    filled = add_features(asked, run.codec, run.config.model)
    return [encode(c, run.tokenizer, run.config.model, add_generation_prompt=True) for c in filled]


def renderings(run: Run) -> dict[str, np.ndarray]:
    """Returns every reply of the world in the assistant's voice, as it was synthesized."""
    found = [row for split in ("train", "dev", "test") for row in world_rows(run, split) if row.kind == "qa"]
    return {row.reply: row.assistant_audio for row in found if row.assistant_audio is not None}
