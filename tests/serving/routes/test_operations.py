"""Health, metrics, limits of what is remembered, and the page for people."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from datasets.store.connections.engines import make_engine, reading
from serving.access import ACCESS
from serving.params_cache import ParamsCache
from serving.routes.reference import reference_page
from tests.datasets.store.writing import PARAMS, promote
from tests.serving.calling import ROOT, new_api
from tests.serving.running import listening

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def test_health_readiness_and_metrics(plain_api):
    assert plain_api.http.get("/health").json() == {"status": "ok"}
    assert plain_api.http.get("/ready").json() == {"status": "ready"}
    plain_api.submit("k1")
    plain_api.submit("k1")
    plain_api.http.get("/no/such/path")
    said = plain_api.http.get("/metrics").text
    assert 'bkt_attempts_total{outcome="recorded"} 1.0' in said
    assert 'bkt_attempts_total{outcome="duplicate"} 1.0' in said
    assert f'method="POST",route="{ROOT}/attempts",status="200"}} 2.0' in said
    assert 'route="unrouted",status="404"} 1.0' in said
    assert "bkt_database_up 1.0" in said


def test_metrics_hold_no_ids(plain_api):
    plain_api.submit("a-key", user_id="a-user", concept_id="a-concept")
    plain_api.get("/runs/a-run-of-somebody", "admin")
    said = plain_api.http.get("/metrics").text
    assert not re.search("a-key|a-user|a-concept|a-run", said)


def test_a_database_that_was_not_migrated_is_told_so(tmp_path):
    api = new_api(f"sqlite:///{tmp_path / 'empty.db'}")
    with api.http.running():
        for answer in (
            api.http.get("/ready"),
            api.submit("k"),
            api.get("/mastery", user_id="a"),
        ):
            assert answer.status_code == 503
            assert "bkt init" in answer.json()["detail"]
        assert api.http.get("/health").status_code == 200


def test_the_cache_is_as_old_as_it_declares_and_no_older(sqlite_url):
    now = [0.0]
    cache = ParamsCache(5.0, clock=lambda: now[0])
    engine = make_engine(sqlite_url)

    def guess():
        with reading(engine) as conn:
            return cache.concept_params(conn, "fractions").params.p_G

    before = guess()
    promote(engine, "run-1", "fractions")
    now[0] = 4.999
    assert guess() == before
    now[0] = 5.0
    assert guess() == PARAMS.p_G
    engine.dispose()


def test_the_page_names_every_route_and_fetches_nothing(plain_api):
    answer = plain_api.http.get("/docs")
    page = answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<script|<link|<img|src=|@import|url\(|https?://", page)
    for operation in ACCESS:
        assert f'id="{operation}"' in page


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_page_opens_in_a_browser(sqlite_url, tmp_path):
    """Under its own Content-Security-Policy, without a complaint."""
    flags = ["--headless=new", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    with listening(new_api(sqlite_url).app) as address:
        command = [str(CHROMIUM), *flags, "--enable-logging=stderr", "--dump-dom"]
        done = subprocess.run(
            [*command, f"{address}/docs"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    assert "<h1>BKT service" in done.stdout
    for operation in ACCESS:
        assert f'<details id="{operation}">' in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr


def test_the_examples_of_the_document_succeed(plain_api):
    schemas = plain_api.app.openapi()["components"]["schemas"]
    for path, name in (
        ("/attempts", "UpdateFromAttemptRequest"),
        ("/attempts/batch", "BatchUpdateRequest"),
    ):
        for example in schemas[name]["examples"]:
            assert plain_api.post(path, example).status_code == 200


def test_limits_are_told_also_where_a_field_may_be_null(plain_api):
    page = plain_api.http.get("/docs").text
    row = re.search(r"<tr><th>question_id</th>.*?</tr>", page, re.DOTALL)
    assert row
    assert "characters at most 255" in row[0]


def test_what_stands_in_the_document_cannot_become_markup():
    said = "<script>alert(1)</script>"
    document = {
        "info": {"title": said, "version": said, "description": said},
        "paths": {
            f"/{said}": {
                "get": {
                    "operationId": said,
                    "tags": [said],
                    "summary": said,
                    "description": said,
                    "responses": {said: {"description": said}},
                }
            }
        },
        "components": {
            "schemas": {said: {"description": said, "properties": {said: {"default": said}}}}
        },
    }
    assert "<script" not in reference_page(document)


@pytest.mark.slow
def test_the_service_layer_needs_neither_orchestrator_nor_tracker():
    """Also when the whole application is made."""
    code = (
        "import sys, serving.app; "
        "sys.exit(any(m in sys.modules for m in ('prefect', 'mlflow', 'flows')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
