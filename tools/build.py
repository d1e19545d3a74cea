"""Builds what is released: static binaries and wheels, for this machine's processor and for others, with zig as the linker; and the page of examples/browser.

    python3 tools/build.py static                              # x86_64-unknown-linux-musl into dist/
    python3 tools/build.py static --target aarch64-unknown-linux-musl
    python3 tools/build.py wheel                               # manylinux2014 for x86-64
    python3 tools/build.py check --target x86_64-pc-windows-gnu   # compiles, without linking
    python3 tools/build.py page                                # dist/tfod-page.html, which needs no server

A target's standard library is taken where it can be had: from rustup, if it has the target or can add it; else it is compiled from the sources of
Debian's packages rustc-web and rust-web-src (`apt-get install rustc-web rust-web-src`), whose compiler is then used. zig, cargo-zigbuild and maturin come from PyPI into an environment of their own
below target/. Standard library only; runs under Python 3.9 to 3.13.
"""

import argparse
import base64
import gzip
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import environments

CRATE = "tfod-cli"
BUILDS = ROOT / "target" / "release-builds"
#: The compiler whose standard library Debian has as sources, and where these are below its sysroot.
DEBIAN_RUSTC = pathlib.Path("/usr/bin/rustc")
STD_SOURCES = "lib/rustlib/src/rust/library/std/Cargo.toml"
#: Static binaries are called as Docker calls the processor.
DOCKER_NAMES = {"x86_64-unknown-linux-musl": "amd64", "aarch64-unknown-linux-musl": "arm64"}
TRIPLES = {
    "static": list(DOCKER_NAMES),
    "wheel": ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"],
    "check": ["x86_64-pc-windows-gnu", "aarch64-apple-darwin", "x86_64-apple-darwin"],
    "page": ["wasm32-unknown-unknown"],
}


class Unavailable(Exception):
    """A target cannot be built here; the message says what is missing."""


def answers(command):
    """Returns what a command prints, or None if it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout if result.returncode == 0 else None


def standard_library(target):
    """Returns (arguments, environment variables) for cargo, with which the target has a standard library. Raises `Unavailable`."""
    installed = answers(["rustup", "target", "list", "--installed"]) or ""
    host = next((line.split()[1] for line in (answers(["rustc", "-vV"]) or "").splitlines() if line.startswith("host:")), None)
    if target in installed.split() or target == host:
        return [], {}
    if answers(["rustup", "target", "add", target]) is not None:
        return [], {}
    sysroot = (answers([str(DEBIAN_RUSTC), "--print", "sysroot"]) or "").strip()
    if sysroot and (pathlib.Path(sysroot) / STD_SOURCES).exists():
        flags = ["-C link-self-contained=no"] if target.endswith("-musl") else []
        variables = {"RUSTC": str(DEBIAN_RUSTC), "RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": " ".join([os.environ.get("RUSTFLAGS", ""), *flags]).strip()}
        return ["-Zbuild-std=std,panic_unwind"], variables
    raise Unavailable(
        f"{target}: rustup cannot add this target, and there are no sources of the standard library; install them with `apt-get install rustc-web rust-web-src`, "
        "or add the target where rustup reaches its server: `rustup target add " + target + "`"
    )


def cargo(arguments, target, features, folder):
    """Runs cargo for a target, with zig as linker and a target folder of its own."""
    more, variables = standard_library(target)
    tools = environments.make("release").parent
    environment = {**os.environ, **variables, "CARGO_TARGET_DIR": str(folder), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    command = ["cargo", *arguments, *more, "--release", f"--target={target}", "--package", CRATE]
    command += [f"--features={features}"] if features else []
    print(f"+ {' '.join(command)}", flush=True)
    subprocess.run(command, check=True, env=environment, cwd=ROOT)


def static(target, features, output):
    """Builds a binary that needs no library of the system's; returns its path in the output folder."""
    cargo(["zigbuild", "--bin=tfod"], target, features, BUILDS)
    output.mkdir(parents=True, exist_ok=True)
    binary = output / f"tfod-linux-{DOCKER_NAMES[target]}"
    shutil.copy2(BUILDS / target / "release" / "tfod", binary)
    print(f"{binary}: {binary.stat().st_size / 1e6:.1f} MB")
    return binary


