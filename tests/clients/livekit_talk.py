"""A talk of livekit's unmodified realtime model: python livekit_talk.py PORT WAV EXPECTED (make test-clients)."""

import asyncio
import sys
import wave

from livekit import rtc
from livekit.plugins.openai.realtime import RealtimeModel

RATE = 24_000
PIECE = RATE // 10  # samples


async def talk(port: int, file: str, expected: str) -> None:
    with wave.open(file) as opened:
        pcm = opened.readframes(opened.getnframes())
    model = RealtimeModel(model="demo", base_url=f"http://127.0.0.1:{port}/v1", api_key="none", voice="default")
    session = model.session()
    begun: asyncio.Queue = asyncio.Queue()
    errors: list[object] = []
    session.on("generation_created", begun.put_nowait)
    session.on("error", errors.append)
    for start in range(0, len(pcm), 2 * PIECE):
        part = pcm[start : start + 2 * PIECE]
        session.push_audio(rtc.AudioFrame(part, RATE, 1, len(part) // 2))
        await asyncio.sleep(0.05)
    reply = await begun.get()
    async for message in reply.message_stream:
        text = "".join([piece async for piece in message.text_stream])
        samples = sum([frame.samples_per_channel async for frame in message.audio_stream])
        name = message.message_id
    assert text.strip() == expected and samples > RATE / 2, (text, samples)
    session.truncate(message_id=name, modalities=["audio"], audio_end_ms=300)
    await asyncio.sleep(0.5)
    assert not errors, errors
    await session.aclose()
    print(f"livekit heard {text.strip()!r}, {samples / RATE:.1f} s")


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(talk(int(sys.argv[1]), sys.argv[2], sys.argv[3]), 60))
