# Data Storage for a node, on hosts that cannot build its static Linux binary themselves. Elsewhere the tool wraps the binary
# as an image without Docker's help.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=scratch

FROM ${RUST_IMAGE} AS build
WORKDIR /source
COPY . .
RUN RUSTFLAGS=-Ctarget-feature=+crt-static cargo build --release --locked --package datastorage \
    --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && cp target/*/release/datastorage /datastorage

FROM ${RUNTIME_IMAGE}
COPY --from=build /datastorage /usr/bin/datastorage
USER 65532:65532
ENTRYPOINT ["/usr/bin/datastorage"]
