#!/usr/bin/env python3
"""Time PCA and k-means (k = 10) of covft-probe and scikit-learn in turn, on the same 5,000 and 50,000 x 768 float32 numbers.

    python benches/clusters_vs_sklearn.py [--repeats 5] [--sizes 5000,50000] [--program PATH]

Needs numpy, scikit-learn and threadpoolctl; builds `cargo build --release -p covft-analyses --example clusters` first, unless the program
is named. Each pair of fits runs one after the other, on as many threads as there are cores; the medians and their ratio are
printed, with the inertias (one beginning each; means over the seeds), and the largest difference of a component (signs
aligned). What OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE hold would bind numpy's matrix library to another processor: unset both.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np
import sklearn
import threadpoolctl
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

parser = argparse.ArgumentParser()
parser.add_argument("--repeats", type=int, default=5)
parser.add_argument("--sizes", default="5000,50000")
parser.add_argument("--program", type=Path)
args = parser.parse_args()
bound = [name for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if name in os.environ]
if bound:
    sys.exit(f"unset {' and '.join(bound)}: numpy would not run as fast as it can")
root = Path(__file__).resolve().parent.parent
if args.program is None:
    subprocess.run(["cargo", "build", "-q", "--release", "-p", "covft-analyses", "--example", "clusters"], cwd=root, check=True)
    args.program = root / "target/release/examples/clusters"
ours = subprocess.Popen([args.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(line):
    ours.stdin.write(line + "\n")
    ours.stdin.flush()
    return json.loads(ours.stdout.readline())


def timed(fit):
    start = time.perf_counter()
    result = fit()
    return time.perf_counter() - start, result


def processor():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


print(f"{processor()}, {os.cpu_count()} cores; numpy {np.__version__}, scikit-learn {sklearn.__version__}; median of {args.repeats}")
for pool in threadpoolctl.threadpool_info():
    name = " ".join(str(pool[key]) for key in ("internal_api", "version", "architecture") if pool.get(key))
    print(f"  {name}: {pool['num_threads']} threads")
for n in map(int, args.sizes.split(",")):
    d, k = 768, 10
    rng = np.random.default_rng(n)
    # Ten overlapping groups, and twelve directions that stand out, each by a quarter more than the next: components are then
    # well defined.
    x = rng.normal(0, 1, (n, d)).astype(np.float32)
    x += rng.normal(0, 0.1, (k, d)).astype(np.float32)[rng.integers(0, k, n)]
    directions = np.linalg.qr(rng.normal(0, 1, (d, 12)))[0].T * (4 * 1.25 ** np.arange(12))[:, None]
    x += (rng.normal(0, 1, (n, 12)) @ directions).astype(np.float32)
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        x.tofile(file.name)
        # What scikit-learn takes unless told otherwise, and its exact solver for tall data.
        for solver in ("auto", "covariance_eigh"):
            times, gaps = ([], []), []
            for _ in range(args.repeats):
                mine = ask(f"pca {n} {d} {file.name}")
                seconds, pca = timed(lambda: PCA(n_components=10, svd_solver=solver, random_state=0).fit(x))
                times[0].append(mine["seconds"]), times[1].append(seconds)
                a, b = np.array(mine["components"]), pca.components_
                gaps.append(np.abs(a - b * np.sign((a * b).sum(1))[:, None]).max())
            a, b = map(statistics.median, times)
            print(f"PCA     {n:6} x {d}: {a:.3f} s, scikit-learn ({pca._fit_svd_solver}) {b:.3f} s, ratio {a / b:.2f}; components differ by "
                  f"{max(gaps):.1e}; share of the first {mine['ratio'][0]:.5f}, {pca.explained_variance_ratio_[0]:.5f}")
        times, inertia = ([], []), ([], [])
        for seed in range(args.repeats):
            mine = ask(f"kmeans {n} {d} {k} {seed} {file.name}")
            seconds, fit = timed(lambda: KMeans(k, n_init=1, random_state=seed).fit(x))
            times[0].append(mine["seconds"]), times[1].append(seconds)
            inertia[0].append(mine["inertia"]), inertia[1].append(float(fit.inertia_))
        a, b = map(statistics.median, times)
        ia, ib = map(statistics.mean, inertia)
        print(f"k-means {n:6} x {d}: {a:.3f} s, scikit-learn {b:.3f} s, ratio {a / b:.2f}; mean inertia {ia:.6g}, {ib:.6g} "
              f"({100 * (ia / ib - 1):+.3f} %), best {min(inertia[0]):.6g}, {min(inertia[1]):.6g}; {mine['iterations']}, {fit.n_iter_} iterations (last seed)")
ours.stdin.close()
ours.wait()
