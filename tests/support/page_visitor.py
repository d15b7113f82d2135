"""A visitor of the page: a browser whose microphone plays a file, and what the page shows."""

import contextlib
import dataclasses
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from page_server import voice
from playwright.sync_api import Browser, Page, expect, sync_playwright

RATE = 24_000  # of the page's sound
BLOCK = 960  # samples
FILE_RATE = 48_000  # chromium takes others badly
PLACE = "talk.test"  # another host, for the browser


@dataclasses.dataclass(frozen=True)
class Visitor:
    """A browser whose microphone plays the file."""

    browser: Browser
    file: Path

    def says(self, *pieces: float | np.ndarray) -> None:
        """Writes what the microphone hears from the next talk on.

        Args:
          pieces: seconds of silence and of speech in turns; a wave, of 48 kHz, stands for itself.
        """
        waves = [
            one if isinstance(one, np.ndarray) else voice(one, FILE_RATE) if i % 2 else np.zeros(int(one * FILE_RATE))
            for i, one in enumerate(pieces)
        ]
        soundfile.write(self.file, np.concatenate([*waves, np.zeros(60 * FILE_RATE)]), FILE_RATE, subtype="PCM_16")


@contextlib.contextmanager
def visiting(file: Path) -> Iterator[Visitor]:
    """A visitor whose microphone plays a file, which need not be there yet."""
    program = shutil.which("chromium")
    assert program, "chromium is not installed: apt-get install chromium"
    arguments = [
        "--no-sandbox",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={file}%noloop",
        f"--host-resolver-rules=MAP {PLACE} 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield Visitor(browser, file)
        browser.close()


@contextlib.contextmanager
def opening(visitor: Visitor) -> Iterator[Callable[[str], Page]]:
    """Opens a page; whatever it says in the console, and every request to another host, is a failure."""
    problems: list[str] = []
    page = visitor.browser.new_page()

    def open_(url: str) -> Page:
        host = url.split("/")[2]
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        for kind in ("request", "websocket"):
            page.on(kind, lambda asked: problems.append(asked.url) if asked.url.split("/")[2] != host else None)
        page.goto(url)
        return page

    yield open_
    page.close()
    assert problems == []


def state(page: Page, name: str) -> None:
    expect(page.locator("body")).to_have_attribute("data-state", name, timeout=15_000)


def said(page: Page, side: str) -> Any:
    return page.locator(f"#transcript .{side} p")


def heard(page: Page) -> Any:
    return page.locator("#transcript .model .heard").last


def events(page: Page) -> list[dict[str, Any]]:
    """The talk's events, as they are downloaded."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the events").click()
    assert download.value.suggested_filename.endswith(".jsonl")
    return [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]


def sound(page: Page) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of the talk, as they are downloaded: the user's and the model's."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the sound").click()
    samples, rate = soundfile.read(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert rate == RATE and samples.ndim == 2
    return samples[:, 0], samples[:, 1]


def loud(samples: np.ndarray) -> np.ndarray:
    """Whether something is heard, in blocks of 40 ms."""
    blocks = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return np.abs(blocks).max(1) > 0.01


def loud_s(samples: np.ndarray) -> float:
    return BLOCK / RATE * int(loud(samples).sum())


def figure(page: Page, stage: str) -> float:
    return float(page.locator(f"#latency [data-stage={stage}] .last").inner_text().removesuffix(" ms"))
