"""What operators read holds nothing of anybody: every protocol is run with planted words, and the log searched."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, tone
from live_talk import live_talk, set_pace
from realtime_talk import Talk, append, manual, run, speech, user
from served import KEY, app_of, running
from websockets.sync.client import connect

WORD = "planted"


def test_no_word_of_a_talk_is_in_the_log(log: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = ["<tool_call>", f'{{"name": "{WORD}", "arguments": {{"{WORD}": "{WORD}"}}}}', "</tool_call>"]
    engine = FakeEngine(lambda request, number: call if number == 2 else [WORD, " answer"])
    app = app_of(engine, shared_dir=tmp_path, record_dir=tmp_path)
    tool: Any = {"type": "function", "name": WORD, "description": WORD}

    async def talk() -> None:
        async with Talk(shared=app.server, query=f"session_id={WORD}&key={WORD}") as one:
            session = {"instructions": WORD, "tools": [tool], WORD: WORD, "audio": {"input": {"transcription": {}}}}
            await one.send({"type": "session.update", "session": session}, manual())
            await one.send(append(speech(0.5)), {"type": "input_audio_buffer.commit"})
            for _ in range(2):
                await one.ask(
                    {"type": "response.create", "response": {"metadata": {WORD: WORD}}}, "rate_limits.updated"
                )
            await one.send(
                user(WORD, id=WORD), WORD, b"planted", {"type": WORD}, {"type": "session.update", "session": WORD}
            )
            await one.lose()

    run(talk)
    set_pace(monkeypatch)
    with live_talk(
        app, instructions=WORD, input=[{"role": "user", "content": [{"type": "input_text", "text": WORD}]}]
    ) as live:
        live.send("session.commentary.append", content=WORD)
        live.slot(loud=True)
        live.send(WORD, event_id=WORD)
    with running(app_of(engine, keys=(KEY,))) as server:
        url = f"ws://127.0.0.1:{server.port}/v1/realtime?word={WORD}"
        with connect(url, additional_headers={"authorization": f"Bearer {KEY}", "user-agent": WORD}) as socket:
            socket.recv(5)
            socket.send(json.dumps(user(WORD)))
    app.server.recordings.wait()
    text = log.getvalue()
    events = {json.loads(line)["event"] for line in text.splitlines()}
    assert events >= {"session.opened", "session.closed", "session.ignored_fields", "live.ended", "socket.ended"}
    assert WORD not in text and KEY not in text
    sound = append(tone(0.5, 24_000, 220.0, 0.3))["audio"]
    assert sound[100:120] not in text
