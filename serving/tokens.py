"""Bearer tokens: verified with the keys of the settings, or issued by this process."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import jwt

from bkt_core.errors import BktError, UsageError
from bkt_settings.serving import MIN_SECRET_BYTES, ServingSettings, TokenAlgorithm

if TYPE_CHECKING:
    from starlette.requests import Request

#: Tokens with more characters are refused before they are decoded.
MAX_TOKEN_CHARACTERS = 8_192
#: The issuer in development tokens.
DEVELOPMENT_ISSUER = "bkt-development"
#: Host names under which clients on this machine reach the service.
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Role(StrEnum):
    """The role of the subject of a token."""

    LEARNER = "learner"  # one user
    SERVICE = "service"  # the platform
    ADMIN = "admin"  # an operator


class TokenRefusedError(BktError):
    """A token is missing, malformed, expired, or from another issuer."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The subject and role in a token."""

    subject: str
    role: Role | None  # None means a role that this service does not know


class Tokens:
    """The keys of one service, and the tokens signed with them."""

    def __init__(self, settings: ServingSettings) -> None:
        self._algorithm = settings.token_algorithm.value
        self._issuer = settings.token_issuer or None
        self._audience = settings.token_audience or None
        self._leeway = settings.token_leeway_seconds
        self._keys = [
            _prepared(settings.token_algorithm, key.get_secret_value())
            for key in settings.token_keys
        ]
        #: True without configured keys: the service then signs tokens itself, on loopback only.
        self.issues_itself = not self._keys
        if self.issues_itself:
            self._algorithm = TokenAlgorithm.HS256.value
            self._issuer = DEVELOPMENT_ISSUER
            self._audience = None
            self._keys = [secrets.token_bytes(MIN_SECRET_BYTES)]

    def caller(self, token: str) -> Caller:
        """Verify a token and return its subject and role; raises `TokenRefusedError`."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise TokenRefusedError("The token is longer than any that this service accepts.")
        claims = self._claims(token)
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject:
            raise TokenRefusedError("The claim `sub` of the token must name its subject.")
        role = claims.get("role")
        known = role if isinstance(role, str) and role in set(Role) else None
        return Caller(subject, Role(known) if known else None)

    def issue(self, subject: str, role: str, lifetime: timedelta) -> tuple[str, datetime]:
        """Issue a development token; return it and the time at which it expires."""
        if not self.issues_itself:
            raise TokenRefusedError(
                "This service has keys; the owner of the keys issues tokens."
            )
        expires_at = datetime.now(UTC).replace(microsecond=0) + lifetime
        claims = {
            "sub": subject,
            "role": role,
            "iss": DEVELOPMENT_ISSUER,
            "exp": int(expires_at.timestamp()),
        }
        return jwt.encode(claims, self._keys[0], algorithm=self._algorithm), expires_at

    def _claims(self, token: str) -> dict[str, Any]:
        refusal: jwt.InvalidTokenError = jwt.InvalidSignatureError("no key fits")
        for key in self._keys:
            try:
                return self._decoded(token, key)
            except jwt.InvalidSignatureError as error:
                refusal = error
            except (jwt.InvalidTokenError, UnicodeError) as error:
                raise TokenRefusedError(_why(error)) from error
        raise TokenRefusedError(_why(refusal)) from refusal

    def _decoded(self, token: str, key: Any) -> dict[str, Any]:  # noqa: ANN401 - what PyJWT prepared
        return jwt.decode(
            token,
            key,
            algorithms=[self._algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=self._leeway,
            options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
        )


def is_local(request: Request) -> bool:
    """Return whether the request comes directly from this machine, under a local name."""
    if request.client is None or not _is_loopback(request.client.host):
        return False
    if any(name in request.headers for name in ("forwarded", "x-forwarded-for", "via")):
        return False
    host = request.headers.get("host", "")
    return host.rpartition(":")[0] in LOCAL_NAMES or host in LOCAL_NAMES


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _prepared(algorithm: TokenAlgorithm, key: str) -> Any:  # noqa: ANN401 - PyJWT's own key types
    """Parse the key into the form that PyJWT needs."""
    try:
        prepared = jwt.get_algorithm_by_name(algorithm.value).prepare_key(key)
    except (jwt.InvalidKeyError, ValueError, TypeError) as error:
        raise UsageError(
            f"A key in serving.token_keys must be a public key in PEM for {algorithm}; "
            f"it cannot be read: {type(error).__name__}."
        ) from error
    if hasattr(prepared, "private_bytes"):
        raise UsageError(
            f"A key in serving.token_keys must be a public key in PEM for {algorithm}, got a "
            "private one; keep that with the issuer of the tokens."
        )
    return prepared


def _why(error: Exception) -> str:
    if isinstance(error, jwt.ExpiredSignatureError):
        return "The token has expired; ask its issuer for a new one."
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token must have the claim {error.claim!r}."
    if isinstance(error, jwt.InvalidIssuerError | jwt.InvalidAudienceError):
        return "The token is from another issuer or for another audience."
    return "The token is not one that this service accepts."
