"""How long everything is trained, and on how much: the paper's settings, and a quick run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes and epochs of one run; the defaults are the full run.

    Attributes
    ----------
    n_train, n_test : int
        Images, the first of MNIST.
    n_codes : int
        Codes of each stage, K.
    vae_epochs, vqvae_epochs : int
        As in the paper, with its batches of 128 and Adam at 1e-3.
    n_init : int
        Starts of the Euclidean k-means with one token.
    refine_epochs, n_rounds, refine_candidates : int
        Of `refine_codebook`. More rounds or candidates gained little in trials.
    n_candidates, n_sweeps : int
        Of `reassign` on test images; on training images one sweep goes on from the fit's codes.
    one_token_rounds, one_token_candidates : int
        The same with one token: nearest training latents, or codewords of k-means, whose codes are
        tried; as many as the graph has neighbours.
    rectify_epochs : int
        Of `rectify_decoder`.
    prior_epochs : int
        Of every prior, but for the paper's own setting. 15 gave no better NLL in trials.
    paper_prior_epochs : int
        Of the paper's own setting.
    tokens : tuple of int
        Numbers of tokens, M, of the geodesic codebooks.
    euclidean_tokens, rectified_tokens : tuple of int
        Those of Euclidean stages, and those whose decoder is rectified.
    curve_tokens, product_tokens : tuple of int
        Those of the rate-distortion curves: residual stages, and faiss's product quantizer.
    n_samples : int
        Images judged.
    temperatures : tuple of float
        Of the samples that are judged beside those at temperature 1.
    judge_epochs : int
        Of the judge.
    least_judge_accuracy : float
        On test images; a worse judge ends the run.
    """

    n_train: int = 60_000
    n_test: int = 10_000
    n_codes: int = 64
    vae_epochs: int = 10
    vqvae_epochs: int = 30
    n_init: int = 10
    refine_epochs: int = 3
    n_rounds: int = 1
    refine_candidates: int = 4
    n_candidates: int = 8
    n_sweeps: int = 2
    one_token_rounds: int = 2
    one_token_candidates: int = 10
    rectify_epochs: int = 8
    prior_epochs: int = 10
    paper_prior_epochs: int = 10
    tokens: tuple[int, ...] = (2, 3, 4, 6, 8)
    euclidean_tokens: tuple[int, ...] = (4,)
    rectified_tokens: tuple[int, ...] = (4, 6, 8)
    curve_tokens: tuple[int, ...] = (1, 2, 4, 8)
    product_tokens: tuple[int, ...] = (2, 4, 10)
    n_samples: int = 1_000
    temperatures: tuple[float, ...] = (1.0, 0.8)
    judge_epochs: int = 4
    least_judge_accuracy: float = 0.99


FULL = Settings()
#: Sees that everything runs; its numbers mean nothing.
QUICK = Settings(
    n_train=5_000,
    n_test=1_000,
    vae_epochs=4,
    vqvae_epochs=4,
    n_init=1,
    refine_epochs=2,
    n_sweeps=1,
    rectify_epochs=2,
    prior_epochs=3,
    paper_prior_epochs=2,
    tokens=(2, 4),
    rectified_tokens=(4,),
    curve_tokens=(1, 4),
    product_tokens=(2, 4),
    n_samples=200,
    judge_epochs=4,
    least_judge_accuracy=0.9,
)
