# A program of this workspace for a node, Data Storage unless PACKAGE says otherwise, on hosts that cannot build its static Linux binary themselves. Elsewhere the tool wraps the binary
# as an image without Docker's help.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=scratch

FROM ${RUST_IMAGE} AS build
ARG PACKAGE=datastorage
WORKDIR /source
COPY . .
RUN RUSTFLAGS=-Ctarget-feature=+crt-static cargo build --release --locked --package "$PACKAGE" \
    --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && cp "target/$(rustc -vV | sed -n 's/^host: //p')/release/$PACKAGE" /program

FROM ${RUNTIME_IMAGE}
ARG PACKAGE=datastorage
COPY --from=build /program /usr/bin/program
# A probe names it as the tool's own images do.
COPY --from=build /program /usr/bin/${PACKAGE}
USER 65532:65532
ENTRYPOINT ["/usr/bin/program"]
