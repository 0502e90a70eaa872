# Two images from one file: `web` is the site and the short jobs, without torch but with all that its settings may ask
# for (an identity provider, a storage for backups, traces); `trainer` adds what training needs.

FROM python:3.11.14-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PATH=/opt/venv/bin:$PATH \
    PLUMBLINE_HOME=/data \
    PLUMBLINE_HOST=0.0.0.0 \
    HF_HOME=/data/huggingface
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin plumbline \
    && install --directory --owner=plumbline --group=plumbline --mode=0750 /data
WORKDIR /srv/plumbline

FROM base AS web-build
COPY requirements.lock ./
RUN python -m venv /opt/venv \
    && sed -n '/^# --- web$/,/^# --- docs$/p' requirements.lock > web.lock \
    && pip install --no-cache-dir --no-deps --require-hashes -r web.lock
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
# Of training the application reads records and settings, which need no torch.
COPY models ./models
COPY training ./training
COPY migrations ./migrations
COPY templates ./templates
COPY static ./static
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .

FROM web-build AS docs-build
RUN sed -n '/^# --- docs$/,/^# --- train$/p' requirements.lock > docs.lock \
    && pip install --no-cache-dir --no-deps --require-hashes -r docs.lock
COPY CHANGELOG.md CONTRIBUTING.md SECURITY.md docker-compose.yml mkdocs.yml ./
COPY docs ./docs
COPY client ./client
RUN NO_MKDOCS_2_WARNING=1 python -m mkdocs build

FROM web-build AS trainer-build
# The wheel of torch is the platform's: pass `--build-arg TORCH=...` and pip's own variables for another one.
ARG TORCH=torch==2.13.*
RUN pip install --no-cache-dir "$TORCH" \
    && sed -n '/^# --- web$/,/^# --- dev$/p' requirements.lock > train.lock \
    && pip install --no-cache-dir --no-deps --require-hashes -r train.lock

FROM base AS web
COPY --from=web-build /opt/venv /opt/venv
COPY --from=web-build /srv/plumbline /srv/plumbline
COPY --from=docs-build /srv/plumbline/build/docs /srv/plumbline/build/docs
USER plumbline
VOLUME /data
EXPOSE 8400
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8400/readyz?exclude=queue&exclude=disk&exclude=artifacts&exclude=storage&exclude=cluster', timeout=4)"]
CMD ["plumbline", "serve"]

FROM base AS trainer
COPY --from=trainer-build /opt/venv /opt/venv
COPY --from=trainer-build /srv/plumbline /srv/plumbline
USER plumbline
VOLUME /data
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s CMD ["plumbline", "check-worker"]
CMD ["plumbline", "worker"]
