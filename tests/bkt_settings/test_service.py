"""The `[serving]` section: what protects it, and what its errors say and do not say."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bkt_core.errors import UsageError
from bkt_settings.pipeline import load_settings
from bkt_settings.reading import read_settings
from bkt_settings.service import ServiceSettings, load_service_settings
from serving.tokens import Tokens
from tests.serving.calling import KEY


def serving(**changed):
    return read_settings(ServiceSettings, serving=changed).serving


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_without_a_key_loopback_is_served(host):
    assert Tokens(serving(host=host)).issues_itself


@pytest.mark.parametrize("host", ["::", "192.0.2.1", "localhost.example.org", ""])
def test_without_a_key_nothing_but_loopback_is_served(host):
    with pytest.raises(UsageError, match="needs token_keys"):
        serving(host=host)
    assert not Tokens(serving(host=host, token_keys=[KEY])).issues_itself


def test_a_secret_that_is_too_short_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="at least 32 bytes") as refused:
        serving(token_keys=["sesame"])
    assert "sesame" not in str(refused.value)


def test_a_public_key_that_is_none_is_refused_and_not_repeated():
    rules = {"token_algorithm": "RS256", "token_keys": ["sesame" * 10]}
    with pytest.raises(UsageError, match="PEM") as refused:
        Tokens(serving(**rules))
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("algorithm", "new_key"),
    [
        ("RS256", lambda: rsa.generate_private_key(65_537, 2_048)),
        ("ES256", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate),
    ],
)
def test_a_private_key_is_refused_and_not_repeated(algorithm, new_key):
    """Who verifies needs the public key alone; with RS256 every request would be a 500."""
    pem = (
        new_key()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )
    with pytest.raises(UsageError, match="public key") as refused:
        Tokens(serving(token_algorithm=algorithm, token_keys=[pem]))
    assert pem[40:60] not in str(refused.value)


@pytest.mark.parametrize("read", [load_settings, load_service_settings])
def test_a_misspelt_variable_is_refused(monkeypatch, read):
    monkeypatch.setenv("BKT_SERVING__TOKEN_KEY", "x")
    with pytest.raises(UsageError, match="BKT_SERVING__TOKEN_KEY"):
        read()


@pytest.mark.parametrize("read", [load_settings, load_service_settings])
def test_both_readers_see_the_same_section(monkeypatch, read):
    monkeypatch.setenv("BKT_SERVING__MAX_BATCH", "7")
    monkeypatch.setenv("BKT_SERVING__TOKEN_KEYS", f'["{KEY}"]')
    section = read().serving
    assert section.max_batch == 7
    assert [key.get_secret_value() for key in section.token_keys] == [KEY]


def test_a_list_that_is_no_json_is_a_sentence(monkeypatch):
    monkeypatch.setenv("BKT_SERVING__TOKEN_KEYS", "sesame")
    with pytest.raises(UsageError, match="written as JSON"):
        load_service_settings()


def test_keys_do_not_show_in_what_is_printed():
    assert KEY not in repr(serving(token_keys=[KEY]))
