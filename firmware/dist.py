"""`make dist`: everything from which a site without internet is made into hubs and a cloud, in one folder.

    packages for both machines, signed where KEYS were given, with what `medxz-cloud release add` wants beside them
    wheels/     a .tar for each Python (Debian 12's and 13's) and machine: the program, every library that it needs, and pip
    units/      systemd's files, for machines that are provisioned from the wheels
    medxz-hub-VERSION.tar.gz   the ansible collection, where ansible is at hand
    manifest.json, SHA256SUMS

Libraries are taken by the hashes of the lock. What lay in the folder before and was made by this is replaced.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from firmware.deb.build import PLATFORMS, TREE, Build, epoch_of_tree, version_of_tree
from firmware.deb.packages import PACKAGES
from firmware.deb.sign import signed

# Debian 12's and 13's
PYTHONS = ("3.11", "3.13")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# what wheels are named by: every glibc that both have
GLIBCS = ("2_28", "2_27", "2_24", "2_17", "2_12", "2_5")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make dist", description="What a site is provisioned from.")
    parser.add_argument("--out", type=Path, default=TREE / "dist")
    parser.add_argument("--version", default=version_of_tree())
    parser.add_argument("--arch", action="append", choices=PLATFORMS, help="[default: both]")
    parser.add_argument("--python", action="append", choices=PYTHONS, help="of wheels [default: both]")
    parser.add_argument("--keys", type=Path, help="what firmware/rauc/make-keys made, to sign hubs' packages")
    parser.add_argument("--no-wheels", action="store_true", help="packages alone")
    parser.add_argument("--no-packages", action="store_true", help="wheels alone")
    parser.add_argument("--galaxy", type=Path, help="ansible-galaxy, for the collection")
    said = parser.parse_args()
    out = said.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    forget(out)
    archs = said.arch or list(PLATFORMS)
    for arch in archs if not said.no_packages else []:
        make_packages(out, arch, said.version, said.keys)
    if said.keys is not None:
        shutil.copy(said.keys / "keyring.pem", out)
    if not said.no_wheels:
        make_wheels(out / "wheels", archs, said.python or list(PYTHONS), said.version)
        make_units(out / "units")
    if said.galaxy is not None:
        make_collection(out, said.galaxy, said.version)
    manifest = sums(out, said.version)
    sys.stdout.write(f"{out}: {len(manifest['files'])} files, {manifest['size'] / 1e6:.0f} MB\n")


def forget(out: Path) -> None:
    """What an earlier run has made; anything else that lies there stays."""
    for folder in ("wheels", "units"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for pattern in (
        "medxz-*.deb",
        "medxz-*.deb.json",
        "medxz-hub-*.tar.gz",
        "manifest.json",
        "SHA256SUMS",
        "keyring.pem",
    ):
        for file in out.glob(pattern):
            file.unlink()


def make_packages(out: Path, arch: str, version: str, keys: Path | None) -> None:
    work = TREE / "build/dist"
    work.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES.values():
        made = Build(package, arch, version, work, epoch_of_tree()).run()
        file = Path(shutil.move(made, out / made.name))
        if keys is not None and package.exchange:
            signed(file, keys)


def make_wheels(folder: Path, archs: list[str], pythons: list[str], version: str) -> None:
    """`medxz-hub-VERSION-cp313-amd64.tar` and the like; the same file from the same commit."""
    folder.mkdir()
    with tempfile.TemporaryDirectory(dir=folder) as made:
        epoch, program = epoch_of_tree(), make_program(Path(made), version)
        for arch in archs:
            for python in pythons:
                wheels = Path(made, f"{arch}-{python}")
                wheels.mkdir()
                download(wheels, arch, python)
                shutil.copy(program, wheels)
                shutil.copy(TREE / "requirements/run.txt", wheels / "requirements.txt")
                pack(wheels, folder / f"medxz-hub-{version}-cp{python.replace('.', '')}-{arch}.tar", epoch)


def make_program(folder: Path, version: str) -> Path:
    """The wheel of the tree; for another version than it says of itself, of a copy that says so."""
    source = TREE
    if version != version_of_tree():
        source = folder / "tree"
        source.mkdir()
        for name in ("medxz", "hub", "cloud"):
            shutil.copytree(TREE / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(TREE / name, source)
        about = source / "pyproject.toml"
        about.write_text(
            re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', about.read_text("utf-8"), count=1)
        )
    made = folder / "program"
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", made)
    run(*command, cwd=source, SOURCE_DATE_EPOCH=str(epoch_of_tree()))
    [wheel] = made.iterdir()
    return wheel


def download(folder: Path, arch: str, python: str) -> None:
    """What is locked, by its hashes, for that machine; a library without a wheel for it is a failure that names it."""
    platforms = [f"manylinux_{glibc}_{MACHINES[arch]}" for glibc in GLIBCS]
    platforms += [f"manylinux{old}_{MACHINES[arch]}" for old in ("2014", "2010", "1")]
    chosen = [word for platform in platforms for word in ("--platform", platform)]
    locks = [word for name in ("run", "wheels") for word in ("-r", TREE / f"requirements/{name}.txt")]
    run(
        sys.executable if has_pip() else "python3", "-m", "pip", "download", "--quiet", "--no-deps",
        "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:", "--implementation", "cp",
        "--python-version", python, *chosen, *locks, "-d", folder,
    )  # fmt: skip


def pack(folder: Path, file: Path, epoch: int) -> None:
    with tarfile.open(file, "w") as packed:
        for each in sorted(folder.iterdir()):
            about = tarfile.TarInfo(each.name)
            about.size, about.mtime, about.mode = each.stat().st_size, epoch, 0o644
            with each.open("rb") as opened:
                packed.addfile(about, opened)


def make_units(folder: Path) -> None:
    """As the packages lay them out."""
    folder.mkdir()
    for file in sorted((TREE / "systemd").iterdir()):
        if file.suffix != ".md":
            shutil.copy(file, folder)
    shutil.copy(TREE / "firmware/deb/exchange", folder)


def make_collection(out: Path, galaxy: Path, version: str) -> None:
    work = TREE / "build/collection"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(
        TREE / "ansible", work, ignore=shutil.ignore_patterns("__pycache__", ".ansible", "*.retry")
    )
    meta = work / "galaxy.yml"
    lines = meta.read_text("utf-8").splitlines()
    meta.write_text(
        "".join(f"version: {version}\n" if line.startswith("version:") else f"{line}\n" for line in lines)
    )
    run(galaxy.absolute(), "collection", "build", work, "--output-path", out, "--force")


def sums(out: Path, version: str) -> dict[str, Any]:
    """`manifest.json` and `SHA256SUMS` of everything there."""
    files = []
    for file in sorted(path for path in out.rglob("*") if path.is_file()):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        files.append(
            {"path": file.relative_to(out).as_posix(), "size": file.stat().st_size, "sha256": digest}
        )
    manifest = {"version": version, "size": sum(int(str(each["size"])) for each in files), "files": files}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    (out / "SHA256SUMS").write_text("".join(f"{each['sha256']}  {each['path']}\n" for each in files))
    return manifest


def has_pip() -> bool:
    told = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    return told.returncode == 0


def run(*command: object, cwd: Path = TREE, **environ: str) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{words[0]} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
