"""Where CBMC comes from: the system's own, or the pinned package unpacked under build/packages/cbmc, which needs nothing installed.

Debian has CBMC from trixie on. On an older one a private apt directory (its own sources, lists and cache, nothing of the system's is
touched) brings the package and the libraries that it needs; its programs are started through the dynamic loader that comes with them."""
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = ROOT / "build" / "packages" / "cbmc"


class Missing(Exception):
    """CBMC cannot be had here; says why."""


def version_of(command):
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout else ""


def debian_archive():
    """(URI, keyring) of the system's own Debian archive."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Missing("no cbmc here, and no apt to fetch it with")
    text = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(COMPONENT)|$(ORIGIN)|$(CREATED_BY)|$(SIGNED_BY)"],
                          capture_output=True, text=True).stdout
    for line in text.splitlines():
        uri, component, origin, created_by, keyring = (line.split("|") + [""] * 5)[:5]
        if component == "main" and origin in ("Debian", "") and created_by == "Packages" and "security" not in uri:
            # An older apt knows no such field, and leaves its name.
            return uri, keyring if keyring.startswith("/") else "/usr/share/keyrings/debian-archive-keyring.gpg"
    raise Missing("no cbmc here, and apt knows no archive of Debian")


def fetch(package):
    uri, keyring = debian_archive()
    part = HOME.with_name("cbmc.part")
    shutil.rmtree(part, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "debs", "root"):
        (part / folder).mkdir(parents=True)
    (part / "status").touch()
    (part / "sources.list").write_text(f"deb [arch=amd64 signed-by={keyring}] {uri} {package['suite']} main\n")
    (part / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in {
        "Dir::Etc::sourcelist": part / "sources.list", "Dir::Etc::sourceparts": "-", "Dir::State": part, "Dir::State::Lists": part / "lists",
        "Dir::State::status": part / "status", "Dir::Cache": part / "cache", "APT::Architecture": "amd64", "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root", "Acquire::Languages": "none"}.items()))
    names = [f"cbmc={package['version']}", *package["libraries"]]
    print(f"prove: fetching cbmc {package['version']} of {package['suite']}", flush=True)
    environment = dict(os.environ, APT_CONFIG=str(part / "apt.conf"))
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "download", *names]):
        done = subprocess.run(command, env=environment, cwd=part / "debs", capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(f"cbmc {package['version']}: " + (done.stderr.strip().splitlines() or ["apt failed"])[-1])
    for archive in sorted((part / "debs").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(archive), str(part / "root")], check=True)
    for folder in ("lists", "cache", "debs"):
        shutil.rmtree(part / folder)
    shutil.rmtree(HOME, ignore_errors=True)
    part.rename(HOME)
    (HOME / "version").write_text(package["version"])


def unpacked_command():
    root = HOME / "root"
    loader = next(root.glob("**/ld-linux-x86-64.so.2"), None)
    program = root / "usr/bin/cbmc"
    if loader is None or not program.exists():
        return None
    libraries = {str(path.parent) for pattern in ("libc.so.6", "libminisat.so*", "libstdc++.so.6") for path in root.glob(f"usr/lib/**/{pattern}")}
    return [str(loader), "--library-path", ":".join(sorted(libraries)), str(program)]


def command():
    """How to start CBMC; raises Missing."""
    package = tomllib.loads((ROOT / "tools" / "packages.toml").read_text())["cbmc"]
    wanted = package["version"].split("-")[0]
    if version_of(["cbmc"]) == wanted:
        return ["cbmc"]
    if os.uname().machine != "x86_64":
        raise Missing(f"cbmc {wanted} is not installed")
    stamp = HOME / "version"
    if not stamp.exists() or stamp.read_text() != package["version"]:
        fetch(package)
    found = unpacked_command()
    if found is None or version_of(found) != wanted:
        raise Missing(f"the unpacked cbmc {wanted} does not start")
    return found
