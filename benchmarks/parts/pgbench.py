"""pgbench on the statements of one update, as the service sends them: what PostgreSQL can do.

The statements are taken from a recorded attempt; ids, keys and times become variables of
pgbench, everything that Python computes between them stays a constant.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import event

from datasets.store.attempts.new_attempt import NewAttempt
from datasets.store.online.recording import record

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

#: What stands for the variables while the statements are recorded.
USER, CONCEPT, KEY, QUESTION = "user-0", "concept-0", "recorded-key", "question-0"
_TPS = re.compile(r"^tps = (?P<tps>[\d.]+)", re.MULTILINE)
_LATENCY = re.compile(r"^\d+ \d+ (?P<us>\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class Bench:
    """Transactions per second, and the sorted latencies in milliseconds."""

    per_second: float
    latencies_ms: list[float]

    def quantile_ms(self, q: float) -> float:
        """The latency below which a share `q` of the transactions stayed."""
        return self.latencies_ms[
            min(int(q * len(self.latencies_ms)), len(self.latencies_ms) - 1)
        ]


def statements_of_an_update(engine: Engine) -> list[str]:
    """The statements of one attempt at a state that is there, with their values as literals."""
    heard: list[tuple[str, object]] = []

    def note(
        _conn: object, _cursor: object, statement: str, values: object, *_more: object
    ) -> None:
        heard.append((statement, values))

    now = datetime.now(UTC)
    attempt = NewAttempt(
        idempotency_key=KEY,
        user_id=USER,
        correct=1,
        attempted_at=now,
        question_id=QUESTION,
        concept_ids=(CONCEPT,),
        source="service",
    )
    with engine.connect() as conn:
        event.listen(conn, "before_cursor_execute", note)
        record(conn, attempt, at=now)
        driver = conn.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        cursor = psycopg.ClientCursor(driver)
        literal = [cursor.mogrify(statement, values) for statement, values in heard]
        conn.rollback()
    return literal


def script_of(statements: list[str], *, users: int, concepts: int) -> str:
    """The script of pgbench: the same statements in one transaction."""
    replaced = {
        rf"'{USER}'": "('user-' || :u::text)",
        rf"'{CONCEPT}'": "('concept-' || :c::text)",
        rf"'{QUESTION}'": "('question-' || :q::text)",
        rf"'{KEY}'": "('pgbench-' || :client_id::text || '-' || :n::text)",
        r"'20\d\d-\d\d-\d\d \d\d:\d\d:\d\d[^']*'(::timestamptz)?": "now()",
    }
    lines = [
        f"\\set u random(0, {users - 1})",
        f"\\set c random(0, {concepts - 1})",
        "\\set q random(0, 999)",
        "\\set n random(1, 1000000000000000)",
        "BEGIN;",
    ]
    for statement in statements:
        text = " ".join(statement.split())
        for literal, variable in replaced.items():
            text = re.sub(literal, variable, text)
        lines.append(f"{text};")
    return "\n".join([*lines, "COMMIT;", ""])


def run_pgbench(
    program: Path, folder: Path, database: str, script: str, *, clients: int, seconds: int
) -> Bench:
    """Run the script by prepared statements over the server's socket in `folder`."""
    file = folder / "update.sql"
    file.write_text(script)
    for old in folder.glob("latency*"):
        old.unlink()
    done = subprocess.run(
        [
            program, "--no-vacuum", "--protocol=prepared", f"--file={file}", "--log",
            f"--log-prefix={folder / 'latency'}", f"--client={clients}", "--jobs=1",
            f"--time={seconds}", "--host", folder, "--username=postgres", database,
        ],
        capture_output=True, text=True, check=False, timeout=seconds + 60,
    )  # fmt: skip
    found = _TPS.search(done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench must succeed, it said: {done.stderr[-2000:]}")
    logs = "".join(log.read_text() for log in folder.glob("latency*"))
    return Bench(float(found["tps"]), sorted(int(us) / 1e3 for us in _LATENCY.findall(logs)))
