"""Packed loading over real processes: hosts that share an epoch, a run that is killed, workers."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import packed_run
from packed_run import ids, lines

from fac_jax.parallel.shards import HostShard, resharded

ROOT = Path(__file__).parents[2]


def process(out: Path, count: int, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, packed_run.__file__, str(out), str(count), *options]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def result(out: Path) -> dict[str, Any]:
    return json.loads(out.read_text())


def test_two_hosts_share_an_epoch_and_three_go_on_where_they_were(tmp_path: Path) -> None:
    outs = [tmp_path / f"host{host}.json" for host in range(2)]
    running = [process(out, 6, f"--host={host}", "--hosts=2") for host, out in enumerate(outs)]
    assert [one.wait() for one in running] == [0, 0]
    found = [result(out) for out in outs]
    seen = [Counter(itertools.chain(*(batch["ids"] for batch in one["done"]))) for one in found]
    for host, one in enumerate(found):
        share, stream = HostShard(host, 2), ids(400)
        drawn = Counter(stream[share.number(i)] for i in range(one["state"]["drawn"]))
        assert seen[host] + Counter(stream[n] for n in one["state"]["waiting"]) == drawn
    three = []
    for host, state in enumerate(resharded([one["state"] for one in found], 3)):
        batches = packed_run.begin(HostShard(host, 3))
        batches.set_state(state)
        seen.append(Counter(itertools.chain(*(batch["ids"] for batch in lines(batches, 4)))))
        three.append(batches.get_state())
    # What was seen, and what waits, are all the rows up to there, each as often as it was drawn.
    (alone,) = resharded(three, 1)
    stream = ids(alone["base"])
    assert sum(seen, Counter()) + Counter(stream[n] for n in alone["waiting"]) == Counter(stream)
    assert sum(seen, Counter()).total() > 69


def test_a_killed_run_goes_on_with_the_same_batches_and_other_workers(tmp_path: Path) -> None:
    out, state = tmp_path / "run.json", tmp_path / "state.json"
    running = process(out, 10_000)
    while not (out.exists() and len(result(out)["done"]) >= 4):
        time.sleep(0.02)
        assert running.poll() is None
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = result(out)
    done = before["done"]
    want = lines(packed_run.begin(), len(done) + 5)
    assert done == want[: len(done)]
    alone = packed_run.begin()
    alone.set_state(before["state"])
    assert lines(alone, 5) == want[len(done) :]
    state.write_text(json.dumps(before["state"]))
    assert process(out, 5, f"--state={state}", "--workers=2").wait() == 0
    assert result(out)["done"] == want[len(done) :]
