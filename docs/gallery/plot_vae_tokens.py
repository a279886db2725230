"""
Tokens of a VAE, and new images from a prior
============================================

The whole way with PyTorch: train a small VAE, quantize its latents afterwards, learn which codes
go together, and draw new ones.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits

import geoquant as gq
from geoquant.torch import VAE, GRUPrior, VAEAdapter, seeded, train_autoencoder, train_prior

images = torch.tensor(load_digits().images[:, None] / 16, dtype=torch.float32)
with seeded(0):
    vae = VAE(image_shape=(1, 8, 8), latent_dim=8, hidden_dim=128)
train_autoencoder(vae, images, epochs=15, batch_size=64, learning_rate=3e-3)
adapter = VAEAdapter.wrap(vae)
latents = adapter.encode_array(images)

# %%
# Four codes of 32 for each image, and a prior over the four.

fitted = gq.fit_multistage(latents, 32, 4, random_state=0)
with seeded(0):
    prior = GRUPrior(32, 4)
history = train_prior(prior, fitted.codes, epochs=25, learning_rate=1e-2)
nats, even = history[-1]["loss"], 4 * np.log(32)
print(f"{nats:.1f} nats an image; four even codes of 32 would take {even:.1f}")

# %%
# Images, the same from their latents and from their codes, and new ones from the prior.

drawn = prior.sample(12, generator=0).numpy()
rows = {
    "images": images[:12].numpy(),
    "from latents": adapter.decode_array(latents[:12]),
    "from codes": adapter.decode_array(fitted.codebook.lookup(fitted.codes[:12])),
    "from the prior": adapter.decode_array(fitted.codebook.lookup(drawn)),
}
figure, axes = plt.subplots(4, 1, figsize=(8, 3.6), layout="constrained")
for ax, (name, row) in zip(axes, rows.items(), strict=True):
    ax.imshow(np.hstack(list(row[:, 0])), cmap="gray_r", vmin=0, vmax=1)
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
    ax.set(xticks=[], yticks=[])
plt.show()
