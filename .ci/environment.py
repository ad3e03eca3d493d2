"""Makes a virtual environment that holds this checkout, or leaves it alone when nothing changed.

    environment.py .venv dev             an editable install of `.[dev]`
    environment.py .venv-oldest dev lowest   … with the lowest versions pyproject.toml allows
    environment.py .venv-newest dev newest   … with the newest ones of today
"""

import datetime
import json
import re
import subprocess
import sys
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
    try:
        return subprocess.check_output([python, "-c", IDENTITY], stderr=subprocess.DEVNULL, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""


def main(folder: Path, extra: str, versions: str = "") -> None:
    """Bring `folder` up to date for `extra`."""
    python = folder / "bin" / "python"
    if made_from(python) != f"{sys.base_prefix} {sys.version}\n":
        print(f"Creating {folder} with Python {sys.version.split()[0]}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)

    options = ["--editable", f".[{extra}]"]
    if versions == "newest":
        options += ["--upgrade", "--upgrade-strategy", "eager"]
    today = datetime.date.today().isoformat() if versions == "newest" else ""
    wanted = json.dumps([str(ROOT), PYPROJECT["build-system"], PROJECT, versions, today])
    stamp = folder / f".installed-{extra}"
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return

    print(f"Installing framework[{extra}] into {folder} (a minute or two the first time)", flush=True)
    if versions == "lowest":
        constraints = folder / "lowest.txt"
        constraints.write_text("\n".join(lowest_versions()), "utf-8")
        options += ["--constraint", str(constraints)]
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *options]
    if subprocess.run(pip, cwd=ROOT, check=False).returncode:
        sys.exit(f"framework[{extra}] could not be installed into {folder}; pip says why above.")
    stamp.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
