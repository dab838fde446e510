# One build stage for the workspace, one target per service: docker build --target broker-service .
# The cache mounts need BuildKit. There is no `# syntax=` line: it would fetch a frontend.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Static binaries run in an empty image. The target is named so that crt-static does not reach
# procedural macros, which must stay dynamic. All checkouts share the cache of artefacts, and cargo
# compares modification times: touch the sources, or cargo skips those older than their artefact.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=event-gateway-target,target=/src/target \
    set -e; \
    find . -path ./target -prune -o -name '*.rs' -exec touch {} +; \
    target="$(uname -m)-unknown-linux-gnu"; \
    cargo build --release --locked --target "$target" --package broker-service \
        --package listener-service --package logger-service --package auth-service; \
    mkdir -p /out/data; \
    for service in broker listener logger auth; do \
        cp "target/$target/release/$service-service" /out/; \
    done

# Shared by all four: certificate authorities, and a data directory of an unnamed user.
FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
WORKDIR /

FROM base AS broker-service
COPY --from=build /out/broker-service /
ENV BROKER_ADDR=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/broker-service", "healthcheck"]
ENTRYPOINT ["/broker-service"]

FROM base AS auth-service
COPY --from=build /out/auth-service /
ENV AUTH_ADDR=0.0.0.0:8081
EXPOSE 8081
VOLUME /data
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/auth-service", "healthcheck"]
ENTRYPOINT ["/auth-service"]

FROM base AS logger-service
COPY --from=build /out/logger-service /
ENV LOGGER_ADDR=0.0.0.0:8082
EXPOSE 8082
VOLUME /data
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/logger-service", "healthcheck"]
ENTRYPOINT ["/logger-service"]

FROM base AS listener-service
COPY --from=build /out/listener-service /
ENV LISTENER_ADDR=0.0.0.0:8083
EXPOSE 8083
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/listener-service", "healthcheck"]
ENTRYPOINT ["/listener-service"]
