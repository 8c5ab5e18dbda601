# Research software: not for diagnosis.
# Build:  docker build -t hf-breakhis .
# Run:    docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" hf-breakhis train demo
# With GPUs: add `--gpus all --shm-size 8g`. The user needs no home; caches and outputs are in /data.
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir '/src[fast,onnx,search,timm]' && rm -r /src \
    && mkdir --mode=0777 /data

ENV HF_HOME=/data/.cache/huggingface \
    PYTHONUNBUFFERED=1
WORKDIR /data
USER 65534:65534
ENTRYPOINT ["hf-breakhis"]
CMD ["doctor"]
