"""The mesh that a config asks for: `mesh`, devices along each axis, and `rules`, a preset of `parallel/rules.py`.

With `attention` ("einsum" or "flash"), `trackers` (where curves go) and `stages_dir` (of stages shared with other runs)
they say how a run computes, not what: a workdir may be gone on with on another mesh.
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from fac_jax.parallel.mesh import DEFAULT_RULES, Layout, make_layout
from fac_jax.parallel.rules import MESH_AXES
from fac_jax.training.trackers import DEFAULT


def anywhere() -> dict[str, Any]:
    """What a config holds for `--config.mesh.fsdp=8` to be possible; as it is, one device."""
    mesh = {axis: placeholder(int) for axis in MESH_AXES}
    how = {"attention": "einsum", "trackers": DEFAULT, "stages_dir": placeholder(str)}
    return {"mesh": mesh, "rules": DEFAULT_RULES, **how}


def layout_of(config: ConfigDict) -> Layout | None:
    """The layout over all devices, or None for one device, where the config has no `mesh` or leaves it empty.

    Raises:
      InputError: see `make_layout`.
    """
    values = config.to_dict()
    sizes = {axis: size for axis, size in (values.get("mesh") or {}).items() if size is not None}
    return make_layout(sizes, values.get("rules", DEFAULT_RULES)) if sizes else None
