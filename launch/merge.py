"""Makes one fleet of the shards that `launch.train_fleet --shard=i/n` trained in a work folder.

    python -m launch.merge --workdir=fleet

Takes seconds, however large the fleet: the trained members are moved, not copied. It may be killed
at any moment and started again. The merged fleet is like any other: draw from it with
`launch.sample_fleet`, add images or retry members with `launch.train_fleet`.
"""

from launch import cli, path_flags
from singan_jax.workdir.merge import merge

WORKDIR = path_flags.DEFINE_path("workdir", None, "folder of the shards", required=True)


def main() -> None:
    """Merges, and says what is there."""
    record = merge(WORKDIR.value)
    print(f"{WORKDIR.value}: one fleet of {len(record.members)} members")


if __name__ == "__main__":
    cli.run(main)
