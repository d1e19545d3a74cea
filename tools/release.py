"""Makes a release: sets the version, writes the changelog's section, and builds everything that is published into dist/, with checksums.

    python3 tools/release.py 0.2.0              # static binaries, wheels, source archive, crates
    python3 tools/release.py 0.2.0 --dry-run    # says what would be done

It builds, for each processor that can be built here: a static binary (`tfod-linux-amd64`) and a manylinux2014 wheel; the sources for PyPI; the crates, as
`cargo package` packs and compiles them; SHA256SUMS of all. What cannot be built is listed with the reason, and the exit status is then 1. Nothing is committed or
published: the commands for that are printed. Standard library only; runs under Python 3.9 to 3.13.
"""

import argparse
import datetime
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys

import build

ROOT = build.ROOT
DIST = ROOT / "dist"
UNRELEASED = "## [Unreleased]"


class Refused(Exception):
    """The release cannot be made; the message says why."""


def new_manifest(text, version):
    """Returns the workspace's Cargo.toml with this version, for the crates and for their dependencies on each other."""
    match = re.search(r'^\[workspace\.package\]\nversion = "(.*)"$', text, re.MULTILINE)
    if not match:
        raise Refused("Cargo.toml: [workspace.package] does not begin with the version")
    old = match.group(1)
    if numbers(version) < numbers(old):
        raise Refused(f"Cargo.toml: has version {old}; {version} is older")
    text = text.replace(match.group(0), f'[workspace.package]\nversion = "{version}"')
    return re.sub(rf'^(tfod[a-z-]* = \{{ path = "crates/[a-z-]+", version = )"{re.escape(old)}"', rf'\g<1>"{version}"', text, flags=re.MULTILINE)


def numbers(version):
    """Returns the three numbers of a version, for comparisons."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version)
    if not match:
        raise Refused(f"{version}: a version is three numbers, 1.2.3")
    return tuple(int(number) for number in match.groups())


def new_changelog(text, version, date):
    """Returns the changelog in which what was unreleased has become the section of this version."""
    before, found, after = text.partition(UNRELEASED + "\n")
    if not found:
        raise Refused(f"CHANGELOG.md: has no section {UNRELEASED!r}")
    if f"## [{version}]" in text:
        raise Refused(f"CHANGELOG.md: has a section [{version}] already")
    changes = after.split("\n## [", 1)[0].strip()
    if not changes:
        raise Refused("CHANGELOG.md: the section [Unreleased] is empty: there is nothing to release")
    return f"{before}{UNRELEASED}\n\n## [{version}] - {date}\n{after}"


def checksums(folder):
    """Writes SHA256SUMS of a folder's files, as `sha256sum --check` reads them; returns its path."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != "SHA256SUMS":
            digest = hashlib.sha256()
            with path.open("rb") as file:
                for piece in iter(lambda: file.read(1 << 20), b""):
                    digest.update(piece)
            lines.append(f"{digest.hexdigest()}  {path.name}\n")
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(lines))
    return sums


def crates(version, output):
    """Packs every crate that is published, compiles it as packed, and copies it into the output folder; returns the files there."""
    command = ["cargo", "package", "--workspace", "--exclude", "tfod-cases", "--exclude", "tfod-page", "--allow-dirty"]
    print(f"+ {' '.join(command)}", flush=True)
    subprocess.run(command, check=True, cwd=ROOT)
    packed = sorted((ROOT / "target" / "package").glob(f"tfod*-{version}.crate"))
    return [shutil.copy2(file, output) for file in packed]


def plan(version, features):
    """Returns what is built: pairs of a description and a function."""
    steps = [(f"static binary, {target}", lambda target=target: build.static(target, features, DIST)) for target in build.TRIPLES["static"]]
    steps += [(f"wheel, {target}", lambda target=target: build.wheel(target, features, DIST)) for target in build.TRIPLES["wheel"]]
    steps.append(("source archive for PyPI", lambda: build.sdist(DIST)))
    steps.append(("crates", lambda: crates(version, DIST)))
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.partition("\n\n")[2], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="the version to release: three numbers")
    parser.add_argument("--features", default="run", help="cargo features of the command (default: run, the runtime of `detect` and `verify --image`)")
    parser.add_argument("--dry-run", action="store_true", help="change and build nothing")
    arguments = parser.parse_args()
    manifest, changelog = ROOT / "Cargo.toml", ROOT / "CHANGELOG.md"
    try:
        texts = {
            manifest: new_manifest(manifest.read_text(), arguments.version),
            changelog: new_changelog(changelog.read_text(), arguments.version, datetime.date.today().isoformat()),
        }
        dirty = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
        if dirty:
            raise Refused(f"there are changes that are not committed; commit them first:\n{dirty}")
        if DIST.exists() and any(DIST.iterdir()):
            raise Refused("dist/ is not empty: remove what an earlier release left there")
    except Refused as error:
        sys.exit(f"error: {error}")
    steps = plan(arguments.version, arguments.features)
    if arguments.dry_run:
        print("would set the version, write the changelog's section, and build:\n" + "\n".join(f"  {what}" for what, _ in steps))
        return
    for path, text in texts.items():
        path.write_text(text)
    subprocess.run(["cargo", "update", "--workspace", "--quiet"], check=True, cwd=ROOT)
    missing = []
    for what, make in steps:
        print(f"\n=== {what}", flush=True)
        try:
            make()
        except (build.Unavailable, subprocess.CalledProcessError) as error:
            print(f"error: {error}", flush=True)
            missing.append((what, error))
    sums = checksums(DIST)
    print(f"\n=== {sums}\n{sums.read_text()}")
    for what, error in missing:
        print(f"not built: {what}: {error}")
    print(
        f"Now look at `git diff`, then:\n  git commit --all --message 'Release {arguments.version}' && git tag v{arguments.version}\n"
        "  cargo publish --workspace\n  python3 -m twine upload dist/*.whl dist/*.tar.gz"
    )
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
