"""Mixtures: Gaussian mixtures of embeddings at scale."""

from lucida.clustering.gaussian_mixture import GaussianMixture
from lucida.clustering.processes import Processes
from lucida.clustering.sweep import Sweep, bic_sweep

__all__ = ["GaussianMixture", "Processes", "Sweep", "bic_sweep"]
