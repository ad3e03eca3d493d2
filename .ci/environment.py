"""Makes a virtual environment that holds this checkout, or leaves it alone when nothing changed.

Called as `environment.py .venv dev` it installs `.[dev]` into .venv, editable. A third word takes
the `lowest` versions that pyproject.toml allows, or the `newest` there are today.
"""

import json
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]

# Importing pip shows up an environment whose making was interrupted.
IDENTITY = "import sys, pip; print(sys.base_prefix, sys.version)"


def lowest_versions() -> list[str]:
    """A pip constraint for every run-time requirement; tools (`dev`) are free."""
    extras = PROJECT["optional-dependencies"]
    requirements = [*PROJECT["dependencies"]]
    requirements += [line for name in extras if name != "dev" for line in extras[name]]
    pins = set[str]()
    for requirement in requirements:
        if requirement.startswith(PROJECT["name"]):
            continue
        bound = re.fullmatch(r"([\w.-]+)(\[[\w,]+\])?>=([\w.]+)(,.*)?", requirement)
        if bound is None:
            sys.exit(f"pyproject.toml: {requirement!r} has no lower bound to install")
        pins.add(f"{bound[1]}=={bound[3]}")
    return sorted(pins)


def made_from(python: Path) -> str:
    """The home and version of the Python behind an environment; empty where it is broken."""
    command = [python, "-c", IDENTITY]
    try:
        return subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""


def main(folder: Path, extra: str, versions: str = "") -> None:
    """Bring `folder` up to date for `extra`."""
    python = folder / "bin" / "python"
    if made_from(python) != f"{sys.base_prefix} {sys.version}\n":
        print(f"Creating {folder} with Python {sys.version.split()[0]}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)

    # What is newest is so for a day.
    day = time.strftime("%F") if versions == "newest" else None
    wanted = json.dumps([str(ROOT), PYPROJECT["build-system"], PROJECT, versions, day])
    stamp = folder / f".installed-{extra}"
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return

    print(f"Installing framework[{extra}] into {folder}: a minute the first time", flush=True)
    # Compiling the few modules that get imported, when they are, beats compiling all of SciPy now.
    options = ["-qq", "--disable-pip-version-check", "--no-compile", "--editable", f".[{extra}]"]
    if versions == "newest":
        options += ["--upgrade", "--upgrade-strategy", "eager"]
    if versions == "lowest":
        constraints = folder / "lowest.txt"
        constraints.write_text("\n".join(lowest_versions()), "utf-8")
        options += ["--constraint", str(constraints)]
    if subprocess.run([python, "-m", "pip", "install", *options], cwd=ROOT, check=False).returncode:
        sys.exit(f"framework[{extra}] could not be installed into {folder}; pip says why above.")
    stamp.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
