"""`adapter_config.json` of PEFT: which modules an adapter has, their ranks and their scales; read strictly."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from etils import epath

from fac_jax.checkpoint.json_files import Section, read_json
from fac_jax.types import InputError

T = TypeVar("T")

CONFIG: Final = "adapter_config.json"
# What an adapter must say if it says it; the numbers of anything else are others than those of plain LoRA.
FIXED: Final[Mapping[str, Any]] = {"peft_type": "LORA", "bias": "none", "megatron_core": "megatron.core"}
# Keys that `read_config` reads, or whose value changes no number of a finished adapter.
READ: Final = frozenset(
    "r lora_alpha use_rslora lora_dropout target_modules exclude_modules layers_to_transform layers_pattern "
    "rank_pattern alpha_pattern modules_to_save ensure_weight_tying init_lora_weights inference_mode task_type "
    "auto_mapping base_model_name_or_path revision peft_version qalora_group_size".split()
)
# Ways of initialising A and B that leave the base as it is; the others subtract from it what the adapter begins with.
PLAIN_STARTS: Final = (None, True, False, "gaussian", "orthogonal", "eva")


@dataclasses.dataclass(frozen=True)
class PeftConfig:
    """What the configuration of an adapter says about modules, which have the names of torch.

    Attributes:
      rank: of modules without one of their own.
      alpha: likewise.
      rslora: whether the scale is alpha / sqrt(r) and not alpha / r.
      dropout: of the input of A in training; it is kept and not applied.
      targets: names with which a module's name ends, or a regular expression that matches all of it.
      excluded: likewise, of modules that have no adapter.
      layers: of `targets` only those with these numbers; None for all.
      layers_pattern: names that stand before the number of a layer.
      rank_pattern: ranks by regular expressions of the ends of names.
      alpha_pattern: likewise.
      saved: ends of the names of modules that are saved in full.
    """

    rank: int
    alpha: float
    rslora: bool = False
    dropout: float = 0.0
    targets: str | tuple[str, ...] = ()
    excluded: str | tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None
    layers_pattern: tuple[str, ...] = ()
    rank_pattern: Mapping[str, int] = dataclasses.field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = dataclasses.field(default_factory=dict)
    saved: tuple[str, ...] = ()

    def rank_of(self, module: str) -> int:
        """Returns r of a module."""
        return _chosen(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """Returns the factor of a module's low-rank product."""
        rank = self.rank_of(module)
        return _chosen(self.alpha_pattern, module, self.alpha) / (rank**0.5 if self.rslora else rank)

    def adapts(self, module: str) -> bool:
        """Returns whether PEFT gives a linear module an adapter."""
        if _is_named(self.excluded, module) or any(re.match(rf"(.*\.)?{key}($|\..*)", module) for key in self.saved):
            return False
        if not _is_named(self.targets, module):
            return False
        # PEFT heeds layers only where targets are a list, and a module that is named in full.
        if self.layers is None or isinstance(self.targets, str) or module in self.targets:
            return True
        before = self.layers_pattern or (r"[^.]*",)
        found = (re.match(rf".*?\.{name}\.(\d+)\.", module) for name in before)
        number = next((int(match[1]) for match in found if match), None)
        return number in self.layers

    def saves(self, module: str) -> bool:
        """Returns whether PEFT saves a module in full."""
        return any(module.endswith(key) for key in self.saved)


def read_config(folder: epath.PathLike) -> tuple[PeftConfig, list[str]]:
    """Reads the configuration of an adapter.

    Returns:
      the configuration, with defaults for what is wrong, and all that is wrong.

    Raises:
      InputError: the file is missing or no JSON object.
    """
    values = read_json(epath.Path(folder) / CONFIG)
    section = Section(values, CONFIG)
    faults = [
        f"{CONFIG}: {key} is {value!r}: {_reason(key)}" for key, value in values.items() if _is_foreign(key, value)
    ]

    def checked(read: Callable[[], T], default: T) -> T:
        try:
            return read()
        except InputError as error:
            faults.append(str(error))
            return default

    def patterns(key: str, wanted: str) -> dict[str, Any]:
        found = checked(lambda: section.section(key, {}), Section({}, ""))
        read = found.size if wanted == "size" else found.number
        return {name: checked(lambda name=name: read(name), 1) for name in found.values if expressible(key, name)}

    def expressible(key: str, pattern: str) -> bool:
        try:
            re.compile(pattern)
        except re.error as error:
            faults.append(f"{CONFIG}: {key} has {pattern!r}, which is no regular expression: {error}")
            return False
        return True

    def named(key: str) -> str | tuple[str, ...]:
        if isinstance(values.get(key), str):
            return values[key] if expressible(key, values[key]) else ".*"
        return checked(lambda: section.words(key), ()) if values.get(key) is not None else ()

    def numbered(key: str) -> tuple[int, ...] | None:
        if type(values.get(key)) is int:
            return (values[key],)
        return checked(lambda: section.numbers(key, ()), ()) or None

    config = PeftConfig(
        rank=checked(lambda: section.size("r"), 1),
        alpha=checked(lambda: section.number("lora_alpha"), 1.0),
        rslora=checked(lambda: section.flag("use_rslora", False), False),
        dropout=checked(lambda: section.number("lora_dropout", 0.0), 0.0),
        targets=named("target_modules"),
        excluded=named("exclude_modules"),
        layers=numbered("layers_to_transform"),
        layers_pattern=_listed(named("layers_pattern")),
        rank_pattern=patterns("rank_pattern", "size"),
        alpha_pattern=patterns("alpha_pattern", "number"),
        saved=_listed(named("modules_to_save")),
    )
    return config, faults


def _is_foreign(key: str, value: Any) -> bool:
    """Returns whether a value asks for something else than LoRA as it is known here."""
    if key == "init_lora_weights":
        return value not in PLAIN_STARTS
    if key in FIXED:
        return value not in (None, FIXED[key])
    return key not in READ and bool(value)


def _reason(key: str) -> str:
    if key in FIXED:
        return f"it must be {FIXED[key]!r}"
    if key == "init_lora_weights":
        return "such an adapter belongs to a changed base; save it converted to plain LoRA"
    return "only plain LoRA is known here"


def _chosen(patterns: Mapping[str, T], module: str, default: T) -> T:
    """Returns the value of the first pattern that matches the end of a module's name."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _is_named(names: str | tuple[str, ...], module: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)


def _listed(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names
