"""The commands, a file a group. Each has `add_to(app)`; each talks to one or two services of the contract."""
