"""The one training loop, for every stage."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from fac_jax.batching.loaded import Loaded
from fac_jax.checkpoint.store import CheckpointStore
from fac_jax.parallel import hosts
from fac_jax.training.evals import Evaluation
from fac_jax.training.flops import Meter
from fac_jax.training.interrupt import deferred_interrupts
from fac_jax.training.mesh_data import Data
from fac_jax.training.metrics import MetricLog
from fac_jax.training.overview import device_bytes, memory_line
from fac_jax.training.profile import ProfileWindow, StepProfiler
from fac_jax.training.progress import Rates, StageProgress
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import Metrics, Step, TrainState, final_params
from fac_jax.training.trackers import DEFAULT
from fac_jax.training.trainable import join, split
from fac_jax.types import InputError, Terminated


class NonFiniteError(InputError):
    """A loss or a gradient is not finite."""


@dataclasses.dataclass(frozen=True)
class _Pending:
    """A step that was sent to the device and whose metrics have not been read yet."""

    step: int
    loaded: Loaded
    metrics: Metrics


def restore(state: TrainState, data: Data, store: CheckpointStore, patterns: Sequence[str]) -> TrainState:
    """Reads the newest checkpoint into a state and sets `data` to the batch that follows it.

    Args:
      state: start of the stage; its frozen parameters are kept, since no checkpoint contains them.

    Returns:
      the state after the checkpoint's step, or `state` itself if the store has no checkpoint.
    """
    step = store.latest()
    if step is None:
        return state
    trainable, frozen = split(state.params, patterns)
    trainable, opt_state, data_state = store.restore(step, trainable, state.opt_state)
    data.set_state(data_state)
    count = jax.device_put(np.int32(step), jnp.asarray(state.step).sharding)
    return dataclasses.replace(state, step=count, params=join(trainable, frozen), opt_state=opt_state)


def train(
    stage: StageConfig,
    step: Step,
    state: TrainState,
    data: Data,
    store: CheckpointStore,
    directory: epath.Path,
    meter: Meter,
    trackers: Sequence[str] = DEFAULT,
    evaluate: Evaluation | None = None,
    profile: ProfileWindow | None = None,
) -> TrainState:
    """Runs a stage to its end, from its newest checkpoint if there is one.

    The step is compiled once, ahead of the first update, and its memory is logged. A step's metrics are read while the
    next one runs, so the device never waits for the host. They are read before a checkpoint is written, so a checkpoint
    never contains a step that was not finite. Ctrl-C and SIGTERM let the running step finish, save, and raise
    KeyboardInterrupt or Terminated. With several hosts, a SIGTERM to one of them stops all after the same step, and
    Ctrl-C acts at once.

    Args:
      step: of `make_step`; donates its state.
      state: start of the stage, for a run without a checkpoint; not to be used afterwards.
      directory: folder of the stage, for its curves.
      trackers: names of the trackers that get every step's metrics (`training/trackers.py`).
      profile: steps to trace into `directory/profile`.

    Raises:
      KeyboardInterrupt: see above.
      NonFiniteError: loss or gradient of a step is not finite; names the step, its rows and the last good checkpoint.
    """
    state = restore(state, data, store, stage.patterns)
    # Committed to its devices, so that the compiled step accepts fresh and restored states alike.
    state = jax.tree.map(lambda leaf: jax.device_put(leaf, leaf.sharding), state)
    start = int(state.step)
    if start:
        hosts.log(f"stage {stage.name}: resumes after step {start}, from {store.path(start)}")
    rates = Rates(meter.peak)
    if evaluate is not None:
        evaluate.resume(start)
    compiled: jax.stages.Compiled | None = None

    with (
        contextlib.closing(MetricLog(directory, start, trackers)) as log,
        _stops() as stops,
        StageProgress(stage.name, start, stage.steps) as progress,
        StepProfiler(profile, directory) as profiler,
    ):

        def settle(pending: _Pending | None) -> None:
            if pending is None:
                return
            metrics = {name: float(value) for name, value in jax.device_get(pending.metrics).items()}
            loaded = pending.loaded
            if not metrics.pop("finite"):
                raise NonFiniteError(_non_finite(stage, pending, metrics, store))
            amounts = {
                "audio_seconds": float(loaded.audio_seconds),
                "tokens": float(loaded.tokens),
                "flops": meter.flops(loaded.stats),
            }
            metrics |= amounts
            recent = rates.add(amounts)
            log.write(pending.step, metrics, recent)
            progress.update(pending.step, metrics["loss"], recent)

        def evaluated(number: int) -> None:
            if evaluate is not None and evaluate.due(number, stage.steps):
                jax.block_until_ready(state)  # the step's own seconds count
                began = time.monotonic()
                log.track(number, evaluate(number, final_params(state, stage.patterns), state.reference))
                rates.leave_out(time.monotonic() - began)

        pending: _Pending | None = None
        evaluated(start)  # a run that was stopped after this step had no time to
        for number in range(start + 1, stage.steps + 1):
            loaded = next(data)
            if compiled is None:
                compiled = step.lower(state, loaded.batch).compile()
                hosts.log(f"stage {stage.name}: {memory_line(compiled, device_bytes())}")
            profiler.before(number)
            with jax.profiler.StepTraceAnnotation("train", step_num=number):
                state, metrics = compiled(state, loaded.batch)
            settle(pending)
            pending = _Pending(number, loaded, metrics)
            profiler.after(number, metrics)
            stop = stops(number)
            if number % stage.checkpoint_every == 0 or number == stage.steps or stop:
                settle(pending)
                pending = None
                log.flush()
                trainable, frozen = split(state.params, stage.patterns)
                store.save(number, trainable, state.opt_state, data.get_state(), frozen)
            if stop:
                raise stop
            evaluated(number)  # after the checkpoint: a stop in a long evaluation loses no step
    return state


@contextlib.contextmanager
def _stops() -> Iterator[Callable[[int], type[KeyboardInterrupt] | None]]:
    """Gives a function that returns, after a step, the exception that is to end the loop, or None."""
    if hosts.several():  # there, jax's own service handles SIGTERM
        yield lambda step: Terminated if hosts.stop_requested(step) else None
        return
    with deferred_interrupts() as interrupted:
        yield lambda step: interrupted()


def _non_finite(stage: StageConfig, pending: _Pending, metrics: dict[str, float], store: CheckpointStore) -> str:
    good = store.latest()
    return (
        f"stage {stage.name}: not finite at step {pending.step} (loss {metrics['loss']}, gradient norm "
        f"{metrics['grad_norm']}); rows of its batch: {', '.join(pending.loaded.row_ids)}; "
        f"last good checkpoint: {'none' if good is None else store.path(good)}"
    )
