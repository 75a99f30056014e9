"""Configuration files: YAML into frozen, validated models, and every mistake into one clear line."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import UserError
from ..plain_yaml import read_yaml


class Model(BaseModel):
    """Frozen, strict about unknown keys and about numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


M = TypeVar("M", bound=Model)


def read_model(path: Path, model: type[M], remedy: str) -> M:
    """Read a YAML file into `model`.

    Raises:
        UserError: the file is missing, is not YAML, or has a field that is missing, unknown or out of
            range; the one line names file and field, and ends with `remedy` where the file is missing.
    """
    try:
        content = read_yaml(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.__class__.__name__}); {remedy}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a YAML mapping of {model.__name__} fields; {remedy}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_problem(error, model)}") from error


def load_named(name: str | Path, folder: Path, model: type[M]) -> M:
    """Read a model that comes with the package by its name in `folder`, or any other by its path.

    Raises:
        UserError: as `read_model`; where there is no such file, the line lists the names in `folder`.
    """
    path = folder / f"{name}.yaml"
    remedy = f"known {folder.name}: {', '.join(names_in(folder))}"
    return read_model(path if path.exists() else Path(name), model, remedy)


def names_in(folder: Path) -> list[str]:
    """The names that `load_named` knows."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or model.__name__
    if problem["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return f"unknown field '{field}'; check its spelling (known at the top level: {known})"
    if problem["type"] == "missing":
        return f"field '{field}' is missing; add it"
    got = " ".join(str(problem["input"]).split())[:60]
    return f"field '{field}': {problem['msg']} (got {got}); correct it"
