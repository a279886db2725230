"""The paper's claims, and our own targets, beside the numbers that bear on them."""

from __future__ import annotations

from benchmarks.papers.claims import Claim, Target

M, F = "mnist", "fashion-mnist"

CLAIMS = (
    Claim(
        "Small perturbations of a plain autoencoder's encodings do not alter the output much; "
        "large ones degrade it, down to pure black (figure 2.1).",
        "Holds for small ones; +15 changes digits here, and none turns black.",
        (
            ("AE of E1", f"{M}-ae-mlp", "change_small"),
            ("AE of E1", f"{M}-ae-mlp", "change_large"),
            ("AE of E1", f"{M}-ae-mlp", "spread"),
        ),
        "Changes as a share of the squared distance of two images.",
    ),
    Claim(
        "Interpolation in a plain autoencoder gives smooth transitions (figure 2.2).",
        "Holds: most frames look like images, and steps are about as even as a VAE's; with the "
        "paper's small MLP a little less so.",
        (
            ("AE of E1", f"{M}-ae-mlp", "roughness"),
            ("AE of E1", f"{M}-ae-mlp", "near_path"),
            ("convolutional AE", f"{M}-ae", "roughness"),
            ("convolutional AE", f"{M}-ae", "near_path"),
            ("VAE", f"{M}-vae", "roughness"),
            ("VAE", f"{M}-vae", "near_path"),
        ),
    ),
    Claim(
        "Pulling encodings to one learnable centre makes the space of an autoencoder compact and "
        "everywhere defined, like a VAE's, without divergence or reparameterization (section 3).",
        "Not reproduced: lines and draws look like images no more often than with a plain AE of "
        "the same network.",
        (
            ("one centre", f"{M}-centre-1", "near_path"),
            ("AE", f"{M}-ae", "near_path"),
            ("VAE", f"{M}-vae", "near_path"),
            ("one centre", f"{M}-centre-1", "near_drawn"),
            ("AE", f"{M}-ae", "near_drawn"),
            ("VAE", f"{M}-vae", "near_drawn"),
            ("Fashion-MNIST, one centre", f"{F}-centre-1", "near_drawn"),
            ("AE", f"{F}-ae", "near_drawn"),
            ("VAE", f"{F}-vae", "near_drawn"),
        ),
    ),
    Claim(
        "Around the centre, perturbations from -3 to 3 give perfectly smooth transitions (figure "
        "3.2).",
        "Holds on Fashion-MNIST, in part; on MNIST a plain AE, around its mean, does as well. "
        "Lines between images are no smoother than a plain AE's of the same network.",
        (
            ("Fashion-MNIST, one centre", f"{F}-centre-1", "near_grid"),
            ("AE", f"{F}-ae", "near_grid"),
            ("VAE", f"{F}-vae", "near_grid"),
            ("MNIST, one centre", f"{M}-centre-1", "near_grid"),
            ("AE", f"{M}-ae", "near_grid"),
            ("VAE", f"{M}-vae", "near_grid"),
            ("MNIST, one centre", f"{M}-centre-1", "roughness"),
            ("AE", f"{M}-ae", "roughness"),
            ("VAE", f"{M}-vae", "roughness"),
            ("one centre, MLP", f"{M}-centre-1-mlp", "roughness"),
            ("AE, MLP", f"{M}-ae-mlp", "roughness"),
        ),
    ),
    Claim(
        "The centre's way per epoch falls from high to low: an implicit annealing (figure 3.3).",
        "Holds.",
        (
            ("MNIST", f"{M}-centre-1", "drift_fall"),
            ("Fashion-MNIST", f"{F}-centre-1", "drift_fall"),
            ("CelebA", "celeba-centre-1", "drift_fall"),
            ("MNIST", f"{M}-centre-1", "drift_half"),
            ("Fashion-MNIST", f"{F}-centre-1", "drift_half"),
            ("CelebA", "celeba-centre-1", "drift_half"),
        ),
        "The learning rate falls too, to half of the first by the tenth epoch and then to nothing; "
        "that by itself takes the way of any parameter down.",
    ),
    Claim(
        "The decoded centre comes to look like the image nearest to it without a loss that asks "
        "for it (section 3.1).",
        "Holds.",
        (
            ("MNIST, centre", f"{M}-centre-1", "centre_mse"),
            ("any image", f"{M}-centre-1", "mse"),
            ("Fashion-MNIST, centre", f"{F}-centre-1", "centre_mse"),
            ("any image", f"{F}-centre-1", "mse"),
        ),
    ),
    Claim(
        "Twenty centres land in different clusters; some fall together, on Fashion-MNIST more "
        "than on MNIST (figures 3.4, 3.5).",
        "Holds.",
        (
            ("MNIST", f"{M}-centre-20", "active_test"),
            ("MNIST", f"{M}-centre-20", "perplexity"),
            ("MNIST", f"{M}-centre-20", "closest_pair"),
            ("Fashion-MNIST", f"{F}-centre-20", "active_test"),
            ("Fashion-MNIST", f"{F}-centre-20", "perplexity"),
            ("Fashion-MNIST", f"{F}-centre-20", "closest_pair"),
        ),
    ),
    Claim(
        "Pulling all encodings to zero in place of the divergence collapses (figure 3.6).",
        "Holds for the space: encodings shrink until the paper's perturbations leave all that the "
        "decoder knows. Reconstruction, and lines between encodings, survive.",
        (
            ("zero pull, MLP", f"{M}-zero-mlp", "spread"),
            ("zero pull, MLP, weak", f"{M}-zero-mlp-weak", "spread"),
            ("AE, MLP", f"{M}-ae-mlp", "spread"),
            ("zero pull, MLP", f"{M}-zero-mlp", "mse"),
            ("AE, MLP", f"{M}-ae-mlp", "mse"),
            ("zero pull, MLP", f"{M}-zero-mlp", "near_grid"),
            ("zero pull, convolutional", f"{M}-zero", "near_grid"),
            ("one centre", f"{M}-centre-1", "near_grid"),
            ("zero pull, convolutional", f"{M}-zero", "change_small"),
            ("one centre", f"{M}-centre-1", "change_small"),
            ("zero pull, MLP", f"{M}-zero-mlp", "roughness"),
            ("AE, MLP", f"{M}-ae-mlp", "roughness"),
        ),
        "The weight is that of two plain means; the weak one has a 784th of it.",
    ),
    Claim(
        "Moving averages keep centres from falling together (section 4.1).",
        "Does not hold: moving or learned, centres that find the same encodings nearest fall "
        "together in time. Where they begin matters more.",
        (
            ("20, learned", f"{F}-centre-20", "perplexity"),
            ("20, EMA", f"{F}-centre-20-ema", "perplexity"),
            ("50, learned", f"{F}-centre-50", "perplexity"),
            ("50, EMA", f"{F}-centre-50-ema", "perplexity"),
            ("500, learned, begun at encodings", f"{F}-centre-500", "perplexity"),
            ("500, EMA, begun at encodings", f"{F}-centre-500-ema", "perplexity"),
            ("500, EMA, begun anywhere", f"{F}-centre-500-ema-anywhere", "perplexity"),
            ("500, EMA, begun at encodings", f"{F}-centre-500-ema", "closest_pair"),
            ("500, learned, begun at encodings", f"{F}-centre-500", "closest_pair"),
        ),
    ),
    Claim(
        "Of 50 centres only few are used (figure 4.1); a deeper network with residual connections "
        "lets visibly more of 500 attract data (section 4.2).",
        "The first half holds. The second does not need the deeper network: with as many images "
        "to choose from, a small one's are used as much.",
        (
            ("50, EMA", f"{F}-centre-50-ema", "active_test"),
            ("500, deeper network, EMA", f"{F}-centre-500-ema", "active_test"),
            ("500, small network, EMA", f"{F}-centre-500-ema-small", "active_test"),
            ("500, deeper network, no EMA", f"{F}-centre-500", "active_test"),
            (
                "500, deeper network, EMA, begun anywhere",
                f"{F}-centre-500-ema-anywhere",
                "active_test",
            ),
        ),
        "The 500 had 6 epochs of batches of 512 to fall together, the 50 had 20 epochs of 128.",
    ),
    Claim(
        "Dispersed centres call for larger perturbations, such as 300, for a transition (sections "
        "4.1, 5).",
        "Does not hold: with 50 centres encodings hardly spread wider than with one, and 300 "
        "destroys any image.",
        (
            ("one centre", f"{F}-centre-1", "spread"),
            ("50, EMA", f"{F}-centre-50-ema", "spread"),
            ("AE", f"{F}-ae", "spread"),
        ),
    ),
    Claim(
        "With several vectors for an image and a decoder fed from the encoder, the model is an "
        "autoencoder whose outputs can be had from the codebook: a VQ-AE (figure 4.4).",
        "Holds, given a strong commitment.",
        (
            ("VQ-AE, direct", f"{F}-vqae", "mse"),
            ("from codewords", f"{F}-vqae", "mse_quantized"),
            ("β 0.25, direct", f"{F}-vqae-loose", "mse"),
            ("from codewords", f"{F}-vqae-loose", "mse_quantized"),
            ("VQ-VAE of the same networks", f"{F}-vqvae-sites", "mse"),
        ),
    ),
    Claim(
        "Random combinations of codewords are meaningless: fragments, no semantics (figure 4.5).",
        "Holds, but it does for a VQ-VAE of the same networks too.",
        (
            ("random codewords", f"{F}-vqae", "near_drawn"),
            ("codewords of images", f"{F}-vqae", "near_quantized"),
            ("VQ-VAE, random codewords", f"{F}-vqvae-sites", "near_drawn"),
            ("codewords of images", f"{F}-vqvae-sites", "near_quantized"),
        ),
        "Both alike would speak of the space of sites, not of what the decoder was fed.",
    ),
    Claim(
        "No perturbation makes a VQ-AE change smoothly into something else; it distorts (figures "
        "4.6, 4.7, 4.8).",
        "Holds.",
        (),
        "By the pictures.",
    ),
    Claim(
        "The key to generation is compactness of the encodings, and enough dispersion for all "
        "points to be defined (section 5).",
        "Not decidable here.",
        (),
        "Too few models, and the numbers do not go together: the VAE has the most draws that look "
        "like images, and less even interpolation than the AE.",
    ),
)

