"""`bkt serve`: run the API in this process until it is interrupted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.console import Console

from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import make_engine
from datasets.store.errors import DatabaseError, NotMigratedError
from datasets.store.schema.revision import require_current
from flows.cli.output import DEFAULT_OUTPUT, Output

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings

#: uvicorn loads it by name, because no module of `flows` may import `serving`.
APPLICATION = "serving.app:create_app"
#: Seconds that requests in progress have to finish when the service is stopped.
SHUTDOWN_SECONDS = 15


def serve(
    *, host: str | None = None, port: int | None = None, output: Output = DEFAULT_OUTPUT
) -> int:
    """Serve the API until interrupted; by default it listens on this machine only.

    Parameters
    ----------
    host
        Address to listen on; any other than loopback requires token_keys in the settings.
    port
        Port to listen on.

    """
    import uvicorn

    # The application reads the settings itself, so flags are passed as variables.
    for name, value in (("HOST", host), ("PORT", port)):
        if value is not None:
            os.environ[f"BKT_SERVING__{name}"] = str(value)
    settings = load_settings()
    _require_migrated(settings)
    own = settings.serving
    url = f"http://{f'[{own.host}]' if ':' in own.host else own.host}:{own.port}"
    payload = {"url": url, "issues_development_tokens": not own.token_keys}
    output.give(payload, lambda console: _say(console, url, guarded=bool(own.token_keys)))
    uvicorn.run(
        APPLICATION,
        factory=True,
        host=own.host,
        port=own.port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return 0


def _require_migrated(settings: Settings) -> None:
    """Refuse a database without our schema; one that is unavailable may become available."""
    engine = make_engine(settings.database)
    try:
        require_current(engine)
    except NotMigratedError:
        raise
    except DatabaseError as away:
        Console(stderr=True).print(f"bkt: {away} Serving 503 until it does.", markup=False)
    finally:
        engine.dispose()


def _say(console: Console, url: str, *, guarded: bool) -> None:
    console.print(f"Serving on {url}, described on {url}/docs. Ctrl-C ends it.")
    if not guarded:
        console.print(
            "No token_keys are set: only this machine may call, with tokens from "
            f"{url}/v1/development/token."
        )
