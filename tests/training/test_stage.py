"""Values that no stage can have."""

from typing import Any

import pytest

from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": -1}, "stages.joint.steps is -1; it must be at least 0"),
        ({"checkpoint_every": 0}, "stages.joint.checkpoint_every is 0; it must be at least 1"),
        ({"keep": 0}, "stages.joint.keep is 0; it must be at least 1"),
        ({"micro_batches": 0}, "stages.joint.micro_batches is 0; it must be at least 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_numbers_that_no_stage_can_have_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StageConfig(**({"name": "joint", "steps": 1} | changes))
