"""Lets schemathesis name the model that there is: every other name is a 404, which tells little."""

import os
from typing import Any

import schemathesis

MODEL = os.environ["FUZZED_MODEL"]


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Changes the model of a body that names one."""
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        return body | {"model": MODEL}
    return body


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Changes some of the names in paths."""
    name = path_parameters.get("name") if isinstance(path_parameters, dict) else None
    return {"name": MODEL} if isinstance(name, str) and len(name) % 2 else path_parameters
