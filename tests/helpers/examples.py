"""The number of examples for a property, which the profile of a run chooses."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Of 100 examples that a property has: in `make test-fast`, in `make test`, and in CI.
PROFILES = {"fast": 10, "usual": 50, "thorough": 100}


def load_profiles() -> None:
    """Let --hypothesis-profile choose one of PROFILES; without it, it is "usual"."""
    # How long an example takes says nothing on a busy machine.  The examples of a test
    # share its fixtures; those that need their own make them.  Where a property is of
    # what is accepted, most may be refused, and a run may begin with that.
    unchecked = [
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
    ]
    for name, percent in PROFILES.items():
        settings.register_profile(
            name, deadline=None, suppress_health_check=unchecked, max_examples=percent
        )
    settings.load_profile("usual")


def examples(number: int) -> settings:
    """Return settings with *number* examples in a thorough run, fewer in others."""
    return settings(max_examples=max(1, number * settings().max_examples // 100))
