"""Mixtures: Gaussian mixtures of embeddings at scale."""

from lucida.clustering.gaussian_mixture import GaussianMixture
from lucida.clustering.processes import Processes

__all__ = ["GaussianMixture", "Processes"]
