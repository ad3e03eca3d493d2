"""Devices and shardings by name."""

from __future__ import annotations

from typing import Any

import jax

__all__ = ["device_of", "moved"]


def device_of(device: Any) -> Any:
    """Find a device.

    Args:
        device: A ``jax.Device`` or ``jax.sharding.Sharding``, or a name such as ``"cpu"``,
            ``"gpu"``, ``"cpu:1"``.

    Raises:
        RuntimeError: This machine has no such device.
        TypeError: It is something else.
    """
    if isinstance(device, (jax.Device, jax.sharding.Sharding)):
        return device
    if not isinstance(device, str):
        raise TypeError(
            "A device is a jax.Device, a jax.sharding.Sharding, or a name such as 'cpu', 'gpu' "
            f"or 'cpu:1', but got a {type(device).__name__}."
        )
    platform, _, number = device.partition(":")
    devices = jax.devices(platform)
    if number and not (number.isdigit() and int(number) < len(devices)):
        raise RuntimeError(
            f"There is no device {device!r}: this machine has {len(devices)} of {platform!r}."
        )
    return devices[int(number or 0)]


def moved(array: Any, device: Any) -> Any:
    """Put an array on a device; one that is there already is returned as it is.

    An array that stays must stay the same object: a second one over the same buffer could not be
    told from a free one when the buffer is donated.
    """
    there = (
        array.sharding == device
        if isinstance(device, jax.sharding.Sharding)
        else (array.devices() == {device})
    )
    return array if there else jax.device_put(array, device)
