"""Request and response models of the routes for operators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StringConstraints, model_validator

from serving.schemas import MAX_CONCEPTS, ApiModel, Id, Moment, Serial

#: The id of a run, which is a hash.
RunId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
#: The name of an algorithm version; it cannot be taken for a flag.
VersionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
LaunchId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class RecomputeMasteryRequest(ApiModel):
    """Replay states: of some concepts, of one user, or all."""

    concept_ids: list[Id] = Field([], max_length=MAX_CONCEPTS)
    user_id: Id | None = None
    everything: StrictBool = False

    @model_validator(mode="after")
    def _says_what(self) -> RecomputeMasteryRequest:
        named = bool(self.concept_ids) + (self.user_id is not None) + self.everything
        if named != 1:
            raise ValueError("name concept_ids, or a user_id, or everything: exactly one")
        return self


class RetrainRequest(ApiModel):
    """Retrain: fit, judge, promote, recompute."""

    since: Moment | None = None
    until: Moment | None = None
    concept_ids: list[Id] = Field([], max_length=MAX_CONCEPTS)
    full: StrictBool = False
    approve_concept_ids: list[Id] = Field(
        [],
        max_length=MAX_CONCEPTS,
        description="Concepts to promote even if many users would cross the mastery threshold.",
    )

    @model_validator(mode="after")
    def _window_runs_forward(self) -> RetrainRequest:
        if self.since and self.until and self.since >= self.until:
            raise ValueError("since must be before until")
        return self


class RollbackRequest(ApiModel):
    """Make older parameters active again, by concept or by run, or remove the pin."""

    concept_id: Id | None = None
    run_id: RunId | None = None
    to: Serial | Literal["default"] | None = Field(
        None,
        description="A param_id of the concept, or its defaults. If omitted: the row before.",
    )
    release: StrictBool = False

    @model_validator(mode="after")
    def _says_what(self) -> RollbackRequest:
        if (self.concept_id is None) == (self.run_id is None):
            raise ValueError("name a concept_id or a run_id: exactly one")
        if self.run_id is not None and (self.to is not None or self.release):
            raise ValueError("`to` and `release` go with a concept_id, not with a run_id")
        if self.to is not None and self.release:
            raise ValueError("`to` rolls back and `release` does not: name one of them")
        return self


class ActivateRequest(ApiModel):
    """Put another algorithm version in force; the former one is activated to go back."""

    version: VersionName
    approve: StrictBool = Field(
        False,
        description="A person has looked at the comparison: activate whatever the evidence "
        "says. Otherwise the launch fails with exit code 3 if the version is shown to be worse "
        "or moves too many users across the mastery threshold.",
    )


class LaunchResponse(ApiModel):
    """Work that was started, and its state."""

    launch_id: str
    command: Literal["retrain", "recompute", "rollback", "activate"]
    via: Literal["process", "prefect"]
    status: Literal["running", "done", "failed"]
    started_at: datetime
    exit_code: int | None = Field(description="Exit code of a child process that has ended.")
    run_id: str | None = Field(description="The id of the run, once it is known.")
    detail: str | None


class RecomputeMasteryResponse(LaunchResponse):
    """The recomputation that was started."""


class RunResponse(ApiModel):
    """One run of any kind."""

    run_id: str
    kind: str
    status: str
    started_at: datetime
    finished_at: datetime | None


class RunDetailResponse(RunResponse):
    """One run with its manifest."""

    manifest: dict[str, Any]


class RunsRequest(ApiModel):
    """The page of runs to return, newest first."""

    limit: int = Field(50, ge=1, le=10_000)
    cursor: str | None = Field(None, max_length=2000)


class RunsResponse(ApiModel):
    """One page of runs."""

    runs: list[RunResponse]
    next_cursor: str | None


class DevelopmentTokenRequest(ApiModel):
    """The subject and role of the development token."""

    sub: Id
    role: Literal["learner", "service", "admin"]
    minutes: int = Field(60, ge=1, le=1440)


class DevelopmentTokenResponse(ApiModel):
    """A token that only this process accepts."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_at: datetime
