"""What `verify` compares: every row, every array, nothing passed over."""

import numpy as np
import pytest
from golden_model import golden

from fac_jax.evaluation.parity import model as recorded
from fac_jax.evaluation.parity.model import Figure, compare, training_batch
from fac_jax.types import InputError


def arrays_of(*prefixes: str) -> dict[str, np.ndarray]:
    """The dense recorded run, of it what begins so."""
    return {name: array for name, array in golden("dense").arrays.items() if name.startswith(prefixes)}


def figures_of(arrays: dict[str, np.ndarray]) -> list[Figure]:
    g = golden("dense")
    return list(compare(g.params, g.config, arrays))


def test_a_gradient_that_should_be_zero_has_a_limit_of_its_own() -> None:
    grads = {"a": np.ones(4), "b": np.full(4, 5.0)}
    relative, absolute = recorded._gradients(grads, {"a": 2.0, "b": 0.0})
    assert relative.holds and absolute.value == 10 and not absolute.holds
    assert all(figure.holds for figure in recorded._gradients(grads, {"a": 2.0, "b": 10.0}))
    assert not all(figure.holds for figure in recorded._gradients(grads, {"a": 2.0}))


def test_every_row_of_an_answer_is_compared() -> None:
    arrays = {name: np.concatenate([array] * 2) for name, array in arrays_of("s2t/").items()}
    assert [figure.value for figure in figures_of(arrays)] == [0]
    arrays["s2t/text_ids"][1, 3:] += 1
    assert [figure.value for figure in figures_of(arrays)] == [21]


def test_an_answer_that_goes_on_or_stops_early_differs() -> None:
    ids = np.array([[5, 6, 7], [5, 0, 0]])
    assert recorded._tokens(ids, 3, ids) == 0  # type: ignore[arg-type]
    assert recorded._tokens(ids, 3, ids[:, :2]) == 2  # type: ignore[arg-type]
    assert recorded._tokens(ids, 2, ids) == 2  # type: ignore[arg-type]


def test_a_user_is_halved_only_in_a_batch_with_text_ids() -> None:
    arrays, config = arrays_of("in/"), golden("dense").config
    assert training_batch(arrays, config)[1].user_audio_scale == 0.5
    spoken = {name: array for name, array in arrays.items() if not name.startswith("in/text_")}
    assert training_batch(spoken, config)[1].user_audio_scale == 1.0


@pytest.mark.parametrize("features", [None, np.zeros((0, 60, 64), np.float32)])
def test_a_batch_without_any_waveform_is_compared(features: np.ndarray | None) -> None:
    arrays = arrays_of("in/", "train/")
    del arrays["in/input_features"], arrays["in/feature_attention_mask"], arrays["train/grad_names"]
    arrays["in/feature_exist_mask"] = np.zeros(5, bool)
    if features is not None:
        arrays |= {"encoder/features": features, "encoder/lengths": np.zeros(0, np.int64)}
    found = figures_of(arrays)
    assert [figure.name.split(",")[0] for figure in found] == [
        *("hidden", "text logits", "speech logits", "loss", "text loss", "speech loss")
    ]
    assert not found[0].holds  # the recorded run heard the users


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text/logits": np.zeros((2, 17, 300))}, r"logits is \[2, 17, 300\] in the recorded run, \[2, 17, 320\] in"),
        ({"text/logits": None}, "recorded arrays hold no text/logits"),
        ({"text/input_ids": np.zeros(3, int)}, r"input_ids is \[3\], must be \[B, S\]"),
        ({"s2t/in/attention_mask": np.ones((1, 3), int)}, r"attention_mask is \[1, 3\], must be \[1, 20\]"),
        ({"s2t/in/speech_attention_mask": None}, "the batch has no speech_attention_mask"),
        ({"s2t/in/feature_exist_mask": np.zeros(1, bool)}, "names 0 waveforms, input_features has 1"),
        ({"s2t/text_ids": np.zeros(4, int)}, r"s2t/text_ids is \[4\], must be \[1, T\]"),
        ({"encoder/lengths": np.array([30, 58])}, r"encoder/lengths are \[30, 58\], by the batch \[31, 58\]"),
    ],
)  # fmt: skip
def test_arrays_of_another_shape_are_bad_input(change: dict[str, np.ndarray | None], words: str) -> None:
    name = next(iter(change))
    part = {"text": "text/", "s2t": "s2t/", "encoder": ("in/", "encoder/", "train/")}[name.split("/")[0]]
    arrays = {**arrays_of(*([part] if isinstance(part, str) else part)), **change}
    with pytest.raises(InputError, match=words) as raised:
        figures_of({name: array for name, array in arrays.items() if array is not None})
    assert "\n" not in str(raised.value)
