#!/usr/bin/env bash
# A CUDA 13 compiler and its libraries from Python packages, in a folder of their own, so that a machine with neither a card
# nor a CUDA installation can build this project with `--features cuda`. Nothing outside the folder is touched; 1.2 GB.
#
#   source scripts/cuda-toolkit.sh [FOLDER]      default: ~/.cache/covft-cuda
#   cargo build --release --no-default-features --features cuda      (nccl: for several cards)
#
# The first build compiles candle's own kernels: about 12 minutes on two cores. docs/cuda.md says what a machine with a card
# needs to run the result. Set CUDA_COMPUTE_CAP before (90: H100 and H200, the default; 80: A100) for another card.

_covft_dir=${1:-$HOME/.cache/covft-cuda}
_covft_home=$_covft_dir/nvidia/cu13

_covft_fetch() {
  [ -x "$_covft_home/bin/nvcc" ] && return 0
  python3 -m pip install --quiet --no-deps --target "$_covft_dir" \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvrtc==13.0.88 nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35
}

# The packages hold the libraries under their run-time names; a linker looks for others.
_covft_names() {
  local name
  for name in cublas cublasLt nvrtc cudart; do ln -sf "lib$name.so.13" "$_covft_home/lib/lib$name.so" || return 1; done
  ln -sf libcurand.so.10 "$_covft_home/lib/libcurand.so" && ln -sfn lib "$_covft_home/lib64"
}

# _covft_empty NAME VERSION BINDINGS PREFIX: to link against a library that is not here, an empty one with every function that
# the bindings name.
_covft_empty() {
  local file=$_covft_home/lib/lib$1.so bindings
  [ -e "$file" ] && return 0
  bindings=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-0.19*/src/$3 2>/dev/null | tail -n 1)
  if [ -z "$bindings" ]; then
    echo "cuda-toolkit: the sources of cudarc are not there yet; run 'cargo fetch' and source this again" >&2
    return 1
  fi
  grep -rhoE "fn $4[A-Z][A-Za-z0-9_]+" "$bindings" | sort -u | sed -E 's/fn (.*)/void \1(void) {}/' > "$_covft_dir/$1.c" &&
    gcc -shared -fPIC -Wl,-soname,"lib$1.so.$2" -o "$file" "$_covft_dir/$1.c"
}

# The driver's library comes with a card, NCCL (for --features nccl) with PyTorch or NVIDIA's packages.
_covft_driver() {
  _covft_empty cuda 1 driver/sys cu && ln -sf libcuda.so "$_covft_home/lib/libcuda.so.1" && _covft_empty nccl 2 nccl/sys nccl
}

if _covft_fetch && _covft_names && _covft_driver; then
  export CUDA_HOME=$_covft_home CUDA_PATH=$_covft_home CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
  export PATH=$_covft_home/bin:$PATH LIBRARY_PATH=$_covft_home/lib:${LIBRARY_PATH:-}
  # For running tests of a CUDA build without a card (they then use the CPU, or the emulation of the kernels).
  export COVFT_CUDA_LIBRARIES=$_covft_home/lib
else
  echo "cuda-toolkit: not set up" >&2
fi
unset -f _covft_fetch _covft_names _covft_empty _covft_driver
unset _covft_dir _covft_home
