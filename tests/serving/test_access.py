"""Who may call what: the declared table, walked whole; and tokens that are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter

from serving.access import ACCESS, LOCAL, PUBLIC, GuardedRoute, Reach, access_table
from serving.app import create_app
from serving.routes.operations import PublicRoute
from serving.tokens import Role
from tests.serving.calling import (
    KEY,
    ROOT,
    Http,
    attempt,
    bearer,
    new_api,
    service_settings,
    token,
)

#: One call of each guarded route that is right in all but, perhaps, who makes it; about ann.
CALLS = {
    "submit_attempt": ("POST", "/attempts", attempt("k1")),
    "submit_batch": (
        "POST",
        "/attempts/batch",
        {
            "user_id": "ann",
            "attempts": [{"concept_id": "c", "correct": True, "idempotency_key": "b1"}],
        },
    ),
    "read_mastery": ("GET", "/mastery?user_id=ann", None),
    "predict": ("GET", "/predict?user_id=ann&concept_id=fractions", None),
    "read_params": ("GET", "/params?concept_id=fractions", None),
    "read_params_history": ("GET", "/params/history?concept_id=fractions", None),
    "start_recompute": ("POST", "/admin/recompute", {"everything": True}),
    "start_retrain": ("POST", "/admin/retrain", {}),
    "start_rollback": ("POST", "/admin/rollback", {"concept_id": "fractions"}),
    "start_activation": ("POST", "/admin/activate", {"version": "v2"}),
    "follow_launch": ("GET", "/admin/launches/launch-0", None),
    "list_runs": ("GET", "/runs", None),
    "follow_run": ("GET", "/runs/run-1", None),
}


def call(api, operation, headers):
    method, path, body = CALLS[operation]
    return api.http.request(method, ROOT + path, json=body, headers=headers)


def test_every_route_is_in_the_table_or_declared_public(plain_api):
    """The document names every route, so that none escapes the walk below."""
    document = plain_api.app.openapi()
    documented = {
        operation["operationId"]: operation
        for operations in document["paths"].values()
        for operation in operations.values()
    }
    assert set(documented) | {"openapi_document", "reference"} == set(ACCESS) | PUBLIC
    assert set(CALLS) == set(ACCESS)
    for operation in ACCESS:
        assert documented[operation]["security"] == [{"bearer": []}]


@pytest.mark.parametrize("who", [*Role, "janitor", None])
@pytest.mark.parametrize("operation", sorted(ACCESS))
def test_the_table_of_roles_and_routes(plain_api, operation, who):
    """A role that is not named is refused; one with reach `own` gets its own user only."""
    reach = ACCESS[operation].get(Role(who)) if who in set(Role) else None
    own = call(plain_api, operation, bearer(who, sub="ann"))
    others = call(plain_api, operation, bearer(who, sub="bob"))
    if reach is None:
        assert (own.status_code, others.status_code) == (403, 403)
    else:
        assert own.status_code in {200, 202, 404}
        assert others.status_code == (403 if reach is Reach.OWN else own.status_code)


def test_no_route_answers_without_a_token(plain_api):
    for operation in ACCESS:
        refused = call(plain_api, operation, {})
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert refused.headers["Content-Type"] == "application/problem+json"


def test_a_refused_caller_is_refused_before_the_body_is_read(plain_api):
    """What is wrong with a body is told only to those who may send one."""
    for headers in ({}, bearer("admin")):
        answer = plain_api.http.post(f"{ROOT}/attempts", content=b"{", headers=headers)
        assert answer.status_code in {401, 403}


def test_a_route_without_a_rule_cannot_be_built():
    guarded, public = APIRouter(route_class=GuardedRoute), APIRouter(route_class=PublicRoute)
    for router in (guarded, public):
        with pytest.raises(LookupError, match="forgotten"):

            @router.get("/forgotten")
            async def forgotten():
                return None


def test_learners_submit_only_where_the_settings_say_so(sqlite_url):
    table = access_table(learners_submit=False)
    assert Role.LEARNER not in table["submit_attempt"]
    assert table["read_mastery"][Role.LEARNER] is Reach.OWN
    api = new_api(sqlite_url, learners_submit=False)
    with api.http.running():
        assert call(api, "submit_attempt", bearer("learner", "ann")).status_code == 403
        assert call(api, "read_mastery", bearer("learner", "ann")).status_code == 200


NOT_OURS = "another key, of another issuer, of 32 bytes"


def claims(**more):
    soon = int((datetime.now(UTC) + timedelta(minutes=5)).timestamp())
    return {"sub": "p", "role": "service", "exp": soon} | more


BAD_TOKENS = {
    "expired": token(exp=int((datetime.now(UTC) - timedelta(minutes=5)).timestamp())),
    "foreign": token(key=NOT_OURS),
    "unsigned": jwt.encode(claims(), None, algorithm="none"),
    "another algorithm": jwt.encode(claims(), KEY * 2, algorithm="HS512"),
    "without an end": token(exp=None),
    "without a subject": token(sub=None),
    "subject that is no text": jwt.encode(claims(sub=7), KEY, algorithm="HS256"),
    "not yet valid": token(nbf=int((datetime.now(UTC) + timedelta(hours=1)).timestamp())),
    "no token": "abc",
    "three dots": "...",
    "too long": "a" * 100_000,
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_bad_tokens_are_refused_with_a_reason(plain_api, name):
    headers = {"Authorization": f"Bearer {BAD_TOKENS[name]}"}
    refused = call(plain_api, "read_mastery", headers)
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    assert refused.json()["detail"]


@pytest.mark.parametrize("header", [f"Basic {token()}", "Bearer", "Bearer ", "bearer\t", ""])
def test_headers_that_hold_no_token_are_refused(plain_api, header):
    """A good token under another scheme is none either; the answer names no fault of it."""
    refused = call(plain_api, "read_mastery", {"Authorization": header})
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="bkt"'


def test_a_token_of_other_bytes_is_refused(plain_api):
    header = "Bearer é".encode("latin-1")
    assert call(plain_api, "read_mastery", {"Authorization": header}).status_code == 401


def test_issuer_and_audience_are_asked_for_where_the_settings_name_them(sqlite_url):
    rules = {"token_issuer": "platform", "token_audience": "bkt"}
    api = new_api(sqlite_url, **rules)
    with api.http.running():

        def status(**more):
            return call(api, "read_mastery", bearer("service", **more)).status_code

        assert status(iss="platform", aud="bkt") == 200
        for wrong in (
            {},
            {"iss": "platform"},
            {"iss": "platform", "aud": "shop"},
            {"iss": "x"},
        ):
            assert status(**wrong) == 401


def test_keys_can_follow_each_other(sqlite_url):
    """Tokens of every key in the settings are accepted, so that a key can be replaced."""
    api = new_api(sqlite_url, token_keys=[NOT_OURS, KEY])
    with api.http.running():
        for key in (KEY, NOT_OURS):
            headers = {"Authorization": f"Bearer {token(key=key)}"}
            assert call(api, "read_mastery", headers).status_code == 200


def test_a_public_key_verifies_and_is_never_taken_for_a_secret(sqlite_url):
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    rules = {"token_algorithm": "ES256", "token_keys": [pem.decode()]}
    api = new_api(sqlite_url, **rules)
    signed = jwt.encode(claims(), private, algorithm="ES256")
    with api.http.running():
        good = {"Authorization": f"Bearer {signed}"}
        assert call(api, "read_mastery", good).status_code == 200
        assert call(api, "read_mastery", bearer()).status_code == 401


def test_development_tokens_are_for_this_machine_alone(sqlite_url):
    """Not through a proxy, not under another name, and not where the service has a key."""
    app = create_app(service_settings(sqlite_url, token_keys=[]))
    path, body = "/v1/development/token", {"sub": "ann", "role": "learner"}
    assert "issue_development_token" in LOCAL
    near, far = Http(app), Http(app, client="192.0.2.7")
    with near.running():
        issued = near.post(path, json=body)
        headers = {"Authorization": f"Bearer {issued.json()['access_token']}"}
        own = near.get(f"{ROOT}/mastery?user_id=ann", headers=headers)
        assert (issued.status_code, own.status_code) == (200, 200)
        for spoof in (
            {"X-Forwarded-For": "127.0.0.1"},
            {"Forwarded": "for=127.0.0.1"},
            {"Host": "evil.example"},
            {"Host": "127.0.0.1.evil.example:80"},
        ):
            assert near.post(path, json=body, headers=spoof).status_code == 403
    with far.running():
        assert far.post(path, json=body).status_code == 403
    guarded = new_api(sqlite_url)
    with guarded.http.running():
        assert guarded.http.post(path, json=body).status_code == 404
