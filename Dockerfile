# An image that trains, compares, scores and exports: docker build -t lt4rec_tf .   (docs/docker.md)
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# Packages first, each by its hash: they rarely change, so later builds take them from the cache.
WORKDIR /opt/lt4rec_tf
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m pip install --no-cache-dir --no-build-isolation --only-binary :all: \
    --no-binary promise --require-hashes --requirement requirements/build.txt
RUN python -m pip install --no-cache-dir --no-build-isolation --only-binary :all: \
    --no-binary promise --require-hashes --requirement requirements/run.txt

COPY setup.py pyproject.toml README.md LICENSE ./
COPY lt4rec_tf lt4rec_tf
COPY configs configs
RUN python -m pip install --no-cache-dir --no-build-isolation --no-deps .

# Any user may write to /work. The user of the image has no other rights.
RUN mkdir --mode=0777 /work
ENV HOME=/work
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["lt4rec"]
CMD ["--help"]
