"""Workdirs of runs that never ran: two variants, three seeds each, with records, items, curves and sounds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from report_example import tone

from experiments.toy.reporting import Reply, write_items, write_sounds

QUESTIONS = 40


def make_run(folder: Path, size: int, seed: int, right: float, label: str | None = None, **config: Any) -> Path:
    """A run whose share of right answers is near `right`; seeds move all variants alike."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    items = {f"q{n}": float(value < right) for n, value in enumerate(rng.random(QUESTIONS))}
    report = {
        "s2t_accuracy": sum(items.values()) / QUESTIONS,
        "reply_wer": 0.1 * size + 0.01 * seed,
        "seconds_total": 9,
    }
    (folder / "report.json").write_text(json.dumps(report))
    values = {"seed": seed, "model": {"group_size": size, **config}, "data": {"world": {"seed": seed}}}
    cost = {"flops": 1e12 / size, "tokens": 1e5, "audio_seconds": 3600.0}
    record = {"config": values, "cost": cost, "seconds": 60.0, "peak_memory_gib": 1.5, "metrics": report, "finished": 1}
    (folder / "record.json").write_text(json.dumps(record))
    if label is not None:
        (folder / "asked.json").write_text(json.dumps({"name": f"{label},seed={seed}", "config": values}))
    (folder / "speak").mkdir()
    lines = [{"step": step, "loss": size / step + seed} for step in range(1, 30)]
    (folder / "speak" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_items(folder, {"s2t_accuracy": items})
    hostile = "<script>alert(1)</script>"
    replies = [Reply("what is one plus two", "a voice", f"{hostile} {size}", tone(300), tone(400 + 50 * size))]
    write_sounds(folder, [*replies, Reply("silent", "a voice", "nothing heard", tone(350), None)])
    return folder


def make_runs(folder: Path) -> list[Path]:
    """Group sizes 1 and 5; of size 5 more is right."""
    return [
        make_run(folder / f"k{size}s{seed}", size, seed, right)
        for size, right in ((1, 0.5), (5, 0.8))
        for seed in (0, 1, 2)
    ]
