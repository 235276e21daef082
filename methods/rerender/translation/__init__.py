"""Key frames by diffusion (Rerender-A-Video, section 4.1)."""
