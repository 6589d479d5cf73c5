"""The errors of this project; their texts say what was expected, what came, what to do."""

from __future__ import annotations


class BktError(Exception):
    """Base of all errors of this project; the text is one or two sentences for a person.

    `exit_code` is what the command line returns when the error reaches it
    (docs/command-line.md).
    """

    exit_code = 1


class UsageError(BktError):
    """The call itself is wrong: an unknown setting, an invalid flag or a missing argument."""

    exit_code = 2


class BadInputError(BktError):
    """Data from outside cannot be used."""


class InvalidParamsError(BktError):
    """A BKT parameter is not a probability."""

    def __init__(self, *, name: str, value: float) -> None:
        super().__init__(f"{name} must be a probability in [0, 1], got {value!r}.")
        self.name = name
        self.value = value


class UnknownSettingsError(BktError):
    """The settings of an algorithm version contain keys that this release cannot run."""

    def __init__(self, *, unknown: list[str], known: list[str]) -> None:
        super().__init__(
            f"The settings of an algorithm version must be among {', '.join(known)}, got "
            f"{', '.join(unknown)}, which this release does not know; correct the key, or run "
            "the release that wrote it."
        )
        self.unknown = unknown


class InvalidSequencesError(BktError):
    """Attempts and offsets do not describe valid sequences of users."""


class LikelihoodFellError(BktError):
    """An EM step lowered the likelihood, which is a defect of the engine, never of the data."""

    def __init__(self, *, step: int, before: float, after: float) -> None:
        super().__init__(
            f"EM step {step} lowered the log-likelihood from {before!r} to {after!r}; "
            "this is a defect of the engine, please report it with the concept's attempts."
        )
        self.step = step
        self.before = before
        self.after = after


class InvalidInputError(BktError):
    """A number passed to the model is not finite, or an outcome is not 0 or 1."""

    def __init__(self, *, name: str, value: object, expected: str = "a finite number") -> None:
        super().__init__(f"{name} must be {expected}, got {value!r}.")
        self.name = name
        self.value = value


class InsufficientDataError(BktError):
    """The users of a concept fall into too few folds for cross-validation."""

    def __init__(self, *, n_usable: int, needed: int) -> None:
        super().__init__(
            f"Cross-validation needs {needed} folds with users on both sides, "
            f"these users give {n_usable}."
        )
        self.n_usable = n_usable
