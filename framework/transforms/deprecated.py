"""Arguments that BrainPy code may still pass."""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["warn_declared_state"]


def warn_declared_state(**declared: Any) -> None:
    """Warn that state need not be declared, for each argument that is not None."""
    for name, value in declared.items():
        if value is not None:
            warnings.warn(
                f"`{name}=` is ignored: Variables and objects that a function uses are found by "
                "tracing it. Leave the argument out.",
                DeprecationWarning,
                stacklevel=3,
            )
