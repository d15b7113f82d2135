"""`Model.chat`: what is remembered, cut and forgotten, and what is refused."""

import copy
import dataclasses

import numpy as np
import pytest
from small_speaker import STEPS, WAVE

from fac_jax.api import Model
from fac_jax.generation import turns
from fac_jax.types import InputError


@pytest.fixture
def patient(model: Model) -> Model:
    """The model with room for several turns."""
    patient = copy.copy(model)
    patient.config = dataclasses.replace(model.config, context=512)
    return patient


def test_a_chat_remembers_and_continues_what_it_has_computed(patient: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [WAVE, "what is two", WAVE[:9000]]
    chat = patient.chat(max_steps=STEPS)
    hot = [chat.ask(question) for question in asked]
    alone = patient.respond(WAVE, max_steps=STEPS)
    assert hot[0].text == alone.text and hot[0].wave.tolist() == alone.wave.tolist()
    assert len({reply.units.tobytes() for reply in hot}) > 1
    streamed = patient.chat(max_steps=STEPS)
    for question, reply in zip(asked, hot, strict=True):
        pieces = list(streamed.stream(question))
        assert "".join(piece.text for piece in pieces) == reply.text
        assert np.concatenate([piece.units for piece in pieces]).tolist() == reply.units.tolist()
    heard = patient.chat(max_steps=STEPS)
    for question, reply in zip(asked, hot, strict=True):
        if not isinstance(question, str):
            ear = heard.listen()
            for piece in np.array_split(question, 5):
                ear.push(piece)
            question = ear
        again = heard.ask(question)
        assert again.text == reply.text and again.units.tolist() == reply.units.tolist()
    monkeypatch.setattr(turns, "kept_positions", lambda *_: 0)
    assert heard.ask(WAVE[:9000]).units.size  # what was heard on the way and a wave, in one prompt
    cold = patient.chat(max_steps=STEPS)
    for question, reply in zip(asked, hot, strict=True):
        again = cold.ask(question)
        assert again.text == reply.text and again.units.tolist() == reply.units.tolist()


def test_a_chat_forgets_what_was_not_heard(patient: Model) -> None:
    chats = [patient.chat(max_steps=STEPS) for _ in range(3)]
    for chat in chats[:2]:
        chat.ask(WAVE)
    chats[0].cut(0.21)  # the second group had begun
    heard = 0
    for piece in chats[2].stream(WAVE):
        heard += len(piece.units)
        if heard > 5:
            break
    said = [chat.ask(WAVE[:9000]) for chat in chats]
    assert said[0].text == said[2].text and said[0].units.tolist() == said[2].units.tolist()
    assert (said[0].text, said[0].units.tolist()) != (said[1].text, said[1].units.tolist())
    with pytest.raises(InputError, match="no reply to cut"):
        patient.chat().cut(1)
    for seconds in (-1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"seconds={seconds}"):
            chats[0].cut(seconds)
    written = patient.chat(spoken=False, max_steps=STEPS)
    written.ask("what is two")
    with pytest.raises(InputError, match="in text alone"):
        written.cut(1)


def test_a_chat_says_one_thing_at_a_time(patient: Model) -> None:
    chat = patient.chat(max_steps=STEPS)
    asked, late = chat.stream(WAVE), chat.stream("what is two")
    next(asked)
    for say in (lambda: chat.ask("what"), lambda: chat.stream("what"), lambda: chat.cut(1), lambda: next(late)):
        with pytest.raises(InputError, match="a reply is being streamed"):
            say()
    list(asked)
    late = chat.stream("what is two")
    chat.ask("what is three")
    with pytest.raises(InputError, match="something else was said"):
        next(late)
    assert len(chat) == 2


def test_a_full_chat_forgets_its_oldest_turns(model: Model) -> None:
    chat = model.chat(max_steps=STEPS)
    with pytest.raises(InputError, match=r"the question and the \d turns before it do not fit; call forget\(\)"):
        for _ in range(9):
            chat.ask("what")
    before = len(chat)
    with pytest.raises(InputError, match=f"forget {before + 1} turns; there are {before}"):
        chat.forget(before + 1)
    chat.forget()
    assert isinstance(chat.ask("what").text, str) and len(chat) == before
