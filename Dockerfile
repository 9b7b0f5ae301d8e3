# The image of every worker: the wheel, and exactly what uv.lock pins, in an environment of their own.
# tests/test_image.py runs these very instructions without Docker, and the command that comes of them.
FROM python:3.13-slim-bookworm AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/holdfast UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock LICENSE ./
RUN uv sync --locked --no-default-groups --no-install-project
COPY holdfast holdfast
COPY streams streams
COPY detectors detectors
COPY rollouts rollouts
COPY sinks sinks
RUN uv build --wheel --out-dir dist
RUN uv pip install --python /opt/holdfast/bin/python --no-deps dist/*.whl

FROM python:3.13-slim-bookworm
COPY --from=build /opt/holdfast /opt/holdfast
ENV PATH=/opt/holdfast/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 holdfast && mkdir /data && chown holdfast /data
USER holdfast
WORKDIR /data
ENTRYPOINT ["holdfast"]
