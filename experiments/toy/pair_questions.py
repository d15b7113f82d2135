"""Scores of a model on held-out preference pairs: which reply it prefers, and how it replies itself."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.loading.sources import items_as_source
from data_pipelines.worlds.pairs import encode_pairs, pair_conversations
from data_pipelines.worlds.preferences import OPENINGS
from data_pipelines.worlds.schema import PairRow
from experiments.run.data import Run
from experiments.run.references import score_pairs
from experiments.toy.questions import ROWS, TEXT, encode_prompts, joint
from fac_jax.batching.conversation import prompt
from fac_jax.batching.packing import Budget
from fac_jax.batching.pairs import PairExample
from fac_jax.evaluation.speech.transcripts import exact_match, normalize
from fac_jax.generation.prepared import prepare as prepare_model
from fac_jax.generation.respond import Response, respond
from fac_jax.losses.preference import Preference
from fac_jax.types import PREFERENCE_TASKS, Params

SCORED = 16  # pairs that a shard scores at once
JOINT_STEPS = 36  # a slow reply takes 25 groups of 5 ids


@dataclasses.dataclass(frozen=True)
class Judged:
    """A model on held-out pairs, by task.

    Attributes:
      margins: of every pair by its id: weighted log-probability of the better reply minus that of the worse one.
      likely: share of pairs whose better reply is the likelier one.
      right: the task's own metric, share of the model's replies that do what the better one does (`obeys`).
      exact: share of the model's replies that say what the better one says, word for word.
      answers: what it said to every pair's prompt, by its id.
    """

    margins: dict[str, float]
    likely: dict[str, float]
    right: dict[str, float]
    exact: dict[str, float]
    answers: dict[str, Response]


def judge(params: Params, run: Run, rows: Sequence[PairRow], loss: Preference) -> Judged:
    """Scores and asks a model (scanned layers) on held-out pairs; the loss gives the streams their weights."""
    assert run.codec is not None
    pairs = encode_pairs(rows, run.tokenizer, run.config.model, run.codec)
    source = items_as_source(pairs, run.config.model.audio.n_window)
    shards = 1 if run.layout is None else run.layout.batch_shards
    budget = Budget(SCORED * shards, max(map(len, pairs)), int(source.windows.max()), segments=1)
    totals = score_pairs(loss, run.config.model, params, source, budget, run.layout)
    stacked = totals.reshape(-1, 1, 2)
    found = np.asarray(loss.margins(stacked, np.zeros_like(stacked)))[:, 0]
    margins = {pair.id: float(margin) for pair, margin in zip(pairs, found, strict=True)}
    said = ask(params, run, rows)
    right = {
        row.id: obeys(row, pair, said[row.id], run.config.model.units) for row, pair in zip(rows, pairs, strict=True)
    }
    likely = {name: margin > 0 for name, margin in margins.items()}
    exact = {row.id: exact_match(row.chosen, said[row.id].text) for row in rows}
    return Judged(margins, by_task(rows, likely), by_task(rows, right), by_task(rows, exact), said)


def by_task(rows: Sequence[PairRow], values: Mapping[str, float]) -> dict[str, float]:
    """Averages values, given by row id, over the rows of every task."""
    return {
        task: float(np.mean([values[row.id] for row in rows if row.task == task]))
        for task in PREFERENCE_TASKS
        if any(row.task == task for row in rows)
    }


def preferred(before: Judged, after: Judged) -> dict[str, float]:
    """Returns by pair id 1 if the better reply has gained on the worse one since `before`, 0.5 if equal, else 0."""
    return {name: 0.5 + 0.5 * float(np.sign(margin - before.margins[name])) for name, margin in after.margins.items()}


def ask(params: Params, run: Run, rows: Sequence[PairRow]) -> dict[str, Response]:
    """Returns the replies of a model to the prompts of the rows, by row id."""
    model, decoder = prepare_model(run.config.model, params, run.layout)
    found: dict[str, Response] = {}
    for decoding, spoken in ((TEXT, False), (joint(JOINT_STEPS, run.config.model), True)):
        chosen = [row for row in rows if (row.chosen_audio is not None) == spoken]
        if not chosen:
            continue
        examples = encode_prompts(run, [prompt(pair_conversations(row)[0]) for row in chosen])
        replies = respond(model, decoder, examples, run.tokenizer, decoding, ROWS, layout=run.layout)
        found |= {row.id: reply for row, reply in zip(chosen, replies, strict=True)}
    return found


def obeys(row: PairRow, pair: PairExample, answer: Response, units: int) -> bool:
    """Returns whether a reply is right for its task; of its ids those below `units` are the codec's.

    A right reply has the text of the better reply and, if both replies have the same text, is nearer to its length; for
    empathy it has the opening of the better reply, with any result.
    """
    if row.task == "empathy":
        return normalize(answer.text).startswith(next(o for o in OPENINGS.values() if row.chosen.startswith(o)))
    if not exact_match(row.chosen, answer.text):
        return False
    if row.chosen != row.rejected:
        return True
    better, worse = (
        np.count_nonzero((side.speech_labels >= 0) & (side.speech_labels < units))
        for side in (pair.chosen, pair.rejected)
    )
    return bool(abs(len(answer.units) - better) < abs(len(answer.units) - worse))
