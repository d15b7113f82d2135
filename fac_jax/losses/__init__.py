"""Losses: frozen dataclasses that are their own config.

A new loss is one file in this folder with a subclass of `Loss`, and its name in `AnyLoss`.
"""

import typing
from collections.abc import Mapping
from typing import Final, TypeAlias

from fac_jax.losses.base import Loss
from fac_jax.losses.ctc import Ctc
from fac_jax.losses.duplex import Duplex
from fac_jax.losses.preference import Preference
from fac_jax.losses.sft import Sft

AnyLoss: TypeAlias = Sft | Ctc | Preference | Duplex
LOSSES: Final[Mapping[str, type[Loss]]] = {loss.kind: loss for loss in typing.get_args(AnyLoss)}
