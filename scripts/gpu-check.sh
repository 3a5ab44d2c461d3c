#!/usr/bin/env bash
# Everything that only a machine with a CUDA card can tell, in about ten minutes: the tests of the operations on the card,
# the golden numbers, six training steps against the CPU in float32 and bfloat16, step times and memory beside PyTorch,
# what probes cost. Prints as it goes, and a table at the end; fails if one of the checks fails.
#
#   scripts/gpu-check.sh              builds first (cargo, CUDA toolkit; scripts/cuda-toolkit.sh brings one); FEATURES=nccl for
#                                     several cards
#   scripts/gpu-check.sh FOLDER       uses FOLDER/covft-probe.xz and FOLDER/covft-tests.xz, packed by scripts/cuda-pack
#
# EMULATED: a folder that scripts/cuda-emulation/build --card filled. The same checks on a card made of the CPU: what they
# compute is checked, times are not a card's, and the sizes that no CPU computes are counted alone (their bytes are exact).
# PYTHON: a Python with torch (and what scripts/torch_step.py needs) for the other side of the times; default python3.
# LLM_LAYERS: blocks of the 7 B language model that are timed; default 4 of 32. DEVICE: default cuda:0.
# LD_LIBRARY_PATH must lead to libcudart.so.13, libcublas.so.13, libcublasLt.so.13, libcurand.so.10 and libnvrtc.so.13;
# those of a Python environment with CUDA 13 packages are found by themselves.
set -uo pipefail
cd "$(dirname "$0")/.."
device=${DEVICE:-cuda:0} python=${PYTHON:-python3} layers=${LLM_LAYERS:-4}
out=${OUT:-target/gpu-check}
mkdir -p "$out"
rows=()
failed=0

libraries=$("$python" - <<'PY' 2>/dev/null
import glob, os, site, sys
for base in site.getsitepackages() + [site.getusersitepackages()]:
    for folder in [os.path.join(base, "nvidia", "cu13", "lib")] + sorted(glob.glob(os.path.join(base, "nvidia", "*", "lib"))):
        if glob.glob(os.path.join(folder, "lib*.so.*")):
            print(folder)
PY
)
LD_LIBRARY_PATH=${EMULATED:+$EMULATED:}${LD_LIBRARY_PATH:-}:$(echo "$libraries" | paste -sd:)
export LD_LIBRARY_PATH
slower=$((${EMULATED:+9} + 1)) # times the limits
# What is timed at the sizes of a 7 B model.
large() { if [ -n "${EMULATED:-}" ]; then COVFT_EMULATED_CARD=counts "$@"; else "$@"; fi; }

if [ $# -gt 0 ]; then
  program=$out/covft-probe tests=$out/covft-tests
  for name in covft-probe covft-tests; do
    xz -dc "$1/$name.xz" > "$out/$name" && chmod +x "$out/$name" || exit 2
  done
else
  features=(--release --no-default-features --features "${FEATURES:-cuda}" -p covft-probe)
  cargo build "${features[@]}" || exit 2
  program=${CARGO_TARGET_DIR:-target}/release/covft-probe
  tests=$(cargo test "${features[@]}" --lib --no-run --message-format=json | sed -nE 's/.*"executable":"([^"]+)".*/\1/p' | tail -n 1)
fi
missing=$(ldd "$program" | grep "not found")
if [ -n "$missing" ]; then
  echo "libraries that are not found; set LD_LIBRARY_PATH:"$'\n'"$missing" >&2
  exit 2
fi
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null

# check NAME SECONDS COMMAND...: runs it, keeps its output, adds a row.
check() {
  local name=$1 limit=$2 log began code
  shift 2
  log=$out/$(echo "$name" | tr -c 'a-zA-Z0-9\n' '-').log
  began=$(date +%s)
  echo "== $name"
  case $1 in large) shift; large timeout $((limit * slower)) "$@" ;; *) timeout $((limit * slower)) "$@" ;; esac > "$log" 2>&1
  code=$?
  tail -n 12 "$log"
  if [ $code -eq 0 ]; then
    rows+=("ok|$name|$(($(date +%s) - began)) s|")
  else
    failed=1
    rows+=("FAIL|$name|$(($(date +%s) - began)) s|exit $code, see $log")
  fi
}