TARGETS = (
    Target("E2, MNIST: drift", f"{M}-centre-1", "drift_fall", 5, at_least=True),
    Target("E2, Fashion-MNIST: drift", f"{F}-centre-1", "drift_fall", 5, at_least=True),
    Target("E2, CelebA: drift", "celeba-centre-1", "drift_fall", 5, at_least=True),
    Target("E2: smoother than the plain AE of E1", f"{M}-centre-1", "rough_to_mlp", 1),
    Target("E2: smoother than an AE of the same network", f"{M}-centre-1", "rough_to_ae", 1),
    Target("E4, network of E1: encodings collapse", f"{M}-zero-mlp", "spread_to_mlp", 0.05),
    Target("E4, network of E1: less defined than one centre", f"{M}-zero-mlp", "grid_to_centre", 1),
    Target("E4, convolutional: less defined than one centre", f"{M}-zero", "grid_to_centre", 1),
    Target("E6: 500 centres, EMA", f"{F}-centre-500-ema", "active_share", 0.6, at_least=True),
    Target(
        "E6: geodesic codebook afterwards",
        f"{F}-centre-500-ema/geodesic",
        "active_train",
        500,
        at_least=True,
    ),
    Target("E7: VQ-AE", f"{F}-vqae", "error_ratio", 1.5),
)
