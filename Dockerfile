# One image for all parts: `provision migrate`, `provision api`, `provision worker`.

FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/provision
COPY requirements.lock ./
RUN /opt/provision/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN /opt/provision/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --create-home --uid 10001 provision
COPY --from=build /opt/provision /opt/provision
ENV PATH=/opt/provision/bin:$PATH PYTHONUNBUFFERED=1 PROVISION_LOG_FORMAT=json
WORKDIR /home/provision
USER provision
STOPSIGNAL SIGTERM
ENTRYPOINT ["provision"]
CMD ["--help"]
