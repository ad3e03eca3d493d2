"""Installs the peers into the environment that runs this, as far as they can be had."""

import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).with_name("peers.txt")
PIP = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]


def installs(*requirements: str) -> bool:
    """Let pip try."""
    return not subprocess.run([*PIP, *requirements], check=False).returncode


def main() -> None:
    """Install all together, so that their versions fit; or else each that can be."""
    text = PEERS.read_text("utf-8")
    stamp = Path(sys.prefix) / ".installed-peers"
    if stamp.exists() and stamp.read_text("utf-8") == text:
        return
    sys.stderr.write("Installing the peers: some minutes the first time\n")
    if not installs("-r", str(PEERS)):
        names = [line for line in text.splitlines() if not line.startswith("#")]
        missing = [name for name in names if not installs(name)]
        if missing:
            sys.stderr.write(f"bench: goes on without {', '.join(missing)}\n")
            return
    stamp.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
