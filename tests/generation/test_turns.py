"""Several turns: a prompt that continues a slot gets the reply that the whole conversation gets, token for token."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from initial import initial_params

from fac_jax.batching.conversation import Conversation, GeneratedReply, Turn
from fac_jax.batching.features import mels
from fac_jax.batching.generated import closed, cut
from fac_jax.batching.grid import encode, positions
from fac_jax.generation import turns as turns_of
from fac_jax.generation.engine import advance, insert
from fac_jax.generation.prepared import prepare
from fac_jax.generation.sampling import Sampling, fold
from fac_jax.generation.slots import Decoding, Slots, requests
from fac_jax.generation.turns import Parked, kept_positions, take_up
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import Kind

STEPS = 12
DRAWN = Sampling(temperature=1.2, repetition_penalty=1.1)
DECODING = Decoding("joint", STEPS, text=Sampling(repetition_penalty=1.3), speech=DRAWN)
WAVES = [np.sin(np.arange(n, dtype=np.float32) / d) * 0.3 for n, d in ((16000, 20), (40000, 31))]


@pytest.fixture(scope="module")
def asked(model: ModelConfig) -> list[Turn]:
    """What the user says in three turns."""
    heard = [Turn("user", wave=wave, mel=mel) for wave, mel in zip(WAVES, mels(WAVES, model.mel_bins), strict=True)]
    return [heard[0], Turn("user", "and what is two plus three"), heard[1]]


@dataclasses.dataclass
class Talk:
    """A conversation with one model: each reply is made by continuing the slot, or by a prompt of all turns."""

    model: FunAudioChat
    params: Any
    tokenizer: Tokenizer
    hot: bool
    decoding: Decoding = DECODING

    def __post_init__(self) -> None:
        self.said = Conversation("talk", "You listen.", ())
        self.parked: Parked | None = None
        self.kept: list[int] = []
        self.begun: list[Slots] = []

    def _slots(self, begun: Slots) -> tuple[Slots, int]:
        return begun, 0

    def ask(self, turn: Turn, number: int, limit: int = STEPS) -> GeneratedReply:
        config = self.model.config
        asked = dataclasses.replace(self.said, turns=(*self.said.turns, turn))
        prompt = encode(asked, self.tokenizer, config, add_generation_prompt=True)
        request = requests(self.decoding, fold(jax.random.key(7)[None], number), limit)
        parked = self.parked if self.hot else None
        self.kept.append(0 if parked is None else kept_positions(parked, prompt, config))
        with jax.default_matmul_precision("highest"):
            begun = take_up(self.model, self.params, prompt, request, self.decoding, parked)
            self.begun.append(jax.tree.map(lambda leaf: leaf.copy(), begun))
            slots, at = self._slots(begun)
            slots = advance(self.model, self.params, slots, STEPS, False, draws=self.decoding.draws)
        groups = np.zeros((0, config.group_size), np.int32)
        if slots.speech is not None:
            groups = np.asarray(slots.speech.ids[at, : slots.speech.count[at]])
        made = GeneratedReply(np.asarray(slots.ids[at, : slots.count[at]]), groups)
        self.remember(turn, closed(made, config.special))
        self.parked = Parked(slots, at, encode(self.said, self.tokenizer, config), len(prompt))
        return made

    def remember(self, turn: Turn, reply: GeneratedReply) -> None:
        self.said = dataclasses.replace(self.said, turns=(*self.said.turns, turn, Turn("assistant", generated=reply)))


class Beside(Talk):
    """The same in slot 5 of 8, next to others."""

    def _slots(self, begun: Slots) -> tuple[Slots, int]:
        rows = jax.tree.map(lambda leaf: leaf, begun)
        length = begun.caches[0].k.shape[-2]
        others = requests(DECODING, jax.random.split(jax.random.key(3), 8), 9)
        config = self.model.config
        said = [Conversation(str(i), "", (Turn("user", "two " * (i + 1)),)) for i in range(8)]
        prompts = [encode(one, self.tokenizer, config, add_generation_prompt=True) for one in said]
        batch = turns_of.collate(prompts, 8, 32, 0, config)
        sizes = {"max_steps": STEPS, "joint": True, "draws": True}
        slots = turns_of.prefill(self.model, self.params, batch, others, length=length, **sizes)
        slots = advance(self.model, self.params, slots, 3, False, draws=True)
        return insert(slots, rows, jnp.array([5])), 5


def talk(kind: type[Talk], setup: tuple[Any, ...], asked: Sequence[Turn], **options: Any) -> tuple[list[Any], Talk]:
    made = kind(*setup, **options)
    found = []
    for number, turn in enumerate(asked):
        reply = made.ask(turn, number)
        found.append((reply.text_ids.tolist(), reply.groups.tolist()))
    return found, made


@pytest.fixture(autouse=True)
def _one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pads prompts to few sizes, each of which compiles once."""
    monkeypatch.setattr(turns_of, "LEAST", 64)
    monkeypatch.setattr(turns_of, "CACHE", 64)  # which the third turn outgrows


