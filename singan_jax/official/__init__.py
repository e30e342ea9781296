"""Reads models of the official PyTorch SinGAN and makes them members of fleets."""
