"""What goes over the wire: requests that refuse what is wrong, and answers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

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

#: An id has at most this many characters and UTF-8 bytes (docs/tables.md).
MAX_ID_CHARACTERS = 255
MAX_ID_BYTES = 1000
#: Concepts that one request may name.
MAX_CONCEPTS = 100
#: More than the settings can allow, for the document; the settings decide.
MOST_ATTEMPTS = 10_000
#: No moment before this one: what came was no time.
FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
#: How a moment begins; a number of seconds is not taken for one.
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}")
MAX_SERIAL = 2**63 - 1
#: What the document shows; it is a request that succeeds.
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
        raise ValueError("must not hold the character NUL")
    if len(text.encode()) > MAX_ID_BYTES:
        raise ValueError(f"must have at most {MAX_ID_BYTES} bytes in UTF-8")
    return text


def _is_text(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _DATED.match(value)):
        return value
    raise ValueError("must be text such as 2026-01-31T12:00:00+00:00")


def _in_utc(moment: datetime) -> datetime:
    if moment < FIRST_MOMENT:
        raise ValueError("must not lie before 1970")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies beyond what a calendar holds") from error


Id = Annotated[
    str,
    Field(min_length=1, max_length=MAX_ID_CHARACTERS, examples=["fractions-3"]),
    AfterValidator(_storable),
]
#: A moment with its time zone, from 1970 on.
Moment = Annotated[AwareDatetime, BeforeValidator(_is_text), AfterValidator(_in_utc)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Serial = Annotated[int, Field(ge=1, le=MAX_SERIAL)]
Count = Annotated[int, Field(ge=0)]


class Wire(BaseModel):
    """Unknown fields are refused, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BKTParams(Wire):
    """The four parameters by their letters."""

    p_L0: Probability
    p_T: Probability
    p_S: Probability
    p_G: Probability


class Attempt(Wire):
    """One answer. It names its concept, or a question whose concepts are known, or both."""

    question_id: Id | None = None
    concept_id: Id | None = None
    correct: StrictBool
    idempotency_key: Id = Field(
        description="The same in every repetition of this attempt, and in no other attempt."
    )
    attempted_at: Moment | None = Field(None, description="Empty: when the request arrives.")
    create_snapshot: StrictBool = False

    @model_validator(mode="after")
    def _has_a_concept(self) -> Attempt:
        if self.question_id is None and self.concept_id is None:
            raise ValueError("an attempt needs a concept_id, or a question_id with concepts")
        return self


class UpdateFromAttemptRequest(Attempt):
    """One answer of one user."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_USER | EXAMPLE_ATTEMPT]})

    user_id: Id


class BatchUpdateRequest(Wire):
    """Answers of one user, all stored or none, applied in the order of their times."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [EXAMPLE_USER | {"attempts": [EXAMPLE_ATTEMPT]}]}
    )

    user_id: Id
    attempts: list[Attempt] = Field(min_length=1, max_length=MOST_ATTEMPTS)


class BKTMetadata(Wire):
    """How one update came about."""

    p_correct_predicted: Probability
    observation: Literal[0, 1]
    algo_version: str
    param_id: int | None = Field(description="None: the defaults of the algorithm version.")
    attempted_at: datetime


class ConceptUpdateResponse(Wire):
    """What one attempt did at one concept."""

    concept_id: str
    p_mastery_prior: Probability
    p_mastery_new: Probability
    mastery_change: float
    n_attempts: Count
    params_used: BKTParams
    bkt_metadata: BKTMetadata


class UpdateFromAttemptResponse(ConceptUpdateResponse):
    """What one attempt did; further concepts of its question follow in `also_updated`."""

    user_id: str
    question_id: str | None
    is_duplicate: bool = Field(
        description="The attempt was stored before; the answer tells its present effect."
    )
    also_updated: list[ConceptUpdateResponse]


class BatchUpdateResponse(Wire):
    """One answer per attempt, in the order of the request."""

    user_id: str
    updates: list[UpdateFromAttemptResponse]


class GetMasteryRequest(Wire):
    """Whose mastery, of which concepts, as of when."""

    user_id: Id
    concept_ids: list[Id] = Field(
        [], max_length=MAX_CONCEPTS, description="Empty: every concept with attempts."
    )
    as_of: Moment | None = Field(None, description="From the snapshots; empty: now.")
    limit: int = Field(100, ge=1, le=10_000)
    cursor: str | None = Field(None, max_length=2000)


class MasteryStateResponse(Wire):
    """Mastery of one concept; without attempts it is what the parameters begin with."""

    concept_id: str
    p_mastery: Probability
    n_attempts: Count
    is_mastered: bool
    last_attempt_at: datetime | None
    updated_at: datetime | None


class GetMasteryResponse(Wire):
    """One page of a user's mastery, by concept."""

    user_id: str
    as_of: datetime | None
    mastery_threshold: Probability
    states: list[MasteryStateResponse]
    next_cursor: str | None


class GetParamsRequest(Wire):
    """Whose parameters."""

    concept_id: Id


class BKTParamsResponse(BKTParams):
    """The parameters in force for a concept, and which level of the hierarchy answered."""

    concept_id: str
    level: Literal["concept", "algorithm", "constants"]
    algo_version: str
    param_id: int | None
    run_id: str | None
    fitted_at: datetime | None


class ParamsEventResponse(Wire):
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


class ParamsHistoryRequest(Wire):
    """Which concept's history, newest first."""

    concept_id: Id
    limit: int = Field(100, ge=1, le=10_000)
    cursor: str | None = Field(None, max_length=2000)


class ParamsHistoryResponse(Wire):
    """One page of a concept's history."""

    concept_id: str
    events: list[ParamsEventResponse]
    next_cursor: str | None
