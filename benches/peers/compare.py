#!/usr/bin/env python3
"""Time zilch beside its Python peers, turn by turn on one machine, and print the table.

    python3 benches/peers/compare.py            (or: make peers)

Makes the peers' environments, builds zilch, and for every network and thread count lets the peers and
zilch take turns; README.md beside this file says what is timed and how. Standard library only.
"""
import argparse
import hashlib
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True
from peers import quartiles  # noqa: E402

NETWORKS = {  # layers and batch
    "S": ("784,32,32,32,10", 20),
    "M": ("784,512,512,10", 64),
    "L": ("784,2048,2048,2048,10", 256),
    "W": ("4096,4096,4096,4096,4096", 256),  # for a large GPU
    "LeNet": ("1x28x28,6c5p2,a2,16c5,a2,120,84,10", 64),
    "VGG5": ("3x32x32,128c3p1,m2,256c3p1,m2,512c3,m2,512c3,10", 128),
}
RELU = {"VGG5"}  # the others have sigmoids
CONVOLUTIONS = {"LeNet", "VGG5"}
CONVOLVING = {"torch", "jax"}  # peers with convolutions
DEFAULTS = {"cpu": ["S", "M", "L"], "gpu": ["S", "M", "L", "W"]}
ENVIRONMENT = {"torch": "main", "jax": "main", "fabricpc": "main", "pcx": "pcx"}
TOLERANCE = 1e-3  # of a peer's update from the reference's, relative to the largest change of a layer
RULES = {"bp": "BP", "zil": "Z-IL", "il": "IL", "fazil": "Fa-Z-IL"}
PAUSE = hasattr(signal, "SIGSTOP")


def arguments():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = lambda known: lambda text: [check(n, known) for n in text.split(",")]

    def check(name, known):
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return name
    a.add_argument("--networks", type=names(list(NETWORKS)), help=f"some of {','.join(NETWORKS)} (default S,M,L; on a GPU W as well)")
    a.add_argument("--threads", type=names(["all", "1"]), default=["all", "1"], help="all,1")
    a.add_argument("--peers", type=names(list(ENVIRONMENT)), default=list(ENVIRONMENT), help=",".join(ENVIRONMENT))
    a.add_argument("--rounds", type=int, default=9, help="turns of each (default 9)")
    a.add_argument("--seconds", type=float, default=0.5, help="seconds of each rule in a turn, at least an update (default 0.5)")
    a.add_argument("--steps", type=int, default=20, help="t_c of IL (default 20)")
    a.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    a.add_argument("--venvs", type=pathlib.Path, default=ROOT / "target" / "peers",
                   help="folder of the peers' environments; made where missing (default target/peers)")
    a.add_argument("--main-python", help="an interpreter that has torch, jax and fabricpc already, instead of an environment")
    a.add_argument("--pcx-python", help="the same for pcx")
    a.add_argument("--zilch", type=pathlib.Path, help="a zilch program (default: build this tree's with cargo)")
    a.add_argument("--out", type=pathlib.Path, help="where the raw figures go (default peers.json in --venvs)")
    a.add_argument("--table", type=pathlib.Path, metavar="JSON", help="print the table of such a file again, and measure nothing")
    o = a.parse_args()
    if o.rounds < 1 or not 0 < o.seconds <= 3600 or not 0 <= o.steps <= 10000:
        a.error("--rounds must be at least 1, --seconds positive and at most 3600, --steps 0 to 10000")
    o.networks = o.networks or DEFAULTS[o.device]
    return o


def say(text):
    print(text, file=sys.stderr, flush=True)


def die(text):
    sys.exit("error: " + text)


# --- the environments ---

def interpreters(o):
    found = {"main": o.main_python, "pcx": o.pcx_python}
    for name in sorted({ENVIRONMENT[p] for p in o.peers}):
        if not found[name]:
            files = {"main": "requirements-cuda.txt" if o.device == "gpu" else "requirements.txt", "pcx": "requirements-pcx.txt"}
            found[name] = environment(o.venvs / name, HERE / files[name])
    return found


