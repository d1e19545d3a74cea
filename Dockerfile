# An image with nothing but the static binary, which `python3 tools/build.py static` puts into dist/:
#
#   python3 tools/build.py static && docker build --tag tfod .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" tfod \
#       export --pipeline_config_path train/pipeline.config --trained_checkpoint_dir train --output_directory exported
FROM scratch
# Docker sets this to the processor that the image is for: `--platform linux/arm64` takes the other binary.
ARG TARGETARCH=amd64
COPY dist/tfod-linux-${TARGETARCH} /tfod
COPY LICENSE-MIT LICENSE-APACHE /
WORKDIR /work
ENTRYPOINT ["/tfod"]
CMD ["--help"]
