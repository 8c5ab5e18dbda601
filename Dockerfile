# Research software: not for diagnosis.
# Build:  docker build -t hf-breakhis .
# Run:    docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" hf-breakhis train demo
# With GPUs: add `--gpus all --shm-size 8g`. The user needs no home of its own; caches and outputs are in /data.
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir '/src[fast,onnx,search,timm]' && rm -r /src \
    && mkdir --mode=0777 /data

# HOME is for libraries with caches of their own, such as Triton and matplotlib
ENV HOME=/data \
    HF_HOME=/data/.cache/huggingface \
    PYTHONUNBUFFERED=1
WORKDIR /data
USER 65534:65534
ENTRYPOINT ["hf-breakhis"]
CMD ["doctor"]
