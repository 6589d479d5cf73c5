"""What a complete run leaves behind holds no secret and no pickle, and nobody else can call."""

from __future__ import annotations

import json
import os
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from tests.postgres_server import NoServerError, postgres_server
from tests.security.complete_run import SECRETS, CompleteRun, complete_run
from tests.security.searching import (
    files_below,
    leaks,
    pickles,
    rows_of_postgres,
    texts_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

#: Who may pickle, by the module that calls pickle, and why that is no pickle of ours:
PICKLED_BY_OTHERS = {
    # compiled code on its way to and from __pycache__, a file of the installation as .pyc is
    "numba": "",
    # a hash of a task's name, computed from the bytes and thrown away
    "cloudpickle.cloudpickle < cloudpickle.cloudpickle < prefect.utilities.hashing": "Pickler",
    # a constant of the module that its cache, which we do not use, would write
    "jinja2.bccache": "dumps",
}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompleteRun]:
    """A complete run; its servers are gone, its database is there."""
    try:
        with postgres_server(fsync="off", log_statement="all", log_connections="on") as server:
            yield complete_run(tmp_path_factory.mktemp("plants"), server)
    except NoServerError as missing:
        if os.environ.get("BKT_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"BKT_REQUIRE_POSTGRES=1, but {missing}")
        pytest.skip(str(missing))


def test_every_command_did_its_work(lived: CompleteRun):
    """A run that did nothing would leak nothing."""
    codes = {name: said.exit_code for name, said in lived.said.items()}
    expected = dict.fromkeys(codes, 0) | {"fails": 2, "wrong retrain": 1, "wrong doctor": 1}
    # the server that the suite starts has fsync off, which the doctor calls a fault
    wrong = {name for name, code in codes.items() if code != expected[name]} - {"doctor"}
    assert not wrong, {name: lived.said[name].stderr[-3000:] for name in wrong}
    assert codes["doctor"] == 1
    checks = {
        c["name"]: c["verdict"] for c in json.loads(lived.said["doctor"].stdout)["checks"]
    }
    assert (checks["database"], checks["mlflow"]) == ("ok", "ok")
    assert "password authentication failed" in lived.said["wrong retrain"].stderr
    (log,) = lived.home.glob("runs/*/log.jsonl")
    assert "shard done" in log.read_text()


def test_no_output_tells_a_secret(lived: CompleteRun):
    """Neither to a person nor to a program, with --debug or without."""
    for name, said in lived.said.items():
        texts = [said.stdout.encode(), said.stderr.encode()]
        assert leaks(SECRETS, texts) == set(), name


def test_no_file_tells_a_secret(lived: CompleteRun):
    """Run folders, logs, extracts, what Prefect and MLflow store, what the servers log."""
    roots = (lived.home, lived.tracking)
    searched = [path for root in roots for path in files_below(root)]
    found = {str(path): told for path in searched if (told := leaks(SECRETS, texts_of(path)))}
    assert found == {}
    names = {path.name for path in searched}
    assert {
        "log.jsonl", "evidence.json", "report.html", "prefect.db", "mlflow.db", "MLmodel",
        "manifest.json", "server.log", "quarantine.parquet",
    } - names <= {"quarantine.parquet"}  # fmt: skip
    assert leaks(SECRETS, [lived.server.log().encode()]) <= set(SECRETS[:2])  # CREATE ROLE


def test_no_row_tells_a_secret(lived: CompleteRun):
    """Every row of every table, the manifests of runs among them."""
    rows = list(rows_of_postgres(lived.admin_url))
    assert len(rows) > 1000
    assert leaks(SECRETS, rows) == set()


def test_nothing_of_ours_is_pickled(lived: CompleteRun):
    """In the commands' own process: nobody but Numba reads one, for its compiled code."""
    assert lived.pickled
    strange = [
        (what, by, n) for what, by, n in lived.pickled
        if not any(
            by.startswith(module) and (what == kind or not kind)
            for module, kind in PICKLED_BY_OTHERS.items()
        )
    ]  # fmt: skip
    assert strange == []


def test_no_file_is_a_pickle(lived: CompleteRun):
    """Whoever wrote it, in whatever process: no file, no column, no storage of Prefect's."""
    assert [
        p for root in (lived.home, lived.tracking) for p in files_below(root) if pickles(p)
    ] == []
    stored = files_below(lived.home / "prefect" / "storage")
    assert stored, "a failed flow leaves its exception here"


def test_everything_listens_on_loopback_only(lived: CompleteRun):
    """Prefect's own server, the service, MLflow as the guides start it."""
    assert lived.listened
    assert all(ip_address(address).is_loopback for address in lived.listened), lived.listened
