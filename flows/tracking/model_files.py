"""Write the files of the registered model as artifacts of a run."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import bkt_core

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient


def log_model(client: MlflowClient, home: str, content: dict[str, Any], digest: str) -> str:
    """Write the model's folder to the artifacts of the run; return its address."""
    from mlflow import pyfunc

    inside = f"models/{digest}"
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "parameters.json"
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        model = Path(scratch) / "model"
        with warnings.catch_warnings():
            # With an input example MLflow would run the model, which takes seconds per run.
            warnings.filterwarnings("ignore", "(?s).*input example", UserWarning)
            pyfunc.save_model(
                path=str(model),
                python_model=str(Path(__file__).with_name("mastery_model.py")),
                artifacts={"parameters": str(file)},
                code_paths=[str(Path(bkt_core.__file__).parent)],
                pip_requirements=["numpy", "numba", "pandas"],
                signature=_signature(),
            )
        client.log_artifacts(home, str(model), inside)
    return f"{client.get_run(home).info.artifact_uri.rstrip('/')}/{inside}"


def _signature() -> ModelSignature:
    """Return the columns of the model's input; `attempted_at` is optional."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    columns: list[ColSpec | TensorSpec] = [
        ColSpec("string", "user_id"),
        ColSpec("string", "concept_id"),
        ColSpec("long", "correct"),
        ColSpec(AnyType(), "attempted_at", required=False),  # type: ignore[no-untyped-call] # MLflow's
    ]
    return ModelSignature(inputs=Schema(columns), outputs=Schema([ColSpec("double")]))
