"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No verdict of a test depends on how fast the machine is: CI shares its cores with tor networks.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# For `script/test fast`, which is run again and again: other examples each time.
settings.register_profile("fast", settings.get_profile("any-machine"), max_examples=30)
settings.load_profile("any-machine")
