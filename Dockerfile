# One image for every stage: the binary, and nothing that builds it.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin polymirror

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /data --create-home polymirror
COPY --from=build /src/target/release/polymirror /usr/local/bin/polymirror
USER polymirror
WORKDIR /data
ENV POLYMIRROR_DATA_DIR=/data
CMD ["polymirror", "--help"]
