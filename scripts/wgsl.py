"""Hands shaders to compilers other than naga: python3 scripts/wgsl.py FOLDER

The folder is written by the tests of src/device/gpu/kernels.rs under ZILCH_WGSL: .wgsl files, shaders.json (which says of each file the
entry point, the bindings and the constants of every pipeline to be made), and .spv files.

spirv-val checks the SPIR-V. Chromium checks the WGSL: its compiler, Tint, carries out the whole validation of the WGSL specification, among
it the uniformity analysis that naga lacks. scripts/wgsl.html is the page that does it.

Exit code 1 if a compiler refuses a shader, if there are no shaders, or if a compiler accepts what it must refuse.
"""

import concurrent.futures
import functools
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

SILENCE = 300  # seconds without a request from the page before it is given up
DRIVERS = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"]
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
FLAGS = [
    "--headless=new",
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--ignore-gpu-blocklist",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
]


def fail(text):
    print(f"wgsl.py: {text}", file=sys.stderr)
    sys.exit(1)


def find(names):
    """The first of these programs that is installed."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or fail(f"there is no {' or '.join(names)} here; scripts/wgsl.sh says what to install")


def validate(program, file):
    """What spirv-val says against a file, if anything."""
    done = subprocess.run([program, "--target-env", "vulkan1.1", file], capture_output=True, text=True)
    return f"{file.name}: {done.stdout}{done.stderr}".strip() if done.returncode != 0 else None


def check_spirv(folder):
    """Returns what spirv-val refuses."""
    program = find(["spirv-val"])
    files = sorted(folder.glob("*.spv"))
    if not files:
        fail(f"there are no .spv files in {folder}")
    with tempfile.NamedTemporaryFile(suffix=".spv") as control:
        control.write(files[0].read_bytes()[:-4])
        control.flush()
        if validate(program, pathlib.Path(control.name)) is None:
            fail("spirv-val accepts SPIR-V whose last word is missing")
    # Texts that differ by names or comments alone are the same SPIR-V.
    distinct = list({hashlib.sha256(file.read_bytes()).digest(): file for file in files}.values())
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(filter(None, pool.map(functools.partial(validate, program), distinct)))
    print(f"wgsl.py: spirv-val: {len(files)} shaders, {len(distinct)} of them distinct, {len(problems)} refused")
    return problems


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the page and the folder, and takes the page's report."""

    def do_GET(self):
        self.server.heard.set()
        if self.path != "/":
            super().do_GET()
            return
        page = pathlib.Path(__file__).with_suffix(".html").read_bytes()
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def do_POST(self):
        length = int(self.headers["content-length"])
        self.server.report = json.loads(self.rfile.read(length))
        self.send_response(204)
        self.end_headers()
        self.server.heard.set()

    def log_message(self, *_):
        pass


def compile_in(browser, folder):
    """The report of the page, in this browser."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    server.report, server.heard = None, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, tempfile.TemporaryFile() as log:
        command = [browser, *FLAGS, *sandbox, f"--user-data-dir={profile}", f"http://127.0.0.1:{server.server_port}/"]
        # It brings a software GPU of its own, which these would hide.
        environment = {name: value for name, value in os.environ.items() if name not in DRIVERS}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            silent = 0
            while server.report is None and process.poll() is None and silent < SILENCE:
                silent = 0 if server.heard.wait(1) else silent + 1
                server.heard.clear()
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
        if server.report is None:
            log.seek(0)
            tail = log.read().decode(errors="replace")[-2000:]
            fail(f"{browser} ended or fell silent before it had compiled all shaders:\n{tail}")
    return server.report


def describe(folder, problem):
    """One problem of the page's report: where, the compiler's words, and the line of the shader."""
    where = problem["file"]
    if problem["line"]:
        where += f":{problem['line']}"
    kernel = f" ({problem['entry']})" if "entry" in problem else ""
    constants = f" with {json.dumps(problem['constants'])}" if problem.get("constants") else ""
    text = f"{where}{kernel}{constants}: {problem['text']}"
    if problem["line"]:
        text += "\n    " + (folder / problem["file"]).read_text().splitlines()[problem["line"] - 1].strip()
    return text


def check_wgsl(folder):
    """Returns what Chromium refuses."""
    shaders = json.loads((folder / "shaders.json").read_text())
    if not shaders:
        fail(f"there are no shaders in {folder}")
    browser = find([os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else BROWSERS)
    report = compile_in(browser, folder)
    if "error" in report:
        fail(f"{browser}: {report['error']}")
    if report["shaders"] != len(shaders):
        fail(f"{browser} compiled {report['shaders']} of {len(shaders)} shaders")
    version = subprocess.run([browser, "--version"], capture_output=True, text=True).stdout.strip()
    counts = f"{report['shaders']} shaders, {report['pipelines']} pipelines, {len(report['problems'])} refused"
    print(f"wgsl.py: {version}, on {report['adapter']}: {counts}")
    return [describe(folder, problem) for problem in report["problems"]]


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the browser is ended, too
    if len(sys.argv) != 2:
        fail("usage: python3 scripts/wgsl.py FOLDER")
    folder = pathlib.Path(sys.argv[1])
    problems = check_spirv(folder) + check_wgsl(folder)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
