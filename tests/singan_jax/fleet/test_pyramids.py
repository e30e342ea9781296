"""The pyramids of a group, whose images become floats a few at a time."""

import jax
import numpy as np
import pytest
import tiny

import singan_jax
from singan_jax.devices.bucket import Bucket
from singan_jax.fleet import group
from singan_jax.images.read import Image

SIZE = (40, 33)


def images(count, dtype=np.uint8):
    found = []
    for seed in range(count):
        pixels = tiny.image(seed, SIZE).pixels.astype(dtype) * (257 if dtype == np.uint16 else 1)
        found.append(Image(f"image{seed}", f"image{seed}.png", pixels, more=(pixels[::-1],)))
    return found


@pytest.mark.parametrize("uint8", [False, True])
@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_company_changes_no_pyramid(monkeypatch, count, uint8):
    changes = {"uint8_resize": uint8, "max_size": 30}
    config = singan_jax.Config(**{**tiny.CONFIG.to_dict(), **changes})
    bucket, given = Bucket(config, (*SIZE, 3), images=2), images(count)
    whole = group.pyramids(bucket, given)
    assert [scale.shape for scale in whole] == [
        (count, 2, *size, 3) for size in bucket.pyramid.sizes
    ]
    seen = []
    to_devices = group.sharding.to_devices
    monkeypatch.setattr(
        group.sharding, "to_devices", lambda tree: seen.append(tree.shape) or to_devices(tree)
    )
    monkeypatch.setattr(group, "_NUMBERS", 1)
    devices = jax.local_device_count()
    pieces = group.pyramids(bucket, given)
    assert seen == [(devices, 2, *SIZE, 3)] * -(-count // devices)  # one shape, so one program
    alone = [group.pyramids(bucket, [image]) for image in given]
    for n, scale in enumerate(whole):
        np.testing.assert_array_equal(pieces[n], scale)
        np.testing.assert_array_equal(np.concatenate([one[n] for one in alone]), scale)
