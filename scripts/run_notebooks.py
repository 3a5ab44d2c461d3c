#!/usr/bin/env python3
"""Run the code cells of notebooks in order, each notebook in a fresh namespace and in its own folder, with nothing but the standard library.

    run_notebooks.py NOTEBOOK.ipynb...

The first cell that fails is printed with its traceback, and the exit status is 1.
"""
import json
import os
import sys
import time
import traceback
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
home = Path.cwd()
for name in sys.argv[1:]:
    path = (home / name).resolve()
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    os.chdir(path.parent)
    names = {"__name__": "__main__"}
    start = time.perf_counter()
    for number, cell in enumerate(cells, 1):
        source = "".join(cell["source"])
        try:
            exec(compile(source, f"{path.name}, code cell {number}", "exec"), names)
        except Exception:
            traceback.print_exc()
            print(f"{path.name}: code cell {number} of {len(cells)} failed:\n{source}", file=sys.stderr)
            sys.exit(1)
    print(f"{path.name}: {len(cells)} code cells in {time.perf_counter() - start:.1f} s")
