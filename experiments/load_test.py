"""Lets many clients talk to a realtime server at once, and prints how fast and how evenly it answers.

python -m experiments.load_test --sessions=50 --seconds=60 [--url=ws://127.0.0.1:8000] [--wave=FILE] [--json]
python -m experiments.load_test --sessions=50 --seconds=60 --cancel=0.1 --vanish=0.1
python -m experiments.load_test --sessions=50 --seconds=1800 --cancel=0.1 --vanish=0.1 --watch_s=10

Every client asks a spoken question in real time, hears the reply to its end and asks again; --cancel and --vanish are
the shares of clients that cancel every reply, and whose connection breaks in every reply. With --watch_s it shows what
the server holds too: in the second fifth of the test, in the last one, and when all clients have gone. Times of the
table are in milliseconds. The server has to run on this machine. The environment variable FAC_API_KEY holds its key,
if it has one.
Exit code 1 if there was an error.
"""

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Final

from absl import flags

from data_pipelines.worlds.espeak import SAMPLE_RATE, Voice, speak
from fac_jax import cli
from fac_jax.audio.io import load as load_audio
from fac_jax.audio.io import resampled
from fac_jax.evaluation.reports.machine import cpu_model
from fac_jax.serving.load.client import RATE, Load
from fac_jax.serving.load.figures import LoadReport
from fac_jax.serving.load.run import MOST_SECONDS, MOST_SESSIONS, run_load

QUESTION: Final = "what is seven plus five"
KEY_VARIABLE: Final = "FAC_API_KEY"
FAILED: Final = 1
TIMES: Final = {
    "detector": "end of speech to speech_stopped",
    "first_text": "speech_stopped to first text",
    "first_audio": "speech_stopped to first audio",
    "interrupt": "cancel to end of reply",
}

URL = flags.DEFINE_string("url", "ws://127.0.0.1:8000", "Server; a path and a query, such as ?model=NAME, may follow.")
SESSIONS = flags.DEFINE_integer("sessions", 50, "Clients at once.", 1, MOST_SESSIONS)
SECONDS = flags.DEFINE_float("seconds", 60.0, "Ask no question any more after these.", 0.0, MOST_SECONDS)
WAVE = flags.DEFINE_string("wave", None, f"Audio file of the question; '{QUESTION}' by espeak-ng if absent.")
CANCEL = flags.DEFINE_float("cancel", 0.0, "Share of clients, rounded up, that cancel every reply.", 0.0, 1.0)
VANISH = flags.DEFINE_float("vanish", 0.0, "Share of clients whose connection breaks in every reply.", 0.0, 1.0)
SPEED = flags.DEFINE_float("speed", 1.0, "Of speech and pauses, in times of real time.", 0.1)
WATCH_S = flags.DEFINE_float("watch_s", 0.0, "Seconds between looks at what the server holds; 0 for none.", 0.0)
SEED = flags.DEFINE_integer("seed", 0, "Of the pauses.")
ANYWHERE = flags.DEFINE_bool("anywhere", False, "Load another machine. You answer for it.")
AS_JSON = flags.DEFINE_bool("json", False, "Print JSON.")


def main() -> None:
    """Runs the command."""
    wave = speak(QUESTION, Voice("en-us")) if WAVE.value is None else load_audio(WAVE.value, SAMPLE_RATE)
    report, _ = run_load(
        Load(
            url=URL.value,
            wave=resampled(wave, SAMPLE_RATE, RATE),
            sessions=SESSIONS.value,
            seconds=SECONDS.value,
            cancelling=CANCEL.value,
            vanishing=VANISH.value,
            speed=SPEED.value,
            key=os.environ.get(KEY_VARIABLE),
            seed=SEED.value,
            watch_s=WATCH_S.value,
            anywhere=ANYWHERE.value,
        )
    )
    machine = f"{cpu_model()}, {os.cpu_count()} cores"
    if AS_JSON.value:
        print(json.dumps({"machine": machine, **dataclasses.asdict(report)}, indent=2))
    else:
        print(f"clients on {machine}", *lines(report), sep="\n")
    if report.errors:
        sys.exit(FAILED)


def lines(report: LoadReport) -> Iterator[str]:
    """Describes a report: a table of the times, and the numbers of turns, underruns and errors."""
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in sorted(report.turns.items()))
    yield f"{report.sessions} sessions, {report.seconds:.1f} s; turns: {outcomes or 'none'}"
    yield f"{'ms':32s} {'number':>7s} {'p50':>7s} {'p90':>7s} {'p95':>7s} {'p99':>7s} {'most':>7s}"
    for field, title in TIMES.items():
        one = getattr(report, field)
        figures = " ".join(
            f"{1000 * seconds:7.0f}" if one.count else f"{'-':>7s}"
            for seconds in (one.p50, one.p90, one.p95, one.p99, one.most)
        )
        yield f"{title:32s} {one.count:7d} {figures}"
    if report.resources:
        yield f"{'the server holds':32s} {'early':>13s} {'late':>13s} {'after':>13s}"
    for name, held in report.resources.items():
        yield f"{name:32s} {held.early:13,.0f} {held.late:13,.0f} {held.after:13,.0f}"
    server = "not watched (--watch_s)" if math.isnan(report.server_cores) else f"{report.server_cores:.2f}"
    yield f"processor cores: server {server}, clients {report.client_cores:.2f}"
    yield f"underruns {report.underruns} in {report.replies} replies, {report.silent_s:.2f} s"
    if report.resumed:
        yield f"sessions resumed after a lost connection: {report.resumed}"
    yield f"clients sent at most {1000 * report.late_s:.0f} ms late; where that is much, the times are theirs"
    yield "errors: " + (", ".join(f"{number} {code}" for code, number in sorted(report.errors.items())) or "none")


if __name__ == "__main__":
    cli.run(main)
