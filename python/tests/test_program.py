"""The command line that the wheel installs: the script zilch, and python -m zilch_pc."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig

import pytest
import zilch_pc

SCRIPT = shutil.which("zilch", path=sysconfig.get_path("scripts"))
MODULE = [sys.executable, "-m", "zilch_pc"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors of POSIX")


def run(*args, program=MODULE, **how):
    how = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 120, **how}
    return subprocess.run([*program, *args], text=True, **how)


def test_the_script_is_the_module():
    assert SCRIPT, "the wheel installs no script"
    for args in [["--version"], ["train", "--help"], ["rules"], ["train", "--layers", "x"]]:
        script, module = run(*args, program=[SCRIPT]), run(*args)
        assert (script.returncode, script.stdout, script.stderr) == (module.returncode, module.stdout, module.stderr)
    assert run("--version", program=[SCRIPT]).stdout == f"zilch {zilch_pc.__version__}\n"


def test_help_names_the_program():
    for program in [[SCRIPT], MODULE]:
        done = run("train", "--help", program=program)
        assert done.returncode == 0 and "Usage: zilch train" in done.stdout and "python" not in done.stdout


@pytest.mark.parametrize("threads", ["1", "2"])
def test_it_leaves_the_weights_of_network(threads, tmp_path):
    # Layers, rate and batch are given: this is no test of defaults.
    setting = "--layers 784,32,32,10 --rule zil --lr 0.01 --batch 20 --seed 3 --no-shuffle --device cpu"
    done = run("train", "--data", "digits", "--updates", "3", *setting.split(), "--threads", threads, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    (x, y), _ = zilch_pc.digits()
    network = zilch_pc.Network([784, 32, 32, 10], rule="zil", lr=0.01, batch=20, seed=3, device="cpu")
    untrained = network.sha256
    network.fit(x[:60], y[:60], epochs=1, shuffle=False)
    assert network.updates == 3 and network.sha256 != untrained
    assert network.sha256 in done.stdout
    assert zilch_pc.load(tmp_path / "run" / "weights.safetensors").sha256 == network.sha256


def test_exit_codes(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    for code, args in [
        (2, ["train", "--no-such-option"]),
        (2, []),
        (3, ["train", "--data", "digits", "--updates", "1", "--device", "no such adapter"]),
        (4, ["eval", "--weights", str(tmp_path / "bad.safetensors"), "--data", "digits", "--device", "cpu"]),
    ]:
        done = run(*args)
        assert done.returncode == code, (args, done)
        assert done.stderr and not done.stdout and "Traceback" not in done.stderr


# What runs under a limit of the address space, which is set after numpy's libraries have reserved theirs.
LIMITED = """
import resource, sys
from zilch_pc import __main__
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (int(sys.argv[1]) << 20), resource.RLIM_INFINITY))
sys.argv[1:] = "train --data digits --layers 784,200,10 --updates 1 --device cpu --threads 2".split()
sys.exit(__main__.main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is known on Linux")
def test_exhausted_memory_is_exit_code_3():
    codes = {}
    for extra in [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 1024]:
        done = run(str(extra), program=[sys.executable, "-c", LIMITED])
        codes[extra] = done.returncode
        assert done.returncode in (0, 3), (extra, done)
        assert done.returncode == 0 or done.stderr.startswith("zilch: "), (extra, done)
        assert "Traceback" not in done.stderr and "panicked" not in done.stderr
    assert codes[1] == 3 and codes[1024] == 0, codes


@posix
@pytest.mark.parametrize("program", ["script", "module"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_130_and_keeps_the_run(program, sent, tmp_path):
    program = [SCRIPT] if program == "script" else MODULE
    out = tmp_path / "run"
    args = ["train", "--data", "digits", "--epochs", "1000000", "--layers", "784,16,10", "--device", "cpu", "--out", str(out)]
    child = subprocess.Popen(
        [*program, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores SIGINT; the child begins as a foreground job does.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # The first epoch is reported on stderr.
        for line in child.stderr:
            if re.search(r"epoch\s+1\b", line):
                break
        child.send_signal(sent)
        out_text, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130, (out_text, err)
    assert "Traceback" not in err and "KeyboardInterrupt" not in err
    assert (out / "weights.safetensors").exists() and (out / "run.json").exists()


@posix
def test_a_closed_stream_does_not_reach_a_file(tmp_path):
    args = ["train", "--data", "digits", "--updates", "3", "--layers", "784,16,10", "--device", "cpu", "--out"]
    whole = run(*args, str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    command = 'exec "$@" <&- >&- 2>&-'
    closed = subprocess.run(["sh", "-c", command, "sh", *MODULE, *args, str(tmp_path / "closed")], timeout=120)
    assert closed.returncode == 0
    for name in ["weights.safetensors", "metrics.csv"]:
        files = [tmp_path / run / name for run in ("whole", "closed")]
        if name == "weights.safetensors":
            assert files[0].read_bytes() == files[1].read_bytes()
        else:
            assert [len(file.read_text().splitlines()) for file in files] == [2, 2]


@posix
def test_a_closed_pipe_and_a_full_disk():
    piped = subprocess.run(
        ["sh", "-c", '"$@" | head -c 1 >/dev/null', "sh", *MODULE, "train", "--help"], stderr=subprocess.PIPE, text=True, timeout=120
    )
    assert piped.returncode == 0 and piped.stderr == ""
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            done = run("rules", capture_output=False, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1 and "standard output" in done.stderr and "Exception ignored" not in done.stderr


def test_a_program_keeps_its_own_signals():
    """Importing the package, and its networks, change no handler: only the command does."""
    code = """
import signal
before = signal.getsignal(signal.SIGINT)
import zilch_pc, zilch_pc.__main__
zilch_pc.Network([4, 3, 2]).predict([[0.0] * 4])
assert signal.getsignal(signal.SIGINT) is before is signal.default_int_handler
"""
    done = run(program=[sys.executable, "-c", code])
    # Where this process ignores SIGINT, its children do.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        assert done.returncode == 0, done.stderr
