"""A description of the machine that a run used."""

import os
import platform
from pathlib import Path

import jax
import psutil


def machine() -> str:
    """Returns one line: the CPU model, the cores, the memory, and the accelerators if there are any."""
    device = jax.devices()[0]
    memory = psutil.virtual_memory().total / 2**30
    line = f"{cpu_model()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    return line if device.platform == "cpu" else f"{jax.device_count()} x {device.device_kind}; {line}"


def cpu_model() -> str:
    """Returns the model name of the CPU, or its architecture where the kernel does not give a name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
