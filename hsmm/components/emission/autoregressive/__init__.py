"""Emissions that read the rows before."""

from hsmm.components.emission.autoregressive.gaussian import AutoregressiveGaussian as AutoregressiveGaussian