def maturin(arguments, output, environment):
    """Runs maturin in the folder of the Python module; returns the file that it wrote into the output folder."""
    tools = environments.make("release").parent
    before = {path: path.stat().st_mtime_ns for path in output.glob("*")}
    command = [str(tools / "maturin"), *arguments, f"--out={output}"]
    environment = {**os.environ, **environment, "CARGO_TARGET_DIR": str(BUILDS), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    print(f"+ {' '.join(command)}", flush=True)
    subprocess.run(command, check=True, env=environment, cwd=ROOT / "python")
    (made,) = [path for path in output.glob("*") if before.get(path) != path.stat().st_mtime_ns]
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB")
    return made


def wheel(target, features, output):
    """Builds a manylinux2014 wheel; returns its path in the output folder."""
    more, variables = standard_library(target)
    command = ["build", "--release", "--zig", "--compatibility=manylinux2014", f"--target={target}", *more]
    return maturin(command + ([f"--features={features}"] if features else []), output, variables)


def sdist(output):
    """Packs the sources of the Python package; returns the archive's path in the output folder."""
    return maturin(["sdist"], output, {})


def check(target, features, _output):
    """Compiles the command for a target without linking it."""
    cargo(["check", "--bin=tfod"], target, features, BUILDS)


#: Every browser of today has the instructions for vectors. Graphs nested in graphs are read by recursion.
WASM_FLAGS = ["-C target-feature=+simd128", "-C link-arg=-zstack-size=16777216"]


def page(target, _features, output):
    """Builds the page that detects in a browser, as one file; returns its path in the output folder."""
    more, variables = standard_library(target)
    flags = " ".join([variables.get("RUSTFLAGS", os.environ.get("RUSTFLAGS", "")), *WASM_FLAGS]).strip()
    command = ["cargo", "build", "--release", f"--target={target}", "--package=tfod-page", "--features=run", *more]
    print(f"+ {' '.join(command)}", flush=True)
    subprocess.run(command, check=True, env={**os.environ, **variables, "RUSTFLAGS": flags, "CARGO_TARGET_DIR": str(BUILDS)}, cwd=ROOT)
    module = gzip.compress((BUILDS / target / "release" / "tfod_page.wasm").read_bytes(), mtime=0)
    sources = ROOT / "examples" / "browser"
    parts = {"module": base64.b64encode(module).decode()}
    parts.update({name: (sources / file).read_text() for name, file in (("style", "page.css"), ("script", "page.js"), ("worker", "worker.js"))})

    def filled(place):
        kind, _, name = place[1].rpartition(":")
        if kind == "hash":
            return "sha256-" + base64.b64encode(hashlib.sha256(parts[name].encode()).digest()).decode()
        return parts[name]

    text = re.sub(r"\{\{([\w:]+)\}\}", filled, (sources / "page.html").read_text())
    output.mkdir(parents=True, exist_ok=True)
    file = output / "tfod-page.html"
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.replace(file)
    print(f"{file}: {len(text) / 1e6:.2f} MB, of which WebAssembly, compressed, {len(module) / 1e6:.2f} MB")
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.partition("\n\n")[2], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=TRIPLES)
    parser.add_argument("--target", action="append", help="a target triple; more than once for several (default: the first of those known)")
    parser.add_argument("--features", default="run", help="cargo features of the command (default: run, the runtime of `detect` and `verify --image`)")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "dist", help="where files go (default: dist)")
    arguments = parser.parse_args()
    for target in arguments.target or TRIPLES[arguments.what][:1]:
        if target not in TRIPLES[arguments.what]:
            parser.error(f"{arguments.what}: {target}: known are {', '.join(TRIPLES[arguments.what])}")
        try:
            arguments.output.mkdir(parents=True, exist_ok=True)
            output = arguments.output.resolve()
            {"static": static, "wheel": wheel, "check": check, "page": page}[arguments.what](target, arguments.features, output)
        except (Unavailable, subprocess.CalledProcessError) as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