def same_caches(ours: Slots, theirs: Slots) -> None:
    """What both hold of the conversation, to rounding."""
    assert ours.speech is not None and theirs.speech is not None
    length = int(ours.position[0])
    assert length == int(theirs.position[0]) and (ours.seen == theirs.seen).all()
    for mine, other, places in (
        (ours.caches, theirs.caches, length),
        (ours.speech.caches, theirs.speech.caches, length * ours.speech.group.shape[1]),
    ):
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a[:, :places], b[:, :places], atol=1e-4 * float(jnp.max(jnp.abs(b))))


@pytest.fixture(scope="module", params=[pytest.param("as_trained", marks=pytest.mark.slow), "release"])
def setup(request: pytest.FixtureRequest, model: ModelConfig, tokenizer: Tokenizer) -> tuple[Any, ...]:
    config = dataclasses.replace(model, head_prefill=request.param)
    # As drawn, the weights hardly let the past speak.
    params = jax.tree.map(lambda leaf: 3 * leaf, initial_params(config))
    return *prepare(config, params), tokenizer


@pytest.mark.slow
@pytest.mark.filterwarnings("error:Some donated buffers")
def test_three_turns_hot_are_those_of_the_whole_conversation(setup: tuple[Any, ...], asked: list[Turn]) -> None:
    cold, whole = talk(Talk, setup, asked, hot=False)
    hot, made = talk(Talk, setup, asked, hot=True)
    assert hot == cold
    for ours, theirs in zip(made.begun, whole.begun, strict=True):
        same_caches(ours, theirs)
    assert made.kept[0] == 0 < made.kept[1] < made.kept[2]
    assert all(len(text) > 1 and len(groups) > 2 for text, groups in cold)  # all speak, and some are cut
    if setup[0].config.head_prefill == "as_trained":
        assert talk(Beside, setup, asked, hot=True)[0] == cold


def test_a_reply_that_was_cut_is_forgotten_from_there(setup: tuple[Any, ...], asked: list[Turn]) -> None:
    found = []
    for hot in (True, False):
        made = Talk(*setup, hot=hot)
        whole = made.ask(asked[0], 0)
        heard = cut(whole, 2, setup[0].config.special)
        made.said = dataclasses.replace(made.said, turns=(*made.said.turns[:-1], Turn("assistant", generated=heard)))
        found.append(made.ask(asked[1], 1).text_ids.tolist())
        assert len(heard.groups) == 3 < len(whole.groups)
    assert found[0] == found[1]


def test_a_past_that_was_edited_is_run_again(setup: tuple[Any, ...], asked: list[Turn]) -> None:
    made = Talk(*setup, hot=True)
    made.ask(asked[0], 0)
    other = asked[1]
    for edited, kept in ((made.said, made.parked), (dataclasses.replace(made.said, system="You talk."), made.parked)):
        prompt = encode(dataclasses.replace(edited, turns=(*edited.turns, other)), made.tokenizer, made.model.config)
        assert kept is not None
        number = kept_positions(kept, prompt, made.model.config)
        first = int(np.flatnonzero(kept.example.kind == Kind.SPEECH)[0])
        assert (number > first) == (edited is made.said)
    again = dataclasses.replace(asked[0], mel=np.array(asked[0].mel))  # equal, and known to be only by its values
    turns = (again, *made.said.turns[1:], other)
    prompt = encode(dataclasses.replace(made.said, turns=turns), made.tokenizer, made.model.config)
    assert kept_positions(kept, prompt, made.model.config) == first - 1


def test_what_was_generated_is_what_the_model_says_when_it_reads_it(setup: tuple[Any, ...], asked: list[Turn]) -> None:
    """Training and generation read a conversation alike, earlier spoken replies included."""
    model, params, tokenizer = setup
    if model.config.head_prefill == "release":
        return
    made = Talk(model, params, tokenizer, hot=False, decoding=Decoding("joint", STEPS))
    begun = [0, *(len(made.ask(turn, number).text_ids) for number, turn in enumerate(asked[:2]))]
    assert made.parked is not None and len(begun) == 3
    example = made.parked.example
    assert len(example) == positions(made.said, tokenizer, model.config.group_size, model.config.delay_groups)
    batch = turns_of.collate([example], 1, 128, 4, model.config)

    def read(model: FunAudioChat, batch: Any) -> tuple[jax.Array, jax.Array]:
        out = model(batch)
        return jnp.argmax(model.text_logits(out.hidden), -1), jnp.argmax(model.speech_logits(out.speech_hidden), -1)

    with jax.default_matmul_precision("highest"):
        text, speech = jax.jit(lambda: model.apply({"params": params}, batch, method=read))()
    joint = np.flatnonzero(example.kind == Kind.JOINT)
    assert len(joint) > 6
    before = joint - 1
    spoken = text[0, before[1:]] == example.text_ids[joint[1:]]
    assert spoken[np.diff(joint) == 1].all()
    assert (speech[0, before] == example.speech_ids[joint]).all()
