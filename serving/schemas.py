"""Request and response models of the API; requests are validated when they are parsed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    model_validator,
)

#: Limits of an id in characters and in UTF-8 bytes (docs/tables.md).
MAX_ID_CHARACTERS = 255
MAX_ID_BYTES = 1000
#: Most concepts that one request may name.
MAX_CONCEPTS = 100
#: Upper limit of a batch in the API document; the limit in the settings is never higher and
#: is the one that applies.
MOST_ATTEMPTS = 10_000
#: Earliest time that is accepted; anything earlier is taken for an error of the client.
FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
#: Start of a time in ISO 8601; a number of seconds is refused.
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}")
MAX_SERIAL = 2**63 - 1
#: Examples in the API document; together they form a request that succeeds.
EXAMPLE_USER: dict[str, JsonValue] = {"user_id": "ann"}
EXAMPLE_ATTEMPT: dict[str, JsonValue] = {
    "question_id": "fractions-3-q7",
    "concept_id": "fractions-3",
    "correct": True,
    "idempotency_key": "9f2c1f8e-4a52-4b7b",
    "attempted_at": "2026-01-31T12:00:00+00:00",
}


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the NUL character")
    if len(text.encode()) > MAX_ID_BYTES:
        raise ValueError(f"must have at most {MAX_ID_BYTES} bytes in UTF-8")
    return text


def _is_text(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _DATED.match(value)):
        return value
    raise ValueError("must be text such as 2026-01-31T12:00:00+00:00")


def _in_utc(time: datetime) -> datetime:
    if time < FIRST_MOMENT:
        raise ValueError("must not be before 1970")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


Id = Annotated[
    str,
    Field(min_length=1, max_length=MAX_ID_CHARACTERS, examples=["fractions-3"]),
    AfterValidator(_storable),
]
#: A time with a time zone, not before 1970.
Moment = Annotated[AwareDatetime, BeforeValidator(_is_text), AfterValidator(_in_utc)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Serial = Annotated[int, Field(ge=1, le=MAX_SERIAL)]
Count = Annotated[int, Field(ge=0)]


class ApiModel(BaseModel):
    """Base of all models: unknown fields are refused and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _part(description: str) -> Any:  # noqa: ANN401 - as pydantic's Field
    """Return a field of versions that have the part; others leave it out."""
    return Field(
        None,
        exclude_if=lambda value: value is None,
        description=f"{description} Absent where the version has none.",
    )


class BKTParams(ApiModel):
    """The BKT parameters of a concept."""

    p_L0: Probability
    p_T: Probability
    p_S: Probability
    p_G: Probability
    p_F: Probability | None = _part("Lost between two attempts at the concept.")
    w_recent: float | None = _part("Weight of the user's last outcomes, over all concepts.")
    w_long: float | None = _part("Weight of the user's outcomes, fading slowly.")
    w_share: float | None = _part("Weight of the user's share of right answers so far.")
    w_gap: float | None = _part("Weight of the time since the last attempt at the concept.")
    w_first: float | None = _part("Weight of a first attempt at the concept.")


class Attempt(ApiModel):
    """One attempt. It names its concept, or a question whose concepts are known, or both."""

    question_id: Id | None = None
    concept_id: Id | None = None
    correct: StrictBool
    idempotency_key: Id = Field(
        description="The same key for every retry of this attempt; unique among attempts."
    )
    attempted_at: Moment | None = Field(
        None, description="If omitted: the time at which the request arrives."
    )
    create_snapshot: StrictBool = False

    @model_validator(mode="after")
    def _has_a_concept(self) -> Attempt:
        if self.question_id is None and self.concept_id is None:
            raise ValueError("an attempt needs a concept_id, or a question_id with concepts")
        return self


class UpdateFromAttemptRequest(Attempt):
    """One attempt of one user."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_USER | EXAMPLE_ATTEMPT]})

    user_id: Id


class BatchUpdateRequest(ApiModel):
    """Attempts of one user: all are stored or none; they apply in the order of their times."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [EXAMPLE_USER | {"attempts": [EXAMPLE_ATTEMPT]}]}
    )

    user_id: Id
    attempts: list[Attempt] = Field(min_length=1, max_length=MOST_ATTEMPTS)


class BKTMetadata(ApiModel):
    """How one update was computed."""

    p_correct_predicted: Probability
    observation: Literal[0, 1]
    algo_version: str
    param_id: int | None = Field(description="null: the version's defaults.")
    attempted_at: datetime


class ConceptUpdateResponse(ApiModel):
    """The effect of one attempt on one concept."""

    concept_id: str
    p_mastery_prior: Probability
    p_mastery_new: Probability
    mastery_change: float
    n_attempts: Count
    params_used: BKTParams
    bkt_metadata: BKTMetadata


class UpdateFromAttemptResponse(ConceptUpdateResponse):
    """The effect of one attempt; `also_updated` has the other concepts of its question."""

    user_id: str
    question_id: str | None
    is_duplicate: bool = Field(
        description="The attempt was stored before; the response gives its current effect."
    )
    also_updated: list[ConceptUpdateResponse]


class BatchUpdateResponse(ApiModel):
    """One update per attempt, in the order of the request."""

    user_id: str
    updates: list[UpdateFromAttemptResponse]


class GetMasteryRequest(ApiModel):
    """The user whose mastery is read, the concepts, and optionally a time in the past."""

    user_id: Id
    concept_ids: list[Id] = Field(
        [], max_length=MAX_CONCEPTS, description="If omitted: every concept with attempts."
    )
    as_of: Moment | None = Field(
        None, description="Mastery at this time, from the snapshots. If omitted: now."
    )
    limit: int = Field(100, ge=1, le=10_000)
    cursor: str | None = Field(None, max_length=2000)


class MasteryStateResponse(ApiModel):
    """Mastery of one concept; without attempts it is the p_L0 in force."""

    concept_id: str
    p_mastery: Probability
    n_attempts: Count
    is_mastered: bool
    last_attempt_at: datetime | None
    updated_at: datetime | None


class GetMasteryResponse(ApiModel):
    """One page of a user's mastery, by concept."""

    user_id: str
    as_of: datetime | None
    mastery_threshold: Probability
    states: list[MasteryStateResponse]
    next_cursor: str | None


class GetParamsRequest(ApiModel):
    """The concept whose parameters are read."""

    concept_id: Id


class BKTParamsResponse(BKTParams):
    """The parameters in force for a concept, and the level of the hierarchy they come from."""

    concept_id: str
    level: Literal["concept", "algorithm", "constants"]
    algo_version: str
    param_id: int | None
    run_id: str | None
    fitted_at: datetime | None


class ParamsEventResponse(ApiModel):
    """One decision on a concept's parameters."""

    event_id: int
    decision: str
    created_at: datetime
    actor: str
    run_id: str | None
    from_param_id: int | None
    to_param_id: int | None
    to_params: BKTParams | None
    reasons: list[object]


class ParamsHistoryRequest(ApiModel):
    """The concept whose history is read, newest event first."""

    concept_id: Id
    limit: int = Field(100, ge=1, le=10_000)
    cursor: str | None = Field(None, max_length=2000)


class ParamsHistoryResponse(ApiModel):
    """One page of a concept's history."""

    concept_id: str
    events: list[ParamsEventResponse]
    next_cursor: str | None
