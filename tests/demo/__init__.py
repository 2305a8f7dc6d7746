"""`make demo`: the main job, shown step by step on this machine."""
