"""The mathematics: DDIM and its inversion, guidance, latents, prompts."""
