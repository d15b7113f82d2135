"""A model and adapters of it, each a model for clients, by the unmodified `openai` SDK."""

import asyncio
from collections.abc import Iterator

import openai
import pytest
from fake_engine import FakeEngine
from realtime_talk import Talk, run, user
from resumed_talk import again, id_of
from served import KEY, app_of, running

from fac_jax.serving.security import Access

BASE, MINE = FakeEngine.model, "mine"


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.others = (MINE,)
    return engine


@pytest.fixture
def url(engine: FakeEngine) -> Iterator[str]:
    with running(app_of(engine, keys=(KEY,))) as server:
        yield f"http://127.0.0.1:{server.port}/v1"


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=url, max_retries=0)


def test_every_adapter_is_a_model_with_its_base_as_parent(client: openai.OpenAI) -> None:
    listed = [(one.id, (one.model_extra or {}).get("parent")) for one in client.models.list()]
    assert listed == [(BASE, None), (MINE, BASE)]
    assert client.models.retrieve(MINE).id == MINE
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_a_chat_is_answered_by_the_model_that_it_names(client: openai.OpenAI, engine: FakeEngine) -> None:
    for model in (MINE, BASE):
        answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
        assert answer.model == model == engine.requests[-1].model
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=[{"role": "user", "content": "hello"}])


def test_a_session_has_the_model_of_its_address_or_of_its_secret(url: str, engine: FakeEngine) -> None:
    async def answered_by(key: str, **query: str) -> str | None:
        client = openai.AsyncOpenAI(api_key=key, base_url=url)
        async with client.realtime.connect(**query) as talk:
            created = await talk.recv()
            await talk.conversation.item.create(item=user("hello"))
            await talk.response.create()
            while (await talk.recv()).type != "response.done":
                pass
        assert created.session.model == engine.requests[-1].model  # pyright: ignore[reportAttributeAccessIssue]
        return engine.requests[-1].model

    async def test() -> None:
        client = openai.AsyncOpenAI(api_key=KEY, base_url=url)
        bound = await client.realtime.client_secrets.create(session={"type": "realtime", "model": MINE})
        assert bound.session.model == MINE  # pyright: ignore[reportAttributeAccessIssue]
        assert await answered_by(bound.value) == MINE
        assert await answered_by(KEY, model=MINE) == MINE
        assert await answered_by(KEY, model=BASE) == BASE

    asyncio.run(test())


def test_a_resumed_session_keeps_its_model_if_it_is_still_served(engine: FakeEngine) -> None:
    async def test() -> None:
        async with Talk(engine, access=Access(model=MINE)) as talk:
            await talk.lose()
            async with again(talk) as more:
                assert (id_of(more), more.events[0]["session"]["model"]) == (id_of(talk), MINE)
                await more.lose()
            engine.others = ()
            async with again(talk) as anew:
                assert id_of(anew) != id_of(talk) and anew.events[0]["session"]["model"] == BASE

    run(test)
