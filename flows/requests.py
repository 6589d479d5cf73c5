"""What a person or a schedule may ask a flow for; Prefect draws the forms from these."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)


class EngineName(StrEnum):
    """The engines a fit can be made with."""

    EM = "em"
    PYBKT = "pybkt"


def _day_is_midnight(value: object) -> object:
    """A bare date means its first moment in UTC."""
    if isinstance(value, str) and len(value) == len("2026-01-31"):
        return f"{value}T00:00:00+00:00"
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("needs a time zone, such as 2026-01-31T00:00:00+00:00")
    return value.astimezone(UTC)


#: A moment with its time zone; a bare date is midnight UTC.
Moment = Annotated[datetime, BeforeValidator(_day_is_midnight), AfterValidator(_aware)]


class Request(BaseModel):
    """Which attempts and concepts a run is about, and how it fits them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Moment | None = Field(None, description="Train on attempts from this moment on.")
    until: Moment | None = Field(None, description="Train on attempts before this moment.")
    concepts: tuple[str, ...] = Field((), description="Only these concepts; empty: all.")
    engine: EngineName | None = Field(None, description="Empty: the engine of the settings.")
    seed: int | None = Field(None, ge=0, description="Empty: the seed of the settings.")
    full: bool = Field(
        False, description="Read and refit everything, also what changed too little."
    )

    @model_validator(mode="after")
    def _window_runs_forward(self) -> Request:
        if self.since and self.until and self.since >= self.until:
            raise ValueError(
                f"the window must run forward, got since {self.since} and until {self.until}"
            )
        return self


class RetrainRequest(Request):
    """A night: fit, judge, promote, recompute."""

    approve: tuple[str, ...] = Field(
        (), description="Concepts whose impact a person has looked at and accepts."
    )
    dry_run: bool = Field(False, description="Write neither the database nor MLflow.")


class FitRequest(Request):
    """A trial: fit, judge and log, promote nothing."""

    algo: str | None = Field(
        None,
        description="The algorithm version whose bounds and rules apply; empty: the active.",
    )
