"""Several turns, from what a slot or the host keeps of a session; and replies whose first words are given."""

import asyncio
import dataclasses
from typing import Any

import pytest
from talking import CONTEXT, SETTINGS, STEPS, TEXTS, WARM, WAVES, Asked, answer, answered, asks, request, said

from fac_jax.api import Model
from fac_jax.batching.conversation import Conversation, GeneratedReply
from fac_jax.serving.engine import TalkEngine
from fac_jax.serving.talk import Step
from fac_jax.types import InputError

QUESTIONS = (WAVES[0], TEXTS[0], WAVES[1])
OPTIONS: dict[str, Any] = {"speech": WARM, "limit": 12}


def with_reply(conversation: Conversation, reply: GeneratedReply, question: Any) -> Conversation:
    """The conversation goes on with a reply and a question."""
    return dataclasses.replace(conversation, turns=(*conversation.turns, answered(reply), asks(question)))


def crowd(engine: TalkEngine) -> None:
    """Takes every slot for a session of its own."""
    for number in range(4):
        answer(engine, request(said(asks(TEXTS[1])), limit=2, session=f"crowd {number}"))
    for number in range(4):
        engine.forget(f"crowd {number}")


def three_turns(engine: TalkEngine, talks: Model, session: str | None, crowded: bool) -> list[Asked]:
    conversation, found = said(asks(QUESTIONS[0])), []
    for number, question in enumerate((*QUESTIONS[1:], None)):
        found.append(answer(engine, request(conversation, seed=number, session=session, **OPTIONS)))
        found[-1].check(talks)
        if crowded:
            crowd(engine)
        conversation = with_reply(conversation, found[-1].reply, question) if question is not None else conversation
    return found


def test_three_turns_are_those_of_the_whole_conversation(engine: TalkEngine, talks: Model) -> None:
    cold = three_turns(engine, talks, None, crowded=False)
    hot = three_turns(engine, talks, "hot", crowded=False)
    stored = three_turns(engine, talks, "stored", crowded=True)
    for one in (hot, stored):
        assert [asked.text_ids for asked in one] == [asked.text_ids for asked in cold]
        assert [asked.units for asked in one] == [asked.units for asked in cold]
    assert [asked.began.reused for asked in cold] == [0, 0, 0]
    reused = [asked.began.reused for asked in hot]
    assert reused[0] == 0 < reused[1] < reused[2]
    assert [asked.began.reused for asked in stored] == reused
    assert hot[2].began.positions > max(SETTINGS.prompts)  # where it is cold, it is run in pieces
    engine.forget("hot")
    engine.forget("stored")
    assert answer(engine, request(said(asks(TEXTS[0])), session="hot")).began.reused == 0
    engine.forget("hot")


def test_a_reply_that_was_cut_is_forgotten_from_there(engine: TalkEngine, talks: Model) -> None:
    begun = said(asks(QUESTIONS[0]))
    whole = answer(engine, request(begun, session="cut", **OPTIONS))
    heard = engine.cut(whole.reply, 0.4)
    assert 0 < len(heard.groups) < len(whole.reply.groups)
    assert engine.cut(whole.reply, 99).text_ids.tolist() == whole.reply.text_ids.tolist()
    goes_on = with_reply(begun, heard, QUESTIONS[1])
    hot = answer(engine, request(goes_on, session="cut", **OPTIONS))
    hot.check(talks)
    assert whole.began.positions < hot.began.reused < whole.began.positions + len(heard.text_ids)
    edited = dataclasses.replace(goes_on, system="You talk.")
    again = answer(engine, request(edited, session="cut", **OPTIONS))
    again.check(talks)
    assert again.began.reused < 10
    engine.forget("cut")


def test_a_reply_that_was_cancelled_is_what_was_told(engine: TalkEngine, talks: Model) -> None:
    begun = said(asks(QUESTIONS[0]))
    stopped = answer(engine, request(begun, session="stopped", **OPTIONS), cancel_after=6)
    stopped.check(talks)
    assert stopped.end.reason == "cancelled" and len(stopped.text_ids) == 6
    assert engine.text_of(stopped.reply) == talks.tokenizer.decode(stopped.text_ids).strip()
    goes_on = answer(engine, request(with_reply(begun, stopped.reply, TEXTS[1]), session="stopped", **OPTIONS))
    goes_on.check(talks)
    assert goes_on.began.reused > stopped.began.positions
    engine.forget("stopped")
    nothing = answer(engine, request(begun), cancel_after=0)
    assert nothing.end.reply is None and len(nothing.events) == 1


def test_two_requests_of_a_session_do_not_share_a_slot(engine: TalkEngine, talks: Model) -> None:
    async def both() -> list[Asked]:
        asked = [Asked(engine, request(said(asks(text)), session="two", **OPTIONS)) for text in TEXTS]
        return [await one.over() for one in asked]

    for one in asyncio.run(both()):
        one.check(talks)
    assert engine.kept == 1
    engine.forget("two")


def test_the_words_of_the_model_itself_change_nothing(
    engine: TalkEngine, talks: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, begin = talks.tokenizer.encode, []
    monkeypatch.setattr(talks.tokenizer, "encode", lambda text: begin if text == "its own words" else encode(text))
    for question in (*TEXTS[:2], WAVES[0]):
        free = answer(engine, request(said(asks(question)), False))
        ids = free.reply.text_ids.tolist()
        for count in (1, 3, 6):
            begin[:] = ids[:count]
            forced = answer(engine, request(said(asks(question)), False, forced="its own words"))
            assert forced.reply.text_ids.tolist() == ids and forced.text_ids == free.text_ids[count:]
            assert forced.end.reason == free.end.reason
            assert "".join(step.text for step in forced.of(Step)) == "".join(step.text for step in free.of(Step))


def test_a_talk_goes_on_behind_forced_words_from_what_is_kept(engine: TalkEngine, talks: Model) -> None:
    begun = said(asks(WAVES[0]))
    first = answer(engine, request(begun, False, forced="one plus two is", session="forced"))
    ids = talks.tokenizer.encode("one plus two is")
    assert first.reply.text_ids.tolist()[: len(ids)] == ids and len(first.text_ids) <= STEPS - len(ids)
    more = said(*begun.turns, answered(first.reply), asks(TEXTS[0]))
    hot = answer(engine, request(more, False, session="forced"))
    assert hot.text_ids == answer(engine, request(more, False)).text_ids
    assert hot.began.reused >= first.began.positions, "the forced words too"
    engine.forget("forced")


def test_forced_words_leave_room_for_one_of_the_model(engine: TalkEngine) -> None:
    assert len(answer(engine, request(said(asks(TEXTS[0])), False, 1, forced="one two three")).text_ids) == 1
    with pytest.raises(InputError, match="spoken reply cannot be forced"):
        answer(engine, request(said(asks(TEXTS[0])), True, forced="one"))
    with pytest.raises(InputError, match="the context has"):
        answer(engine, request(said(asks(TEXTS[0])), False, forced="one " * CONTEXT))
