"""Which groups train at the same time: the devices divide into teams, as a plan made beforehand.

A group of at least as many members as there are devices keeps all of them busy; such groups train
one after another. A smaller one would leave devices idle, or let them repeat its last member. For
these the devices divide into teams of about equal size, and each team takes one group after
another. How many teams there are is what ends soonest: as many as devices, where there are many
groups of one image; fewer, where a group of several images would be the last to end.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

_MOST_TEAMS = 8  # each keeps two scales' programs, and a process has not room for any number


class Load(NamedTuple):
    """What is to be trained of a group.

    Attributes:
      members: how many.
      cost: time of one of them on one device, in arbitrary units.
    """

    members: int
    cost: float

    def seconds(self, devices: int) -> float:
        """The time that these members take on so many devices, in the units of `cost`."""
        return -(-self.members // devices) * self.cost


class Stage(NamedTuple):
    """Teams that train beside each other; a stage begins when the one before has ended.

    Attributes:
      teams: the devices of each, by number.
      queues: the groups of each, by number, in the order in which it takes them.
    """

    teams: list[range]
    queues: list[list[int]]


def plan(loads: Sequence[Load], devices: int) -> list[Stage]:
    """The stages in which groups train on so many devices; each group is in one queue.

    The same for the same arguments, so that a group finds programs that were compiled for its
    devices before.
    """
    large = [n for n, load in enumerate(loads) if load.members >= devices]
    small = [n for n, load in enumerate(loads) if load.members < devices]
    stages = [Stage([range(devices)], [large])] if large else []
    if small:
        # Among those that end at the same time that of most teams, which repeats fewest members.
        sizes = range(-(-devices // _MOST_TEAMS), devices + 1)
        counts = sorted({devices // size for size in sizes}, reverse=True)
        tried = [_divided(loads, small, devices, count) for count in counts]
        stages.append(min(tried, key=lambda stage: duration(loads, stage)))
    return stages


def duration(loads: Sequence[Load], stage: Stage) -> float:
    """The time until the last team has finished, in the units of `Load.cost`."""
    return max(
        sum(loads[n].seconds(len(team)) for n in queue)
        for team, queue in zip(stage.teams, stage.queues, strict=True)
    )


def _divided(loads: Sequence[Load], groups: Sequence[int], devices: int, count: int) -> Stage:
    """A stage of `count` teams: the longest group first, to the team that ends it soonest."""
    bounds = [devices * n // count for n in range(count + 1)]
    teams = [range(first, end) for first, end in itertools.pairwise(bounds)]
    queues: list[list[int]] = [[] for _ in teams]
    ends = [0.0] * count
    for n in sorted(groups, key=lambda n: -loads[n].seconds(1)):
        after = [end + loads[n].seconds(len(team)) for end, team in zip(ends, teams, strict=True)]
        soonest = after.index(min(after))
        queues[soonest].append(n)
        ends[soonest] = after[soonest]
    kept = [n for n, queue in enumerate(queues) if queue]
    return Stage([teams[n] for n in kept], [queues[n] for n in kept])
