"""How members are gathered into packs, and that packs give every member its own result."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singan_jax.devices import packs, sharding
from singan_jax.devices.packs import Packs
from singan_jax.scale.layout import Layout


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 300), st.sampled_from([8, 32, 64, 128, 256]), st.integers(11, 300))
def test_all_members_have_a_place_and_few_are_left_over(members, width, side):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "backend", lambda: "tpu")
        found = Packs.of(members, width, (side, side))
    assert found.layout.count * width <= max(width, 128)
    assert found.members >= members
    assert found.members - members < found.groups * found.at_once
    assert found.at_once <= 8
    assert found.at_once == 1 or found.at_once * side * side <= 2**14


def test_only_a_tpu_needs_packs():
    assert Packs.of(8, 32, (64, 64)) is None


@pytest.mark.parametrize("members", [1, 2, 5, 12])
def test_every_member_gets_its_own_result(members):
    """`over_members` by packs against NumPy, with members that do not fill the last one."""
    members *= sharding.padded_size(1)

    def of_pack(x, y, shared, layout):
        assert layout == Layout(3)
        assert x.shape == (3, 4)
        return x.sum(1) + shared, y * 2

    program = sharding.over_members(of_pack, shared=1, packs=lambda _: Packs(Layout(3), 2, 2))
    x, y = np.arange(members * 4.0).reshape(-1, 4), np.arange(members)
    sums, doubled = program(*sharding.to_devices((x, y)), jnp.float32(0.5))
    np.testing.assert_allclose(sums, x.sum(1) + 0.5)
    np.testing.assert_array_equal(doubled, 2 * y)