def environment(folder, requirements):
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pins = b"".join(f.read_bytes() for f in sorted(HERE.glob("requirements*.txt")))
    stamp, mark = folder / "peers-stamp", requirements.name + " " + hashlib.sha256(pins).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == mark:
        return str(python)
    if sys.version_info < (3, 11):
        die(f"the peers need Python 3.11 or later (their pins were tried on 3.11); this is {platform.python_version()}: run this script with a later one")
    size = "0.7 GB" if requirements.name == "requirements-pcx.txt" else "6 GB, for torch's Linux wheel wants CUDA"
    say(f"installing {requirements.name} in {folder} (once; {size})")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True)
    stamp.write_text(mark)
    return str(python)


def program(o):
    if o.zilch:
        return str(o.zilch.resolve())
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "release" / ("zilch.exe" if os.name == "nt" else "zilch"))


# --- who takes turns ---

class Peer:
    """A living worker; it is stopped (SIGSTOP) while others have their turn, so that its pools cannot spin."""

    def __init__(self, name, python, network, steps, threads, device):
        self.name = name
        layers, batch = NETWORKS[network]
        command = [python, str(HERE / "peers.py"), name, "--serve", "--dims", layers, "--batch", str(batch), "--steps", str(steps),
                   "--threads", threads, "--device", "cpu" if device == "cpu" else "auto"] + ["--relu"] * (network in RELU)
        quiet = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=quiet)
        self.hello = self.answer()
        if self.hello["device"] != device:
            die(f"{name} found no {device}: it runs on {self.hello['device']}")
        self.pause()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            die(f"{self.name} ended with status {self.process.wait()}; its message is above")
        answer = json.loads(line)
        if "error" in answer:
            die(f"{self.name}: {answer['error']}")
        return answer

    def pause(self):
        if PAUSE:
            self.process.send_signal(signal.SIGSTOP)

    def turn(self, seconds):
        if PAUSE:
            self.process.send_signal(signal.SIGCONT)
        answers = [self.ask(f"run {rule} {seconds}") for rule in self.hello["rules"]]
        self.pause()
        return answers

    def ask(self, command):
        try:
            self.process.stdin.write((command + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: answer() says how
        return self.answer()

    def check(self):
        """Compiles every rule, and makes sure that its update is the one it is taken for."""
        if PAUSE:
            self.process.send_signal(signal.SIGCONT)
        for rule in self.hello["rules"]:
            found = self.ask(f"check {rule}")["difference"]
            if not found < TOLERANCE:
                die(f"{self.name}'s {rule} makes another update than the reference: {found:.1e} off, {TOLERANCE:.0e} allowed")
        self.pause()

    def end(self):
        if PAUSE:
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class Zilch:
    name = "zilch"

    def __init__(self, path, network, steps, threads, device):
        layers, batch = NETWORKS[network]
        self.command = [path, "compare", "--json", "--devices", device, "--layers", layers, "--batch", str(batch),
                        "--schedule", "frontier", "--coords", "error"]
        # Each rule has an own --steps: t_c of IL is given, T of Fa-Z-IL is left at its default.
        self.parts = [["--rules", "bp,zil,fazil"], ["--rules", "il", "--steps", str(steps)]]
        if network in CONVOLUTIONS:
            self.parts = [["--rules", "bp,zil,fazil", "--activation", "relu" if network in RELU else "sigmoid"]]
        self.pin = None
        if threads == "1":
            self.command += ["--threads", "1"]
            if hasattr(os, "sched_setaffinity"):
                self.pin = lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        self.host = None

    def turn(self, seconds):
        answers = []
        for part in self.parts:
            done = subprocess.run(self.command + part + ["--seconds", str(seconds)], preexec_fn=self.pin,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                die(f"zilch ended with status {done.returncode}: {done.stderr.strip()}")
            document = json.loads(done.stdout)
            self.host = document["host"]
            answers += document["results"]
        return answers

    def end(self):
        pass


# --- one network on one number of threads ---

def measure(o, pythons, zilch, network, threads):
    layers, batch = NETWORKS[network]
    say(f"{network} ({layers}, batch {batch}), threads: {threads}")
    ours = Zilch(zilch, network, o.steps, threads, o.device)
    parties = []
    try:
        for name in o.peers:
            if network not in CONVOLUTIONS or name in CONVOLVING:
                parties.append(Peer(name, pythons[ENVIRONMENT[name]], network, o.steps, threads, o.device))
        parties.append(ours)
        turns = []
        for party in parties[:-1]:
            say(f"  compiling {party.name} and checking its updates")
            party.check()
        for round in range(o.rounds):
            start, turn = time.perf_counter(), {}
            shift = round % len(parties)  # nobody always follows the same neighbour from a cold start
            for party in parties[shift:] + parties[:shift]:
                turn[party.name] = party.turn(o.seconds)
            turns.append(turn)
            say(f"  round {round + 1} of {o.rounds}: {time.perf_counter() - start:.0f} s")
        hello = {p.name: p.hello for p in parties[:-1]}
    finally:
        for party in parties:
            party.end()
    return dict(network=network, layers=layers, batch=batch, steps=o.steps, threads=threads, host=ours.host, peers=hello, turns=turns)


# --- the figures ---

def figure(values):
    q1, median, q3 = quartiles(values)
    return dict(median_us=median, q1_us=q1, q3_us=q3, turns=len(values))


def figures(run):
    """Of every party, rule, variant and clock: median and quartiles over the turns' medians."""
    found = {}
    for turn in run["turns"]:
        for party, answers in turn.items():
            for a in answers:
                if party == "zilch":
                    found.setdefault((party, a["rule"], "", "round"), []).append(a["median_us"])
                    continue
                rule, _, variant = a["rule"].partition(":")
                for clock in ("round", "update"):
                    if clock in a:
                        found.setdefault((party, rule, variant, clock), []).append(a[clock]["median_us"])
    return {key: figure(values) for key, values in found.items()}


def best(found, rule, clock, parties, loop=False):
    """The fastest (party, variant) of a rule; `loop` asks for compiled training loops, else they are left out."""
    keys = [k for k in found if k[0] in parties and k[1] == rule and k[3] == clock and (k[2] == "loop") == loop]
    return min(keys, key=lambda k: found[k]["median_us"], default=None)


def duration(us):
    return f"{us:.1f} µs" if us < 100 else f"{us:.0f} µs" if us < 1e4 else f"{us / 1e3:.1f} ms" if us < 1e5 else f"{us / 1e3:.0f} ms"


def tables(document):
    """The Markdown tables, and the same figures as a list."""
    lines, summary = [], []
    for run in document["runs"]:
        found, peers = figures(run), list(run["peers"])
        ours = {rule: found["zilch", rule, "", "round"] for rule in RULES if ("zilch", rule, "", "round") in found}
        host, one = run["host"], run["threads"] == "1"
        lines += ["", f"**{run['network']}** = {run['layers'].replace(',', '-')}, batch {run['batch']}, " + (f"IL with t_c = {run['steps']}, " if "il" in ours else "")
                  + ("one thread" if one else f"all cores (zilch: {host['threads']} threads)"), ""]
        lines += ["| rule | " + " | ".join(peers) + " | best peer | zilch [quartiles] | **best ÷ zilch** | update by update | loop compiled |",
                  "|---|" + "--:|" * len(peers) + "---|--:|--:|--:|--:|"]
        for rule in [rule for rule in ("bp", "zil", "il") if rule in ours]:
            cells, z = [], ours[rule]
            for peer in peers:
                key = best(found, rule, "round", [peer])
                cells.append(duration(found[key]["median_us"]) if key else "–")
            ratios = {}
            for name, clock, loop in [("round", "round", False), ("update", "update", False), ("loop", "round", True)]:
                key = best(found, rule, clock, peers, loop)
                ratios[name] = (key, found[key]["median_us"] / z["median_us"]) if key else None
            shown = {n: f"{r[1]:.2f}" if r else "–" for n, r in ratios.items()}
            key = ratios["round"] and ratios["round"][0]
            who = "–"
            if key:
                f = found[key]
                who = " ".join(filter(None, [key[0], key[2]])) + f" [{duration(f['q1_us'])}–{duration(f['q3_us'])}]"
            zs = f"{duration(z['median_us'])} [{duration(z['q1_us'])}–{duration(z['q3_us'])}]"
            lines.append(f"| {RULES[rule]} | " + " | ".join(cells) + f" | {who} | {zs} | **{shown['round']}** | {shown['update']} | {shown['loop']} |")
            summary.append(dict(network=run["network"], threads=run["threads"], rule=rule, zilch=z,
                                best={n: dict(peer=r[0][0], variant=r[0][2], **found[r[0]], ratio=r[1]) if r else None for n, r in ratios.items()}))
        within = [f"{RULES[r]}/BP {ours[r]['median_us'] / ours['bp']['median_us']:.3f}" for r in ("zil", "fazil")]
        f = ours["fazil"]
        lines += ["", f"zilch: {', '.join(within)} (Fa-Z-IL {duration(f['median_us'])} [{duration(f['q1_us'])}–{duration(f['q3_us'])}])."]
        summary.append(dict(network=run["network"], threads=run["threads"], zil_over_bp=ours["zil"]["median_us"] / ours["bp"]["median_us"],
                            fazil_over_bp=f["median_us"] / ours["bp"]["median_us"], fazil=f))
        if one:
            busiest = max((a["cores"], p) for t in run["turns"] for p, answers in t.items() if p != "zilch" for a in answers)
            lines.append(f"One thread checked: of the peers, {busiest[1]} used most, {busiest[0]:.2f} cores.")
    return lines, summary


def show(document):
    m, names = document["machine"], {}
    for run in document["runs"]:
        names.update({p: h["peer"] for p, h in run["peers"].items()})
    host = document["runs"][0]["host"]
    print(f"{document['started']}, {host['cpu']} ({host['simd']}), {m['cpus']} CPUs, {m['system']}, Python {m['python']}, device: {document['device']}; load before: {m['load']}")
    print("zilch " + host["zilch"] + "; " + "; ".join(names.values()))
    print(f"{document['rounds']} turns of {document['seconds']} s a rule. A peer's figure is its fastest variant's; every figure is the median over turns.")
    print("\n".join(tables(document)[0]))


def main():
    o = arguments()
    if o.table:
        try:
            show(json.loads(o.table.read_text()))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as e:
            die(f"{o.table} is no file that --out wrote: {type(e).__name__} {e}")
        return
    pythons, zilch = interpreters(o), program(o)
    out = o.out or o.venvs / "peers.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = "%.2f" % os.getloadavg()[0] if hasattr(os, "getloadavg") else "unknown"
    document = dict(started=time.strftime("%Y-%m-%d %H:%M"), device=o.device, rounds=o.rounds, seconds=o.seconds,
                    machine=dict(cpus=cpus, system=f"{platform.system()} {platform.machine()}", python=platform.python_version(), load=load), runs=[])
    for network in o.networks:
        for threads in o.threads if o.device == "cpu" else ["all"]:
            document["runs"].append(measure(o, pythons, zilch, network, threads))
            document["summary"] = tables(document)[1]
            out.write_text(json.dumps(document, indent=1) + "\n")  # after each, so that an interruption loses little
    show(document)
    say(f"raw figures: {out}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.CalledProcessError) as e:  # an interpreter or program that cannot be run, a file that cannot be read
        die(str(e))
