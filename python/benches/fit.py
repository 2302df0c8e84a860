"""`fit` beside `zilch train`: the same data, options and bits, in turns.

    python python/benches/fit.py target/release/zilch [--data FOLDER] [--epochs 10] [--pairs 5]

Two ratios, Python's over the command line's: of the seconds spent on updates, which both count in the same way, and of the
whole training with its evaluation and, on the command line, its start and files.
"""

import argparse
import csv
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import zilch_pc
from zilch_pc.data import idx


def train(zilch, data, layers, epochs, threads, out):
    sizes = ",".join(map(str, layers))
    more = [] if threads is None else ["--threads", str(threads)]
    command = [zilch, "train", "--data", data, "--layers", sizes, "--lr", "0.01", "--epochs", str(epochs), "--device", "cpu"]
    start = time.perf_counter()
    done = subprocess.run([*command, "--out", out, *more], check=True, capture_output=True, text=True)
    wall = time.perf_counter() - start
    with open(Path(out) / "metrics.csv") as file:
        seconds = float(list(csv.DictReader(line for line in file if not line.startswith("#")))[-1]["seconds"])
    return seconds, wall, done.stdout


def fit(data, layers, epochs, threads):
    (x, y), test = data
    start = time.perf_counter()
    network = zilch_pc.Network(layers, lr=0.01, device="cpu", threads=threads).fit(x, y, epochs=epochs, validation=test)
    return network.history[-1]["seconds"], time.perf_counter() - start, network.sha256


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("zilch")
    arguments.add_argument("--data", default="digits")
    arguments.add_argument("--layers", default="784,32,32,10")
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--threads", type=int)
    given = arguments.parse_args()
    layers = [int(n) for n in given.layers.split(",")]
    data = zilch_pc.digits() if given.data == "digits" else idx(given.data)
    updates, whole = [], []
    for pair in range(given.pairs):
        with tempfile.TemporaryDirectory() as folder:
            out = f"{folder}/out"
            turns = [lambda: train(given.zilch, given.data, layers, given.epochs, given.threads, out),
                     lambda: fit(data, layers, given.epochs, given.threads)]
            # Who goes first changes from pair to pair.
            order = (0, 1) if pair % 2 == 0 else (1, 0)
            found = {i: turns[i]() for i in order}
        (theirs, their_wall, said), (ours, our_wall, bits) = found[0], found[1]
        assert bits in said, "the same weights, to the bit"
        updates.append(ours / theirs)
        whole.append(our_wall / their_wall)
        print(f"pair {pair + 1}: train {theirs:.3f} s (in all {their_wall:.3f}), fit {ours:.3f} s (in all {our_wall:.3f})")
    for name, ratios in (("updates", updates), ("in all", whole)):
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(f"fit ÷ train, {name}: {middle:.3f} ({low:.3f}–{high:.3f})")


if __name__ == "__main__":
    main()