# step NAME COMMAND...: a line of JSON to a row; sets `seconds` and `mib`.
step() {
  local name=$1 line
  shift
  echo "== $name"
  line=$(large timeout $((150 * slower)) "$@" 2> "$out/step.err" | tail -n 1)
  seconds= mib=
  if [ -n "$line" ]; then
    echo "$line"
    seconds=$(echo "$line" | grep -oE '"step_s": ?[0-9.eE-]+' | grep -oE '[0-9.eE-]+$')
    mib=$(echo "$line" | grep -oE '"peak_mib": ?[0-9]+' | grep -oE '[0-9]+$')
    [ -z "${EMULATED:-}" ] || seconds=
    rows+=("ok|$name|${seconds:+$seconds s}|${mib:-?} MiB")
  else
    tail -n 3 "$out/step.err"
    failed=1
    rows+=("FAIL|$name||$(tail -n 1 "$out/step.err" | cut -c1-100)")
  fi
}

check "kernels compile here" 120 "$tests" --exact kernels::cuda::compile::tests::every_source_compiles_for_every_card_of_eight_years
check "operations on the card" 240 env COVFT_TEST_DEVICE="$device" "$tests" --test-threads=1 ops::
check "training and sketches on the card" 120 env COVFT_TEST_DEVICE="$device" "$tests" --test-threads=1 --ignored \
  kernels_in kernels_sk kernels_add kernels_train kernels::cuda
for folder in tests/fixtures/covft-tiny tests/fixtures/covft-odd; do
  check "golden numbers and six steps, $(basename $folder)" 120 "$program" verify "$folder" --device "$device"
done
if "$tests" --list --ignored | grep -q two_cards; then
  cards=${COVFT_EMULATED_CARDS:-$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')}
  if [ "$cards" -ge 2 ]; then
    check "two cards train as one does" 240 "$tests" --ignored two_cards
  else
    echo "one card: that two train as one was not checked"
    rows+=("-|two cards train as one does||not checked: one card")
  fi
fi

beside=0
"$python" -c 'import torch, transformers; assert torch.cuda.is_available()' 2> "$out/torch.err" && beside=1
[ $beside -eq 1 ] || echo "no PyTorch to compare with: $(tail -n 1 "$out/torch.err")"
sizes=(--preset clip-l --llm-layers "$layers" --batch 4 --steps 5)
for method in freeze full covft; do
  step "clip-l, $layers blocks, $method, bf16" "$program" bench card --device "$device" --dtype bf16 --method $method "${sizes[@]}"
  ours=$seconds
  declare "step_$method=${seconds:-nan}" "mib_$method=${mib:-nan}"
  if [ $beside -eq 1 ]; then
    step "  the same in PyTorch" "$python" scripts/torch_step.py --device cuda --dtype bf16 --method $method "${sizes[@]}"
    rows+=("|  ratio|$(awk -v a="${ours:-nan}" -v b="${seconds:-nan}" 'BEGIN { printf "%.2f x", a / b }')|")
  fi
done
rows+=("|CoVFT over full|$(awk -v a="$step_covft" -v b="$step_full" 'BEGIN { printf "%+.1f %%", 100 * (a / b - 1) }')|memory $(awk -v a="$mib_covft" -v b="$mib_full" 'BEGIN { printf "%+.1f %%", 100 * (a / b - 1) }')")
check "what probes cost, CLIP-L and 4 blocks" 240 large "$program" bench probes -c configs/card-probes.toml --steps 20 --set "device='$device'" --set "out='$out/runs'"

echo
printf '| | %-48s | %12s | %s\n' "check" "time" ""
printf '|---|%s|%s|---\n' "$(printf -- '-%.0s' {1..50})" "$(printf -- '-%.0s' {1..14})"
for row in "${rows[@]}"; do
  IFS='|' read -r state name time note <<< "$row"
  printf '| %-4s | %-48s | %12s | %s\n' "$state" "$name" "$time" "$note"
done | tee "$out/table.txt"
exit $failed
