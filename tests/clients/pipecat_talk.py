"""A talk of pipecat's unmodified realtime service: python pipecat_talk.py PORT WAV EXPECTED (see make test-clients)."""

import asyncio
import sys
import wave

from pipecat.frames.frames import EndFrame, ErrorFrame, Frame, InputAudioRawFrame, TTSAudioRawFrame, TTSTextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

RATE = 24_000
PIECE = RATE // 50  # samples


class Sink(FrameProcessor):
    """Keeps what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)


async def talk(port: int, file: str, expected: str) -> None:
    with wave.open(file) as opened:
        pcm = opened.readframes(opened.getnframes())
    settings = OpenAIRealtimeLLMService.Settings(model="demo")
    service = OpenAIRealtimeLLMService(api_key="none", base_url=f"ws://127.0.0.1:{port}/v1/realtime", settings=settings)
    sink = Sink()
    worker = PipelineWorker(
        Pipeline([service, sink]), params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
    )

    def spoken() -> float:
        return sum(len(one.audio) for one in sink.frames if isinstance(one, TTSAudioRawFrame)) / 2 / RATE

    async def feed() -> None:
        await asyncio.sleep(1)
        for start in range(0, len(pcm), 2 * PIECE):
            part = pcm[start : start + 2 * PIECE]
            await worker.queue_frame(InputAudioRawFrame(audio=part, sample_rate=RATE, num_channels=1))
            await asyncio.sleep(0.01)
        while not spoken():
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        await worker.queue_frame(EndFrame())

    feeding = asyncio.create_task(feed())
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    await feeding
    text = "".join(one.text for one in sink.frames if isinstance(one, TTSTextFrame)).strip()
    errors = [one for one in sink.frames if isinstance(one, ErrorFrame)]
    assert text == expected and spoken() > 0.5 and not errors, (text, spoken(), errors)
    print(f"pipecat heard {text!r}, {spoken():.1f} s")


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(talk(int(sys.argv[1]), sys.argv[2], sys.argv[3]), 90))
