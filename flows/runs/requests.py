"""Requests: the parameters of the flows, as pydantic models from which Prefect makes forms."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from bkt_core.errors import UsageError
from bkt_settings.pipeline import EngineName


def _day_is_midnight(value: object) -> object:
    """Convert a bare date to its start in UTC."""
    if isinstance(value, str) and len(value) == len("2026-01-31"):
        return f"{value}T00:00:00+00:00"
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("needs a time zone, such as 2026-01-31T00:00:00+00:00")
    return value.astimezone(UTC)


#: Days of the calendar (as if of a leap year); a Prefect server does not check formats.
_DAY = (
    r"\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)"
    r"|02-(0[1-9]|[12]\d))"
)
_TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})"

#: A time with its time zone; a bare date means midnight UTC.
Moment = Annotated[
    datetime,
    BeforeValidator(_day_is_midnight),
    AfterValidator(_aware),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "pattern": f"^{_DAY}([T ]{_TIME})?$"}
    ),
]
#: A day of the calendar.
Day = Annotated[
    date, WithJsonSchema({"type": "string", "format": "date", "pattern": f"^{_DAY}$"})
]


class FlowRequest(BaseModel):
    """Base of all requests: fields that the form validates, and rules over several fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def check(self) -> None:
        """Raise `UsageError` if the fields contradict each other; flows call it first.

        It is not part of the validation, because a run that fails there has no name and no
        message.
        """


class Request(FlowRequest):
    """Which attempts and concepts are fitted, and how."""

    since: Moment | None = Field(None, description="Train on attempts from this time on.")
    until: Moment | None = Field(None, description="Train on attempts before this time.")
    concepts: tuple[str, ...] = Field((), description="Only these concepts; if empty, all.")
    engine: EngineName | None = Field(
        None, title="Engine", description="If empty, the engine of the settings."
    )
    seed: int | None = Field(None, ge=0, description="If empty, the seed of the settings.")
    full: bool = Field(
        False, description="Read and refit everything, also concepts that changed too little."
    )

    def check(self) -> None:
        """Check that the window starts before it ends."""
        if self.since and self.until and self.since >= self.until:
            raise UsageError(
                f"The window must run forward, got since {self.since} and until {self.until}."
            )


class RetrainRequest(Request):
    """Retrain: fit, judge, promote, recompute."""

    approve: tuple[str, ...] = Field(
        (), description="Concepts whose impact a person has checked and accepts."
    )
    dry_run: bool = Field(False, description="Write neither the database nor MLflow.")


class FitRequest(Request):
    """A trial: fit, judge and log without promoting."""

    algo: str | None = Field(
        None,
        description="The algorithm version whose bounds and rules apply; if empty, the active.",
    )


class CompareRequest(Request):
    """Compare two algorithm versions on the same held-out users."""

    a: str = Field(description="The version to compare with, such as the active one.")
    b: str = Field(description="The version that may replace it.")
    in_force: bool = Field(
        False,
        description="Compare the stored parameters of each version; otherwise new fits of "
        "both on the current attempts.",
    )

    def check(self) -> None:
        """Check that the versions differ and that the window starts before it ends."""
        super().check()
        if self.a == self.b:
            raise UsageError(f"Two versions are compared, got {self.a!r} twice.")


class ActivateRequest(FlowRequest):
    """Another algorithm version in force."""

    version: str = Field(
        min_length=1, max_length=64, description="The version, as `bkt algo list` tells."
    )
    approve: bool = Field(
        False, description="A person has looked at it: do it whatever the evidence says."
    )
    actor: str | None = Field(
        None, max_length=255, description="Who asks; empty: the account of the worker."
    )


class MonitorRequest(FlowRequest):
    """Monitor: how the parameters in force predict attempts after their fit."""

    full: bool = Field(False, description="Read the complete log again, not only new rows.")


class DaysRequest(FlowRequest):
    """A range of past days, each with its end in UTC."""

    first_day: Day = Field(description="The first day, such as 2026-01-31.")
    last_day: Day = Field(description="The last day: not before the first, and in the past.")
    as_known: bool = Field(
        False, description="Use what had been stored by then, instead of attempted by then."
    )

    def check(self) -> None:
        """Check that the first day is not after the last."""
        if self.first_day > self.last_day:
            raise UsageError(
                f"The days must run forward, got {self.first_day} to {self.last_day}."
            )


class BackfillSnapshotsRequest(DaysRequest):
    """Backfill the mastery snapshots of past days."""

    params_of: str | None = Field(
        None,
        description="Use the parameters that this run promoted; if empty, the current ones, "
        "or with 'as known' those that were in force then.",
    )


class BackfillParamsRequest(DaysRequest):
    """Fit what was known at the end of each of several past days."""

    step_days: int = Field(7, ge=1, le=3_660, description="Days from one fit to the next.")
    concepts: tuple[str, ...] = Field((), description="Only these concepts; if empty, all.")
    engine: EngineName | None = Field(
        None, title="Engine", description="If empty, the engine of the settings."
    )
    seed: int | None = Field(None, ge=0, description="If empty, the seed of the settings.")
    promote: bool = Field(
        False, description="Promote the winners of the last day, as a nightly run would."
    )
    algo: str | None = Field(
        None,
        description="The algorithm version whose bounds and rules apply; if empty, the active.",
    )

    def check(self) -> None:
        """Check that only the version in force is promoted, and the order of the days."""
        super().check()
        if self.promote and self.algo is not None:
            raise UsageError(
                "--promote goes with the version in force, without --algo; nights keep the "
                "parameters of candidates that [fit] candidates names."
            )


class RecomputeRequest(FlowRequest):
    """Replay mastery from the attempt log."""

    concepts: tuple[str, ...] = Field((), description="Only these concepts; if empty, all.")
    user: str | None = Field(None, description="Only this user; if empty, all.")


class RollbackRequest(FlowRequest):
    """Put older parameters in force again, by concept or by run."""

    model_config = ConfigDict(
        # A server checks these before a run exists.
        json_schema_extra={
            "oneOf": [
                {"required": ["concepts"], "properties": {"concepts": {"minItems": 1}}},
                {"required": ["run"], "properties": {"run": {"type": "string"}}},
            ]
        }
    )

    concepts: tuple[str, ...] = Field((), description="The concepts; otherwise name a run.")
    run: str | None = Field(
        None, description="Every concept whose parameters in force are from this run."
    )
    to: str | None = Field(
        None,
        pattern=r"^(default|[1-9][0-9]*)$",
        description="The id of a row, or 'default'; if empty, the row before.",
    )
    release: bool = Field(
        False, description="Remove the pin instead, so that a run may promote again."
    )
    actor: str | None = Field(
        None, max_length=255, description="Who requests it; if empty, the worker's account."
    )

    def check(self) -> None:
        """Check that there is exactly one way to name what is rolled back."""
        if bool(self.concepts) == (self.run is not None):
            raise UsageError("Name concepts by --concept, or a run by --run, and not both.")
        if self.run is not None and (self.to is not None or self.release):
            raise UsageError("--to and --release go with --concept; --run goes back by itself.")
