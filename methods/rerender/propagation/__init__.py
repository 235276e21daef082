"""From key frames to every frame (Rerender-A-Video, section 4.2)."""
