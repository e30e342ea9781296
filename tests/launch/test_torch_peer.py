"""The benchmark's PyTorch peer does what the original code does: its vectors are replayed."""

import goldens_io as goldens
import jax.numpy as jnp
import numpy as np
import pytest

from singan_jax.config import Config
from singan_jax.scale import generate
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.pyramid import Pyramid, resize

torch = pytest.importorskip("torch")
torch_peer = pytest.importorskip("launch.benchmarks.torch_peer")

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def nets():
    return goldens.load("networks.npz")


def loaded(nets, module, name):
    state = goldens.group(nets, name)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    return module


def generator(nets, name="G0"):
    return loaded(nets, torch_peer.Generator(8, 5, 3), name)


def critic(nets, name="D0"):
    return loaded(nets, torch_peer.Discriminator(8, 5, 3), name)


def tensors(nets, *names):
    return [torch.from_numpy(nets[name]) for name in names]


def assert_gradients(module, expected):
    """Relative to each array's largest entry; biases in front of a norm have rounding alone."""
    for name, parameter in module.named_parameters():
        if not name.endswith("conv.bias"):
            scale = max(np.abs(expected[name]).max(), 1e-6)
            np.testing.assert_allclose(parameter.grad, expected[name], rtol=0, atol=1e-3 * scale)


def test_forward_passes(nets):
    noisy, prev, real = tensors(nets, "noise_in", "prev", "real")
    network = generator(nets)
    np.testing.assert_allclose(network(noisy, prev).detach(), nets["fake_train"], atol=1e-5)
    np.testing.assert_allclose(network.eval()(noisy, prev).detach(), nets["fake_eval"], atol=1e-5)
    np.testing.assert_allclose(critic(nets)(real).detach(), nets["D_real"], atol=1e-5)


def test_critic_gradients_and_step(nets):
    real, fake = tensors(nets, "real", "fake_train")
    member = torch_peer.Member(Config(), 8, 3)
    loaded(nets, member.critic, "D0")
    torch_peer.critic_backward(member.critic, real, fake, float(nets["alpha"]), 0.1)
    assert_gradients(member.critic, goldens.group(nets, "dD"))
    member.d_optimiser.step()
    after = goldens.group(nets, "D1")
    moved = member.critic.state_dict()["body.block1.conv.weight"].numpy()
    gradient = np.abs(goldens.group(nets, "dD")["body.block1.conv.weight"])
    certain = gradient > 1e-3 * gradient.max()
    expected = after["body.block1.conv.weight"]
    np.testing.assert_allclose(moved[certain], expected[certain], rtol=0, atol=2e-5)


def test_generator_gradients(nets):
    """Noise and image are summed already in the vectors, so the noise is passed as zero."""
    noisy, prev, rec_in, rec_prev, real = tensors(
        nets, "noise_in", "prev", "rec_in", "rec_prev", "real"
    )
    network, scores = generator(nets), critic(nets, "D1")
    adversarial = -scores(network(noisy, prev)).mean()
    rec = 10.0 * torch.nn.functional.mse_loss(network(rec_in, rec_prev), real)
    (adversarial + rec).backward()
    np.testing.assert_allclose(float(rec.detach()), float(nets["rec_loss"]), rtol=1e-4)
    assert_gradients(network, goldens.group(nets, "dG"))


def test_an_iteration_trains_both_networks():
    torch.manual_seed(0)
    member = torch_peer.Member(Config(), 4, 3)
    image = torch.rand(1, 3, 25, 25) * 2 - 1
    zero = torch.zeros_like(image)
    inputs = torch_peer.Inputs(
        real=image,
        rec_prev=zero,
        z_rec=torch.randn(1, 1, 25, 25),
        noise=torch.randn(1, 1, 25, 25),
        prev=[zero] * 3,
        alpha=[0.1, 0.5, 0.9],
        noise_amp=1.0,
    )
    networks = (member.generator, member.critic)
    before = [p.detach().clone() for n in networks for p in n.parameters()]
    member.iterate(inputs)
    after = [p.detach() for n in networks for p in n.parameters()]
    moved = [float((a - b).abs().max()) for a, b in zip(after, before, strict=True)]
    # The critic's last bias cancels out of its loss.
    assert sum(change == 0 for change in moved) <= 1
    assert max(moved) < 3 * 5e-4 * 1.1  # three Adam steps each


def test_enlarges_as_the_official_code_does():
    """The official uint8 resize, checked against vectors in test_goldens.py, on drawn images."""
    plan = Pyramid.of((40, 31), Config(max_size=40))
    for scale in range(1, plan.num_scales):
        image = torch.rand(1, 3, *plan.sizes[scale - 1]) * 2.4 - 1.2
        ours = resize(
            jnp.asarray(goldens.nhwc(image.numpy())), 1 / plan.ratio, plan.sizes[scale], uint8=True
        )
        difference = np.abs(goldens.nhwc(torch_peer.enlarge(image, plan, scale).numpy()) - ours)
        # A level of 8 bits where rounding errors decide the truncation; few pixels feel it.
        assert difference.max() < 2 / 255
        assert np.median(difference) < 1e-5


def test_the_chain_is_the_pass_through_frozen_scales():
    torch.manual_seed(1)
    config = Config(max_size=40, uint8_resize=True)
    plan = Pyramid.of((40, 31), config)
    generators = [torch_peer.Generator(config.width(n), 5, 3) for n in range(2)]
    amps = [1.0, 0.3]
    noises = [torch.randn(1, 1 if n == 0 else 3, *plan.sizes[n]) for n in range(2)]
    drawn = torch_peer.Chain(generators, amps, plan).draw(config, noises)
    scales = [
        FrozenScale(
            goldens.variables({k: v.numpy() for k, v in network.state_dict().items()}),
            jnp.float32(amp),
            None,
        )
        for network, amp in zip(generators, amps, strict=True)
    ]
    maps = [jnp.asarray(goldens.nhwc(noise.numpy())) for noise in noises]
    expected = generate.coarse_image(config, plan, scales, maps, 3)
    difference = np.abs(goldens.nhwc(drawn.numpy()) - expected)
    assert difference.max() < 3 / 255
    assert np.median(difference) < 1e-3
