"""The model card of a finished run: what it was trained on, what it hears, how well it does, and what it cannot do."""

from collections.abc import Iterator, Mapping
from typing import Final

from data_pipelines.worlds.arithmetic import WorldConfig
from experiments.run.data import Run
from experiments.run.hearing import heard_in

CARD: Final = "MODEL_CARD.md"

FRONT_ENDS: Final[Mapping[str, str]] = {
    "plain": "Waves are heard as they are: silence at their ends and another level than in training may confuse it.",
    "levelled": "Silence at the ends of a wave is cut, and its level made one, before it is heard.",
}


def model_card(run: Run, metrics: Mapping[str, float]) -> str:
    """Returns the card of a run as Markdown; `metrics` are its results by name."""
    parts = [_model(run), _data(run), _hearing(run), _results(metrics), _limits(run)]
    return "\n".join(line for part in parts for line in part)


def _model(run: Run) -> Iterator[str]:
    model, origin = run.config.model, run.config.init_from or f"nothing (preset `{run.config.preset}`)"
    if run.config.encoder_from:
        origin += f" and the audio encoder of {run.config.encoder_from}"
    yield "# Model card\n"
    yield f"A Fun-Audio-Chat trained by fac_jax from {origin}, seed {run.config.seed}. Ask it from Python:\n"
    yield f'    import fac_jax\n    reply = fac_jax.load("{run.workdir}").respond(wave, rate=16000)\n'
    yield f"- Shared LLM: width {model.text.width}, {model.text.depth} layers, {25 / model.group_size:g} Hz"
    yield f"- refined head: width {model.head.width}, {model.head.depth} layers, 25 Hz"
    yield f"- audio encoder: width {model.audio.width}, {model.audio.depth} layers, {model.mel_bins} mel bins"
    yield f"- vocabulary: {model.vocab_size} text ids, {model.units} speech ids\n"


def _data(run: Run) -> Iterator[str]:
    yield "## Training\n"
    yield "| stage | loss | steps | rows a step | sets |\n|---|---|---:|---:|---|"
    for stage in run.config.stages:
        sets = ", ".join(f"{name} {weight:g}" for name, weight in stage.data.sources.items())
        loss = stage.loss.kind if stage.steps else "merge"
        yield f"| {stage.name} | {loss} | {stage.steps} | {stage.data.batch_rows if stage.steps else ''} | {sets} |"
    yield "\n| set | rows | changes of what users say |\n|---|---:|---|"
    changed = {name for stage in run.config.stages if stage.data.augment for name in stage.data.sources}
    for name, one in sorted(run.sets.items()):
        changes = ", ".join(key for key, _ in one.waves.operations() if name in changed) or "none"
        yield f"| {name} | {int(run.trained_rows(name).sum())} | {changes} |"
    yield ""
    if run.config.data.world is not None:
        yield from _voices(run.config.data.world)


def _voices(world: WorldConfig) -> Iterator[str]:
    yield "The toy world is spoken by espeak-ng. No human voice is in it.\n"
    yield f"- users in training: {', '.join(world.train_voices)}"
    yield f"- users in the held-out questions: {', '.join(world.test_voices)}"
    yield f"- replies: {world.assistant.name}\n"


def _hearing(run: Run) -> Iterator[str]:
    model = run.config.model
    yield "## What it hears\n"
    if model.user_audio == "tokens":
        yield "Speech tokens of its codec; the audio encoder is not run.\n"
        return
    yield FRONT_ENDS[model.front_end]
    heard = heard_in(run)
    if heard is not None:
        yield f"A row of training has at most {heard.seconds:g} s of audio, changes included (whole encoder windows).\n"


def _results(metrics: Mapping[str, float]) -> Iterator[str]:
    yield "## Results\n"
    if not metrics:
        yield "None but the losses of training; `python -m experiments.evaluate` scores held-out rows.\n"
        return
    yield "| figure | value |\n|---|---:|"
    for name, value in metrics.items():
        yield f"| {name.removeprefix('conditions.')} | {value:.3f} |"
    yield ""


def _limits(run: Run) -> Iterator[str]:
    yield "## Limits\n"
    if run.config.data.world is not None and not run.config.data.sets and run.config.init_from is None:
        yield "- It knows sums, differences and a few facts, as they are worded in its training, and answers anything"
        yield "  else with one of them. It does not say that it has not understood."
        if run.config.encoder_from is None:
            yield "- Voices that are not espeak-ng's, people's among them, are heard badly or not at all."
    yield "- What is not in the tables above was not measured. It has no filter for harmful content."
    yield ""
