"""`fit` beside `zilch train`: the same data, options and bits, in turns.

    python python/benches/fit.py target/release/zilch [--data FOLDER] [--layers 784,32,32,10] [--batch 20] [--epochs 5,25] [--pairs 10]
    python python/benches/fit.py target/release/zilch --count

Both are run for two lengths, and what the shorter one takes is subtracted: start, data and files are in neither. What is left are updates
and an evaluation of both sets after each epoch. The measure is the processor's time of the whole process, of one thread, which other work
on the machine disturbs less than a clock's; or with --count instructions, as valgrind counts them, which it does not disturb at all.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

VALGRIND = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]


def fit(data, layers, batch, epochs):
    """What the child process does."""
    import zilch_pc
    from zilch_pc.data import idx

    (x, y), test = zilch_pc.digits() if data == "digits" else idx(data)
    network = zilch_pc.Network([int(n) for n in layers.split(",")], lr=0.01, device="cpu", threads=1)
    print(network.fit(x, y, epochs=int(epochs), batch=int(batch), validation=test).sha256)


def measured(command, count):
    """(instructions, or seconds of the processor's time, and what was printed) of a process."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(VALGRIND + command if count else command, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        said = err.read()
        assert child.returncode == 0, said
        took = int(re.search(r"I\s+refs:\s+([\d,]+)", said)[1].replace(",", "")) if count else usage.ru_utime + usage.ru_stime
        return took, out.read()


def pair(given, first):
    """What the updates between two lengths took: (`fit`, `zilch train`)."""
    took = []
    for epochs in given.epochs:
        with tempfile.TemporaryDirectory() as folder:
            what = [given.data, given.layers, str(given.batch), epochs]
            theirs = [given.zilch, "train", "--data", what[0], "--layers", what[1], "--batch", what[2], "--epochs", what[3],
                      "--lr", "0.01", "--device", "cpu", "--threads", "1", "--out", f"{folder}/out"]
            arms = [[sys.executable, __file__, "--fit", *what], theirs]
            found = {arm: measured(arms[arm], given.count) for arm in (first, 1 - first)}
        assert found[0][1].strip() in found[1][1], "the same weights, to the bit"
        took.append([found[0][0], found[1][0]])
    return [long - short for short, long in zip(*took)]


def main():
    if sys.argv[1:2] == ["--fit"]:
        return fit(*sys.argv[2:])
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("zilch")
    arguments.add_argument("--data", default="digits")
    arguments.add_argument("--layers", default="784,32,32,10")
    arguments.add_argument("--batch", type=int, default=20)
    arguments.add_argument("--epochs", default="5,25", type=lambda text: text.split(","))
    arguments.add_argument("--pairs", type=int, default=10)
    arguments.add_argument("--count", action="store_true")
    given = arguments.parse_args()
    ratios = []
    for turn in range(1 if given.count else given.pairs):
        # Who goes first changes from pair to pair.
        ours, theirs = pair(given, turn % 2)
        ratios.append(ours / theirs)
        unit = "million instructions" if given.count else "s"
        ours, theirs = (v / 1e6 if given.count else v for v in (ours, theirs))
        print(f"pair {turn + 1}: fit {ours:.3f}, train {theirs:.3f} {unit}", flush=True)
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(f"fit ÷ train: {middle:.3f} ({low:.3f}–{high:.3f})")


if __name__ == "__main__":
    main()
