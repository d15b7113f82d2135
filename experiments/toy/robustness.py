"""Held-out questions as a microphone might bring them: condition by condition, the text of the spoken replies."""

from collections.abc import Mapping, Sequence
from typing import Final

from data_pipelines.augment.operations import Gain, Narrow, Noise, Room, Silence, Speed, Telephone
from data_pipelines.augment.wave import WaveAugmentConfig, augment_waves
from data_pipelines.worlds.schema import Row
from data_pipelines.worlds.views import conversations
from experiments.run.data import Run
from experiments.toy.questions import JOINT_STEPS, ROWS, Items, encode_prompts, joint, right
from fac_jax.batching.conversation import prompt
from fac_jax.evaluation.reports.report import Condition, evenly_spaced
from fac_jax.generation.prepared import prepare
from fac_jax.generation.respond import respond
from fac_jax.progress import passing
from fac_jax.types import Params

SEED: Final = 1_000_003  # of the draws; training draws with other seeds
QUESTIONS: Final = 100  # of a condition


def _noise(snr_db: float, colour: str = "white") -> Noise:
    return Noise(1.0, (snr_db, snr_db), (colour,))


def _gain(decibels: float) -> Gain:
    return Gain(1.0, (decibels, decibels))


def _speed(factor: float) -> Speed:
    return Speed(1.0, (factor, factor))


CONDITIONS: Final[Mapping[str, WaveAugmentConfig]] = {
    "clean": WaveAugmentConfig(),
    "0.5 s of silence on both sides": WaveAugmentConfig(silence=Silence(1.0, (0.5, 0.5))),
    "20 dB softer": WaveAugmentConfig(gain=_gain(-20.0)),
    "6 dB louder": WaveAugmentConfig(gain=_gain(6.0)),
    "white noise at 20 dB": WaveAugmentConfig(noise=_noise(20.0)),
    "white noise at 10 dB": WaveAugmentConfig(noise=_noise(10.0)),
    "telephone": WaveAugmentConfig(telephone=Telephone(1.0, codecs=("ULAW",))),
    "sampled at 8 kHz": WaveAugmentConfig(narrow=Narrow(1.0, (8000.0, 8000.0))),
    "room": WaveAugmentConfig(room=Room(1.0, rt60=(0.4, 0.4), direct_db=(3.0, 3.0))),
    "speed 0.85": WaveAugmentConfig(speed=_speed(0.85)),
    "speed 1.2": WaveAugmentConfig(speed=_speed(1.2)),
    "microphone": WaveAugmentConfig(
        silence=Silence(1.0, (0.2, 0.5)),
        room=Room(1.0, rt60=(0.3, 0.3), direct_db=(5.0, 5.0)),
        noise=_noise(20.0, "pink"),
        gain=_gain(-12.0),
    ),
}


def evenly(rows: Sequence[Row], count: int) -> list[Row]:
    """Returns `count` rows at equal distances, all of them if there are fewer."""
    return [rows[i] for i in sorted(evenly_spaced(count, len(rows)))]


def robustness(
    params: Params, run: Run, questions: Sequence[Row], conditions: Mapping[str, WaveAugmentConfig] = CONDITIONS
) -> tuple[list[Condition], Items]:
    """Asks spoken questions under every condition, and compares the text of the spoken replies with the right ones.

    Args:
      params: parameters of the run's model (scanned layers).
      run: codec, tokenizer, model and toy world.
      questions: rows with spoken questions.
      conditions: changes of the questions' waves by name.

    Returns:
      the conditions with their shares of right replies; and the value of each question by condition.
    """
    model, decoder = prepare(run.config.model, params, run.layout)
    plain = [prompt(conversation) for conversation in conversations(questions, "s2s")]
    asked = [augment_waves(one, waves, SEED, 0) for waves in conditions.values() for one in plain]
    prompts = encode_prompts(run, asked)
    decoding = joint(JOINT_STEPS, run.config.model)
    found = respond(model, decoder, prompts, run.tokenizer, decoding, ROWS, layout=run.layout)
    texts = [reply.text for reply in passing("asking through a microphone", len(prompts))(found)]
    items = {
        name: right(questions, texts[i * len(questions) : (i + 1) * len(questions)])
        for i, name in enumerate(conditions)
    }
    return [Condition(name, int(sum(values.values())), len(values)) for name, values in items.items()], items
