# One image for every process: the service, workers, and the Prefect and MLflow servers.
# docs/deployment.md says how it is used; compose.yaml starts all of it on one machine.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/bkt
COPY requirements-image.lock ./
RUN /opt/bkt/bin/pip install --require-hashes -r requirements-image.lock
COPY pyproject.toml setup.py README.md LICENSE requirements.lock prefect.toml prefect.yaml ./
COPY conf ./conf
COPY docs/roles.sql ./docs/roles.sql
COPY bkt_core ./bkt_core
COPY bkt_settings ./bkt_settings
COPY datasets ./datasets
COPY flows ./flows
COPY serving ./serving
RUN /opt/bkt/bin/pip install --no-deps --no-build-isolation .
# Outside /src, so that what was installed is compiled; a processor without a feature that this
# one has compiles again, into the same folder.
WORKDIR /
ENV NUMBA_CACHE_DIR=/opt/bkt/kernels
RUN /opt/bkt/bin/python -m flows.health.kernels

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 10001 bkt \
    && useradd --system --uid 10001 --gid bkt --home-dir /data --shell /usr/sbin/nologin bkt \
    && install --directory --owner bkt --group bkt /data
COPY --from=build /opt/bkt /opt/bkt
COPY --from=build --chown=bkt:bkt /opt/bkt/kernels /opt/bkt/kernels
ENV PATH=/opt/bkt/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/opt/bkt/kernels \
    BKT_ENV=production \
    BKT_DATA_DIR=/data/bkt \
    PREFECT_HOME=/data/prefect \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8210
# Of the service; compose.yaml has those of the other processes.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8210/health', timeout=4)"]
CMD ["bkt", "serve", "--host", "0.0.0.0"]
