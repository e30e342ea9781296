"""All tests run on four virtual CPU devices (or on the accelerator, where there is one)."""

import singan_jax

singan_jax.configure_jax(cpu_devices=4)
