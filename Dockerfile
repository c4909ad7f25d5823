# The job's image: banner.py and what it imports, ready compiled, on the slim image of Python. No pip, no shell script.
#
#     docker build -t localhost/banner:1.1.0 .

FROM docker.io/library/python:3.15-slim AS build
WORKDIR /build
COPY requirements.txt .
RUN pip install --no-cache-dir --no-compile --require-hashes --target /banner --requirement requirements.txt
COPY banner.py /banner/
# Readable to whoever runs it, however the checkout's umask was. A run cannot write byte code (it may be any user, on a
# read-only file system), and importing takes five times as long without. Nothing changes after this, so nothing is
# looked up to see whether the byte code is stale.
RUN chmod -R a+rX /banner && python -m compileall -q --invalidation-mode unchecked-hash /banner

FROM docker.io/library/python:3.15-slim
LABEL org.opencontainers.image.title="banner" \
      org.opencontainers.image.description="Publishes a Grafana panel as the banner of an X profile, once" \
      org.opencontainers.image.version="1.1.0" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:3.15-slim"
COPY --from=build /banner /banner
# A number, because Kubernetes' runAsNonRoot can check nothing else; this one, because it is the first person's on most
# Linux machines, whose mounted directory then can be written to. Any other works too: --user.
USER 1000:1000
ENTRYPOINT ["python", "/banner/banner.py"]
