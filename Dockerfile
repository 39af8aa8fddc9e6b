# syntax=docker/dockerfile:1.7
#
#   docker build --build-arg REVISION="$(git rev-parse --short HEAD)" --tag millpond .
#
# The first build compiles every dependency, half an hour on two cores; after that only what
# Cargo.lock changes, and Millpond itself.

FROM rust:1.95.0-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build

# The dependencies, as a layer of their own: the real manifest with nothing but empty programs. The
# registry stays in a cache of the builder, not in the layer.
COPY Cargo.toml Cargo.lock ./
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    mkdir -p src benches \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && awk '/^\[\[bench\]\]/ { getline; gsub(/name = |"/, ""); print }' Cargo.toml \
        | while read -r bench; do echo 'fn main() {}' > "benches/$bench.rs"; done \
    && cargo build --release --locked --bin millpond \
    && rm -r src

# What is compiled into the program, and nothing else, so that a change to a page of documentation
# compiles nothing.
COPY config/demo.toml config/demo.toml
COPY src src
ARG REVISION=unknown
# Cargo goes by times of modification, and those of a copy are older than the empty programs'.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    touch src/main.rs src/lib.rs \
    && MILLPOND_REVISION="$REVISION" cargo build --release --locked --bin millpond \
    && install -D target/release/millpond /out/millpond

FROM debian:12.12-slim
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Millpond" \
      org.opencontainers.image.description="A streaming lakehouse in one daemon: Kafka in, Spark SQL over event time, Delta Lake out, exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"

# libssl for brokers with TLS; the certificates for brokers, registries and object stores. The base
# image pins the release of Debian; within one there are only fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 millpond \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --no-create-home millpond \
    && install --directory --owner=10001 --group=10001 --mode=0750 /data

COPY --from=build /out/millpond /usr/local/bin/millpond
COPY config /etc/millpond

# By number, so that an orchestrator can tell that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 9898
# The first one finishes the epoch.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["millpond", "healthcheck"]
ENTRYPOINT ["millpond"]
CMD ["run", "/etc/millpond/weblogs.toml"]
