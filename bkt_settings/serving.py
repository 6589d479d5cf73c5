"""The `[serving]` section: address, tokens and limits of the API."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from bkt_settings.reading import Section

#: Smallest length of a shared secret in bytes (RFC 7518, section 3.2).
MIN_SECRET_BYTES = 32


class TokenAlgorithm(StrEnum):
    """How tokens are signed; only one way, so that a public key is never used as a secret."""

    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


class Unknown(StrEnum):
    """What happens to an id that has never been seen."""

    CREATE = "create"
    REFUSE = "refuse"


def _no_keys_where_empty(value: object) -> object:
    return () if value == "" else value


class ServingSettings(Section):
    """The settings of the API."""

    host: str
    port: int = Field(ge=1, le=65535)
    database_connections: int = Field(ge=1, le=200)

    token_algorithm: TokenAlgorithm
    token_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(_no_keys_where_empty)]
    token_issuer: str
    token_audience: str
    token_leeway_seconds: int = Field(ge=0, le=300)
    learners_submit: bool

    unknown_users: Unknown
    unknown_concepts: Unknown
    unknown_questions: Unknown
    allowed_skew_minutes: float = Field(ge=0)

    max_body_kib: int = Field(ge=1)
    max_batch: int = Field(ge=1, le=10_000)
    max_page: int = Field(ge=1, le=10_000)
    params_cache_seconds: float = Field(ge=0)
    night_metrics_seconds: float = Field(ge=0)

    retrain_deployment: str
    recompute_deployment: str
    rollback_deployment: str
    activate_deployment: str
    max_children: int = Field(ge=1, le=16)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _keys_that_protect(self) -> ServingSettings:
        if not self.token_keys and not self.on_loopback:
            raise ValueError(
                f"listening on {self.host} needs token_keys (BKT_SERVING__TOKEN_KEYS); "
                "without a key the service starts only on loopback"
            )
        if self.token_algorithm is TokenAlgorithm.HS256 and any(
            len(key.get_secret_value().encode()) < MIN_SECRET_BYTES for key in self.token_keys
        ):
            raise ValueError(f"a key of HS256 needs at least {MIN_SECRET_BYTES} bytes")
        return self
