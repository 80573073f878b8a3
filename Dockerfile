# integration/release writes the same image without an engine; a test there compares the two.
# By digest: make image GO_IMAGE=docker.io/library/golang@sha256:…
ARG GO_IMAGE=docker.io/library/golang:1.26
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
# .git too: `podfqdn version` prints the commit.
COPY . .
ARG TARGETOS
ARG TARGETARCH
# The commit's date, so that the layer is a function of the source alone.
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -buildid=" -o /podfqdn ./cmd/podfqdn && \
    touch -d @$SOURCE_DATE_EPOCH /podfqdn

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="podfqdn" \
      org.opencontainers.image.description="Proves a Pod's name in DNS, forward and reverse, before the application starts" \
      org.opencontainers.image.source="https://github.com/podfqdn/podfqdn" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build --chown=0:0 --chmod=0555 /podfqdn /podfqdn
# A number: from a name the kubelet cannot tell that it is not root, and runAsNonRoot fails.
USER 65532:65532
ENTRYPOINT ["/podfqdn"]
CMD ["init"]
