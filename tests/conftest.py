"""What every test shares: repeatable generators, one thread, no display."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import torch
from hypothesis import HealthCheck, settings

# Two workers on two cores: a thread pool inside each would only make them wait for one another.
torch.set_num_threads(1)

# No deadline: the first example pays for torch's start. Derandomized: a run today equals a run tomorrow.
settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("verify", parent=settings.get_profile("ci"), max_examples=500)
settings.load_profile("verify" if os.environ.get("HLSIM_VERIFY") == "1" else "ci")
