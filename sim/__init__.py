"""The robot and its worlds in PyBullet. `register()` makes the Gymnasium ids known."""

EPISODE_STEPS = 300  # control periods after which an episode is cut


def register() -> None:
    """Register `dara/A1Flat-v0` and `dara/A1Obstructive-v0` with Gymnasium; may be called twice."""
    import gymnasium

    for name, world in (("dara/A1Flat-v0", "flat"), ("dara/A1Obstructive-v0", "obstructive")):
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                "dara_ros.sim.environment:WalkingEnv",
                max_episode_steps=EPISODE_STEPS,
                kwargs={"world": world},
            )
