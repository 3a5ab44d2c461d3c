#!/usr/bin/env python3
"""Time PCA and k-means (k = 10) of covft-probe and scikit-learn in turn, on the same 5,000 and 50,000 x 768 float32 numbers.

    python benches/clusters_vs_sklearn.py [--repeats 5] [--sizes 5000,50000]

Needs numpy and scikit-learn; builds `cargo build --release -p covft-analyses --example clusters` first. Each pair of fits runs one after the
other; the medians and their ratio are printed, with the inertias (one beginning each; means over the seeds), and the largest
difference of a component (signs aligned).
"""
import argparse, json, os, platform, statistics, subprocess, tempfile, time
from pathlib import Path

import numpy as np
import sklearn
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

parser = argparse.ArgumentParser()
parser.add_argument("--repeats", type=int, default=5)
parser.add_argument("--sizes", default="5000,50000")
args = parser.parse_args()
root = Path(__file__).resolve().parent.parent
subprocess.run(["cargo", "build", "-q", "--release", "-p", "covft-analyses", "--example", "clusters"], cwd=root, check=True)
ours = subprocess.Popen([root / "target/release/examples/clusters"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(line):
    ours.stdin.write(line + "\n")
    ours.stdin.flush()
    return json.loads(ours.stdout.readline())


def timed(fit):
    start = time.perf_counter()
    result = fit()
    return time.perf_counter() - start, result


print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}; "
      f"numpy {np.__version__}, scikit-learn {sklearn.__version__}; median of {args.repeats}")
for n in map(int, args.sizes.split(",")):
    d, k = 768, 10
    rng = np.random.default_rng(n)
    # Ten overlapping groups, and three directions that stand out: components are then well defined.
    x = rng.normal(0, 1, (n, d)).astype(np.float32)
    x += rng.normal(0, 0.25, (k, d)).astype(np.float32)[rng.integers(0, k, n)]
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        x.tofile(file.name)
        times, gaps = ([], []), []
        for _ in range(args.repeats):
            mine = ask(f"pca {n} {d} {file.name}")
            seconds, pca = timed(lambda: PCA(n_components=10).fit(x))
            times[0].append(mine["seconds"]), times[1].append(seconds)
            a, b = np.array(mine["components"]), pca.components_
            gaps.append(np.abs(a - b * np.sign((a * b).sum(1))[:, None]).max())
        a, b = map(statistics.median, times)
        print(f"PCA     {n:6} x {d}: {a:.3f} s, scikit-learn {b:.3f} s, ratio {a / b:.2f}; components differ by {max(gaps):.1e}; "
              f"share of the first {mine['ratio'][0]:.4f}, {pca.explained_variance_ratio_[0]:.4f}")
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
