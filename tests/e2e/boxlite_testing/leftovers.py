"""What a killed shim leaves where the host has cgroups for it. Any directory will do: all that is done to one is to remove it."""

import json
import os

from boxlite_testing import identity


def leave_cgroup(boxlite, name):
    """As if the last shim of a box at rest had been killed. Returns the directory."""
    box_id = boxlite.inspect(name)["id"]
    home = os.stat(boxlite.home)
    place = f"{boxlite.directory}/cgroup"
    path = f"{place}/boxlite/{box_id}-{home.st_dev:x}-{home.st_ino:x}"
    os.makedirs(path)
    identity.give(place)
    record = f"{boxlite.home}/boxes/{box_id}/state.json"
    with open(record) as file:
        state = json.load(file)
    with open(record, "w") as file:
        json.dump({**state, "cgroup_place": place}, file)
    return path
