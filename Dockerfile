# Builds either image where Docker (or buildah, podman, kaniko) is at hand:
#   docker build --target relay    -t mailrelay.dev/relay:dev .
#   docker build --target operator -t mailrelay.dev/operator:dev .
# `tests/images/build` makes the same images without any of them.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends musl-tools \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN target="$(uname -m)-unknown-linux-musl" \
    && rustup target add "$target" \
    && cargo build --locked --release --target "$target" -p relay -p operator \
    && mkdir /out \
    && cp "target/$target/release/relay" "target/$target/release/operator" /out/

FROM scratch AS operator
COPY --from=build /out/operator /operator
USER 65532:65532
ENTRYPOINT ["/operator"]

FROM scratch AS relay
COPY --from=build /out/relay /relay
USER 65532:65532
ENTRYPOINT ["/relay"]
