"""Parameters of the flows, as pydantic models; Prefect renders its forms from them."""

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


#: Days of the calendar (of every year a leap year); a Prefect server checks no formats.
_DAY = (
    r"\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)"
    r"|02-(0[1-9]|[12]\d))"
)
_TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})"

#: A moment with its time zone; a bare date is midnight UTC.
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
    """Base of all flow parameters: fields that the form validates, and rules over several."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def check(self) -> None:
        """Raise `UsageError` where the fields do not go together; the first line of a flow.

        Not at validation: a run that is refused there has neither a name nor a sentence.
        """


class Request(FlowRequest):
    """Which attempts and concepts a run is about, and how it fits them."""

    since: Moment | None = Field(None, description="Train on attempts from this moment on.")
    until: Moment | None = Field(None, description="Train on attempts before this moment.")
    concepts: tuple[str, ...] = Field((), description="Only these concepts; empty: all.")
    engine: EngineName | None = Field(
        None, title="Engine", description="Empty: the engine of the settings."
    )
    seed: int | None = Field(None, ge=0, description="Empty: the seed of the settings.")
    full: bool = Field(
        False, description="Read and refit everything, also what changed too little."
    )

    def check(self) -> None:
        """The window runs forward."""
        if self.since and self.until and self.since >= self.until:
            raise UsageError(
                f"The window must run forward, got since {self.since} and until {self.until}."
            )


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


class CompareRequest(Request):
    """Two algorithm versions on the same held-out users."""

    a: str = Field(description="The version that is compared with, such as the active one.")
    b: str = Field(description="The version that wants to take its place.")
    in_force: bool = Field(
        False,
        description="Compare the rows of parameters that each version has now; else fits "
        "of both on the attempts of today.",
    )

    def check(self) -> None:
        """Two versions, and a window that runs forward."""
        super().check()
        if self.a == self.b:
            raise UsageError(f"Two versions are compared, got {self.a!r} twice.")


class MonitorRequest(FlowRequest):
    """A look at how the parameters in force predict what came after their fit."""

    full: bool = Field(False, description="Read the whole log again, not only what is new.")


class DaysRequest(FlowRequest):
    """A range of past days, each as of its end in UTC."""

    first_day: Day = Field(description="The first day, such as 2026-01-31.")
    last_day: Day = Field(description="The last day: not before the first, and over.")
    as_known: bool = Field(
        False, description="What had been stored by then; else what had been answered by then."
    )

    def check(self) -> None:
        """The days run forward."""
        if self.first_day > self.last_day:
            raise UsageError(
                f"The days must run forward, got {self.first_day} to {self.last_day}."
            )


class BackfillSnapshotsRequest(DaysRequest):
    """The mastery snapshots that past days would have left."""

    params_of: str | None = Field(
        None,
        description="Use the parameters that this run promoted; empty: today's, or with "
        "'as known' those that were in force then.",
    )


class BackfillParamsRequest(DaysRequest):
    """Fits on what was there at the end of one past day after another."""

    step_days: int = Field(7, ge=1, le=3_660, description="Days from one fit to the next.")
    concepts: tuple[str, ...] = Field((), description="Only these concepts; empty: all.")
    engine: EngineName | None = Field(
        None, title="Engine", description="Empty: the engine of the settings."
    )
    seed: int | None = Field(None, ge=0, description="Empty: the seed of the settings.")
    promote: bool = Field(
        False, description="Promote the winners of the last day, as a night would."
    )


class RecomputeRequest(FlowRequest):
    """Mastery replayed from the attempt log."""

    concepts: tuple[str, ...] = Field((), description="Only these concepts; empty: all.")
    user: str | None = Field(None, description="Only this user; empty: everyone.")


class RollbackRequest(FlowRequest):
    """Older parameters in force again, by concept or by run."""

    model_config = ConfigDict(
        # A server checks these before there is a run.
        json_schema_extra={
            "oneOf": [
                {"required": ["concepts"], "properties": {"concepts": {"minItems": 1}}},
                {"required": ["run"], "properties": {"run": {"type": "string"}}},
            ]
        }
    )

    concepts: tuple[str, ...] = Field((), description="The concepts, or name a run.")
    run: str | None = Field(
        None, description="Every concept whose parameters in force are this run's."
    )
    to: str | None = Field(
        None,
        pattern=r"^(default|[1-9][0-9]*)$",
        description="The id of a row, or 'default'; empty: the row before.",
    )
    release: bool = Field(
        False, description="Take the pin off instead, so that a run may promote again."
    )
    actor: str | None = Field(
        None, max_length=255, description="Who asks; empty: the account of the worker."
    )

    def check(self) -> None:
        """Exactly one way to name what is rolled back."""
        if bool(self.concepts) == (self.run is not None):
            raise UsageError("Name concepts by --concept, or a run by --run, and not both.")
        if self.run is not None and (self.to is not None or self.release):
            raise UsageError("--to and --release go with --concept; --run goes back by itself.")
