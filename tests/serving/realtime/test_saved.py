"""Sessions in files: another server goes on with them."""

import asyncio
import os
import time
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine
from realtime_talk import Talk, append, manual, run, silence, speech, user
from resumed_talk import again, id_of, server_of

from fac_jax.serving.realtime import resumable
from fac_jax.serving.realtime.session_files import SessionFiles
from fac_jax.serving.server import SESSIONS

CREATE = {"type": "response.create"}
COMMIT = {"type": "input_audio_buffer.commit"}
END = "rate_limits.updated"


def test_another_server_goes_on_with_what_is_in_the_files(tmp_path: Path) -> None:
    async def test() -> None:
        async with Talk(shared=server_of(folder=tmp_path)) as talk:
            call = {"type": "function_call", "name": "f", "call_id": "c1", "arguments": "{}"}
            await talk.send(manual(), append(speech(0.5)), COMMIT, CREATE)
            await talk.until(END)
            await talk.send({"type": "conversation.item.create", "item": call})
            item = talk.of("input_audio_buffer.committed")[0]["item_id"]
            await talk.send({"type": "conversation.item.retrieve", "item_id": item})
            await talk.lose()
            assert not next((tmp_path / SESSIONS).iterdir()).stat().st_mode & 0o077, "others cannot look into it"
            engine = FakeEngine()
            async with again(talk, server_of(engine, tmp_path)) as more:
                assert id_of(more) == id_of(talk)
                await more.send({"type": "conversation.item.retrieve", "item_id": item})
                assert (
                    more.of("conversation.item.retrieved")[0]["item"]
                    == talk.of("conversation.item.retrieved")[0]["item"]
                )
                assert more.of("session.created")[0]["session"]["audio"]["input"]["turn_detection"] is None
                await more.ask(user("go on"), "conversation.item.done")
                await more.ask({**CREATE}, END)
                heard, reply, called, last = engine.requests[-1].conversation.turns
                (before,) = talk.engine.requests
                assert heard.wave is not None and np.array_equal(heard.wave, before.conversation.turns[0].wave)
                assert reply.generated is not None and len(reply.generated.groups) > 0
                assert "tool_call" in called.text and last.text == "go on"
            assert not list((tmp_path / SESSIONS).iterdir()), "it has ended"

    run(test)


def test_files_of_an_older_connection_count_no_more(tmp_path: Path) -> None:
    async def test() -> None:
        files = SessionFiles(tmp_path / SESSIONS)
        async with Talk(shared=server_of(folder=tmp_path)) as talk:
            await talk.send(user("old"))
            await talk.lose()
            old = files.load(id_of(talk), 10.0)
            assert old is not None
            async with again(talk, server_of(folder=tmp_path)) as more:
                await more.send(user("new"))
                await more.lose()
            files.save(old)
            loaded = files.load(id_of(talk), 10.0)
            assert loaded is not None and [item.text for item in loaded.items] == ["old", "new"]
            async with again(talk) as back:  # to the first server, which remembers less
                assert len(back.server.resumable._open) == 1
                await back.send(user("newest"))
                texts = [item.text for item in (files.load(id_of(talk), 10.0) or loaded).items]
                assert texts[:2] == ["old", "new"]

    run(test)


def test_what_cannot_be_read_is_no_session_and_old_files_go(tmp_path: Path) -> None:
    async def test() -> None:
        files = SessionFiles(tmp_path / SESSIONS)
        async with Talk(shared=server_of(folder=tmp_path)) as talk:
            await talk.send(manual(), append(speech(0.5)), COMMIT)
            await talk.lose()
        (folder,) = (tmp_path / SESSIONS).iterdir()
        (wave,) = folder.glob("*.f32")
        state = files.load(id_of(talk), 10.0)
        assert state is not None and len(state.items) == 1
        sound = wave.read_bytes()
        wave.unlink()
        assert files.load(id_of(talk), 10.0) is None
        wave.write_bytes(sound)
        assert files.load(id_of(talk), 10.0) is not None
        (told,) = folder.glob("*.json")
        for broken in ("", "[]", "{}", '{"version": 2}', told.read_text()[:-9]):
            told.write_text(broken)
            assert files.load(id_of(talk), 10.0) is None
        os.utime(folder, (time.time() - 11,) * 2)
        assert files.load(id_of(talk), 10.0) is None
        files.sweep(12.0)
        assert folder.exists()
        files.sweep(10.0)
        assert not folder.exists()

    run(test)


def test_a_session_is_saved_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "SAVED_S", 0.01)

    async def test() -> None:
        files = SessionFiles(tmp_path / SESSIONS)
        async with Talk(shared=server_of(folder=tmp_path)) as talk:
            await talk.send(user("hi"))
            deadline = time.monotonic() + 5
            while (state := files.load(id_of(talk), 10.0)) is None or not state.items:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            assert [item.text for item in state.items] == ["hi"], "a server that is killed now has not lost it"

    run(test)


def test_silence_is_no_reason_to_forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "SAVED_S", 0.01)

    async def test() -> None:
        files = SessionFiles(tmp_path / SESSIONS)
        async with Talk(shared=server_of(folder=tmp_path, resume_s=0.2)) as talk:
            await talk.send(append(silence(0.1)))
            await asyncio.sleep(0.5)
            files.sweep(0.2)
            assert files.load(id_of(talk), 0.2) is not None

    run(test)
